//! The auditor as an AWS Lambda function: reads the environment, builds the clients and runs the handler.

use event_recovery_lambda::{AuditorFunction, Settings};
use lambda_runtime::{Error, run, service_fn, tracing};

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let auditor = AuditorFunction::new(Settings::from_environment()).await?;
    run(service_fn(|event| auditor.handle(event))).await
}
