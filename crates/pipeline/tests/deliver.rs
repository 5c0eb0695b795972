//! Deliveries to targets that throttle, refuse, fail and fall silent.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::Utc;
use event_recovery_pipeline::{
    DeliverError, Delivering, DeliveryReport, DeliveryTerms, Fate, Filters, Ledger, Outgoing, Pace,
    SendEvents, Stop, TargetError, TargetLimits, Unwatched, Verdict, WatchConsumer,
};
use serde_json::json;
use support::{Sandbox, event, id, object_key, request};

const OBJECTS: u32 = 3;
const EVENTS: u32 = 40;

/// What the target does with a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// Takes all.
    Well,
    /// Takes every second event, and delays the others.
    Busy,
    /// Takes all, and does not say so.
    Silent,
    /// Takes nothing, and never will.
    Denying,
}

/// Keeps what it is sent.
struct Inbox {
    received: Mutex<Vec<String>>,
    moods: Mutex<VecDeque<Mood>>,
    refuses: Option<&'static str>,
    one_of_group: bool,
    slow: Duration,
}

impl Inbox {
    fn new(moods: impl IntoIterator<Item = Mood>) -> Self {
        Self {
            received: Mutex::default(),
            moods: Mutex::new(moods.into_iter().collect()),
            refuses: None,
            one_of_group: false,
            slow: Duration::ZERO,
        }
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for event in &*self.received.lock().unwrap() {
            *counts.entry(event.clone()).or_default() += 1;
        }
        counts
    }
}

#[async_trait]
impl SendEvents for Inbox {
    fn name(&self) -> &str {
        "inbox"
    }

    fn limits(&self) -> TargetLimits {
        TargetLimits {
            batch_events: 10,
            batch_bytes: 2000,
            event_overhead: 1,
            one_of_group: self.one_of_group,
        }
    }

    fn refusal(&self, event: &Outgoing) -> Option<String> {
        let text = String::from_utf8_lossy(&event.event).into_owned();
        self.refuses
            .is_some_and(|part| text.contains(part))
            .then(|| "too large".to_owned())
    }

    async fn send(&self, batch: &[Outgoing]) -> Result<Vec<Fate>, TargetError> {
        let bytes: usize = batch.iter().map(|event| event.event.len() + 1).sum();
        assert!(
            batch.len() <= 10 && bytes <= 2000,
            "{} events, {bytes} bytes",
            batch.len()
        );
        if self.one_of_group {
            let groups: std::collections::HashSet<_> =
                batch.iter().map(|event| &event.group).collect();
            assert_eq!(groups.len(), batch.len(), "a group comes twice");
        }
        tokio::time::sleep(self.slow).await;
        let mood = self.moods.lock().unwrap().pop_front().unwrap_or(Mood::Well);
        if mood == Mood::Denying {
            return Err(TargetError::new("inbox", "denied", false));
        }
        let mut fates = Vec::new();
        for (index, event) in batch.iter().enumerate() {
            if mood == Mood::Busy && index % 2 == 1 {
                let reason = "busy".to_owned();
                fates.push(Fate::Delayed { reason });
                continue;
            }
            let text = String::from_utf8(event.event.clone()).unwrap();
            self.received.lock().unwrap().push(text);
            fates.push(Fate::Sent {
                message_id: Some(format!("m-{}", event.place)),
            });
        }
        match mood {
            Mood::Silent => Err(TargetError::new("inbox", "no answer", true)),
            _ => Ok(fates),
        }
    }
}

/// Complains from some moment on.
struct Consumer {
    healthy_looks: AtomicU64,
    complains: bool,
}

#[async_trait]
impl WatchConsumer for Consumer {
    async fn complaint(&self) -> Result<Option<String>, TargetError> {
        let left = self.healthy_looks.load(Ordering::SeqCst);
        self.healthy_looks
            .store(left.saturating_sub(1), Ordering::SeqCst);
        Ok((self.complains && left == 0).then(|| "it is ill".to_owned()))
    }

    async fn backlog(&self) -> Result<Option<u64>, TargetError> {
        Ok(None)
    }
}

async fn recovered() -> (Sandbox, Vec<String>) {
    let sandbox = Sandbox::new();
    let mut events = Vec::new();
    for number in 1..=OBJECTS {
        let time = format!("2024-04-01T00:0{number}:00Z");
        let of_object: Vec<String> = (0..EVENTS)
            .map(|event_number| event(&format!("{number}-{event_number:03}"), &time))
            .collect();
        sandbox.back_up(&object_key(&time, number), of_object.concat());
        events.extend(of_object);
    }
    let report = sandbox
        .recover(request(json!({"format": "ndjson"})), &id("run"))
        .await;
    assert_eq!(report.events.written, events.len() as u64);
    (sandbox, events)
}

