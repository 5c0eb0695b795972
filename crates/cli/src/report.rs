//! `event-recovery report`.

use std::process::ExitCode;
use std::time::Duration;

use chrono::Utc;
use event_recovery_pipeline::audit;

use crate::failure::Failure;
use crate::handling_arguments::ReportArguments;
use crate::known_run::show;
use crate::ledger_place::LedgerPlace;
use crate::runtime;

pub(crate) fn report(arguments: &ReportArguments) -> Result<ExitCode, Failure> {
    runtime::block_on(async {
        let place = LedgerPlace::open(&arguments.ledger).await?;
        let id = place.ledger.execution_id();
        let Some(held) = place.hold(Duration::ZERO).await? else {
            return Err(Failure::could_not_run(format!(
                "another process is carrying out the run `{id}`, and audits it at its end"
            ))
            .hint("wait for it; `event-recovery status` shows how it stands"));
        };
        let report = audit(&*held.storage, id, Utc::now()).await?;
        show(arguments.ledger.output.output(), &report, &place.location)
    })
}
