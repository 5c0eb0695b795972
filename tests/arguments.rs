//! Invalid arguments give one clear message and leave nothing behind; valid ones work.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::fs;

use support::{ORG_ID, Sample, event_recovery, files};

#[test]
fn wrong_arguments_are_refused_and_leave_nothing_behind() {
    let sample = Sample::new(&["--hours", "1", "--object-bytes", "8KiB"]);
    let file = sample.folder.path().join("file");
    fs::write(&file, "a file").unwrap();
    let good_source = sample.backup().display().to_string();
    let good_destination = sample.destination("out").display().to_string();
    let missing = sample.destination("missing").display().to_string();
    let below_file = file.join("out").display().to_string();
    let file = file.display().to_string();
    let inside = sample
        .backup()
        .join("main_stream/out")
        .display()
        .to_string();
    let (good_start, good_end) = ("2024-04-01", "2024-04-01");
    let before = files(sample.folder.path());
    for (name, changes, exit_code, says) in [
        (
            "an invalid date",
            &[("--start", "2024-02-30")][..],
            2,
            "start",
        ),
        (
            "a word instead of a date",
            &[("--end", "tomorrow")],
            2,
            "end",
        ),
        ("a reversed range", &[("--end", "2024-03-31")], 2, "end"),
        (
            "a mixed range",
            &[("--end", "2024-04-02T00:00:00Z")],
            2,
            "end",
        ),
        (
            "a range in the future",
            &[("--start", "2999-01-01"), ("--end", "2999-01-02")],
            2,
            "start",
        ),
        ("too long a range", &[("--start", "1999-01-01")], 2, "days"),
        ("a malformed org id", &[("--org-id", "tn-1")], 2, "org_id"),
        (
            "a path instead of an org id",
            &[("--org-id", "../../etc")],
            2,
            "org_id",
        ),
        (
            "a malformed execution id",
            &[("--execution-id", "a/b")],
            2,
            "execution_id",
        ),
        (
            "an unaligned publish window",
            &[
                ("--window", "publish"),
                ("--start", "2024-04-01T00:10:00Z"),
                ("--end", "2024-04-01T01:00:00Z"),
            ],
            2,
            "hour",
        ),
        (
            "a compression of the other format",
            &[("--compression", "gzip")],
            2,
            "compression",
        ),
        ("an unknown format", &[("--format", "csv")], 2, "--format"),
        (
            "no concurrency",
            &[("--concurrency", "0")],
            2,
            "--concurrency",
        ),
        ("a missing source", &[("--source", &missing)], 1, "source"),
        ("a file as source", &[("--source", &file)], 1, "source"),
        (
            "a file as destination",
            &[("--destination", &file)],
            1,
            "destination",
        ),
        (
            "a destination below a file",
            &[("--destination", &below_file)],
            1,
            "destination",
        ),
        (
            "a destination in the source",
            &[("--destination", &inside)],
            2,
            "inside",
        ),
        (
            "the source as destination",
            &[("--destination", &good_source)],
            2,
            "inside",
        ),
        (
            "an unwritable destination",
            &[("--destination", "/proc/out")],
            1,
            "destination",
        ),
    ] {
        let mut arguments = vec![
            ("--org-id", ORG_ID),
            ("--source", good_source.as_str()),
            ("--destination", good_destination.as_str()),
            ("--start", good_start),
            ("--end", good_end),
        ];
        for (option, value) in changes {
            arguments.retain(|(other, _)| other != option);
            arguments.push((option, value));
        }
        let output = event_recovery()
            .arg("run")
            .args(arguments.iter().flat_map(|(option, value)| [option, value]))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(exit_code), "{name}: {said}");
        assert!(said.starts_with("error: "), "{name}: {said}");
        assert!(said.contains(says), "{name}: {said}");
        assert!(!said.contains("panicked"), "{name}: {said}");
        assert!(output.stdout.is_empty(), "{name}");
        assert!(
            files(sample.folder.path()) == before,
            "{name} leaves something behind"
        );
        assert!(
            !sample.destination("out").exists(),
            "{name} leaves a folder behind"
        );
    }
}

#[test]
fn a_known_execution_id_with_another_request_is_refused() {
    let sample = Sample::new(&["--hours", "1", "--object-bytes", "8KiB"]);
    let destination = sample.destination("out");
    let range = ["--start", "2024-04-01", "--end", "2024-04-01"];
    sample.run(&destination, &range);
    let before = files(&destination);
    let output = sample
        .run_command(
            &destination,
            &[&range[..], &["--format", "ndjson"]].concat(),
        )
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("`format` differs") && said.contains("hint: "),
        "{said}"
    );
    assert!(files(&destination) == before);
}

#[test]
fn a_source_without_objects_needs_a_look() {
    let sample = Sample::new(&["--hours", "1", "--object-bytes", "8KiB"]);
    let (report, exit_code) = sample.run(
        &sample.destination("out"),
        &["--start", "2023-04-01", "--end", "2023-04-01"],
    );
    assert_eq!(exit_code, Some(3));
    assert_eq!(report["verdict"], "needs_look");
    assert!(
        report["reasons"][0]
            .as_str()
            .unwrap()
            .starts_with("no objects at all")
    );
}

