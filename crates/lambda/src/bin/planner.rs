//! The planner as an AWS Lambda function: reads the environment, builds the clients and runs the handler.

use event_recovery_lambda::{PlannerFunction, Settings, asked_preflight, check_planner};
use event_recovery_pipeline::PlannerErrorKind;
use lambda_runtime::{Diagnostic, Error, LambdaEvent, run, service_fn, tracing};
use serde::Serialize;
use serde_json::Value;

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let planner = PlannerFunction::new(Settings::from_environment()).await?;
    let planner = &planner;
    run(service_fn(|event: LambdaEvent<Value>| async move {
        if let Some(id) = asked_preflight(&event.payload) {
            let checks = check_planner(&id, Settings::from_environment()).await;
            return to_json(&checks.map_err(|error| failed(&error))?);
        }
        to_json(&planner.handle(event).await?)
    }))
    .await
}

fn to_json(answer: &impl Serialize) -> Result<Value, Diagnostic> {
    serde_json::to_value(answer).map_err(|error| failed(&error))
}

fn failed(error: &dyn std::error::Error) -> Diagnostic {
    Diagnostic {
        error_type: PlannerErrorKind::NotPlanned.as_str().to_owned(),
        error_message: error.to_string(),
    }
}
