//! A complete object that waits for the byte behind it.

use crate::item::{Event, Item, Reason, Rejected, RejectedPart, Totals};

/// What stands before a held object.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surroundings {
    /// The beginning of the stream, or an event.
    #[default]
    Boundary,
    /// A fragment, with nothing open that could contain the object.
    Fragment,
    /// A fragment with an object or array that is open, in which the object is a value. The byte
    /// behind the object breaks it.
    Open,
}

/// What a held object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    Event,
    Rejected(Reason),
    /// One more byte will tell.
    Unclear,
}

/// An object is whole when another one follows, or the end. Anything else may be its own rest: a
/// damaged byte can close a torn event too early. Then it counts only if it looks like an envelope.
///
/// After a fragment, an envelope may be a value inside of what was torn. Between events there are no
/// commas and closing brackets, so one behind it says so. If the fragment has broken nowhere but at
/// the byte behind the envelope, that byte may be all that is wrong with it: surely if no JSON text
/// holds it, and most likely if the fragment would go on without it.
#[derive(Debug, Default)]
pub(crate) struct Held {
    offset: u64,
    pub(crate) bytes: Vec<u8>,
    surroundings: Surroundings,
}

impl Held {
    /// Holds a copy. After a fragment it must be of an envelope.
    pub(crate) fn hold(&mut self, offset: u64, bytes: &[u8], surroundings: Surroundings) {
        self.offset = offset;
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        self.surroundings = surroundings;
    }

    /// Judges by the first byte behind the object that is no white space.
    pub(crate) fn judge(&self, behind: Option<u8>, rule: &impl Fn(&[u8]) -> bool) -> Judgement {
        let Some(byte) = behind.filter(|byte| *byte != b'{') else {
            return Judgement::Event;
        };
        match self.surroundings {
            Surroundings::Boundary => judge_after_event(&self.bytes, behind, rule),
            _ if is_separator(byte) => Judgement::Rejected(Reason::Nested),
            Surroundings::Fragment => Judgement::Event,
            Surroundings::Open if is_in_no_json(byte) => Judgement::Rejected(Reason::Nested),
            // The end of another torn event begins with the last byte of a value as often as not.
            Surroundings::Open if matches!(byte, b'0'..=b'9' | b'e' | b'l' | b'"') => {
                Judgement::Event
            }
            Surroundings::Open => Judgement::Unclear,
        }
    }

    /// Judges by the byte directly behind the one that [`judge`](Self::judge) found unclear.
    pub(crate) fn judge_by_second(second: Option<u8>) -> Judgement {
        match second {
            Some(byte) if is_separator(byte) => Judgement::Rejected(Reason::Nested),
            _ => Judgement::Event,
        }
    }

    /// Hands the object out and forgets it. Returns whether it was an event.
    pub(crate) fn end<E>(
        &mut self,
        judgement: Judgement,
        totals: &mut Totals,
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let is_event = emit_judged(self.offset, &self.bytes, judgement, totals, on_item)?;
        self.bytes.clear();
        Ok(is_event)
    }
}

/// Whether the byte stands between the values of an object or array, or ends it.
fn is_separator(byte: u8) -> bool {
    matches!(byte, b',' | b'}' | b']')
}

/// Control characters but white space, and bytes that UTF-8 never has.
fn is_in_no_json(byte: u8) -> bool {
    matches!(byte, 0x00..=0x1f | 0xc0 | 0xc1 | 0xf5..=0xff)
}

fn judge_after_event(
    object: &[u8],
    behind: Option<u8>,
    rule: &impl Fn(&[u8]) -> bool,
) -> Judgement {
    if behind.is_some_and(|byte| byte != b'{') && !rule(object) {
        return Judgement::Rejected(Reason::NotAnEnvelope);
    }
    Judgement::Event
}

/// Hands out an object that comes after an event and need not be held.
pub(crate) fn emit_object<E>(
    offset: u64,
    bytes: &[u8],
    behind: Option<u8>,
    rule: &impl Fn(&[u8]) -> bool,
    totals: &mut Totals,
    on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
) -> Result<bool, E> {
    let judgement = judge_after_event(bytes, behind, rule);
    emit_judged(offset, bytes, judgement, totals, on_item)
}

fn emit_judged<E>(
    offset: u64,
    bytes: &[u8],
    judgement: Judgement,
    totals: &mut Totals,
    on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
) -> Result<bool, E> {
    let length = bytes.len() as u64;
    if let Judgement::Rejected(reason) = judgement {
        emit_parts(offset, offset, bytes, reason, on_item)?;
        totals.rejected_fragments += 1;
        totals.rejected_bytes += length;
        on_item(Item::Rejected(Rejected {
            offset,
            length,
            reason,
        }))?;
        return Ok(false);
    }
    totals.events += 1;
    totals.event_bytes += length;
    on_item(Item::Event(Event {
        offset,
        bytes,
        separators: None,
    }))?;
    Ok(true)
}

/// Hands out bytes of the fragment that began at `fragment_offset`.
pub(crate) fn emit_parts<E>(
    fragment_offset: u64,
    mut offset: u64,
    bytes: &[u8],
    reason: Reason,
    on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
) -> Result<(), E> {
    for part in bytes.chunks(RejectedPart::BYTES_MAX) {
        on_item(Item::RejectedPart(RejectedPart {
            fragment_offset,
            offset,
            reason,
            bytes: part,
        }))?;
        offset += part.len() as u64;
    }
    Ok(())
}
