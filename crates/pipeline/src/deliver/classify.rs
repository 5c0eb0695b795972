//! Reads the events of one part, and decides which of them are to be sent.

use std::collections::HashSet;
use std::sync::Arc;

use event_recovery_format::{Envelope, EnvelopeScratch, arrival};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::deliver::missing::Missing;
use crate::deliver::record::DeliveryTerms;
use crate::deliver::target::Outgoing;
use crate::recovered::lines::EventLines;
use crate::recovered::parts::{Part, etag_of};
use crate::request::filters::FilterMatcher;
use crate::request::window::epoch_nanos;
use crate::storage::{RunStorage, StorageError};

/// What is to be done with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Send,
    /// This delivery has sent it before its process died.
    Sent,
    Earlier,
    Received,
    Filtered,
}

/// An event of a part.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) position: u64,
    /// The file, and the place in it.
    pub(crate) file: Arc<str>,
    pub(crate) offset: u64,
    pub(crate) decision: Decision,
    /// Empty unless it is to be sent.
    pub(crate) outgoing: Outgoing,
    pub(crate) bytes: u64,
}

/// How it is decided.
pub(crate) struct Rules {
    pub(crate) terms: DeliveryTerms,
    pub(crate) filters: FilterMatcher,
    pub(crate) missing: Option<Missing>,
    /// Unique to run and delivery.
    pub(crate) scope: String,
}

/// What is known of a part.
pub(crate) struct Known {
    /// Positions that this delivery has sent.
    pub(crate) sent: HashSet<u64>,
    /// Positions that earlier ones have.
    pub(crate) earlier: HashSet<u64>,
    /// Where to begin.
    pub(crate) position: u64,
}

/// Reads the part from `known.position` on. Each file is first read to its end, so that nothing of one that was changed is
/// sent. Ends early when nobody takes events any more.
pub(crate) async fn read_part(
    storage: Arc<dyn RunStorage>,
    part: Part,
    rules: Arc<Rules>,
    known: Known,
    into: mpsc::Sender<Result<Found, StorageError>>,
) {
    let mut first = 0;
    // Files that were written anew since hold other events at the same positions.
    let scope = format!(
        "{}/{}/{}",
        rules.scope,
        part.task.as_str(),
        part.fingerprint()
    );
    for output in &part.outputs {
        let next = first + output.rows;
        if next <= known.position {
            first = next;
            continue;
        }
        let etag = match etag_of(&*storage, &output.key).await {
            Ok(etag) => etag,
            Err(error) => {
                let _ = into.send(Err(error)).await;
                return;
            }
        };
        let (storage, output) = (Arc::clone(&storage), output.clone());
        let (rules, task, events) = (Arc::clone(&rules), part.task.clone(), into.clone());
        let (sent, earlier) = (known.sent.clone(), known.earlier.clone());
        let (begin, scope) = (known.position, scope.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let mut whole = EventLines::new(storage.open_here(&output.key, &etag)?, &output)?;
            while whole.next()?.is_some() {}
            let mut lines = EventLines::new(storage.open_here(&output.key, &etag)?, &output)?;
            let mut scratch = EnvelopeScratch::default();
            let (mut position, mut offset) = (first, 0);
            let file: Arc<str> = output.key.as_str().into();
            while let Some(event) = lines.next()? {
                let (at, place) = (position, offset);
                position += 1;
                offset += event.len() as u64 + 1;
                if at < begin {
                    continue;
                }
                let envelope = Envelope::read(event, &mut scratch);
                let id = envelope.event_id();
                let decision = if sent.contains(&at) {
                    Decision::Sent
                } else {
                    rules.decide(&envelope, id.as_deref(), task.as_str(), at, &earlier)
                };
                let is_sent = decision == Decision::Send;
                let outgoing = Outgoing {
                    event: if is_sent { event.to_vec() } else { Vec::new() },
                    event_id: id.map(std::borrow::Cow::into_owned),
                    event_type: match is_sent {
                        true => envelope.event_type().map(std::borrow::Cow::into_owned),
                        false => None,
                    },
                    group: match &rules.terms.group_by {
                        Some(pointer) if is_sent => group_of(event, pointer),
                        _ => None,
                    },
                    place: format!("{scope}/{at}"),
                };
                let found = Found {
                    position: at,
                    file: Arc::clone(&file),
                    offset: place,
                    decision,
                    bytes: event.len() as u64,
                    outgoing,
                };
                if events.blocking_send(Ok(found)).is_err() {
                    return Ok(false);
                }
            }
            Ok::<_, StorageError>(true)
        });
        match reading.await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) | Err(_) => return,
            Ok(Err(error)) => {
                let _ = into.send(Err(error)).await;
                return;
            }
        }
        first = next;
    }
}

