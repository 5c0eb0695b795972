//! The contract of the storages, and what a local folder promises beyond it.

#[macro_use]
mod contract;
mod support;

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};

use event_recovery_pipeline::{
    CreateObject, LocalFolder, OpenObject, Precondition, Problem, Records, StorageError, Written,
    list_all,
};
use futures::future::join_all;
use support::{Sandbox, Tree, tree};

/// Runs each function of the contract on a local folder of its own, whose staging folder is inside it, and
/// checks that nothing is left there.
macro_rules! local_folder_keeps {
    ($($promise:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $promise() {
            let folder = tempfile::tempdir().unwrap();
            let staging = folder.path().join("_recovery/.staging");
            let storage = LocalFolder::new(folder.path(), &staging);
            contract::$promise(&storage).await;
            assert_eq!(tree(&staging), Tree::new(), "left in the staging folder");
        }
    )*};
}

each_promise!(local_folder_keeps);

#[tokio::test]
async fn a_file_changed_in_place_while_it_is_read_is_an_error() {
    let sandbox = Sandbox::new();
    sandbox.back_up("a", "x".repeat(1000));
    let source = sandbox.source();
    let etag = list_all(&*source, "a").await.unwrap()[0].etag.clone();
    let mut reader = source.open("a", &etag).await.unwrap();
    let mut content = vec![0; 10];
    reader.read_exact(&mut content).unwrap();
    let path = sandbox.source_path().join("a");
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(b"more").unwrap();
    let error = reader.read_to_end(&mut content).unwrap_err();
    let error: StorageError = error.downcast().unwrap();
    assert_eq!(error.problem, Problem::Changed);
    assert!(error.hint().is_some());
}

/// S3 promises it too, but the emulator that the contract is tested on does not keep that.
#[tokio::test]
async fn of_writers_that_saw_the_same_record_one_replaces_it() {
    let sandbox = Sandbox::new();
    let storage = sandbox.destination();
    for round in 0..20 {
        storage.put("a", round.to_string().into()).await.unwrap();
        let etag = storage.get("a").await.unwrap().unwrap().etag;
        let writers = (0..8).map(|writer| {
            let seen = Precondition::Unchanged(etag.clone());
            storage.put_if("a", format!("{round} {writer}").into(), seen)
        });
        let written = join_all(writers).await;
        let winners = written.iter().filter(|&it| *it == Ok(Written::Yes));
        assert_eq!(winners.count(), 1, "{written:?}");
    }
}

#[tokio::test]
async fn a_write_that_fails_leaves_nothing_staged() {
    let sandbox = Sandbox::new();
    let destination = sandbox.destination();
    // A folder is where the file should go.
    fs::create_dir_all(sandbox.destination_path().join("a/b")).unwrap();
    assert!(destination.put("a", b"x".to_vec()).await.is_err());
    let object = destination.create("a").unwrap();
    assert!(object.commit().is_err());
    let lost = destination.put_if("a", b"x".to_vec(), Precondition::Absent);
    assert_ne!(lost.await, Ok(Written::Yes));
    sandbox.assert_nothing_staged();
}

#[tokio::test]
async fn a_missing_folder_is_an_empty_storage() {
    let storage = LocalFolder::new("/nonexistent/backup", "/nonexistent/staging");
    assert_eq!(list_all(&storage, "").await.unwrap(), []);
    assert_eq!(list_all(&storage, "main_stream/").await.unwrap(), []);
    assert_eq!(storage.get("a").await.unwrap(), None);
}
