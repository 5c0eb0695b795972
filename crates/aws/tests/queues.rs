//! The contract of the task queues, kept by SQS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise is a panic"
)]

#[path = "../../pipeline/tests/contract/queue.rs"]
mod contract;
mod emulator;

use emulator::emulated;
use event_recovery_aws::{Queue, sqs_client};
use event_recovery_pipeline::{SendTasks, Task};

#[tokio::test(flavor = "multi_thread")]
async fn every_task_sent_is_received_once_and_unchanged() {
    let client = sqs_client(&emulated().await);
    let created = client.create_queue().queue_name("tasks").send().await;
    let url = created.unwrap().queue_url.unwrap();
    let queue = Queue::new(client.clone(), &url);
    let tasks = contract::tasks();
    queue.send(tasks.clone()).await.unwrap();
    let mut received: Vec<Task> = Vec::new();
    for _ in 0..100 {
        let batch = client.receive_message().queue_url(&url);
        let batch = batch.max_number_of_messages(10).send().await.unwrap();
        let messages = batch.messages.unwrap_or_default();
        if messages.is_empty() {
            break;
        }
        let bodies = messages.iter().map(|message| message.body().unwrap());
        received.extend(bodies.map(|body| serde_json::from_str::<Task>(body).unwrap()));
    }
    contract::assert_same(tasks, received);
    assert!(queue.is_durable());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_not_there_is_an_error() {
    let config = emulated().await;
    let url = format!("{}/000000000000/none", config.endpoint_url().unwrap());
    let queue = Queue::new(sqs_client(&config), url);
    let error = queue.send(contract::tasks()).await.unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
}
