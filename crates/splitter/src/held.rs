//! A complete object that waits for the byte behind it.

use crate::item::{Event, Item, Reason, Rejected, RejectedPart, Totals};

/// An object is whole when another one follows, or the end. Anything else may be its own rest: a
/// damaged byte can close a torn event too early. Then it counts only if it looks like an envelope.
#[derive(Debug, Default)]
pub(crate) struct Held {
    offset: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Held {
    pub(crate) fn hold(&mut self, offset: u64, bytes: &[u8]) {
        self.offset = offset;
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
    }

    /// Hands the object out as an event or as a fragment, by the first byte behind it that is no
    /// white space. Returns whether it was an event.
    pub(crate) fn decide<E>(
        &mut self,
        behind: Option<u8>,
        rule: &impl Fn(&[u8]) -> bool,
        totals: &mut Totals,
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let is_event = emit_object(self.offset, &self.bytes, behind, rule, totals, on_item)?;
        self.bytes.clear();
        Ok(is_event)
    }
}

/// As [`Held::decide`], for an object that need not be held.
pub(crate) fn emit_object<E>(
    offset: u64,
    bytes: &[u8],
    behind: Option<u8>,
    rule: &impl Fn(&[u8]) -> bool,
    totals: &mut Totals,
    on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
) -> Result<bool, E> {
    let length = bytes.len() as u64;
    if behind.is_some_and(|byte| byte != b'{') && !rule(bytes) {
        let reason = Reason::NotAnEnvelope;
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
