//! Tries what a run does with its source.

use std::io::Read as _;

use chrono::TimeDelta;
use event_recovery_format::{DecodeError, DecodeLimits, decode_reader};

use crate::backup::hour_prefix::HourPrefix;
use crate::backup::object_time::ObjectTime;
use crate::backup::org_id::OrgId;
use crate::backup::source_key::SourceKey;
use crate::preflight::check::Check;
use crate::preflight::need::Reach;
use crate::storage::{ListedObject, Source, StorageError};

/// How deep the hours lie under `main_stream/`: year, month, day and hour.
const LEVELS: usize = 4;
/// How much of an object is read.
const READ_BYTES: usize = 64 * 1024;
/// Objects whose names are looked at.
const NAMES_MAX: usize = 1000;
/// How much later than its name says an object is written: Firehose's longest buffer and the longest retry, and how
/// far clocks may differ.
const WRITTEN_AFTER_MAX: TimeDelta = TimeDelta::minutes(25 * 60);
const WRITTEN_BEFORE_MAX: TimeDelta = TimeDelta::minutes(5);
/// Objects are this late at least when their prefix is in another time zone.
const ZONE_LEAST: TimeDelta = TimeDelta::minutes(50);
/// The fewest objects by which a time zone is told.
const ZONE_OBJECTS_LEAST: usize = 3;

/// Lists the newest hour, reads an object of it, and compares names with times.
pub async fn check_source(source: &dyn Source, org_id: &OrgId, reach: &Reach) -> Vec<Check> {
    let list = "source_list";
    let objects = match newest_objects(source).await {
        Ok(objects) => objects,
        Err(error) => {
            let unknown = "the source could not be listed";
            return vec![
                Check::failed(list, reach, &["s3:ListBucket"], &error),
                Check::cannot_tell("source_read", unknown),
                Check::cannot_tell("source_names", unknown),
            ];
        }
    };
    let Some(object) = objects.iter().find(|object| object.size > 0) else {
        let nothing = "there are no objects under `main_stream/`";
        return vec![
            Check::cannot_tell(
                list,
                format!(
                    "{nothing}: the source is the bucket, or the folder that holds `main_stream`"
                ),
            ),
            Check::cannot_tell("source_read", nothing),
            Check::cannot_tell("source_names", nothing),
        ];
    };
    vec![
        Check::works(list, format!("the newest hour is that of `{}`", object.key)),
        read(source, object, reach).await,
        names(&objects, org_id, source.is_local()),
    ]
}

