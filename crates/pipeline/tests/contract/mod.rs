//! What every implementation of a storage promises.
//!
//! Each function takes an empty storage that can be read and written.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise is a panic"
)]

use std::io::{Read, Write};

use event_recovery_pipeline::{
    Destination, Precondition, Problem, Source, StorageError, Written, list_all,
};
use futures::future::join_all;

/// Hands every promise to a macro that makes tests of them.
macro_rules! each_promise {
    ($tests_of:ident) => {
        $tests_of!(
            a_listing_is_in_key_order_and_takes_any_prefix,
            a_level_shows_what_lies_directly_under_a_prefix,
            a_listings_etag_changes_with_the_content,
            a_record_is_read_as_it_was_put,
            a_record_is_put_once_if_absent,
            a_record_is_put_if_unchanged,
            what_is_absent_can_be_deleted,
            an_object_is_visible_as_a_whole_once_committed,
            an_object_that_is_dropped_leaves_nothing,
            a_sealed_object_waits_for_its_commit,
            a_commit_replaces_the_object,
            an_object_is_read_with_the_planned_etag_alone,
            an_object_replaced_while_it_is_read_is_never_mixed,
            a_key_that_leads_elsewhere_is_refused,
        );
    };
}

/// A storage with every capability.
pub(crate) trait Storage: Source + Destination {}
impl<T: Source + Destination> Storage for T {}

pub(crate) async fn a_listing_is_in_key_order_and_takes_any_prefix(storage: &dyn Storage) {
    let keys = ["a-b", "a.b", "a/b", "a/c/d", "a/c/e", "ab", "b/é", "b/z"];
    for key in keys.iter().rev() {
        put(storage, key, key).await;
    }
    let rows: [(&str, &[&str]); 9] = [
        (
            "",
            &["a-b", "a.b", "a/b", "a/c/d", "a/c/e", "ab", "b/z", "b/é"],
        ),
        ("a", &["a-b", "a.b", "a/b", "a/c/d", "a/c/e", "ab"]),
        ("a/", &["a/b", "a/c/d", "a/c/e"]),
        ("a/c", &["a/c/d", "a/c/e"]),
        ("a/c/d", &["a/c/d"]),
        ("a/b/", &[]),
        ("c", &[]),
        ("c/d/", &[]),
        ("b/z/y", &[]),
    ];
    for (prefix, expected) in rows {
        let objects = list_all(storage, prefix).await.unwrap();
        let keys: Vec<&str> = objects.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(keys, expected, "{prefix:?}");
        assert!(objects.iter().all(|o| o.size == o.key.len() as u64));
    }
}

pub(crate) async fn a_level_shows_what_lies_directly_under_a_prefix(storage: &dyn Storage) {
    for key in ["a/b", "a/c/d", "a/c/e/f", "a/é g/h", "ab", "b/z"] {
        put(storage, key, key).await;
    }
    let rows: [(&str, &[&str], &[&str]); 7] = [
        ("", &["ab"], &["a/", "b/"]),
        ("a", &["ab"], &["a/"]),
        ("a/", &["a/b"], &["a/c/", "a/é g/"]),
        ("a/c", &[], &["a/c/"]),
        ("a/c/", &["a/c/d"], &["a/c/e/"]),
        ("ab/", &[], &[]),
        ("c/d/", &[], &[]),
    ];
    for (prefix, objects, folders) in rows {
        let page = storage.list_level(prefix, None).await.unwrap();
        let keys: Vec<&str> = page.objects.iter().map(|object| &*object.key).collect();
        assert_eq!((&keys[..], page.next), (objects, None), "{prefix:?}");
        assert_eq!(page.folders, folders, "{prefix:?}");
    }
}

pub(crate) async fn a_listings_etag_changes_with_the_content(storage: &dyn Storage) {
    put(storage, "a", "one").await;
    let before = etag(storage, "a").await;
    assert_eq!(etag(storage, "a").await, before);
    put(storage, "a", "three").await;
    assert_ne!(etag(storage, "a").await, before);
}