fn terms() -> DeliveryTerms {
    DeliveryTerms {
        target: "inbox".to_owned(),
        only_missing: None,
        filters: Filters::default(),
        from: None,
        to: None,
        group_by: None,
        detail_type: None,
        event_source: None,
        ordered: false,
        again: false,
        attributes: BTreeMap::new(),
    }
}

/// A delivery in a sandbox.
struct Case<'a> {
    sandbox: &'a Sandbox,
    delivery_id: &'a str,
    terms: DeliveryTerms,
    pace: Pace,
    watch: Arc<dyn WatchConsumer>,
    senders: usize,
}

impl<'a> Case<'a> {
    fn new(sandbox: &'a Sandbox, delivery_id: &'a str) -> Self {
        Self {
            sandbox,
            delivery_id,
            terms: terms(),
            pace: Pace::default(),
            watch: Arc::new(Unwatched),
            senders: 2,
        }
    }

    async fn deliver(&self, inbox: &Arc<Inbox>) -> Result<DeliveryReport, DeliverError> {
        let ledger = Ledger::new(id("run"));
        let delivering = Delivering {
            destination: self.sandbox.destination(),
            ledger: &ledger,
            delivery_id: &id(self.delivery_id),
            terms: self.terms.clone(),
            target: inbox.clone(),
            watch: self.watch.clone(),
            pace: self.pace.clone(),
            senders: self.senders,
            incomplete: false,
            stop: Stop::default(),
            progress: &|_, _| {},
        };
        delivering.deliver(Utc::now()).await
    }
}

fn check_balance(report: &DeliveryReport) {
    let events = &report.events;
    assert_eq!(
        events.written,
        events.fates.total() + events.pending,
        "{report:?}"
    );
}

