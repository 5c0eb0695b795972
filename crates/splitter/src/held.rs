//! A complete object whose verdict waits for the byte after it.

use crate::item::{Event, Item, Reason, Rejected, RejectedPart, Totals};

/// What precedes a held object.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surroundings {
    /// The beginning of the stream, or an event.
    #[default]
    Boundary,
    /// A fragment, with nothing open that could contain the object.
    Fragment,
    /// A fragment with an open object or array in which the held object is a value. The byte after the
    /// held object breaks it.
    Open,
}

/// The verdict on a held object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    Event,
    Rejected(Reason),
    /// Decided by one more byte.
    Unclear,
}

/// An object is whole if another one or the end of the stream follows. Anything else may be the rest of it: a
/// damaged byte can close a torn event too early. Then it counts only if the rule takes it for an envelope.
///
/// After a fragment, an envelope may be a value inside the torn event. A comma or closing bracket after it
/// proves that, because those never occur between events. If the fragment broke nowhere but at the byte
/// after the envelope, that byte alone may be damaged: certainly if no JSON text holds it, and most likely
/// if the fragment would be valid without it.
#[derive(Debug, Default)]
pub(crate) struct Held {
    offset: u64,
    pub(crate) bytes: Vec<u8>,
    surroundings: Surroundings,
}

impl Held {
    /// Keeps a copy. After a fragment, the caller has already asked the rule about it.
    pub(crate) fn hold(&mut self, offset: u64, bytes: &[u8], surroundings: Surroundings) {
        self.offset = offset;
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        self.surroundings = surroundings;
    }

    /// Judges by the first byte after the object that is not white space; `None` at the end of the stream.
    pub(crate) fn judge(&self, next: Option<u8>, rule: &impl Fn(&[u8]) -> bool) -> Judgement {
        let Some(byte) = next.filter(|byte| *byte != b'{') else {
            return Judgement::Event;
        };
        match self.surroundings {
            Surroundings::Boundary => judge_after_event(&self.bytes, next, rule),
            _ if is_separator(byte) => Judgement::Rejected(Reason::Nested),
            Surroundings::Fragment => Judgement::Event,
            Surroundings::Open if is_in_no_json(byte) => Judgement::Rejected(Reason::Nested),
            // The rest of another torn event may well begin with the last byte of a value: a digit, the end of
            // `true` or `null`, a quote. Rejecting the envelope here would lose an intact event.
            Surroundings::Open if matches!(byte, b'0'..=b'9' | b'e' | b'l' | b'"') => {
                Judgement::Event
            }
            Surroundings::Open => Judgement::Unclear,
        }
    }

    /// Judges by the byte directly after the one that [`judge`](Self::judge) found unclear.
    pub(crate) fn judge_by_second(second: Option<u8>) -> Judgement {
        match second {
            Some(byte) if is_separator(byte) => Judgement::Rejected(Reason::Nested),
            _ => Judgement::Event,
        }
    }

    /// Passes the object on as judged, and forgets it. Returns whether it was an event.
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

/// Whether the byte separates the values of an object or array, or closes it.
fn is_separator(byte: u8) -> bool {
    matches!(byte, b',' | b'}' | b']')
}

/// Control characters, and bytes that occur nowhere in UTF-8. White space, which is never asked about, is among the
/// control characters.
fn is_in_no_json(byte: u8) -> bool {
    matches!(byte, 0x00..=0x1f | 0xc0 | 0xc1 | 0xf5..=0xff)
}

fn judge_after_event(object: &[u8], next: Option<u8>, rule: &impl Fn(&[u8]) -> bool) -> Judgement {
    if next.is_some_and(|byte| byte != b'{') && !rule(object) {
        return Judgement::Rejected(Reason::NotAnEnvelope);
    }
    Judgement::Event
}

/// Passes on an object after an event whose next byte is known, so that it need not be held.
pub(crate) fn emit_object<E>(
    offset: u64,
    bytes: &[u8],
    next: Option<u8>,
    rule: &impl Fn(&[u8]) -> bool,
    totals: &mut Totals,
    on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
) -> Result<bool, E> {
    let judgement = judge_after_event(bytes, next, rule);
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

/// Passes on bytes of the fragment that began at `fragment_offset`, in parts.
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
