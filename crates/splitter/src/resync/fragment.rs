//! Passes fragments on, and drops bytes that are no longer needed.

use super::{Resync, Stage};
use crate::grammar::is_whitespace;
use crate::held::emit_parts;
use crate::item::{Item, Reason, Rejected, RejectedPart, Totals};

/// Longest white space between a fragment and an event, in bytes, that belongs to neither. Longer white
/// space belongs to the fragment, whose bytes need not be kept then.
const TRIMMED_WHITESPACE_BYTES_MAX: usize = 4096;

impl Resync {
    /// Passes on the remaining parts of the fragment, then the fragment itself.
    pub(super) fn emit_rejected<E>(
        &mut self,
        start: u64,
        end: u64,
        reason: Reason,
        totals: &mut Totals,
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.emit_parts(start, end, reason, on_item)?;
        totals.rejected_fragments += 1;
        totals.rejected_bytes += end - start;
        on_item(Item::Rejected(Rejected {
            offset: start,
            length: end - start,
            reason,
        }))
    }

    /// Passes on the bytes of the fragment up to `end`, from where [`release`](Self::release) stopped.
    fn emit_parts<E>(
        &self,
        start: u64,
        end: u64,
        reason: Reason,
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let first = start.max(self.window_start);
        let bytes = &self.window[self.index_of(first)..self.index_of(end)];
        emit_parts(start, first, bytes, reason, on_item)
    }

    /// The position before `end` at which a fragment ends if white space between the two is left out.
    pub(super) fn trimmed(&self, end: u64) -> u64 {
        let before = &self.window[..self.index_of(end)];
        let whitespace = before
            .iter()
            .rev()
            .take(TRIMMED_WHITESPACE_BYTES_MAX + 1)
            .take_while(|byte| is_whitespace(**byte))
            .count();
        if whitespace > TRIMMED_WHITESPACE_BYTES_MAX {
            end
        } else {
            end - whitespace as u64
        }
    }

    /// Drops bytes that no event can hold any more, and passes them on as parts of the fragment: whole parts only, so
    /// that the cuts do not depend on the chunks.
    pub(super) fn release<E>(
        &mut self,
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let kept_bytes_max = self.limits.event_bytes_max + TRIMMED_WHITESPACE_BYTES_MAX + 1;
        let (start, reason) = match self.stage {
            Stage::Between | Stage::Held => {
                self.forget_before(self.position());
                return Ok(());
            }
            Stage::Doubt { next } => {
                self.forget_before(next);
                return Ok(());
            }
            Stage::InValue { start, flaw } => (start, flaw.unwrap_or(Reason::TooLarge)),
            Stage::Lost { start, reason } => (start, reason),
        };
        // Twice the need is kept, so that a byte is moved to the front once on average.
        if self.window.len() < 2 * kept_bytes_max + RejectedPart::BYTES_MAX {
            return Ok(());
        }
        let first = start.max(self.window_start);
        let spare = (self.end() - kept_bytes_max as u64).saturating_sub(first);
        let whole_parts = spare - spare % RejectedPart::BYTES_MAX as u64;
        let end = first + whole_parts;
        self.emit_parts(start, end, reason, on_item)?;
        self.forget_before(end);
        Ok(())
    }

    fn forget_before(&mut self, position: u64) {
        let index = self.index_of(position);
        self.window.drain(..index);
        self.window_start = position;
        self.next -= index;
    }
}
