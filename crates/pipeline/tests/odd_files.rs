//! Entries that are not regular files fail alone, whether as a source object, as a record or in the place
//! of an output.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use event_recovery_pipeline::{
    CreateObject, LocalFolder, OpenObject, Precondition, Problem, Records, StorageError, Verdict,
    Written, list_entries,
};
use serde_json::json;
use support::{Sandbox, event, id, object_key, request};

const HOUR: &str = "main_stream/2024/04/01/00/";

/// A generous timeout for busy machines: no call here should wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

fn make_fifo(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

/// The result of the call, which may block its thread forever if the code is wrong.
async fn at_once<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // A thread of its own, which the test does not wait for in the end.
    std::thread::spawn(move || sender.send(call()));
    let ended = tokio::time::timeout(PATIENCE, receiver).await;
    ended.expect("it waits").expect("it ends")
}

/// Runs the call on this thread.
fn blocking<T>(call: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.build().unwrap().block_on(call)
}

/// One of each kind under the hour; what each is, in the words of its error.
fn put_odd_files(hour: &Path) -> (Vec<(&'static str, &'static str)>, UnixListener) {
    make_fifo(&hour.join("fifo"));
    let listener = UnixListener::bind(hour.join("socket")).unwrap();
    let links = [
        ("dangling", "nowhere"),
        ("device", "/dev/zero"),
        ("loop-1", "loop-2"),
        ("loop-2", "loop-1"),
        ("to-fifo", "fifo"),
        ("up", ".."),
        ("self", "."),
        ("folder/back", "../folder"),
        ("top", "/"),
    ];
    fs::create_dir_all(hour.join("folder")).unwrap();
    for (name, target) in links {
        symlink(target, hour.join(name)).unwrap();
    }
    let odd = vec![
        ("dangling", "a link to something that is not there"),
        ("device", "a character device"),
        ("fifo", "a FIFO"),
        (
            "folder/back",
            "a link to a folder that leads back to the link",
        ),
        ("loop-1", "a link that leads back to itself"),
        ("loop-2", "a link that leads back to itself"),
        ("self", "a link to a folder that leads back to the link"),
        ("socket", "a socket"),
        ("to-fifo", "a FIFO"),
        ("top", "a link to a folder that leads back to the link"),
        ("up", "a link to a folder that leads back to the link"),
    ];
    (odd, listener)
}

#[tokio::test]
async fn what_is_no_file_is_listed_by_its_name_and_fails_when_it_is_opened() {
    let sandbox = Sandbox::new();
    sandbox.back_up(&format!("{HOUR}object"), "{}");
    let (odd, _listener) = put_odd_files(&sandbox.source_path().join(HOUR));
    let source = sandbox.source();
    let listed = list_entries(&*source, HOUR).await.unwrap();
    let keys: Vec<&str> = listed
        .objects
        .iter()
        .map(|o| &o.key[HOUR.len()..])
        .collect();
    let mut expected: Vec<&str> = odd.iter().map(|(name, _)| *name).collect();
    expected.push("object");
    expected.sort_unstable();
    assert_eq!(keys, expected);
    for (name, what) in odd {
        let object = listed.objects.iter().find(|o| o.key.ends_with(name));
        let object = object.unwrap().clone();
        let source = sandbox.source();
        let opened = at_once(move || blocking(source.open(&object.key, &object.etag)).err()).await;
        assert_irregular(name, opened, what);
    }
}

fn assert_irregular(name: &str, error: Option<StorageError>, what: &str) {
    let error = error.unwrap_or_else(|| panic!("{name} was opened"));
    let expected = format!("not a regular file (it is {what})");
    assert_eq!(error.problem, Problem::Permanent(expected), "{name}");
    assert!(error.hint().is_some(), "{name}");
}

