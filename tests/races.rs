//! Processes that start runs in one destination at the same moment leave what each run alone would have
//! left.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use support::{ORG_ID, Sample, event_recovery, files};

/// The number of races in CI; `make races` sets `RACES`.
const RACES_DEFAULT: u64 = 60;
const IDS: [&str; 3] = ["x", "y", "z"];
/// A finished run that is in some of the destinations before a race, and takes no part in it.
const BYSTANDER: &str = "bystander";

fn run_arguments(sample: &Sample, destination: &Path, id: &str) -> Vec<String> {
    let arguments = format!(
        "run --quiet --org-id {ORG_ID} --execution-id {id} --source {} --destination {} \
         --format ndjson --start 2024-04-01T00:00:00Z --end 2024-04-01T01:00:00Z",
        sample.backup().display(),
        destination.display(),
    );
    arguments.split(' ').map(str::to_owned).collect()
}

/// The folders and files of a destination, without what depends on the clock.
#[derive(Debug, Clone, Default, PartialEq)]
struct Tree {
    folders: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Tree {
    fn read(destination: &Path) -> Self {
        let mut tree = Self::default();
        let mut folders = vec![destination.to_owned()];
        while let Some(folder) = folders.pop() {
            let relative = folder.strip_prefix(destination).unwrap().to_owned();
            tree.folders.insert(relative);
            let entries = fs::read_dir(folder).unwrap();
            folders.extend(
                entries
                    .map(|entry| entry.unwrap().path())
                    .filter(|path| path.is_dir()),
            );
        }
        for (path, bytes) in files(destination) {
            let is_record = path.starts_with("_recovery")
                && path
                    .extension()
                    .is_some_and(|e| e == "json" || e == "jsonl");
            let is_mark = path.ends_with("_SUCCESS");
            // The bystander's records were written before the race, so even their times must stay.
            let is_bystanders = path.starts_with(format!("_recovery/{BYSTANDER}"))
                || path.starts_with(format!("execution_id={BYSTANDER}"));
            let may_differ = (is_record || is_mark) && !is_bystanders;
            // The page is all of the report, with its times.
            let is_page = path.ends_with("report.html") && !is_bystanders;
            let bytes = if is_page {
                Vec::new()
            } else if may_differ {
                without_times(&bytes)
            } else {
                bytes
            };
            tree.files.insert(path, bytes);
        }
        tree
    }

    fn add(&mut self, other: &Self) {
        self.folders.extend(other.folders.iter().cloned());
        self.files.extend(other.files.clone());
    }

    /// The folders and files in which the two trees differ.
    fn differences(&self, expected: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for folder in self.folders.symmetric_difference(&expected.folders) {
            differences.push(format!("folder {}", folder.display()));
        }
        let paths: BTreeSet<_> = self.files.keys().chain(expected.files.keys()).collect();
        for path in paths {
            if self.files.get(path) != expected.files.get(path) {
                differences.push(format!("file {}", path.display()));
            }
        }
        differences
    }
}

/// The record without its times, and without digests, which cover records with times.
fn without_times(record: &[u8]) -> Vec<u8> {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.retain(|name, value| {
                    let is_digest = value
                        .as_str()
                        .is_some_and(|text| text.starts_with("sha256:"));
                    !is_digest && !name.ends_with("_at") && name != "duration_millis"
                });
                members.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut values: Vec<Value> = serde_json::Deserializer::from_slice(record)
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap();
    values.iter_mut().for_each(strip);
    serde_json::to_vec(&values).unwrap()
}

fn copy_tree(from: &Path, to: &Path) {
    for (path, bytes) in files(from) {
        let target = to.join(path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, bytes).unwrap();
    }
}

/// For each execution id, its run alone in a destination of its own.
struct Alone {
    sample: Sample,
    trees: BTreeMap<&'static str, Tree>,
}

impl Alone {
    fn new() -> Self {
        let sample = Sample::new(&[
            "--hard",
            "--hours",
            "1",
            "--objects-per-hour",
            "3",
            "--object-bytes",
            "4KiB",
        ]);
        let mut trees = BTreeMap::new();
        for id in IDS.into_iter().chain([BYSTANDER]) {
            let destination = sample.destination(&format!("alone-{id}"));
            let output = event_recovery()
                .args(run_arguments(&sample, &destination, id))
                .output()
                .unwrap();
            assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
            trees.insert(id, Tree::read(&destination));
        }
        Self { sample, trees }
    }

    fn place(&self, id: &str) -> PathBuf {
        self.sample.destination(&format!("alone-{id}"))
    }