pub(crate) async fn a_record_is_read_as_it_was_put(storage: &dyn Storage) {
    assert_eq!(storage.get("a/b").await.unwrap(), None);
    assert_eq!(storage.get("a/b/c").await.unwrap(), None);
    put(storage, "a/b", "one").await;
    let first = storage.get("a/b").await.unwrap().unwrap();
    assert_eq!(first.bytes, b"one");
    put(storage, "a/b", "").await;
    let second = storage.get("a/b").await.unwrap().unwrap();
    assert_eq!(second.bytes, b"");
    assert_ne!(first.etag, second.etag);
}

pub(crate) async fn a_record_is_put_once_if_absent(storage: &dyn Storage) {
    let put_absent = |text: String| storage.put_if("a/b", text.into(), Precondition::Absent);
    let written = join_all((0..8).map(|n| put_absent(n.to_string()))).await;
    let winners: Vec<usize> = (0..8).filter(|&n| written[n] == Ok(Written::Yes)).collect();
    assert!(written.iter().all(Result::is_ok));
    assert_eq!(winners.len(), 1, "{written:?}");
    assert_eq!(text(storage, "a/b").await, winners[0].to_string());
    storage.delete("a/b").await.unwrap();
    assert_eq!(put_absent("again".to_owned()).await, Ok(Written::Yes));
    assert_eq!(text(storage, "a/b").await, "again");
}

pub(crate) async fn a_record_is_put_if_unchanged(storage: &dyn Storage) {
    let put_unchanged = |text: &str, etag: &str| {
        let precondition = Precondition::Unchanged(etag.to_owned());
        storage.put_if("a", text.as_bytes().to_vec(), precondition)
    };
    put(storage, "a", "one").await;
    let first = storage.get("a").await.unwrap().unwrap().etag;
    assert_eq!(put_unchanged("two", &first).await, Ok(Written::Yes));
    let lost = put_unchanged("three", &first).await;
    assert_eq!(lost, Ok(Written::PreconditionFailed));
    assert_eq!(text(storage, "a").await, "two");
    let second = storage.get("a").await.unwrap().unwrap().etag;
    storage.delete("a").await.unwrap();
    let gone = put_unchanged("four", &second).await;
    assert_eq!(gone, Ok(Written::PreconditionFailed));
    assert_eq!(storage.get("a").await.unwrap(), None);
}

pub(crate) async fn what_is_absent_can_be_deleted(storage: &dyn Storage) {
    put(storage, "a/b", "one").await;
    for key in ["a/b", "a/b", "a/c", "d/e/f"] {
        storage.delete(key).await.unwrap();
    }
    assert_eq!(list_all(storage, "").await.unwrap(), []);
}

pub(crate) async fn an_object_is_visible_as_a_whole_once_committed(storage: &dyn Storage) {
    let mut object = storage.create("a/b").unwrap();
    let half = vec![b'x'; 1024 * 1024];
    object.write_all(&half).unwrap();
    object.flush().unwrap();
    assert_eq!(list_all(storage, "").await.unwrap(), []);
    assert_eq!(storage.get("a/b").await.unwrap(), None);
    object.write_all(&half).unwrap();
    object.commit().unwrap();
    let listed = list_all(storage, "").await.unwrap();
    assert_eq!((listed.len(), listed[0].size), (1, 2 * 1024 * 1024));
    assert_eq!(read(storage, "a/b").await.unwrap(), half.repeat(2));
}

pub(crate) async fn an_object_that_is_dropped_leaves_nothing(storage: &dyn Storage) {
    put(storage, "kept", "one").await;
    for key in ["dropped", "kept"] {
        let mut object = storage.create(key).unwrap();
        object.write_all(b"two").unwrap();
        drop(object);
    }
    assert_eq!(list_all(storage, "").await.unwrap().len(), 1);
    assert_eq!(text(storage, "kept").await, "one");
}