#[tokio::test]
async fn links_are_followed_unless_they_lead_back() {
    let sandbox = Sandbox::new();
    let elsewhere = sandbox.source_path().join("elsewhere");
    fs::create_dir_all(elsewhere.join("deep")).unwrap();
    fs::write(elsewhere.join("deep/one"), "one").unwrap();
    fs::write(elsewhere.join("two"), "two").unwrap();
    let hour = sandbox.source_path().join(HOUR);
    fs::create_dir_all(&hour).unwrap();
    symlink(&elsewhere, hour.join("folder")).unwrap();
    symlink(elsewhere.join("two"), hour.join("file")).unwrap();
    // A circle through two links, neither of which leads to a folder above itself.
    symlink(&hour, elsewhere.join("deep/back")).unwrap();
    // An hour may be a link as well.
    let linked = "main_stream/2024/04/01/01/";
    symlink(
        &elsewhere,
        sandbox.source_path().join(linked.trim_end_matches('/')),
    )
    .unwrap();
    // But not one that leads back, which would show other hours' objects once more.
    let circular = "main_stream/2024/04/01/02/";
    symlink(
        "..",
        sandbox.source_path().join(circular.trim_end_matches('/')),
    )
    .unwrap();
    let rows: [(&str, &[&str]); 4] = [
        (
            HOUR,
            &["file", "folder/deep/back", "folder/deep/one", "folder/two"],
        ),
        (
            linked,
            &["deep/back/file", "deep/back/folder", "deep/one", "two"],
        ),
        (circular, &[]),
        ("main_stream/2024/04/01/02", &[""]),
    ];
    for (prefix, expected) in rows {
        let listed = list_entries(&*sandbox.source(), prefix).await.unwrap();
        let keys: Vec<&str> = listed
            .objects
            .iter()
            .map(|o| &o.key[prefix.len()..])
            .collect();
        assert_eq!(keys, expected, "{prefix}");
    }
    let source = sandbox.source();
    let listed = list_entries(&*source, HOUR).await.unwrap();
    let mut content = String::new();
    let mut reader = source
        .open(&listed.objects[0].key, &listed.objects[0].etag)
        .await
        .unwrap();
    reader.read_to_string(&mut content).unwrap();
    assert_eq!(content, "two");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_name_that_is_not_utf_8_is_named_and_the_rest_is_listed() {
    use event_recovery_pipeline::{UnreadableEntry, list_all};
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let sandbox = Sandbox::new();
    sandbox.back_up(&format!("{HOUR}object"), "{}");
    let hour = sandbox.source_path().join(HOUR);
    fs::write(hour.join(OsStr::from_bytes(b"a\xFF")), "{}").unwrap();
    let folder = hour.join(OsStr::from_bytes(b"folder\xC3"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("inside"), "{}").unwrap();
    let source = sandbox.source();
    let listed = list_entries(&*source, HOUR).await.unwrap();
    assert_eq!(listed.objects.len(), 1);
    let expected = [r"a\xFF", r"folder\xC3"].map(|name| UnreadableEntry {
        name: format!("{HOUR}{name}"),
        reason: "its name is not UTF-8, so that no key can name it".to_owned(),
    });
    assert_eq!(listed.unreadable, expected);
    // Another prefix has nothing to do with it.
    let other = list_entries(&*source, &format!("{HOUR}o")).await.unwrap();
    assert_eq!((other.objects.len(), other.unreadable.len()), (1, 0));
    // A caller that has no place for such entries gets an error instead of half a listing.
    let error = list_all(&*source, HOUR).await.unwrap_err();
    assert!(error.to_string().contains(r"a\xFF"), "{error}");
    assert!(error.hint().is_some());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_name_that_no_key_can_hold_is_unexpected_in_every_plan_of_the_run() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let sandbox = Sandbox::new();
    sandbox.back_up(&object_key("2024-04-01T00:10:00Z", 1), "{}");
    let day = sandbox
        .source_path()
        .join(HOUR)
        .parent()
        .unwrap()
        .to_owned();
    for name in [&b"00/a\xFF"[..], b"in-the-day\xFF", b"7/not-padded\xFF"] {
        let path = day.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "{}").unwrap();
    }
    let expected = [
        r"main_stream/2024/04/01/00/a\xFF",
        r"main_stream/2024/04/01/in-the-day\xFF",
        r"main_stream/2024/04/01/7/not-padded\xFF",
    ];
    let report = sandbox.recover(request(json!({})), &id("run")).await;
    assert_eq!(report.verdict, Verdict::NeedsLook);
    assert_eq!(report.unexpected.objects, 3);
    assert_eq!(report.unexpected.named, expected);
    assert!(
        report
            .reasons
            .iter()
            .any(|reason| reason.contains(expected[0]))
    );
    // A planner that died after its last task list knows them from the ledger.
    let plan = sandbox.destination_path().join("_recovery/run/plan.json");
    fs::remove_file(plan).unwrap();
    let again = sandbox.recover(request(json!({})), &id("run")).await;
    assert_eq!(again.unexpected, report.unexpected);
}

#[tokio::test]
async fn a_record_that_is_no_file_is_an_error_and_nobody_waits_for_it() {
    let sandbox = Sandbox::new();
    make_fifo(&sandbox.destination_path().join("fifo"));
    symlink("nowhere", sandbox.destination_path().join("dangling")).unwrap();
    fs::create_dir_all(sandbox.destination_path().join("folder")).unwrap();
    let rows = [
        ("fifo", "a FIFO"),
        ("dangling", "a link to something that is not there"),
        ("folder", "a folder"),
    ];
    for (key, what) in rows {
        let storage = sandbox.destination();
        let got = at_once(move || blocking(storage.get(key)).err()).await;
        assert_irregular(key, got, what);
        let storage = sandbox.destination();
        let unchanged = Precondition::Unchanged("any".to_owned());
        let put = at_once(move || blocking(storage.put_if(key, b"x".to_vec(), unchanged))).await;
        assert_irregular(key, put.err(), what);
        let storage = sandbox.destination();
        let absent = Precondition::Absent;
        let put = at_once(move || blocking(storage.put_if(key, b"x".to_vec(), absent))).await;
        assert_eq!(put, Ok(Written::PreconditionFailed), "{key}");
    }
    sandbox.assert_nothing_staged();
}

#[tokio::test]
async fn what_lies_where_an_output_goes_is_replaced_and_never_opened() {
    let sandbox = Sandbox::new();
    let destination = sandbox.destination_path();
    make_fifo(&destination.join("a/fifo"));
    symlink("/dev/zero", destination.join("a/device")).unwrap();
    symlink("nowhere", destination.join("a/dangling")).unwrap();
    for name in ["fifo", "device", "dangling"] {
        let key = format!("a/{name}");
        let storage = sandbox.destination();
        at_once(move || {
            let mut object = storage.create(&key).unwrap();
            object.write_all(b"output").unwrap();
            object.commit().unwrap();
        })
        .await;
        let path = destination.join("a").join(name);
        assert!(fs::symlink_metadata(&path).unwrap().is_file(), "{name}");
        assert_eq!(fs::read(path).unwrap(), b"output", "{name}");
    }
    sandbox.assert_nothing_staged();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_recovers_the_rest_and_names_each_with_its_reason() {
    let sandbox = Sandbox::new();
    let key = object_key("2024-04-01T00:10:00Z", 1);
    sandbox.back_up(&key, event("e-1", "2024-04-01T00:10:00Z"));
    let (odd, _listener) = put_odd_files(&sandbox.source_path().join(HOUR));
    let run = id("run");
    let recovered = sandbox.recover(request(json!({})), &run);
    let report = tokio::time::timeout(PATIENCE, recovered).await;
    let report = report.expect("it waits");
    assert_eq!(report.verdict, Verdict::Incomplete);
    assert_eq!(report.objects.done, 1);
    assert_eq!(report.events.written, 1);
    assert_eq!(report.objects.failed, odd.len() as u64);
    for (name, what) in odd {
        let named = report
            .unrecovered
            .iter()
            .find(|object| object.key == format!("{HOUR}{name}"))
            .unwrap_or_else(|| panic!("{name} is not in the report"));
        assert!(named.reason.contains(what), "{name}: {}", named.reason);
        assert!(named.hint.is_some(), "{name}");
    }
}

#[test]
fn a_storage_whose_root_is_a_link_is_read_through_it() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real");
    fs::create_dir_all(real.join("a")).unwrap();
    fs::write(real.join("a/b"), "x").unwrap();
    let link = folder.path().join("link");
    symlink(&real, &link).unwrap();
    let storage = LocalFolder::new(&link, folder.path().join("staging"));
    for prefix in ["", "a/", "a/b"] {
        let listed = blocking(list_entries(&storage, prefix)).unwrap();
        assert_eq!(listed.objects.len(), 1, "{prefix:?}");
    }
}