#[test]
fn status_tells_how_a_run_stands() {
    let sample = Sample::new(&["--hours", "1", "--object-bytes", "8KiB"]);
    let destination = sample.destination("out");
    let status = |id: &str, json: bool| {
        let mut command = event_recovery();
        command
            .args(["status", "--execution-id", id, "--destination"])
            .arg(&destination);
        if json {
            command.arg("--json");
        }
        command.output().unwrap()
    };
    assert_eq!(status("run", true).status.code(), Some(1));
    let range = [
        "--start",
        "2024-04-01T00:00:00Z",
        "--end",
        "2024-04-01T01:00:00Z",
    ];
    let (report, _) = sample.run(&destination, &range);
    let before = files(&destination);
    let output = status("run", true);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        support::balance(&support::report(&output)),
        support::balance(&report)
    );
    let output = status("run", false);
    assert!(output.stdout.is_empty());
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .starts_with("complete, final: ")
    );
    let receipt = files(&destination.join("_recovery/run/receipts"))
        .into_keys()
        .next()
        .unwrap();
    assert!(files(&destination) == before);
    fs::remove_file(destination.join("_recovery/run/receipts").join(receipt)).unwrap();
    let output = status("run", true);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(support::report(&output)["verdict"], "incomplete");
    assert_eq!(support::report(&output)["objects"]["missing"], 1);
}

#[test]
fn status_reads_files_back_when_asked_to() {
    let sample = Sample::new(&["--hours", "1", "--object-bytes", "8KiB"]);
    let destination = sample.destination("out");
    let range = [
        "--start",
        "2024-04-01T00:00:00Z",
        "--end",
        "2024-04-01T01:00:00Z",
        "--format",
        "ndjson",
    ];
    sample.run(&destination, &range);
    let status = |options: &[&str]| {
        let mut command = event_recovery();
        command.args(["status", "--execution-id", "run", "--json", "--destination"]);
        command.arg(&destination).args(options).output().unwrap()
    };
    assert_eq!(status(&["--checksums"]).status.code(), Some(0));
    let (path, mut bytes) = support::output_files(&destination)
        .into_iter()
        .find(|(_, bytes)| !bytes.is_empty())
        .unwrap();
    bytes[10] ^= 1;
    fs::write(destination.join(&path), bytes).unwrap();
    assert_eq!(status(&[]).status.code(), Some(0));
    let output = status(&["--checksums"]);
    assert_eq!(output.status.code(), Some(3));
    let reason = support::report(&output)["reasons"][0]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(reason.contains(path.to_str().unwrap()), "{reason}");
}

#[test]
fn quiet_says_nothing_and_people_are_told_on_stderr_alone() {
    let sample = Sample::new(&["--hours", "1", "--object-bytes", "8KiB"]);
    let range = [
        "--start",
        "2024-04-01T00:00:00Z",
        "--end",
        "2024-04-01T01:00:00Z",
    ];
    let destination = sample.destination("quiet");
    let output = sample
        .run_command(&destination, &range)
        .arg("--quiet")
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), output.stdout, output.stderr),
        (Some(0), vec![], vec![])
    );
    let output = sample
        .run_command(&sample.destination("said"), &range)
        .output()
        .unwrap();
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    for word in [
        "complete, final: ",
        "objects ",
        "bytes ",
        "events ",
        "output ",
        "report ",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn the_same_sample_is_written_twice_and_never_over_something() {
    let (first, second) = (
        Sample::new(&["--hard", "--hours", "2"]),
        Sample::new(&["--hard", "--hours", "2"]),
    );
    assert!(files(&first.backup()) == files(&second.backup()));
    let other = Sample::new(&["--hard", "--hours", "2", "--seed", "2"]);
    assert!(files(&first.backup()) != files(&other.backup()));
    let output = event_recovery()
        .arg("sample")
        .arg(first.backup())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("not empty")
    );
    assert!(files(&first.backup()) == files(&second.backup()));
}

#[test]
fn every_command_explains_itself() {
    for command in ["sample", "run", "status", "split", "completions"] {
        let output = event_recovery().args([command, "--help"]).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        assert!(help.contains("Example"), "{command} shows no example");
    }
    for shell in ["bash", "zsh", "fish"] {
        let output = event_recovery()
            .args(["completions", shell])
            .output()
            .unwrap();
        assert!(output.status.success());
        assert!(
            String::from_utf8(output.stdout)
                .unwrap()
                .contains("event-recovery")
        );
    }
}

/// The help of every command, as docs/command-line.md has it.
fn reference() -> String {
    let help = |arguments: &[&str]| {
        let output = event_recovery().args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let whole = help(&["--help"]);
    let commands = whole
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|command| !command.is_empty() && *command != "help");
    let mut text = "# Command line\n\nWhat `event-recovery --help`, and `--help` of each command, print. Written by\n\
        `WRITE_REFERENCE=1 cargo test --workspace --test arguments`, and compared by the same test.\n"
        .to_owned();
    let of_all = ("event-recovery".to_owned(), whole.clone());
    let of_each = commands.map(|command| (command.to_owned(), help(&[command, "--help"])));
    for (name, help) in [of_all].into_iter().chain(of_each) {
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        text += &format!(
            "\n## {name}\n\n```text\n{}\n```\n",
            help.join("\n").trim_end()
        );
    }
    text
}

#[test]
fn the_command_line_reference_is_what_the_program_says() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/command-line.md");
    let reference = reference();
    assert!(reference.contains("\n## verify-signature\n"));
    if std::env::var_os("WRITE_REFERENCE").is_some() {
        std::fs::write(&path, &reference).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap() == reference,
        "docs/command-line.md is out of date"
    );
}
