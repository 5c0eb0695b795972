//! What a consumer lacks, as the command line finds it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{ORG_ID, Sample, event_recovery, recovered_lines};

const RANGE: [&str; 4] = [
    "--start",
    "2024-04-01T00:00:00Z",
    "--end",
    "2024-04-01T03:00:00Z",
];

/// A run that wrote NDJSON, and its ids.
struct Recovered {
    sample: Sample,
    destination: PathBuf,
    ids: BTreeSet<String>,
    /// The id of each event; some come more than once.
    events: Vec<String>,
}

impl Recovered {
    fn new() -> Self {
        let sample = Sample::new(&["--hours", "3", "--object-bytes", "40KiB"]);
        let destination = sample.destination("recovered");
        let (report, code) = sample.run(
            &destination,
            &[&RANGE[..], &["--format", "ndjson"]].concat(),
        );
        assert_eq!(code, Some(0), "{report}");
        let events = recovered_lines(&destination);
        let events: Vec<String> = events.iter().map(|event| id_of(event)).collect();
        let ids: BTreeSet<String> = events.iter().cloned().collect();
        assert!(ids.len() < events.len(), "no id comes twice");
        Self {
            sample,
            destination,
            ids,
            events,
        }
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.sample.destination(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The exit code, the comparison, and what was said.
    fn compare(&self, received: &[&Path], options: &[&str]) -> (i32, Value, String) {
        let mut command = event_recovery();
        command
            .args([
                "compare",
                "--json",
                "--execution-id",
                "run",
                "--destination",
            ])
            .arg(&self.destination)
            .args(options);
        for path in received {
            command.arg("--received").arg(path);
        }
        let output = command.output().unwrap();
        (
            output.status.code().unwrap(),
            serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    /// The lines of the comparison's files of this kind.
    fn listed(&self, comparison: &Value, kind: &str) -> Vec<String> {
        let id = comparison["comparison_id"].as_str().unwrap();
        let folder = self
            .destination
            .join(format!("_recovery/run/comparisons/{id}/{kind}"));
        let count = comparison[format!("{kind}_files")].as_u64().unwrap();
        let extension = if kind == "repeated" { "jsonl" } else { "ids" };
        (1..=count)
            .flat_map(|number| {
                let text =
                    fs::read_to_string(folder.join(format!("{number}.{extension}"))).unwrap();
                text.lines().map(ToOwned::to_owned).collect::<Vec<_>>()
            })
            .collect()
    }
}

fn id_of(event: &[u8]) -> String {
    let event: Value = serde_json::from_slice(event).unwrap();
    event["event_id"].as_str().unwrap().to_owned()
}

fn text(ids: &[&String]) -> Vec<u8> {
    ids.iter()
        .flat_map(|id| [id.as_bytes(), b"\n"].concat())
        .collect()
}

#[test]
fn what_is_missing_received_and_unknown_is_told_exactly_in_each_format() {
    let run = Recovered::new();
    let has: Vec<&String> = run.ids.iter().step_by(3).collect();
    let lacks: Vec<&String> = run.ids.iter().filter(|id| !has.contains(id)).collect();
    let mut csv = b"at,event_id\n".to_vec();
    for id in &has {
        csv.extend_from_slice(format!("2024,\"{id}\"\n").as_bytes());
    }
    let unknown = "from another range".to_owned();
    let mut again = has.clone();
    again.push(&unknown);
    again.push(has[0]);
    for (name, content, unknown, twice) in [
        ("ids", text(&has), 0, 0),
        ("ids.csv", csv, 0, 0),
        ("folder/a.txt.gz", gzip(&text(&again)), 1, 1),
    ] {
        let path = run.file(name, &content);
        let received = match name.contains('/') {
            true => path.parent().unwrap(),
            false => &path,
        };
        let (code, found, said) = run.compare(&[received], &[]);
        assert_eq!(code, 3, "{name}: {said}");
        assert_eq!(found["missing"], lacks.len(), "{name}: {found}");
        assert_eq!(found["received"], has.len(), "{name}: {found}");
        assert_eq!(found["unknown"], unknown, "{name}: {found}");
        assert_eq!(found["duplicates"]["in_received"], twice, "{name}: {found}");
        let events = &found["events"];
        assert_eq!(events["found"], run.events.len(), "{name}: {found}");
        let missing = run.events.iter().filter(|id| !has.contains(id)).count();
        assert_eq!(events["missing"], missing, "{name}: {found}");
        let repeated = &found["duplicates"]["in_run"];
        let twice_in_run =
            repeated["same_bytes"].as_u64().unwrap() + repeated["other_bytes"].as_u64().unwrap();
        assert_eq!(run.listed(&found, "repeated").len() as u64, twice_in_run);
        assert!(twice_in_run > 0, "{found}");
        assert!(
            run.listed(&found, "missing")
                .iter()
                .eq(lacks.iter().copied()),
            "{name}"
        );
        let told = run.listed(&found, "unknown");
        assert_eq!(told.len() as u64, unknown, "{name}");
        // An id with white space could be misread.
        assert!(
            told.iter().all(|id| id == "\"from another range\""),
            "{told:?}"
        );
    }
}

#[test]
fn a_column_of_parquet_is_read_and_a_consumer_that_has_everything_is_told_so() {
    let run = Recovered::new();
    let parquet = run.sample.destination("parquet");
    let other = event_recovery()
        .args([
            "run",
            "--org-id",
            ORG_ID,
            "--execution-id",
            "other",
            "--quiet",
        ])
        .arg("--source")
        .arg(run.sample.backup())
        .arg("--destination")
        .arg(&parquet)
        .args(RANGE)
        .status()
        .unwrap();
    assert!(other.success());
    let received = parquet.join("execution_id=other");
    let (code, found, said) = run.compare(&[&received], &[]);
    assert_eq!(
        (code, &found["missing"]),
        (0, &Value::from(0)),
        "{said}{found}"
    );
    assert_eq!(found["received"], run.ids.len());
    let (code, _, said) = run.compare(&[&received], &["--column", "no_such"]);
    assert_eq!(code, 1);
    assert!(said.contains("there is no column `no_such`"), "{said}");
    // A Parquet run has no events byte by byte.
    let ids = run.file("ids", b"a\n");
    let output = event_recovery()
        .args(["compare", "--execution-id", "other", "--destination"])
        .arg(&parquet)
        .arg("--received")
        .arg(&ids)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--format ndjson"), "{said}");
}

#[test]
fn a_consumer_that_has_nothing_lacks_everything_and_no_file_is_an_error() {
    let run = Recovered::new();
    let empty = run.file("empty.txt", b"");
    let (code, found, _) = run.compare(&[&empty], &[]);
    assert_eq!((code, &found["missing"]), (3, &Value::from(run.ids.len())));
    assert_eq!(found["inputs"][0]["ids"], 0);
    let (code, _, said) = run.compare(&[Path::new("/nowhere/ids")], &[]);
    assert_ne!(code, 0, "{said}");
    assert!(said.contains("/nowhere/ids"), "{said}");
}

#[test]
fn output_that_was_changed_is_never_compared() {
    let run = Recovered::new();
    let ids = run.file("ids", b"a\n");
    let files = support::output_files(&run.destination);
    let name = files
        .keys()
        .find(|path| path.extension().is_some())
        .unwrap();
    let path = run.destination.join(name);
    let content = fs::read_to_string(&path).unwrap();
    let first = content.find("event_id").unwrap();
    let mut changed = content.clone().into_bytes();
    changed[first + 12] ^= 1;
    fs::write(&path, changed).unwrap();
    let (code, found, said) = run.compare(&[&ids], &[]);
    assert_eq!(code, 1, "{found}");
    assert!(
        said.contains("is not the file that its receipt describes"),
        "{said}"
    );
    assert!(
        !run.destination
            .join("_recovery/run/comparisons")
            .join("comparison.json")
            .exists()
    );
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
