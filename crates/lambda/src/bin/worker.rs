//! The worker as an AWS Lambda function: reads the environment, builds the clients and runs the handler.

use event_recovery_lambda::{Settings, WorkerFunction, asked_preflight, check_worker};
use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};
use serde_json::Value;

/// A writer of Parquet asks for large blocks and gives them back, page after page. The system's
/// allocator has the kernel clear them each time, which is a sixth of all the work.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let worker = WorkerFunction::new(Settings::from_environment()).await?;
    let worker = &worker;
    run(service_fn(|event: LambdaEvent<Value>| async move {
        if let Some(id) = asked_preflight(&event.payload) {
            let checks = check_worker(&id, Settings::from_environment()).await?;
            return Ok::<_, Error>(serde_json::to_value(checks)?);
        }
        let (payload, context) = event.into_parts();
        let batch = LambdaEvent::new(serde_json::from_value(payload)?, context);
        Ok(serde_json::to_value(worker.handle(batch).await?)?)
    }))
    .await
}