/// The objects of the newest hour, by walking down the newest folder of each level.
async fn newest_objects(source: &dyn Source) -> Result<Vec<ListedObject>, StorageError> {
    let mut prefix = "main_stream/".to_owned();
    for _ in 0..LEVELS {
        let mut next = None;
        let mut newest = None;
        loop {
            let page = source.list_level(&prefix, next.as_deref()).await?;
            newest = page.folders.into_iter().max().max(newest);
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        match newest {
            Some(folder) => prefix = folder,
            None => return Ok(Vec::new()),
        }
    }
    let mut objects = source.list_page(&prefix, None).await?.objects;
    objects.truncate(NAMES_MAX);
    Ok(objects)
}

async fn read(source: &dyn Source, object: &ListedObject, reach: &Reach) -> Check {
    let name = "source_read";
    let failed = |error: &StorageError| Check::failed(name, reach, &["s3:GetObject"], error);
    let reader = match source.open(&object.key, &object.etag).await {
        Ok(reader) => reader,
        Err(error) => return failed(&error),
    };
    let reading = tokio::task::spawn_blocking(move || {
        let mut decoded = decode_reader(reader, DecodeLimits::default())?;
        let compression = decoded.compression();
        let mut start = Vec::new();
        decoded
            .by_ref()
            .take(READ_BYTES as u64)
            .read_to_end(&mut start)?;
        Ok::<_, DecodeError>(compression)
    });
    match reading.await {
        Ok(Ok(compression)) => Check::works(
            name,
            format!(
                "`{}`, {} bytes, compression: {compression}",
                object.key, object.size
            ),
        ),
        Ok(Err(DecodeError::Source(error))) => match error.downcast::<StorageError>() {
            Ok(error) => failed(&error),
            Err(error) => Check::cannot_tell(name, error.to_string()),
        },
        // It was read, and one damaged object fails no run.
        Ok(Err(error)) => Check::cannot_tell(name, format!("`{}`: {error}", object.key)),
        Err(_) => Check::cannot_tell(name, "the reading died"),
    }
}

/// Whether names, prefixes and times of the last change agree. A prefix in another time zone than UTC shows here.
fn names(objects: &[ListedObject], org_id: &OrgId, is_copy: bool) -> Check {
    let name = "source_names";
    let (mut foreign, mut lateness) = (0, Vec::new());
    for object in objects {
        let Ok(key) = SourceKey::parse(&object.key) else {
            continue;
        };
        let hour: HourPrefix = key.hour();
        match ObjectTime::parse(key.name(), org_id, hour) {
            ObjectTime::Foreign(_) => foreign += 1,
            ObjectTime::Named(time) => lateness.push(object.last_modified - time),
        }
    }
    if lateness.is_empty() {
        return Check::cannot_tell(
            name,
            format!(
                "none of {foreign} names has the form `dataplatform-<org id>-<n>-<time>-<uuid>` with a time of its hour; check the org id, and that the prefixes are in UTC"
            ),
        );
    }
    if is_copy {
        let told = "names and prefixes agree; a folder does not keep when objects were written";
        return Check::works(name, told);
    }
    let (least, most) = (lateness.iter().min(), lateness.iter().max());
    let (Some(&least), Some(&most)) = (least, most) else {
        return Check::cannot_tell(name, "no names");
    };
    let hours = |span: TimeDelta| span.num_minutes() as f64 / 60.0;
    if most > WRITTEN_AFTER_MAX || least < -WRITTEN_BEFORE_MAX {
        return Check::cannot_tell(
            name,
            format!(
                "objects were written {:.1} to {:.1} h after the time in their names: they were copied, or the names are in another time zone than UTC",
                hours(least),
                hours(most)
            ),
        );
    }
    if lateness.len() >= ZONE_OBJECTS_LEAST && least >= ZONE_LEAST {
        return Check::cannot_tell(
            name,
            format!(
                "all objects of the hour were written {:.1} h or more after the time in their names: late, or in another time zone than UTC",
                hours(least)
            ),
        );
    }
    Check::works(name, "names, prefixes and times of writing agree")
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::preflight::check::Outcome;

    const ORG: &str = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be";

    fn objects(written: &str, count: usize) -> Vec<ListedObject> {
        let written: DateTime<Utc> = written.parse().unwrap();
        let name = |n| {
            format!(
                "main_stream/2024/04/01/13/dataplatform-{ORG}-1-2024-04-01-13-0{n}-00-34778262-f4f0-464d-b4c6-a14e2dc6f4be"
            )
        };
        let object = |n| ListedObject {
            key: name(n),
            size: 1,
            etag: "e".to_owned(),
            last_modified: written,
        };
        (0..count).map(object).collect()
    }

    #[test]
    fn a_prefix_in_another_time_zone_shows() {
        let org = OrgId::parse(ORG).unwrap();
        let rows = [
            ("2024-04-01T13:09:00Z", 3, Outcome::Works),
            // Three hours behind.
            ("2024-04-01T16:09:00Z", 3, Outcome::CannotTell),
            // One alone may be late.
            ("2024-04-01T16:09:00Z", 1, Outcome::Works),
            // Three hours ahead.
            ("2024-04-01T10:09:00Z", 1, Outcome::CannotTell),
            ("2024-06-01T00:00:00Z", 1, Outcome::CannotTell),
        ];
        for (written, count, expected) in rows {
            let check = names(&objects(written, count), &org, false);
            assert_eq!(check.outcome, expected, "{written} {}", check.detail);
        }
        let other = OrgId::parse("tn-00000000-f4f0-464d-b4c6-a14e2dc6f4be").unwrap();
        let check = names(&objects("2024-04-01T13:09:00Z", 3), &other, false);
        assert_eq!(check.outcome, Outcome::CannotTell);
        let copied = names(&objects("2024-06-01T00:00:00Z", 3), &org, true);
        assert_eq!(copied.outcome, Outcome::Works);
    }
}