#[tokio::test]
async fn throttled_events_are_sent_again_alone() {
    let (sandbox, events) = recovered().await;
    let inbox = Arc::new(Inbox::new([
        Mood::Busy,
        Mood::Busy,
        Mood::Well,
        Mood::Busy,
        Mood::Busy,
    ]));
    let report = Case::new(&sandbox, "d").deliver(&inbox).await.unwrap();
    check_balance(&report);
    assert_eq!(report.verdict, Verdict::Complete, "{report:?}");
    assert_eq!(report.sent_twice_max, 0);
    let counts = inbox.counts();
    assert_eq!(counts.len(), events.len());
    assert!(counts.values().all(|count| *count == 1));
    // The message ids that the target gave are kept.
    let sent: Vec<String> = sandbox
        .tree()
        .iter()
        .filter(|(path, _)| path.contains("/deliveries/d/sent/"))
        .flat_map(|(_, bytes)| {
            let text = String::from_utf8(bytes.clone()).unwrap();
            text.lines().map(ToOwned::to_owned).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(sent.len(), events.len());
    assert!(
        sent.iter()
            .all(|line| line.contains("\"message_id\":\"m-run/d/")),
        "{sent:?}"
    );
    sandbox.assert_no_content_in_the_ledger();
}

#[tokio::test]
async fn requests_without_an_answer_are_counted_as_what_may_be_sent_twice() {
    let (sandbox, events) = recovered().await;
    let inbox = Arc::new(Inbox::new([
        Mood::Silent,
        Mood::Silent,
        Mood::Silent,
        Mood::Well,
        Mood::Silent,
    ]));
    let report = Case::new(&sandbox, "d").deliver(&inbox).await.unwrap();
    check_balance(&report);
    assert_eq!(report.verdict, Verdict::Complete);
    let counts = inbox.counts();
    assert_eq!(counts.len(), events.len());
    let twice: u64 = counts.values().map(|count| count - 1).sum();
    assert!(
        twice > 0 && twice <= report.sent_twice_max,
        "{twice} {}",
        report.sent_twice_max
    );
}

#[tokio::test]
async fn refused_events_are_named_by_place_and_stop_nothing_else() {
    let (sandbox, events) = recovered().await;
    let mut inbox = Inbox::new([]);
    inbox.refuses = Some("\"2-007\"");
    let report = Case::new(&sandbox, "d")
        .deliver(&Arc::new(inbox))
        .await
        .unwrap();
    check_balance(&report);
    assert_eq!(report.verdict, Verdict::NeedsLook);
    assert_eq!(
        (report.events.fates.refused, report.events.fates.sent),
        (1, events.len() as u64 - 1)
    );
    let [refused] = &report.refused[..] else {
        panic!("{report:?}")
    };
    let file = String::from_utf8(sandbox.read(&refused.key).unwrap()).unwrap();
    let (begin, end) = (
        refused.offset as usize,
        (refused.offset + refused.bytes) as usize,
    );
    assert!(file[begin..end].contains("\"2-007\""));
    assert_eq!(file.as_bytes()[end], b'\n');
}

#[tokio::test]
async fn a_target_that_denies_everything_ends_the_delivery_which_resumes_later() {
    let (sandbox, events) = recovered().await;
    let mut inbox = Inbox::new([Mood::Well, Mood::Well, Mood::Denying]);
    // The other sender has a request in flight at that moment.
    inbox.slow = Duration::from_millis(20);
    let inbox = Arc::new(inbox);
    let denied = Case::new(&sandbox, "d").deliver(&inbox).await;
    assert!(matches!(denied, Err(DeliverError::Target(_))), "{denied:?}");
    let report = sandbox
        .read("_recovery/run/deliveries/d/report.json")
        .unwrap();
    let report: DeliveryReport = serde_json::from_slice(&report).unwrap();
    check_balance(&report);
    assert_eq!(report.verdict, Verdict::Incomplete);
    let report = Case::new(&sandbox, "d").deliver(&inbox).await.unwrap();
    assert_eq!(
        (report.verdict, report.sent_twice_max),
        (Verdict::Complete, 0)
    );
    let counts = inbox.counts();
    assert_eq!(counts.len(), events.len());
    assert!(counts.values().all(|count| *count == 1));
}

#[tokio::test]
async fn another_delivery_to_the_same_target_leaves_out_what_was_sent() {
    let (sandbox, events) = recovered().await;
    let inbox = Arc::new(Inbox::new([]));
    let mut canary = Case::new(&sandbox, "first");
    canary.pace.canary = Some(25);
    let first = canary.deliver(&inbox).await.unwrap();
    assert_eq!(
        (first.events.fates.sent, first.verdict),
        (25, Verdict::Incomplete)
    );
    let second = Case::new(&sandbox, "second").deliver(&inbox).await.unwrap();
    check_balance(&second);
    assert_eq!(
        (second.events.fates.earlier, second.verdict),
        (25, Verdict::Complete)
    );
    assert_eq!(inbox.received.lock().unwrap().len(), events.len());
    // Unless that is asked for, or the target is another one.
    let mut again = Case::new(&sandbox, "third");
    again.terms.again = true;
    assert_eq!(
        again.deliver(&inbox).await.unwrap().events.fates.sent,
        events.len() as u64
    );
    let mut other = Case::new(&sandbox, "fourth");
    other.terms.target = "another".to_owned();
    assert_eq!(other.deliver(&inbox).await.unwrap().events.fates.earlier, 0);
}

#[tokio::test]
async fn a_consumer_that_complains_stops_the_sending_and_mended_it_gets_the_rest() {
    let (sandbox, events) = recovered().await;
    let mut inbox = Inbox::new([]);
    inbox.slow = Duration::from_millis(400);
    let inbox = Arc::new(inbox);
    let mut case = Case::new(&sandbox, "d");
    case.senders = 1;
    case.watch = Arc::new(Consumer {
        healthy_looks: AtomicU64::new(1),
        complains: true,
    });
    let began = Instant::now();
    let stopped = case.deliver(&inbox).await.unwrap();
    // Ill from the second look on, which comes after two seconds.
    assert!(
        began.elapsed() < Duration::from_secs(7),
        "{:?}",
        began.elapsed()
    );
    check_balance(&stopped);
    assert_eq!(stopped.verdict, Verdict::Incomplete);
    let reason = stopped.stopped.clone().unwrap();
    assert!(
        reason.contains("the breaker has tripped: it is ill"),
        "{reason}"
    );
    let sent = inbox.received.lock().unwrap().len();
    assert!(sent < events.len());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        inbox.received.lock().unwrap().len(),
        sent,
        "something is sent after the end"
    );
    let mut mended = Case::new(&sandbox, "d");
    mended.watch = Arc::new(Unwatched);
    let report = mended.deliver(&inbox).await.unwrap();
    assert_eq!(
        (report.verdict, report.sent_twice_max),
        (Verdict::Complete, 0)
    );
    assert!(inbox.counts().values().all(|count| *count == 1));
}

#[tokio::test]
async fn order_is_kept_within_an_object_and_over_the_run_if_asked_for() {
    let (sandbox, events) = recovered().await;
    let mut inbox = Inbox::new([Mood::Busy; 6]);
    inbox.one_of_group = true;
    let inbox = Arc::new(inbox);
    let mut case = Case::new(&sandbox, "d");
    case.terms.ordered = true;
    // All events are of one group: a request holds one of them.
    case.terms.group_by = Some("/domain".to_owned());
    case.deliver(&inbox).await.unwrap();
    let received = inbox.received.lock().unwrap().clone();
    assert!(received == events, "another order");
}

#[tokio::test]
async fn two_processes_of_one_delivery_do_not_both_go_on() {
    let (sandbox, events) = recovered().await;
    let mut inbox = Inbox::new([]);
    inbox.slow = Duration::from_millis(30);
    let inbox = Arc::new(inbox);
    let (first, second) = (Case::new(&sandbox, "d"), Case::new(&sandbox, "d"));
    let ended = tokio::join!(first.deliver(&inbox), async {
        tokio::time::sleep(Duration::from_millis(45)).await;
        second.deliver(&inbox).await
    });
    let mut taken_over = 0;
    for ended in [ended.0, ended.1] {
        taken_over += u64::from(matches!(ended, Err(DeliverError::TakenOver { .. })));
    }
    assert!(taken_over > 0, "both went on");
    let report = Case::new(&sandbox, "d").deliver(&inbox).await.unwrap();
    check_balance(&report);
    assert_eq!(report.verdict, Verdict::Complete);
    let counts = inbox.counts();
    assert_eq!(counts.len(), events.len());
    let twice: u64 = counts.values().map(|count| count - 1).sum();
    assert!(
        twice <= report.sent_twice_max,
        "{twice} {}",
        report.sent_twice_max
    );
}

/// A process that dies leaves what it had in flight; nothing else may be sent twice, and nothing may be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_at_any_moment_nothing_is_lost_and_what_is_sent_twice_is_bounded() {
    let (sandbox, events) = recovered().await;
    let mut kills = 0;
    for round in 0..12 {
        let mut inbox = Inbox::new([Mood::Busy, Mood::Well, Mood::Busy]);
        inbox.slow = Duration::from_millis(2);
        let inbox = Arc::new(inbox);
        let name = format!("d-{round}");
        let mut report = None;
        for attempt in 0..50_u64 {
            let mut case = Case::new(&sandbox, &name);
            case.terms.again = true;
            let time = Duration::from_micros(700 + (round * 7919 + attempt * 1543) % 30_000);
            match tokio::time::timeout(time, case.deliver(&inbox)).await {
                Ok(Ok(done)) => {
                    report = Some(done);
                    break;
                }
                // What the one before had begun to write may come after its death.
                Ok(Err(DeliverError::TakenOver { .. })) | Err(_) => kills += 1,
                Ok(Err(error)) => panic!("{error}"),
            }
        }
        let report = match report {
            Some(report) => report,
            None => {
                let mut case = Case::new(&sandbox, &name);
                case.terms.again = true;
                case.deliver(&inbox).await.unwrap()
            }
        };
        check_balance(&report);
        assert_eq!(report.verdict, Verdict::Complete, "{report:?}");
        let counts = inbox.counts();
        assert_eq!(
            counts.len(),
            events.len(),
            "round {round}: an event is lost"
        );
        let twice: u64 = counts.values().map(|count| count - 1).sum();
        assert!(
            twice <= report.sent_twice_max,
            "{twice} {}",
            report.sent_twice_max
        );
    }
    assert!(kills > 50, "{kills} kills");
}

