//! `event-recovery accept-loss`.

use std::process::ExitCode;
use std::time::Duration;

use chrono::Utc;
use event_recovery_pipeline::{SourceKey, accept_loss, audit, inspect, revoke_loss};

use crate::failure::Failure;
use crate::handling_arguments::AcceptLossArguments;
use crate::known_run::show;
use crate::ledger_place::LedgerPlace;
use crate::runtime;
use crate::terminal::say;

pub(crate) fn accept(arguments: &AcceptLossArguments) -> Result<ExitCode, Failure> {
    let key = SourceKey::parse(&arguments.key).map_err(|error| {
        Failure::usage(format!("`--key`: {error}"))
            .hint("the report names the objects that failed or are missing")
    })?;
    runtime::block_on(async {
        let place = LedgerPlace::open(&arguments.ledger).await?;
        let storage = place.storage();
        let (ledger, now) = (&place.ledger, Utc::now());
        match &arguments.reason {
            Some(reason) => {
                let by = place.caller().await;
                accept_loss(&*storage, ledger, &key, reason, by, now).await?;
            }
            None => {
                let was_there = revoke_loss(&*storage, ledger, &key).await?;
                if !was_there && !arguments.ledger.output.quiet {
                    say("there was no acceptance to take back");
                }
            }
        }
        let id = ledger.execution_id();
        let report = match place.hold(Duration::ZERO).await? {
            Some(held) => audit(&*held.storage, id, Utc::now()).await?,
            // Whoever carries out the run audits it at its end.
            None => inspect(&*storage, id, Utc::now()).await?,
        };
        show(arguments.ledger.output.output(), &report, &place.location)
    })
}
