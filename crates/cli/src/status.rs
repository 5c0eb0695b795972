//! `event-recovery status`.

use std::process::ExitCode;

use chrono::Utc;
use event_recovery_pipeline::{
    AuditError, ExecutionId, ListObjects, OpenObject, Records, Report, inspect, verify,
};

use crate::arguments::StatusArguments;
use crate::failure::Failure;
use crate::output::{Output, exit_code};
use crate::runtime;
use crate::storage::Recovered;
use crate::summary;

pub(crate) fn status(arguments: &StatusArguments) -> Result<ExitCode, Failure> {
    let execution_id = ExecutionId::parse(&arguments.execution_id)?;
    let report = runtime::block_on(async {
        let report = match Recovered::open(&arguments.destination, &arguments.aws).await {
            Recovered::Folder(folder) => look(&folder, &execution_id, arguments.checksums).await,
            Recovered::Bucket(bucket) => look(&bucket, &execution_id, arguments.checksums).await,
        };
        Ok(report?)
    })?;
    Output::of(arguments.json, false).show("the report", &report, || {
        summary::of_report(&report, &arguments.destination)
    })?;
    Ok(exit_code(report.verdict))
}

async fn look(
    storage: &(impl ListObjects + Records + OpenObject),
    execution_id: &ExecutionId,
    checksums: bool,
) -> Result<Report, AuditError> {
    match checksums {
        true => verify(storage, execution_id, Utc::now()).await,
        false => inspect(storage, execution_id, Utc::now()).await,
    }
}
