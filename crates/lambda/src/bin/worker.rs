//! The worker as an AWS Lambda function: reads the environment, builds the clients and runs the handler.

use event_recovery_lambda::{Settings, WorkerFunction};
use lambda_runtime::{Error, run, service_fn, tracing};

/// A writer of Parquet asks for large blocks and gives them back, page after page. The system's
/// allocator has the kernel clear them each time, which is a sixth of all the work.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let worker = WorkerFunction::new(Settings::from_environment()).await?;
    run(service_fn(|event| worker.handle(event))).await
}
