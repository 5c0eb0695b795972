//! Samples are what their summary and lists say, read with serde_json.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use event_recovery_sample::{SampleOptions, SampleSummary, write_sample};
use serde_json::Value;
use serde_json::value::RawValue;

const ORG_ID: &str = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be";
const HOUR_MILLIS: i64 = 3_600_000;

fn write(options: &SampleOptions) -> SampleSummary {
    write_sample(options, &mut |_, _| {}).unwrap()
}

/// The decoded objects by key.
fn objects(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![directory.join("main_stream")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut bytes = fs::read(&path).unwrap();
            if bytes.starts_with(b"\x1f\x8b") {
                let mut decoded = Vec::new();
                flate2::read::MultiGzDecoder::new(&bytes[..])
                    .read_to_end(&mut decoded)
                    .unwrap();
                bytes = decoded;
            }
            let key = path
                .strip_prefix(directory)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            found.insert(key, bytes);
        }
    }
    found
}

fn gzip_members(mut bytes: &[u8]) -> usize {
    let mut members = 0;
    while !bytes.is_empty() {
        let mut member = flate2::bufread::GzDecoder::new(bytes);
        std::io::copy(&mut member, &mut std::io::sink()).unwrap();
        bytes = member.into_inner();
        members += 1;
    }
    members
}

fn json_lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The intact events of every object by key: whatever serde_json reads outside of the listed torn events.
fn intact_events(summary: &SampleSummary) -> Vec<(String, Vec<String>)> {
    let torn = json_lines(&summary.torn_list);
    let mut found = Vec::new();
    for (key, bytes) in objects(&summary.directory) {
        let mut rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let mut events = Vec::new();
        let mut read = |intact: &[u8]| {
            let text = std::str::from_utf8(intact).unwrap();
            let stream = serde_json::Deserializer::from_str(text).into_iter::<Box<RawValue>>();
            events.extend(stream.map(|event| event.unwrap().get().to_owned()));
        };
        for torn in torn.iter().filter(|torn| torn["key"] == key.as_str()) {
            let begin = number(torn, "offset") - (bytes.len() - rest.len());
            read(&rest[..begin]);
            rest = &rest[begin + number(torn, "length")..];
        }
        read(rest);
        found.push((key, events));
    }
    found
}

fn number(value: &Value, name: &str) -> usize {
    usize::try_from(value[name].as_u64().unwrap()).unwrap()
}

/// `arrival_epoch`, else `timestamp`.
fn arrival_millis(event: &str) -> i64 {
    let event: Value = serde_json::from_str(event).unwrap();
    event["arrival_epoch"].as_i64().unwrap_or_else(|| {
        DateTime::parse_from_rfc3339(event["timestamp"].as_str().unwrap())
            .unwrap()
            .timestamp_millis()
    })
}

/// The time of the hour prefix, and that in the object's name unless it is a foreign one.
fn hour_and_time(key: &str) -> (DateTime<Utc>, Option<DateTime<Utc>>) {
    let parse = |text: &str| {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d-%H-%M-%S")
            .unwrap()
            .and_utc()
    };
    let parts: Vec<&str> = key.split('/').collect();
    let hour = parse(&format!("{}-00-00", parts[1..5].join("-")));
    let time = parts[5]
        .strip_prefix(&format!("dataplatform-{ORG_ID}-5-"))
        .map(|rest| parse(&rest[..19]));
    (hour, time)
}

fn options(directory: PathBuf) -> SampleOptions {
    SampleOptions {
        hours: 3,
        object_bytes: 20_000,
        ..SampleOptions::new(directory)
    }
}

#[test]
fn the_same_options_write_the_same_bytes_and_another_seed_others() {
    let folder = tempfile::tempdir().unwrap();
    let tree = |name: &str, seed: u64| {
        let options = SampleOptions {
            hard: true,
            seed,
            ..options(folder.path().join(name))
        };
        let summary = write(&options);
        let stored: BTreeMap<String, Vec<u8>> = objects(&summary.directory)
            .into_keys()
            .map(|key| (key.clone(), fs::read(summary.directory.join(key)).unwrap()))
            .collect();
        let expected = fs::read(&summary.expected).unwrap();
        (stored, expected, fs::read(&summary.torn_list).unwrap())
    };
    let first = tree("first", 1);
    assert!(first == tree("second", 1));
    let other = tree("other", 2);
    assert!(first.0 != other.0 && first.1 != other.1 && first.2 != other.2);
}

