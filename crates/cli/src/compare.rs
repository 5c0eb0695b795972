//! `event-recovery compare`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::Utc;
use event_recovery_aws::{Bucket, s3_client};
use event_recovery_pipeline::{
    Comparing, Comparison, ListedObject, LocalFolder, ReceivedFile, Source, list_all,
};

use crate::bytes::grouped;
use crate::common_arguments::AwsArguments;
use crate::delivery_arguments::CompareArguments;
use crate::failure::{Failure, NEEDS_A_LOOK};
use crate::ledger_place::LedgerPlace;
use crate::location::Location;
use crate::progress::Counting;
use crate::runtime;
use crate::storage::aws_session;

pub(crate) fn compare(arguments: &CompareArguments) -> Result<ExitCode, Failure> {
    runtime::block_on(async {
        let output = &arguments.ledger.output;
        let mut received = Vec::new();
        for location in &arguments.received {
            received.extend(files_of(location, &arguments.ledger.aws).await?);
        }
        let place = LedgerPlace::open(&arguments.ledger).await?;
        let folder = match &arguments.temporary_folder {
            Some(folder) => folder.clone(),
            None => std::env::temp_dir(),
        };
        let progress = Counting::new(output.quiet);
        let (events, ids) = (AtomicU64::new(0), AtomicU64::new(0));
        let shown = |more_events: u64, more_ids: u64| {
            let events = events.fetch_add(more_events, Ordering::Relaxed) + more_events;
            let ids = ids.fetch_add(more_ids, Ordering::Relaxed) + more_ids;
            progress.show(&format!(
                "{} events and {} received ids read",
                grouped(events),
                grouped(ids)
            ));
        };
        let comparing = Comparing {
            destination: place.run_storage(),
            ledger: &place.ledger,
            received,
            column: arguments.column.clone(),
            folder: &folder,
            progress: &shown,
        };
        let compared = comparing.compare(Utc::now()).await;
        progress.finish();
        let comparison = compared?;
        output
            .output()
            .show("the comparison", &comparison, || summary(&comparison))?;
        Ok(match comparison.is_clean() {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(NEEDS_A_LOOK),
        })
    })
}

fn summary(found: &Comparison) -> String {
    let events = &found.events;
    let in_run = &found.duplicates.in_run;
    let mut lines = vec![
        format!(
            "comparison {} of the run `{}`",
            found.comparison_id, found.execution_id
        ),
        format!(
            "  events    {} = {} missing + {} received + {} without an id",
            grouped(events.found),
            grouped(events.missing),
            grouped(events.received),
            grouped(events.without_id)
        ),
        format!(
            "  ids       {} missing, {} received, {} unknown to the run",
            grouped(found.missing),
            grouped(found.received),
            grouped(found.unknown)
        ),
    ];
    if in_run.same_bytes + in_run.other_bytes + found.duplicates.in_received > 0 {
        lines.push(format!(
            "  repeated  {} ids of the run with the same bytes, {} with different bytes; {} received ids",
            grouped(in_run.same_bytes),
            grouped(in_run.other_bytes),
            grouped(found.duplicates.in_received)
        ));
    }
    if !found.run_is_final || found.run_verdict.as_str() != "complete" {
        let finality = if found.run_is_final {
            "final"
        } else {
            "provisional"
        };
        lines.push(format!(
            "  the run is `{}`, {finality}: what it lacks is not compared",
            found.run_verdict.as_str()
        ));
    }
    if found.unknown > 0 {
        lines.push(
            "  ids that the run does not have are a sign of a range that is too short".to_owned(),
        );
    }
    lines.join("\n")
}

/// Whether a file of a folder is meant: those that begin with `_` or `.` are marks and the like, by the convention of
/// Hadoop.
fn holds_ids(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or(key);
    !name.is_empty() && !name.starts_with(['_', '.'])
}

/// The files at a location: itself, or all below it.
async fn files_of(location: &Location, aws: &AwsArguments) -> Result<Vec<ReceivedFile>, Failure> {
    let named = |storage: &Arc<dyn Source>, object: ListedObject, name: String| ReceivedFile {
        storage: Arc::clone(storage),
        object,
        name,
    };
    let nothing = || {
        Failure::usage(format!("`--received`: there is nothing at `{location}`"))
            .hint("it takes files, folders and s3://BUCKET/PREFIX")
    };
    match location {
        Location::Folder(path) => {
            let is_file = path.is_file();
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let folder = match is_file {
                true => absolute.parent().unwrap_or(Path::new("/")).to_owned(),
                false => absolute.clone(),
            };
            // Nothing is staged, and nothing there is left out.
            let unused = folder.join(".event-recovery-staging");
            let storage: Arc<dyn Source> = Arc::new(LocalFolder::new(&folder, unused));
            let prefix = match (is_file, absolute.file_name().and_then(|name| name.to_str())) {
                (true, Some(name)) => name.to_owned(),
                (true, None) => return Err(nothing()),
                (false, _) => String::new(),
            };
            let mut found = match is_file {
                // Not all that is below the folder.
                true => storage.list_level(&prefix, None).await?.objects,
                false => list_all(&*storage, &prefix).await?,
            };
            match is_file {
                true => found.retain(|object| object.key == prefix),
                false => found.retain(|object| holds_ids(&object.key)),
            }
            if found.is_empty() {
                return Err(nothing());
            }
            let name = |object: &ListedObject| folder.join(&object.key).display().to_string();
            Ok(found
                .into_iter()
                .map(|object| (name(&object), object))
                .map(|(name, object)| named(&storage, object, name))
                .collect())
        }
        Location::Bucket(url) => {
            let client = s3_client(&aws_session(aws).await);
            let storage: Arc<dyn Source> = Arc::new(Bucket::new(client, url.bucket(), ""));
            let prefix = url.prefix().trim_end_matches('/');
            let mut found = list_all(&*storage, prefix).await?;
            let is_object = found.iter().any(|object| object.key == prefix);
            found.retain(|object| match is_object {
                true => object.key == prefix,
                false => {
                    let rest = object.key.strip_prefix(prefix);
                    let is_below =
                        prefix.is_empty() || rest.is_some_and(|rest| rest.starts_with('/'));
                    is_below && holds_ids(&object.key)
                }
            });
            if found.is_empty() {
                return Err(nothing());
            }
            let name = |object: &ListedObject| format!("s3://{}/{}", url.bucket(), object.key);
            Ok(found
                .into_iter()
                .map(|object| (name(&object), object))
                .map(|(name, object)| named(&storage, object, name))
                .collect())
        }
    }
}
