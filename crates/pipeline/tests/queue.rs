//! What the queue within a process promises.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, where a failure is a panic"
)]

#[path = "contract/queue.rs"]
mod contract;
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use event_recovery_pipeline::{InProcessQueue, ListedObject, SendTasks, SourceKey, Task};
use serde_json::json;
use support::{at, id, object_key, request};
use tokio::task::JoinSet;
use tokio::time::timeout;

const SOON: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(30);

fn tasks(count: u32) -> Vec<Task> {
    let request = request(json!({}));
    (0..count)
        .map(|number| {
            let object = ListedObject {
                key: object_key("2024-04-01T00:10:00Z", number),
                size: 1,
                etag: "etag".to_owned(),
                last_modified: at("2024-04-01T00:20:00Z"),
            };
            let key = SourceKey::parse(&object.key).unwrap();
            Task::new(&id("run"), &request, key, &object)
        })
        .collect()
}

#[tokio::test]
async fn tasks_come_in_the_order_they_were_sent() {
    let queue = InProcessQueue::new(10);
    let sent = tasks(5);
    queue.send(sent[..2].to_vec()).await.unwrap();
    queue.send(sent[2..].to_vec()).await.unwrap();
    for task in sent {
        assert_eq!(queue.receive().await, Some(task));
    }
    assert!(!queue.is_durable());
}

#[tokio::test]
async fn a_sender_waits_for_room() {
    let queue = Arc::new(InProcessQueue::new(2));
    let sender = Arc::clone(&queue);
    let mut sending = tokio::spawn(async move { sender.send(tasks(3)).await });
    assert!(timeout(SOON, &mut sending).await.is_err(), "it has no room");
    assert!(queue.receive().await.is_some());
    timeout(LONG, sending).await.unwrap().unwrap().unwrap();
    assert!(queue.receive().await.is_some() && queue.receive().await.is_some());
    assert!(timeout(SOON, queue.receive()).await.is_err(), "it is empty");
}

#[tokio::test]
async fn a_closed_queue_is_drained_and_then_ends() {
    let queue = Arc::new(InProcessQueue::new(10));
    queue.send(tasks(2)).await.unwrap();
    queue.close();
    assert!(queue.send(tasks(1)).await.is_err(), "it is closed");
    assert!(queue.receive().await.is_some() && queue.receive().await.is_some());
    assert_eq!(queue.receive().await, None);
    assert_eq!(queue.receive().await, None);
}

#[tokio::test]
async fn closing_wakes_every_receiver() {
    let queue = Arc::new(InProcessQueue::new(10));
    let mut receivers = JoinSet::new();
    for _ in 0..4 {
        let queue = Arc::clone(&queue);
        receivers.spawn(async move { queue.receive().await });
    }
    tokio::time::sleep(SOON).await;
    queue.close();
    let received = timeout(LONG, receivers.join_all()).await.unwrap();
    assert_eq!(received, vec![None; 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_task_goes_to_one_of_several_receivers() {
    const TASKS: u32 = 2000;
    let queue = Arc::new(InProcessQueue::new(3));
    let mut receivers = JoinSet::new();
    for _ in 0..8 {
        let queue = Arc::clone(&queue);
        receivers.spawn(async move {
            let mut keys = Vec::new();
            while let Some(task) = queue.receive().await {
                keys.push(task.key.to_string());
            }
            keys
        });
    }
    for half in tasks(TASKS).chunks(TASKS as usize / 2) {
        timeout(LONG, queue.send(half.to_vec()))
            .await
            .unwrap()
            .unwrap();
    }
    queue.close();
    let received = timeout(LONG, receivers.join_all()).await.unwrap().concat();
    assert_eq!(received.len(), TASKS as usize);
    assert_eq!(BTreeSet::from_iter(received).len(), TASKS as usize);
}

#[tokio::test]
async fn an_abandoned_queue_is_empty_and_turns_senders_away() {
    let queue = Arc::new(InProcessQueue::new(1));
    let sender = Arc::clone(&queue);
    let sending = tokio::spawn(async move { sender.send(tasks(2)).await });
    tokio::time::sleep(SOON).await;
    queue.abandon();
    let waiting = timeout(LONG, sending).await.unwrap().unwrap().unwrap_err();
    assert_eq!(waiting.tasks, 2);
    assert_eq!(queue.receive().await, None);
    assert!(queue.send(tasks(1)).await.is_err());
    assert_eq!(queue.receive().await, None);
}

#[tokio::test]
async fn every_task_sent_is_received_once_and_unchanged() {
    let queue = InProcessQueue::new(1000);
    queue.send(contract::tasks()).await.unwrap();
    queue.close();
    let mut received = Vec::new();
    while let Some(task) = queue.receive().await {
        received.push(task);
    }
    contract::assert_same(contract::tasks(), received);
    assert!(!queue.is_durable());
}
