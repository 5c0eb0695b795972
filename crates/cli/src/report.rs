//! `event-recovery report`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use chrono::Utc;
use event_recovery_aws::SigningKey;
use event_recovery_pipeline::{audit, sign_report};

use crate::failure::Failure;
use crate::handling_arguments::ReportArguments;
use crate::known_run::show;
use crate::ledger_place::LedgerPlace;
use crate::location::Location;
use crate::runtime;
use crate::storage::aws_session;

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
        if let Some(arn) = &arguments.signing_key {
            let config = aws_session(&arguments.ledger.aws).await;
            let key = SigningKey::new(&config, arn);
            sign_report(&*held.storage, &place.ledger, &key, Utc::now()).await?;
        }
        if arguments.open {
            open_page(&place).await?;
        }
        show(arguments.ledger.output.output(), &report, &place.location)
    })
}

/// Opens the report's page with the program that opens such files here. A page in a bucket is copied to a file that only
/// this user may read, and that stays.
async fn open_page(place: &LedgerPlace) -> Result<(), Failure> {
    let key = place.ledger.page_key();
    let path = match &place.location {
        Location::Folder(folder) => folder.join(&key),
        Location::Bucket(_) => {
            let Some(page) = place.storage().get(&key).await? else {
                return Err(Failure::could_not_run(format!("there is no `{key}`")));
            };
            copy_of(&page.bytes).map_err(|error| {
                Failure::could_not_run(format!("could not copy the page to a file: {error}"))
            })?
        }
    };
    let path = std::path::absolute(&path).unwrap_or(path);
    open::that_detached(&path).map_err(|error| {
        let page = path.display();
        Failure::could_not_run(format!("could not open `{page}`: {error}"))
            .hint(format!("the report is written; open `{page}` by hand"))
    })
}

fn copy_of(page: &[u8]) -> std::io::Result<PathBuf> {
    let mut file = tempfile::Builder::new()
        .prefix("event-recovery-report-")
        .suffix(".html")
        .tempfile()?;
    file.write_all(page)?;
    let (_, path) = file.keep()?;
    Ok(path)
}