impl Rules {
    fn decide(
        &self,
        envelope: &Envelope<'_>,
        id: Option<&str>,
        task: &str,
        position: u64,
        earlier: &HashSet<u64>,
    ) -> Decision {
        if !self.is_wanted(envelope) {
            return Decision::Filtered;
        }
        let is_received = |missing: &Missing| !missing.has(id, task, position);
        if self.missing.as_ref().is_some_and(is_received) {
            return Decision::Received;
        }
        match earlier.contains(&position) {
            true => Decision::Earlier,
            false => Decision::Send,
        }
    }

    fn is_wanted(&self, envelope: &Envelope<'_>) -> bool {
        let DeliveryTerms { from, to, .. } = &self.terms;
        if from.is_some() || to.is_some() {
            // What has no time is in no window.
            let Some(arrived) = arrival(envelope) else {
                return false;
            };
            let is_before = from.is_some_and(|from| arrived < epoch_nanos(from));
            let is_after = to.is_some_and(|to| arrived >= epoch_nanos(to));
            if is_before || is_after {
                return false;
            }
        }
        let is_all = self.filters.is_empty();
        is_all
            || self.filters.allows(
                envelope.domain().as_deref(),
                envelope.event_type().as_deref(),
            )
    }
}

/// What a pointer such as `/data/account_id` finds in the event; `data` may be a string that holds JSON.
fn group_of(event: &[u8], pointer: &str) -> Option<String> {
    let mut value: Value = serde_json::from_slice(event).ok()?;
    for token in pointer.strip_prefix('/')?.split('/') {
        let token = token.replace("~1", "/").replace("~0", "~");
        if let Value::String(text) = &value {
            value = serde_json::from_str(text).ok()?;
        }
        value = match value {
            Value::Object(mut members) => members.remove(&token)?,
            Value::Array(mut items) => {
                let index: usize = token.parse().ok()?;
                (index < items.len()).then(|| items.swap_remove(index))?
            }
            _ => return None,
        };
    }
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::group_of;

    #[test]
    fn a_group_is_found_by_a_pointer_also_in_json_inside_of_a_string() {
        for (event, pointer, group) in [
            (
                r#"{"data":{"account_id":7}}"#,
                "/data/account_id",
                Some("7"),
            ),
            (
                r#"{"data":"{\"a\":{\"b\":\"x\"}}"}"#,
                "/data/a/b",
                Some("x"),
            ),
            (r#"{"data":["a","b"]}"#, "/data/1", Some("b")),
            (r#"{"a/b":{"m~n":true}}"#, "/a~1b/m~0n", Some("true")),
            (r#"{"data":{"account_id":null}}"#, "/data/account_id", None),
            (r#"{"data":"no json"}"#, "/data/a", None),
            (r#"{"data":{}}"#, "/data/a", None),
            ("{}", "data", None),
        ] {
            assert_eq!(
                group_of(event.as_bytes(), pointer).as_deref(),
                group,
                "{event} {pointer}"
            );
        }
    }
}
