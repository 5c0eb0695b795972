//! `event-recovery dead-letters`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use event_recovery_aws::{Bucket, BucketUrl, Deployment, Message, Queue, s3_client, sqs_client};
use event_recovery_pipeline::{DeadLetter, QueueError, Standing};
use serde::Serialize;

use crate::arguments::DeadLettersArguments;
use crate::failure::{Failure, NEEDS_A_LOOK};
use crate::runtime;
use crate::storage::aws_session;

/// How long a message stays invisible to others while its queue is looked through, in seconds. Whatever happens, it
/// is back after that.
const HELD_SECS: u32 = 15 * 60;
/// Messages of one queue that are looked through in one call.
const MESSAGES_MAX: usize = 10_000;
/// Consecutive receives without a message that was not seen before, after which the queue is taken to be through.
const EMPTY_RECEIVES_MAX: u32 = 2;
/// Dead letters that are named, of each queue.
const NAMED_MAX: usize = 100;

/// What the command prints.
#[derive(Debug, Serialize)]
struct Found {
    queues: Vec<FoundIn>,
}

/// The dead letters of one queue.
#[derive(Debug, Serialize)]
struct FoundIn {
    /// `tasks` or `audits`.
    queue: &'static str,
    url: String,
    /// Messages that were looked at.
    messages: usize,
    /// Those of them whose work is done.
    moot: usize,
    /// Those of them that were removed.
    purged: usize,
    /// Whether there were more than one call looks at.
    more: bool,
    /// The first that are not moot.
    left: Vec<DeadLetter>,
}

impl FoundIn {
    fn is_settled(&self) -> bool {
        self.messages == self.moot && !self.more
    }
}

pub(crate) fn dead_letters(arguments: &DeadLettersArguments) -> Result<ExitCode, Failure> {
    let found = runtime::block_on(find(arguments))?;
    let output = arguments.output.output();
    output.show("the dead letters", &found, || summary(&found))?;
    Ok(match found.queues.iter().all(FoundIn::is_settled) {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(NEEDS_A_LOOK),
    })
}

async fn find(arguments: &DeadLettersArguments) -> Result<Found, Failure> {
    let config = aws_session(&arguments.aws).await;
    let deployment = Deployment::new(&config, &arguments.stack);
    let outputs = deployment.outputs([
        "TaskDeadLetterQueueUrl",
        "AuditDeadLetterQueueUrl",
        "Destination",
    ]);
    let [tasks, audits, destination] = outputs.await.map_err(|error| {
        Failure::from(error)
            .or_hint("`--stack` takes the name of the deployed stack, `--region` its region")
    })?;
    let destination = destination
        .parse::<BucketUrl>()
        .map_err(|error| Failure::could_not_run(error.to_string()))?;
    let ledger = Bucket::new(
        s3_client(&config),
        destination.bucket(),
        destination.prefix(),
    );
    let client = sqs_client(&config);
    let mut queues = Vec::new();
    for (name, url) in [("tasks", tasks), ("audits", audits)] {
        let queue = Queue::new(client.clone(), url);
        queues.push(look_through(&queue, name, &ledger, arguments.purge).await?);
    }
    Ok(Found { queues })
}

/// Judges all messages of the queue. All but those that are purged are visible again afterwards, also after an error.
async fn look_through(
    queue: &Queue,
    name: &'static str,
    ledger: &Bucket,
    purge: bool,
) -> Result<FoundIn, Failure> {
    let mut found = FoundIn {
        queue: name,
        url: queue.url().to_owned(),
        messages: 0,
        moot: 0,
        purged: 0,
        more: false,
        left: Vec::new(),
    };
    let mut held = Vec::new();
    let looked = look(queue, ledger, purge, &mut found, &mut held).await;
    for message in held {
        // One that can't be given back is visible again after its timeout.
        let _ = queue.change_visibility(&message.receipt_handle, 0).await;
    }
    looked.map(|()| found)
}

async fn look(
    queue: &Queue,
    ledger: &Bucket,
    purge: bool,
    found: &mut FoundIn,
    held: &mut Vec<Message>,
) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    let mut empty_receives = 0;
    while empty_receives < EMPTY_RECEIVES_MAX {
        if found.messages >= MESSAGES_MAX {
            found.more = true;
            break;
        }
        let received = queue.receive(HELD_SECS).await.map_err(denied)?;
        let before = seen.len();
        // Held at once, so that none is forgotten if one can't be judged.
        let first = held.len();
        held.extend(received);
        let mut purged = BTreeSet::new();
        for message in &held[first..] {
            // One that comes twice is a copy of the same.
            if !seen.insert(message.id.clone()) {
                continue;
            }
            let letter = DeadLetter::judge(ledger, &message.body).await?;
            found.messages += 1;
            if letter.standing != Standing::Moot {
                if found.left.len() < NAMED_MAX {
                    found.left.push(letter);
                }
                continue;
            }
            found.moot += 1;
            if purge {
                queue
                    .delete(&message.receipt_handle)
                    .await
                    .map_err(denied)?;
                found.purged += 1;
                purged.insert(message.receipt_handle.clone());
            }
        }
        held.retain(|message| !purged.contains(&message.receipt_handle));
        match seen.len() > before {
            true => empty_receives = 0,
            false => empty_receives += 1,
        }
    }
    Ok(())
}

fn denied(error: QueueError) -> Failure {
    let hint = "this command needs `sqs:ReceiveMessage`, `sqs:ChangeMessageVisibility` and, to purge, `sqs:DeleteMessage` on the stack's dead-letter queues";
    Failure::could_not_run(error.to_string()).or_hint(hint)
}

fn summary(found: &Found) -> String {
    let mut lines = Vec::new();
    for queue in &found.queues {
        let purged = match queue.purged {
            0 => String::new(),
            purged => format!(", {purged} of them removed"),
        };
        let more = if queue.more { "at least " } else { "" };
        lines.push(format!(
            "{}: {more}{} dead letters, {} moot{purged}",
            queue.queue, queue.messages, queue.moot
        ));
        for letter in &queue.left {
            let run = letter
                .execution_id
                .as_ref()
                .map_or("no run", |id| id.as_str());
            let what = match (&letter.key, letter.standing) {
                (_, Standing::Unreadable) => "a message that is neither a task nor a call",
                (Some(key), _) => key,
                (None, _) => "the audit of the run",
            };
            lines.push(format!("  {run}  {what}"));
        }
    }
    if found.queues.iter().any(|queue| queue.moot > queue.purged) {
        lines.push("hint: `--purge` removes those that are moot".to_owned());
    }
    if !found.queues.iter().all(FoundIn::is_settled) {
        lines.push(
            "hint: for the others, run the same request with the same execution id again, then this command"
                .to_owned(),
        );
    }
    lines.join("\n")
}