    /// Copies the run to the destination in the state of a process that was killed after one object.
    fn put_unfinished(&self, id: &str, destination: &Path) {
        copy_tree(&self.place(id), destination);
        let ledger = destination.join("_recovery").join(id);
        fs::remove_file(ledger.join("report.json")).unwrap();
        let receipts = files(&ledger.join("receipts"));
        for receipt in receipts.keys().skip(1) {
            fs::remove_file(ledger.join("receipts").join(receipt)).unwrap();
        }
        // A partly written file.
        fs::create_dir(ledger.join("staging")).unwrap();
        fs::write(ledger.join("staging/1-1"), "half").unwrap();
    }
}

/// Starts the processes at the same moment: all wait on one pipe until it closes.
fn start_together(sample: &Sample, destination: &Path, ids: &[&str]) -> Vec<Child> {
    let (gate, opener) = io::pipe().unwrap();
    let start = |id: &&str| {
        Command::new("sh")
            .args(["-c", r#"read -r _; exec "$0" "$@" </dev/null"#])
            .arg(event_recovery().get_program())
            .args(run_arguments(sample, destination, id))
            .stdin(gate.try_clone().unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let children = ids.iter().map(start).collect();
    drop(opener);
    children
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// Waits for all processes; in half of the races, one is stopped until the others have ended.
fn wait(mut children: Vec<Child>, rng: &mut ChaCha8Rng) -> Vec<Output> {
    let late = rng
        .random_bool(0.5)
        .then(|| rng.random_range(0..children.len()));
    if let Some(late) = late {
        std::thread::sleep(Duration::from_micros(rng.random_range(0..15_000)));
        signal(&children[late], "-STOP");
        for child in children.iter_mut().enumerate().filter(|(i, _)| *i != late) {
            child.1.wait().unwrap();
        }
        signal(&children[late], "-CONT");
    }
    children
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .collect()
}

fn check_ends(name: &str, ids: &[&str], outputs: &[Output]) {
    for (id, output) in ids.iter().zip(outputs) {
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0 | 3) => assert_eq!(said, "", "{name}, `{id}`"),
            Some(1) => {
                let refusal =
                    format!("error: another process is carrying out the run `{id}`\n  hint: ");
                assert!(said.starts_with(&refusal), "{name}, `{id}`: {said}");
            }
            other => panic!("{name}, `{id}`: {other:?}, {said}"),
        }
    }
    for id in ids {
        let carried_out = ids
            .iter()
            .zip(outputs)
            .any(|(other, output)| other == id && output.status.code() != Some(1));
        assert!(carried_out, "{name}: nobody carried out `{id}`");
    }
}

#[test]
fn a_race_leaves_what_one_process_alone_would_have_left() {
    let races = std::env::var("RACES").map_or(RACES_DEFAULT, |races| races.parse().unwrap());
    let alone = Alone::new();
    let mut refused = 0;
    for race in 0..races {
        let mut rng = ChaCha8Rng::seed_from_u64(race);
        let processes = rng.random_range(2..=6);
        let ids: Vec<&str> = match race % 2 {
            0 => vec![IDS[0]; processes],
            _ => (0..processes)
                .map(|_| *IDS.choose(&mut rng).unwrap())
                .collect(),
        };
        let destination = alone.sample.destination(&format!("race-{race}"));
        let mut expected = Tree::default();
        let used = [
            "fresh",
            "empty",
            "another run is there",
            "the run is there",
            "the run is unfinished",
        ];
        let name = used[(race / 2) as usize % used.len()];
        match name {
            "empty" => fs::create_dir(&destination).unwrap(),
            "another run is there" => {
                copy_tree(&alone.place(BYSTANDER), &destination);
                expected.add(&alone.trees[BYSTANDER]);
            }
            "the run is there" => copy_tree(&alone.place(ids[0]), &destination),
            "the run is unfinished" => alone.put_unfinished(ids[0], &destination),
            _ => {}
        }
        let children = start_together(&alone.sample, &destination, &ids);
        let outputs = wait(children, &mut rng);
        let name = format!("race {race}, {name}, {ids:?}");
        check_ends(&name, &ids, &outputs);
        refused += outputs
            .iter()
            .filter(|output| output.status.code() == Some(1))
            .count();
        for id in &ids {
            expected.add(&alone.trees[id]);
        }
        let differences = Tree::read(&destination).differences(&expected);
        assert!(differences.is_empty(), "{name}: {differences:#?}");
        fs::remove_dir_all(destination).unwrap();
    }
    assert!(refused > 0, "no process ever met another");
}

#[test]
fn a_process_that_is_refused_leaves_everything_as_it_was() {
    let alone = Alone::new();
    for (name, is_used) in [("a fresh destination", false), ("a used destination", true)] {
        let destination = alone.sample.destination(name.replace(' ', "-").as_str());
        if is_used {
            copy_tree(&alone.place(BYSTANDER), &destination);
        }
        // The lock as a process holds it that has just begun the run.
        let ledger = destination.join("_recovery/x");
        fs::create_dir_all(ledger.join("staging")).unwrap();
        fs::write(ledger.join("staging/1-1"), "half").unwrap();
        let lock = File::create(ledger.join("lock")).unwrap();
        lock.try_lock().unwrap();
        let before = Tree::read(&destination);
        let run = || {
            event_recovery()
                .args(run_arguments(&alone.sample, &destination, "x"))
                .output()
                .unwrap()
        };
        let refused = run();
        assert_eq!(refused.status.code(), Some(1), "{name}");
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(
            said.starts_with("error: another process is carrying out the run `x`\n  hint: "),
            "{name}: {said}"
        );
        assert_eq!(
            Tree::read(&destination).differences(&before),
            [""; 0],
            "{name}"
        );
        // Once the other process has ended, the same command carries out the run.
        drop(lock);
        // A process that another test is just starting may hold what this one had open until it begins.
        let mut ended = run();
        for _ in 0..100 {
            if ended.status.code() != Some(1) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            ended = run();
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(matches!(ended.status.code(), Some(0 | 3)), "{name}: {said}");
        let mut expected = alone.trees["x"].clone();
        if is_used {
            expected.add(&alone.trees[BYSTANDER]);
        }
        assert_eq!(
            Tree::read(&destination).differences(&expected),
            [""; 0],
            "{name}"
        );
    }
}
