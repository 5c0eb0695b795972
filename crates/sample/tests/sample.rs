//! The sample is what it says it is.
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

use event_recovery_sample::{SampleOptions, SampleSummary, write_sample};
use serde_json::Value;

fn write(options: &SampleOptions) -> SampleSummary {
    write_sample(options, &mut |_, _| {}).unwrap()
}

/// The objects by their keys, decoded.
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

fn json_lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn options(directory: PathBuf) -> SampleOptions {
    SampleOptions {
        hours: 3,
        object_bytes: 20_000,
        ..SampleOptions::new(directory)
    }
}

#[test]
fn the_truth_of_a_plain_sample_is_what_lies_in_its_objects() {
    let folder = tempfile::tempdir().unwrap();
    let summary = write(&options(folder.path().join("backup")));
    let mut lines = Vec::new();
    for bytes in objects(&summary.directory).values() {
        let text = std::str::from_utf8(bytes).unwrap();
        for event in
            serde_json::Deserializer::from_str(text).into_iter::<Box<serde_json::value::RawValue>>()
        {
            lines.push(event.unwrap().get().to_owned());
        }
    }
    lines.sort_unstable();
    let expected = fs::read_to_string(&summary.expected).unwrap();
    assert!(expected.lines().eq(lines.iter().map(String::as_str)));
    assert_eq!(summary.events, lines.len() as u64);
    assert!(summary.duplicates > 0);
    assert_eq!(
        (summary.torn, fs::read(&summary.torn_list).unwrap().len()),
        (0, 0)
    );
}

#[test]
fn events_at_the_edges_of_hours_lie_in_both_neighbours() {
    for objects_per_hour in [2, 12] {
        let folder = tempfile::tempdir().unwrap();
        let options = SampleOptions {
            objects_per_hour,
            ..options(folder.path().join("backup"))
        };
        let summary = write(&options);
        let (mut later, mut earlier) = ([0; 3], [0; 3]);
        for (key, bytes) in objects(&summary.directory) {
            let hour: usize = key.split('/').nth(4).unwrap().parse().unwrap();
            let text = std::str::from_utf8(&bytes).unwrap();
            for event in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
                let arrival_millis = event.unwrap()["arrival_epoch"].as_i64().unwrap();
                let since_start = arrival_millis - options.start.timestamp_millis();
                assert!((0..3 * 3_600_000).contains(&since_start));
                let arrival_hour = usize::try_from(since_start / 3_600_000).unwrap();
                later[hour] += u32::from(arrival_hour > hour);
                earlier[hour] += u32::from(arrival_hour < hour);
            }
        }
        assert!(later[0] > 0 && later[1] > 0 && later[2] == 0, "{later:?}");
        assert!(
            earlier[0] == 0 && earlier[1] > 0 && earlier[2] > 0,
            "{earlier:?}"
        );
    }
}

#[test]
fn torn_events_lie_where_the_list_says_with_an_intact_one_behind() {
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
        let number = |name: &str| usize::try_from(torn[name].as_u64().unwrap()).unwrap();
        let object = &objects[torn["key"].as_str().unwrap()];
        let end = number("offset") + number("length");
        let fragment = &object[number("offset")..end];
        assert!(fragment.starts_with(b"{"));
        assert!(serde_json::from_slice::<Value>(fragment).is_err());
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
    assert!(stored.iter().any(|bytes| bytes.starts_with(b"\x1f\x8b")));
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
        assert!(
            write_sample(&bad, &mut |_, _| {}).unwrap_err().is_usage(),
            "{bad:?}"
        );
        assert!(!good.directory.exists());
    }
}
