//! `event-recovery cancel`.

use std::process::ExitCode;
use std::time::Duration;

use chrono::Utc;
use event_recovery_pipeline::{Cancellation, Report, audit, inspect};

use crate::failure::Failure;
use crate::handling_arguments::CancelArguments;
use crate::known_run::show;
use crate::ledger_place::LedgerPlace;
use crate::runtime;
use crate::terminal::say;

/// How long a process that carries out the run is waited for: it sees the mark within 15 s, and ends the objects in flight.
const IN_FLIGHT_MAX: Duration = Duration::from_secs(90);

pub(crate) fn cancel(arguments: &CancelArguments) -> Result<ExitCode, Failure> {
    runtime::block_on(async {
        let place = LedgerPlace::open(&arguments.ledger).await?;
        let report = cancel_in(&place, arguments.ledger.output.quiet).await?;
        show(arguments.ledger.output.output(), &report, &place.location)
    })
}

async fn cancel_in(place: &LedgerPlace, quiet: bool) -> Result<Report, Failure> {
    let (storage, id) = (place.storage(), place.ledger.execution_id());
    let before = inspect(&*storage, id, Utc::now()).await?;
    let is_planned = before.times.planned_at.is_some();
    if is_planned && before.objects.failed + before.objects.missing == 0 {
        if !quiet {
            say("there is nothing to cancel: nothing of the run is left to be done");
        }
        return Ok(before);
    }
    Cancellation::write(&*storage, &place.ledger, place.caller().await, Utc::now()).await?;
    if !quiet {
        say("cancelled; `event-recovery resume` carries on");
    }
    match place.hold(IN_FLIGHT_MAX).await? {
        Some(held) => Ok(audit(&*held.storage, id, Utc::now()).await?),
        // Whoever carries it out audits it when the objects in flight have ended.
        None => Ok(inspect(&*storage, id, Utc::now()).await?),
    }
}
