//! Derives the report and its verdict from the tally.

use std::collections::BTreeMap;

use chrono::SecondsFormat;

use super::Tally;
use crate::backup::hour_prefix::HourPrefix;
use crate::backup::unexpected::Unexpected;
use crate::cost::bill::{Cost, Work};
use crate::ledger::report::{AuditDigests, Finality, Report, Times, Verdict};
use crate::ledger::{LEDGER_VERSION, SOFTWARE};

impl Tally<'_> {
    /// The report, and the digests of the records it was computed from; the caller that writes the report
    /// adds its digest.
    pub(crate) fn into_report(mut self) -> (Report, AuditDigests) {
        self.compare_plan();
        let incomplete = self.reasons_for_incomplete();
        let needs_look = self.reasons_for_a_look();
        let verdict = match (incomplete.is_empty(), needs_look.is_empty()) {
            (false, _) => Verdict::Incomplete,
            (true, false) => Verdict::NeedsLook,
            (true, true) => Verdict::Complete,
        };
        let duration = self.now - self.request.created_at;
        let finality = self.finality();
        let unexpected = self.unexpected().cloned().unwrap_or_default();
        let planned_at = self.plan.as_ref().map(|plan| plan.planned_at);
        let digests = self.digests();
        let cost = self.cost();
        let (changed, vanished) = match self.recheck {
            Some(recheck) => (recheck.changed, recheck.vanished),
            None => Default::default(),
        };
        let report = Report {
            version: LEDGER_VERSION,
            software: SOFTWARE.to_owned(),
            execution_id: self.ledger.execution_id().clone(),
            verdict,
            reasons: [incomplete, needs_look].concat(),
            finality: Some(finality),
            request: self.request.request,
            objects: self.sums.objects,
            bytes: self.sums.counts.bytes,
            events: self.sums.counts.events,
            orgs: self.sums.orgs,
            kinds: self.sums.kinds,
            rejected_fragments: self.sums.counts.rejected_fragments,
            outside_tolerance_max_millis: self.sums.counts.outside_tolerance_max_millis,
            foreign_names: self.sums.foreign_names,
            empty_objects: self.sums.empty_objects,
            unexpected,
            late: self.sums.late,
            changed,
            vanished,
            unverifiable_records: self.sums.unverifiable_records,
            output: self.sums.output,
            unrecovered: self.sums.unrecovered,
            losses: self.sums.losses,
            salvage: self.sums.salvage,
            rejected_files: self.sums.rejected_files,
            times: Times {
                created_at: self.request.created_at,
                planned_at,
                finished_at: self.sums.finished_at,
                audited_at: self.now,
                duration_millis: u64::try_from(duration.num_milliseconds()).unwrap_or(0),
            },
            hours: self.sums.hours,
            cost: Some(cost),
        };
        (report, digests)
    }

    /// What the run has taken, by what receipts and files show.
    fn cost(&self) -> Cost {
        let (objects, output) = (&self.sums.objects, &self.sums.output);
        let receipts = objects.done + objects.salvaged + objects.failed;
        let rejected_files = u64::try_from(self.sums.rejected_files.len()).unwrap_or(0);
        let work = Work {
            hours: self.sums.listed_hours,
            listed: objects.listed,
            tasks: objects.planned,
            readings: receipts,
            bytes: self.sums.counts.bytes.source,
            files: output.files + rejected_files,
            file_bytes: output.bytes,
            receipts,
        };
        Cost::of(&work, self.request.request.output)
    }

    /// The digests of what was read, but for that of the report.
    fn digests(&self) -> AuditDigests {
        let mut digests = AuditDigests {
            version: LEDGER_VERSION,
            report: String::new(),
            plan: self.digests.plan.clone(),
            receipts: BTreeMap::new(),
            late_plans: self.digests.late_plans.clone(),
            late_receipts: BTreeMap::new(),
        };
        for (label, digest) in &self.sums.receipts_digests {
            match HourPrefix::parse(label) {
                Ok(hour) => drop(digests.receipts.insert(hour, digest.clone())),
                Err(_) => drop(digests.late_receipts.insert(label.clone(), digest.clone())),
            }
        }
        digests
    }

    /// Of which time the verdict is.
    fn finality(&self) -> Finality {
        let listed = self
            .sums
            .hours
            .iter()
            .filter_map(|hour| hour.listed_at)
            .min();
        let listed_at = listed.unwrap_or(self.request.created_at);
        let finality = Finality::new(listed_at, self.request.final_after());
        // An hour that is not listed is of no time.
        let is_whole = self.plan.is_some() && self.sums.unlisted_hours == 0;
        Finality {
            is_final: finality.is_final && is_whole,
            ..finality
        }
    }

    /// What lies between the hours, by the newest listing.
    fn unexpected(&self) -> Option<&Unexpected> {
        let rechecked = self.recheck.as_ref().map(|recheck| &recheck.unexpected);
        rechecked.or(self.plan.as_ref().map(|plan| &plan.unexpected))
    }

    fn reasons_for_incomplete(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let objects = &self.sums.objects;
        if let Some(mark) = &self.cancelled
            && (self.plan.is_none() || objects.failed + objects.missing > 0)
        {
            let at = mark.cancelled_at.to_rfc3339_opts(SecondsFormat::Secs, true);
            reasons.push(format!("cancelled at {at}; resume the run to carry on"));
        }
        if self.plan.is_none() {
            reasons.push(format!(
                "the plan is not complete: {} hours not listed",
                self.sums.unlisted_hours
            ));
        } else if self.sums.unlisted_hours > 0 {
            reasons.push(format!(
                "the task lists of {} hours are gone",
                self.sums.unlisted_hours
            ));
        }
        if objects.failed > 0 {
            reasons.push(format!("objects failed: {}", objects.failed));
        }
        if objects.missing > 0 {
            reasons.push(format!("objects missing: {}", objects.missing));
        }
        if objects.listed != objects.pruned + objects.planned
            || objects.planned
                != objects.done + objects.salvaged + objects.failed + objects.missing + objects.lost
            || !self.sums.counts.balances()
        {
            reasons.push("the balance does not close".to_owned());
        }
        reasons.extend(self.sums.disagreements.iter().cloned());
        reasons
    }

    fn reasons_for_a_look(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let events = &self.sums.counts.events;
        if self.sums.objects.lost > 0 {
            reasons.push(format!(
                "objects whose loss was accepted: {}",
                self.sums.objects.lost
            ));
        }
        let salvage = &self.sums.salvage;
        if self.sums.objects.salvaged > 0 {
            reasons.push(format!(
                "objects recovered only up to their damage: {}; stored bytes that could not be decoded: {}; events before the damage that no checksum covers: {}",
                self.sums.objects.salvaged, salvage.undecoded_bytes, salvage.unverified_events
            ));
        }
        if self.sums.counts.rejected_fragments > 0 {
            reasons.push(format!(
                "rejected fragments: {}",
                self.sums.counts.rejected_fragments
            ));
        }
        if events.repeated_ids > 0 {
            reasons.push(format!(
                "events whose id comes twice, perhaps two in one: {}",
                events.repeated_ids
            ));
        }
        if events.same_id_other_bytes > 0 {
            reasons.push(format!(
                "events with the id of another event of their object and other bytes, which were kept: {}",
                events.same_id_other_bytes
            ));
        }
        if events.outside_tolerance > 0 {
            reasons.push(format!(
                "events that arrived outside of their objects' tolerance: {}, by up to {:.1} s",
                events.outside_tolerance,
                self.sums.counts.outside_tolerance_max_millis as f64 / 1000.0
            ));
        }
        if self.sums.objects.listed == 0 {
            reasons.push("no objects at all in the range".to_owned());
        } else if self.sums.objects.done > 0 && events.found == 0 {
            reasons.push(format!(
                "no events at all in {} objects, of which {} hold nothing",
                self.sums.objects.done, self.sums.empty_objects
            ));
        }
        if let Some(unexpected) = self.unexpected()
            && unexpected.objects > 0
        {
            reasons.push(format!(
                "objects among the hours of the range that belong to no hour and were not recovered: {}, the first `{}`",
                unexpected.objects,
                unexpected.named.first().map_or("", String::as_str)
            ));
        }
        // As of the listing: objects that arrived later are in no task list, however old they are by now.
        if self
            .request
            .request
            .window()
            .is_open(self.finality().listed_at)
        {
            reasons
                .push("window still open: objects could still come when it was listed".to_owned());
        }
        if let Some(recheck) = &self.recheck {
            for (keys, what) in [
                (&recheck.changed, "changed"),
                (&recheck.vanished, "vanished"),
            ] {
                if !keys.is_empty() {
                    reasons.push(format!(
                        "objects that {what} after they were listed, so that what was recovered of them can't be compared: {}, the first `{}`",
                        keys.objects,
                        keys.named.first().map_or("", String::as_str)
                    ));
                }
            }
        }
        if self.sums.foreign_names > 0 {
            reasons.push(format!(
                "objects with foreign names: {}",
                self.sums.foreign_names
            ));
        }
        reasons
    }
}
