//! The auditor as an AWS Lambda function: reads the environment, builds the clients and runs the handler.

use event_recovery_lambda::{AuditorFunction, Settings, asked_preflight, check_auditor};
use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};
use serde_json::Value;

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let auditor = AuditorFunction::new(Settings::from_environment()).await?;
    let auditor = &auditor;
    run(service_fn(|event: LambdaEvent<Value>| async move {
        if let Some(id) = asked_preflight(&event.payload) {
            let checks = check_auditor(&id, Settings::from_environment()).await?;
            return Ok::<_, Error>(serde_json::to_value(checks)?);
        }
        let (payload, context) = event.into_parts();
        let batch = LambdaEvent::new(serde_json::from_value(payload)?, context);
        Ok(serde_json::to_value(auditor.handle(batch).await?)?)
    }))
    .await
}