#[test]
fn the_truth_is_what_lies_in_the_objects() {
    for (hard, hours, objects_per_hour, object_bytes) in [
        (false, 3, 12, 20_000),
        (true, 3, 12, 20_000),
        (true, 1, 1, 1_000),
        (true, 1, 1, 50_000),
        (true, 30, 2, 5_000),
        (true, 3, 40, 30_000),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let summary = write(&SampleOptions {
            hard,
            hours,
            objects_per_hour,
            object_bytes,
            ..options(folder.path().join("backup"))
        });
        let found = intact_events(&summary);
        assert_eq!(summary.objects, found.len() as u64);
        let mut lines: Vec<String> = found
            .into_iter()
            .flat_map(|(_, events)| events)
            .map(|event| event.replace(['\n', '\r'], ""))
            .collect();
        lines.sort_unstable();
        let expected = fs::read_to_string(&summary.expected).unwrap();
        assert!(expected.lines().eq(lines.iter().map(String::as_str)));
        assert_eq!(summary.events, lines.len() as u64);
        assert_eq!(summary.torn == 0, !hard);
    }
}

#[test]
fn events_are_as_large_as_real_ones_and_objects_as_large_as_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let options = SampleOptions {
        hours: 1,
        object_bytes: 500_000,
        ..options(folder.path().join("backup"))
    };
    let summary = write(&options);
    for bytes in objects(&summary.directory).values() {
        assert!((480_000..520_000).contains(&bytes.len()), "{}", bytes.len());
    }
    let sizes: Vec<usize> = intact_events(&summary)
        .iter()
        .flat_map(|(_, events)| events.iter().map(String::len))
        .collect();
    assert!(sizes.iter().all(|size| (350..=8_500).contains(size)));
    let small = sizes.iter().filter(|size| **size < 2_000).count();
    assert!(small > sizes.len() / 2);
}

#[test]
fn duplicates_lie_in_the_same_object_and_in_others_and_never_three_times() {
    let folder = tempfile::tempdir().unwrap();
    let summary = write(&SampleOptions {
        object_bytes: 200_000,
        ..options(folder.path().join("backup"))
    });
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, events) in intact_events(&summary) {
        for event in events {
            places.entry(event).or_default().push(key.clone());
        }
    }
    let repeated: Vec<&Vec<String>> = places.values().filter(|keys| keys.len() > 1).collect();
    assert_eq!(repeated.len() as u64, summary.duplicates);
    assert!(repeated.iter().all(|keys| keys.len() == 2));
    assert!(repeated.iter().any(|keys| keys[0] == keys[1]));
    assert!(repeated.iter().any(|keys| keys[0] != keys[1]));
    let share = summary.duplicates as f64 / summary.events as f64;
    assert!((0.003..0.008).contains(&share), "{share}");
}

#[test]
fn events_at_the_edges_of_hours_lie_in_both_neighbours() {
    for (hard, objects_per_hour, object_bytes, hours) in [
        (false, 2, 20_000, 3),
        (false, 12, 20_000, 26),
        (false, 12, 1_000, 26),
        (true, 2, 1_000, 60),
        (true, 3, 5_000, 60),
        (true, 12, 5_000, 60),
    ] {
        let case = format!("{hard} {objects_per_hour} {object_bytes} {hours}");
        let folder = tempfile::tempdir().unwrap();
        let options = SampleOptions {
            hard,
            objects_per_hour,
            object_bytes,
            hours,
            ..options(folder.path().join("backup"))
        };
        let summary = write(&options);
        let hours = hours as usize;
        let (mut later, mut earlier) = (vec![0; hours], vec![0; hours]);
        for (key, events) in intact_events(&summary) {
            let (prefix, time) = hour_and_time(&key);
            let hour_of =
                |millis: i64| (millis - options.start.timestamp_millis()).div_euclid(HOUR_MILLIS);
            let hour = hour_of(prefix.timestamp_millis());
            for event in events {
                let arrival = arrival_millis(&event);
                let arrival_hour = hour_of(arrival);
                assert!((0..hours as i64).contains(&arrival_hour), "{case}");
                let Some(time) = time else {
                    assert_eq!(arrival_hour, hour, "{case}: foreign name");
                    continue;
                };
                let since = arrival - time.timestamp_millis();
                assert!(
                    (-HOUR_MILLIS..=HOUR_MILLIS / 4).contains(&since),
                    "{case}: {since}"
                );
                later[hour as usize] += u32::from(arrival_hour > hour);
                earlier[hour as usize] += u32::from(arrival_hour < hour);
            }
        }
        assert_eq!((later[hours - 1], earlier[0]), (0, 0), "{case}");
        assert!(
            later[..hours - 1].iter().all(|count| *count > 0),
            "{case}: {later:?}"
        );
        assert!(
            earlier[1..].iter().all(|count| *count > 0),
            "{case}: {earlier:?}"
        );
    }
}

