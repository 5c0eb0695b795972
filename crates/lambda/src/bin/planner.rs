//! The planner as an AWS Lambda function: reads the environment, builds the clients and runs the handler.

use event_recovery_lambda::{PlannerFunction, Settings};
use lambda_runtime::{Error, run, service_fn, tracing};

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let planner = PlannerFunction::new(Settings::from_environment()).await?;
    run(service_fn(|event| planner.handle(event))).await
}
