//! What is peculiar about some objects of a hard sample, and which objects those are.

use crate::options::SampleOptions;
use crate::schedule::ObjectPlan;
use crate::torn::Tear;

/// Every so many objects there is another one of each peculiarity.
const PERIOD: u64 = 50;

/// What is peculiar about an object of a hard sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peculiarity {
    /// Its name follows no pattern; there is one such object.
    ForeignName,
    Torn(Tear),
    Gzip,
    TwoGzipMembers,
    ByteOrderMark,
    /// It has no bytes at all.
    Empty,
}

impl Peculiarity {
    /// Those that an object can have together with others, in the order of their places.
    const SHARING: [Self; 8] = [
        Self::ForeignName,
        Self::Torn(Tear::CutInMiddle),
        Self::Gzip,
        Self::Torn(Tear::CutInString),
        Self::TwoGzipMembers,
        Self::Torn(Tear::InvalidUtf8),
        Self::ByteOrderMark,
        Self::Torn(Tear::TruncatedTail),
    ];

    /// Whether the object is one of those. Each peculiarity has a place of its own among the
    /// objects; where there are fewer objects than peculiarities, they share.
    ///
    /// The first and the last object of an hour hold events of the neighbouring hours. An empty
    /// object can't, and one with a foreign name must not, so the places are among the others. Where
    /// an hour has no others, the sample's own first and last object take those two.
    pub(crate) fn is_of(self, plan: &ObjectPlan, options: &SampleOptions) -> bool {
        if !options.hard {
            return false;
        }
        let has_inner = options.objects_per_hour > 2;
        if has_inner && (plan.index == 0 || plan.is_last_of_hour) {
            return false;
        }
        let per_hour = options.objects_per_hour - if has_inner { 2 } else { 0 };
        let index = plan.index - u32::from(has_inner);
        let number = u64::from(plan.hour_number) * u64::from(per_hour) + u64::from(index);
        let objects = u64::from(options.hours) * u64::from(per_hour);
        let places = objects.min(PERIOD);
        let last_place = places - 1;
        let Some(position) = Self::SHARING.iter().position(|other| *other == self) else {
            let place = if has_inner { last_place } else { objects - 1 };
            let number = if has_inner { number % places } else { number };
            return objects > 1 && number == place;
        };
        let place = position as u64 * last_place / Self::SHARING.len() as u64;
        match self {
            Self::ForeignName => number == place,
            _ => number % places == place,
        }
    }
}