#[test]
fn objects_are_named_and_placed_by_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let summary = write(&options(folder.path().join("backup")));
    for key in objects(&summary.directory).keys() {
        let (hour, time) = hour_and_time(key);
        let offset = time.unwrap() - hour;
        assert!(
            offset >= TimeDelta::zero() && offset < TimeDelta::hours(1),
            "{key}"
        );
    }
}

#[test]
fn torn_events_lie_where_the_list_says_with_an_intact_one_after() {
    let folder = tempfile::tempdir().unwrap();
    let summary = write(&SampleOptions {
        hard: true,
        hours: 6,
        ..options(folder.path().join("backup"))
    });
    let objects = objects(&summary.directory);
    let torn = json_lines(&summary.torn_list);
    assert_eq!(torn.len() as u64, summary.torn);
    for kind in [
        "cut_in_middle",
        "cut_in_string",
        "invalid_utf8",
        "truncated_tail",
    ] {
        assert!(torn.iter().any(|torn| torn["kind"] == kind), "{kind}");
    }
    for torn in torn {
        let object = &objects[torn["key"].as_str().unwrap()];
        let begin = number(&torn, "offset");
        let end = begin + number(&torn, "length");
        let fragment = &object[begin..end];
        assert!(fragment.starts_with(b"{") && !fragment.ends_with(b" "));
        assert!(serde_json::from_slice::<Value>(fragment).is_err());
        assert!(begin == 0 || object[begin - 1] == b'}');
        assert!(object.get(end).is_none_or(|next| *next == b'{'));
        assert_eq!(end == object.len(), torn["kind"] == "truncated_tail");
    }
}

#[test]
fn a_hard_sample_has_what_it_promises() {
    let folder = tempfile::tempdir().unwrap();
    let summary = write(&SampleOptions {
        hard: true,
        hours: 6,
        ..options(folder.path().join("backup"))
    });
    let truth = fs::read_to_string(&summary.expected).unwrap();
    for mark in [
        "}{",
        r#"\\\""#,
        r#""data":"{\""#,
        r#""data":null"#,
        r#""data":["#,
        r#""schema_version":""#,
        r#""\u0065vent_id""#,
        "123456789012345678901234567890",
        r#"" : ""#,
    ] {
        assert!(truth.contains(mark), "no {mark}");
    }
    let keys: Vec<String> = objects(&summary.directory).into_keys().collect();
    assert_eq!(
        keys.iter()
            .filter(|key| key.ends_with("/replayed-batch.json"))
            .count(),
        1
    );
    let stored: Vec<Vec<u8>> = keys
        .iter()
        .map(|key| fs::read(summary.directory.join(key)).unwrap())
        .collect();
    let mut members: Vec<usize> = stored
        .iter()
        .filter(|bytes| bytes.starts_with(b"\x1f\x8b"))
        .map(|bytes| gzip_members(bytes))
        .collect();
    members.sort_unstable();
    members.dedup();
    assert_eq!(members, [1, 2]);
    assert!(
        stored
            .iter()
            .any(|bytes| bytes.starts_with(b"\xef\xbb\xbf"))
    );
    assert!(stored.iter().any(Vec::is_empty));
    assert!(
        stored
            .iter()
            .any(|bytes| bytes.windows(4).any(|window| window == b"{\r\n "))
    );
}

