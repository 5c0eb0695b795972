//! The contract of the storages, and what a local folder promises beyond it.

mod contract;
mod support;

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};

use event_recovery_pipeline::{
    CreateObject, LocalFolder, OpenObject, Precondition, Problem, Records, StorageError, list_all,
};
use support::{Sandbox, Tree, tree};

/// Runs each function of the contract on a local folder of its own, whose staging folder lies
/// inside of it, and looks for what is left there.
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

local_folder_keeps!(
    a_listing_is_in_key_order_and_takes_any_prefix,
    a_listings_etag_changes_with_the_content,
    a_record_is_read_as_it_was_put,
    a_record_is_put_once_if_absent,
    a_record_is_put_if_unchanged,
    what_is_absent_can_be_deleted,
    an_object_is_visible_as_a_whole_once_committed,
    an_object_that_is_dropped_leaves_nothing,
    a_commit_replaces_the_object,
    an_object_is_read_with_the_planned_etag_alone,
    an_object_replaced_while_it_is_read_is_never_mixed,
    a_key_that_leads_elsewhere_is_refused,
);

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
    assert!(error.hint.is_some());
}

#[tokio::test]
async fn a_write_that_fails_leaves_nothing_staged() {
    let sandbox = Sandbox::new();
    let destination = sandbox.destination();
    // A folder lies where the file should go.
    fs::create_dir_all(sandbox.destination_path().join("a/b")).unwrap();
    assert!(destination.put("a", b"x".to_vec()).await.is_err());
    let object = destination.create("a").unwrap();
    assert!(object.commit().is_err());
    let lost = destination.put_if("a", b"x".to_vec(), Precondition::Absent);
    assert_ne!(lost.await, Ok(event_recovery_pipeline::Written::Yes));
    sandbox.assert_nothing_staged();
}

#[tokio::test]
async fn a_missing_folder_is_an_empty_storage() {
    let storage = LocalFolder::new("/nonexistent/backup", "/nonexistent/staging");
    assert_eq!(list_all(&storage, "").await.unwrap(), []);
    assert_eq!(list_all(&storage, "main_stream/").await.unwrap(), []);
    assert_eq!(storage.get("a").await.unwrap(), None);
}