/// A salvaged object that is recovered as a whole later has other files: positions in the old ones mean nothing.
#[tokio::test]
async fn what_was_sent_of_files_that_were_written_anew_is_sent_again_and_nothing_is_taken_for_sent()
{
    let (sandbox, events) = recovered().await;
    let inbox = Arc::new(Inbox::new([]));
    Case::new(&sandbox, "d").deliver(&inbox).await.unwrap();
    // One event more at the beginning: each position is that of another event.
    let first = event("2-new", "2024-04-01T00:02:00Z");
    let content = first.clone() + &events[EVENTS as usize..2 * EVENTS as usize].concat();
    let other = Sandbox::new();
    for number in [1, 2, 3] {
        let time = format!("2024-04-01T00:0{number}:00Z");
        let range = (number as usize - 1) * EVENTS as usize..number as usize * EVENTS as usize;
        let of_object = match number {
            2 => content.clone(),
            _ => events[range].concat(),
        };
        other.back_up(&object_key(&time, number), of_object);
    }
    other
        .recover(request(json!({"format": "ndjson"})), &id("run"))
        .await;
    // The other run has the same delivery in its ledger.
    for (path, bytes) in sandbox.tree() {
        if path.contains("/deliveries/") {
            other.overwrite(&path, bytes);
        }
    }
    let again = Case::new(&other, "d").deliver(&inbox).await.unwrap();
    check_balance(&again);
    assert_eq!(again.verdict, Verdict::Complete, "{again:?}");
    let counts = inbox.counts();
    assert_eq!(
        counts[&first], 1,
        "the new event was taken for one that was sent"
    );
    assert_eq!(counts.len(), events.len() + 1);
    let twice: u64 = counts.values().map(|count| count - 1).sum();
    assert_eq!(
        (twice, again.sent_twice_max),
        (u64::from(EVENTS), u64::from(EVENTS))
    );
    // Another delivery knows as little of the old files.
    let later = Case::new(&other, "e").deliver(&inbox).await.unwrap();
    assert_eq!(later.events.fates.earlier, events.len() as u64 + 1);
}