pub(crate) async fn a_sealed_object_waits_for_its_commit(storage: &dyn Storage) {
    // More than a part of an upload, less than one, and nothing.
    for length in [9 * 1024 * 1024, 1000, 0] {
        let content = vec![b'x'; length];
        let sealed = || {
            let mut object = storage.create("a/b").unwrap();
            object.write_all(&content).unwrap();
            object.seal().unwrap();
            object
        };
        drop(sealed());
        let object = sealed();
        assert_eq!(list_all(storage, "").await.unwrap(), [], "{length}");
        object.commit().unwrap();
        assert!(read(storage, "a/b").await.unwrap() == content, "{length}");
        storage.delete("a/b").await.unwrap();
    }
}

pub(crate) async fn a_commit_replaces_the_object(storage: &dyn Storage) {
    for content in ["first", "second", ""] {
        let mut object = storage.create("a/b").unwrap();
        object.write_all(content.as_bytes()).unwrap();
        object.commit().unwrap();
        assert_eq!(text(storage, "a/b").await, content);
    }
    assert_eq!(list_all(storage, "").await.unwrap().len(), 1);
}

pub(crate) async fn an_object_is_read_with_the_planned_etag_alone(storage: &dyn Storage) {
    put(storage, "a", "one").await;
    let planned = etag(storage, "a").await;
    assert_eq!(read(storage, "a").await.unwrap(), b"one");
    put(storage, "a", "three").await;
    let changed = storage.open("a", &planned).await.err().unwrap();
    assert_eq!(
        (changed.problem, changed.key.as_str()),
        (Problem::Changed, "a")
    );
    storage.delete("a").await.unwrap();
    let gone = storage.open("a", &planned).await.err().unwrap();
    assert_eq!(gone.problem, Problem::Gone);
    assert!(!gone.is_transient());
}

pub(crate) async fn an_object_replaced_while_it_is_read_is_never_mixed(storage: &dyn Storage) {
    let old = "old ".repeat(1024 * 1024);
    put(storage, "a", &old).await;
    let planned = etag(storage, "a").await;
    let mut reader = storage.open("a", &planned).await.unwrap();
    let mut content = vec![0; 4];
    reader.read_exact(&mut content).unwrap();
    put(storage, "a", &"new!".repeat(2 * 1024 * 1024)).await;
    match reader.read_to_end(&mut content) {
        Ok(_) => assert!(content == old.as_bytes()),
        Err(error) => {
            let error: StorageError = error.downcast().expect("readers fail with their error");
            assert_eq!(error.problem, Problem::Changed);
        }
    }
}

pub(crate) async fn a_key_that_leads_elsewhere_is_refused(storage: &dyn Storage) {
    for key in ["..", "../a", "a/../b", "a/..", "./a", "a/./b", "/a", "a//b"] {
        let bytes = || b"x".to_vec();
        let refusals = [
            storage.get(key).await.err(),
            storage.put(key, bytes()).await.err(),
            storage
                .put_if(key, bytes(), Precondition::Absent)
                .await
                .err(),
            storage.delete(key).await.err(),
            storage.create(key).err(),
            storage.open(key, "any").await.err(),
        ];
        for refusal in refusals {
            let error = refusal.unwrap_or_else(|| panic!("{key:?} was accepted"));
            assert!(matches!(error.problem, Problem::Permanent(_)), "{error:?}");
        }
    }
    assert!(list_all(storage, "a/../").await.is_err());
    assert_eq!(list_all(storage, "").await.unwrap(), []);
}

async fn put(storage: &dyn Storage, key: &str, text: &str) {
    storage.put(key, text.as_bytes().to_vec()).await.unwrap();
}

async fn text(storage: &dyn Storage, key: &str) -> String {
    let record = storage.get(key).await.unwrap().expect("it is there");
    String::from_utf8(record.bytes).unwrap()
}

async fn etag(storage: &dyn Storage, key: &str) -> String {
    let objects = list_all(storage, key).await.unwrap();
    objects.into_iter().next().expect("it is there").etag
}

async fn read(storage: &dyn Storage, key: &str) -> Result<Vec<u8>, StorageError> {
    let mut content = Vec::new();
    let mut reader = storage.open(key, &etag(storage, key).await).await?;
    reader.read_to_end(&mut content).unwrap();
    Ok(content)
}
