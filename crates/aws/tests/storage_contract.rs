//! The contract of the storages, kept by a bucket, and what a bucket promises beyond it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise is a panic"
)]

#[macro_use]
#[path = "../../pipeline/tests/contract/mod.rs"]
mod contract;
mod emulator;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};

use emulator::emulated;
use event_recovery_aws::{Bucket, s3_client};
use event_recovery_pipeline::{
    CreateObject, ListObjects, OpenObject, Problem, Records, Written, list_all,
};

static BUCKETS: AtomicU32 = AtomicU32::new(0);

/// A new bucket, and its name.
async fn bucket(prefix: &str) -> (aws_sdk_s3::Client, Bucket, String) {
    let client = s3_client(&emulated().await);
    let name = format!("bucket-{}", BUCKETS.fetch_add(1, Ordering::Relaxed));
    client.create_bucket().bucket(&name).send().await.unwrap();
    let bucket = Bucket::new(client.clone(), &name, prefix);
    (client, bucket, name)
}

/// Runs each function of the contract on a prefix of a bucket of its own, and looks for uploads
/// that were left there.
macro_rules! a_bucket_keeps {
    ($($promise:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $promise() {
            let (client, bucket, name) = bucket("some/prefix").await;
            contract::$promise(&bucket).await;
            assert_no_uploads(&client, &name).await;
        }
    )*};
}

each_promise!(a_bucket_keeps);

async fn assert_no_uploads(client: &aws_sdk_s3::Client, name: &str) {
    let uploads = client.list_multipart_uploads().bucket(name).send().await;
    assert_eq!(uploads.unwrap().uploads.unwrap_or_default().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_several_parts_comes_back_and_an_abandoned_one_leaves_no_parts() {
    let (client, bucket, name) = bucket("").await;
    let content: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
    for is_kept in [false, true] {
        let mut object = bucket.create("large").unwrap();
        for chunk in content.chunks(1_000_003) {
            object.write_all(chunk).unwrap();
        }
        if is_kept {
            object.commit().unwrap();
        } else {
            drop(object);
            assert_eq!(list_all(&bucket, "").await.unwrap(), []);
        }
        assert_no_uploads(&client, &name).await;
    }
    let listed = list_all(&bucket, "").await.unwrap().remove(0);
    let mut read = Vec::new();
    let mut reader = bucket.open("large", &listed.etag).await.unwrap();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_committed_as_the_first_only_where_there_is_none() {
    let (client, bucket, name) = bucket("").await;
    // Written with one request, and in parts.
    for length in [3, 9_000_000] {
        let key = format!("object-{length}");
        let rows = [(b'a', Written::Yes), (b'b', Written::PreconditionFailed)];
        for (byte, expected) in rows {
            let mut object = bucket.create(&key).unwrap();
            object.write_all(&vec![byte; length]).unwrap();
            assert_eq!(object.commit_first().unwrap(), expected, "{length}");
            assert_no_uploads(&client, &name).await;
        }
        let content = bucket.get(&key).await.unwrap().unwrap().bytes;
        assert!(content == vec![b'a'; length], "{length}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_listing_has_several_pages_and_any_key() {
    let (_, bucket, _) = bucket("p").await;
    let mut keys: Vec<String> = (0..1005).map(|n| format!("many/{n:04}")).collect();
    keys.extend(["odd/a b+c%20&<é>", "odd/=?#"].map(str::to_owned));
    keys.sort_unstable();
    for key in &keys {
        bucket.put(key, Vec::new()).await.unwrap();
    }
    let first = bucket.list_page("", None).await.unwrap();
    assert_eq!(first.objects.len(), 1000);
    assert!(first.next.is_some());
    let listed = list_all(&bucket, "").await.unwrap();
    let found: Vec<String> = listed.into_iter().map(|object| object.key).collect();
    assert_eq!(found, keys);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_says_what_to_do() {
    let (client, _, _) = bucket("").await;
    let missing = Bucket::new(client, "there-is-none", "");
    let error = missing.list_page("", None).await.unwrap_err();
    assert!(matches!(error.problem, Problem::Permanent(_)), "{error:?}");
    assert!(error.hint().unwrap().contains("bucket"));
}