#[test]
fn the_smallest_samples_work_too() {
    for hard in [false, true] {
        for objects_per_hour in [1, 2, 3600] {
            let folder = tempfile::tempdir().unwrap();
            let summary = write(&SampleOptions {
                hard,
                objects_per_hour,
                hours: 1,
                object_bytes: 1_000,
                ..options(folder.path().join("backup"))
            });
            assert_eq!(summary.objects, u64::from(objects_per_hour));
            assert!(summary.events > 0);
        }
    }
}

#[test]
fn more_lines_than_memory_should_hold_are_sorted_too() {
    let folder = tempfile::tempdir().unwrap();
    let summary = write(&SampleOptions {
        hours: 1,
        objects_per_hour: 2,
        object_bytes: 80_000_000,
        ..options(folder.path().join("backup"))
    });
    let truth = fs::read_to_string(&summary.expected).unwrap();
    assert!(truth.lines().is_sorted());
    assert_eq!(truth.lines().count() as u64, summary.events);
    let beside: Vec<_> = fs::read_dir(&summary.directory).unwrap().collect();
    assert_eq!(beside.len(), 3, "temporary files are left: {beside:?}");
}

#[test]
fn options_that_cannot_be_are_refused_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let good = options(folder.path().join("backup"));
    for bad in [
        SampleOptions {
            org_id: "tn-1".to_owned(),
            ..good.clone()
        },
        SampleOptions {
            org_id: good.org_id.to_uppercase(),
            ..good.clone()
        },
        SampleOptions {
            start: good.start + chrono::TimeDelta::minutes(1),
            ..good.clone()
        },
        SampleOptions {
            start: DateTime::<Utc>::MAX_UTC,
            ..good.clone()
        },
        SampleOptions {
            hours: u32::MAX,
            ..good.clone()
        },
        SampleOptions {
            object_bytes: u64::MAX,
            ..good.clone()
        },
        SampleOptions {
            hours: 0,
            ..good.clone()
        },
        SampleOptions {
            objects_per_hour: 0,
            ..good.clone()
        },
        SampleOptions {
            objects_per_hour: 3601,
            ..good.clone()
        },
        SampleOptions {
            object_bytes: 0,
            ..good.clone()
        },
    ] {
        let error = write_sample(&bad, &mut |_, _| {}).unwrap_err();
        assert!(error.is_usage() && error.hint().is_some(), "{bad:?}");
        assert!(!good.directory.exists());
    }
}

#[test]
fn a_folder_with_something_in_it_and_a_file_are_left_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    for directory in [folder.path().to_owned(), file.clone()] {
        let error = write_sample(&options(directory), &mut |_, _| {}).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(fs::read(&file).unwrap(), b"mine");
    }
}

#[test]
fn samples_written_into_one_folder_at_the_same_moment_do_not_mix() {
    const WRITERS: u64 = 4;
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let options = |seed, name: &str| SampleOptions {
            hours: 1,
            objects_per_hour: 2,
            object_bytes: 2_000,
            seed,
            ..options(folder.path().join(format!("{round}-{name}")))
        };
        let start = std::sync::Barrier::new(WRITERS as usize);
        let written: Vec<bool> = std::thread::scope(|scope| {
            let write = |seed| {
                start.wait();
                write_sample(&options(seed, "shared"), &mut |_, _| {}).is_ok()
            };
            let writers: Vec<_> = (0..WRITERS)
                .map(|n| scope.spawn(move || write(n)))
                .collect();
            writers
                .into_iter()
                .map(|writer| writer.join().unwrap())
                .collect()
        });
        let winners: Vec<usize> = (0..written.len()).filter(|n| written[*n]).collect();
        assert_eq!(winners.len(), 1, "round {round}: {written:?}");
        let alone = write(&options(winners[0] as u64, "alone"));
        let shared = folder.path().join(format!("{round}-shared"));
        assert!(
            objects(&shared) == objects(&alone.directory),
            "round {round}"
        );
        let truth = |directory: &Path| fs::read(directory.join("expected.ndjson")).unwrap();
        assert!(truth(&shared) == truth(&alone.directory), "round {round}");
    }
}
