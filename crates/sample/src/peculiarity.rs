//! Peculiarities of objects of a hard sample, and their distribution over the objects.

use crate::options::SampleOptions;
use crate::schedule::ObjectPlan;
use crate::torn::Tear;

/// Number of objects after which each peculiarity recurs.
const PERIOD: u64 = 50;

/// A property that few objects have. An object can have several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peculiarity {
    /// The name does not follow the platform's pattern. Only one object of a sample has this.
    ForeignName,
    Torn(Tear),
    Gzip,
    TwoGzipMembers,
    ByteOrderMark,
    /// The object has no bytes.
    Empty,
}

impl Peculiarity {
    /// The peculiarities that an object can have together with others, in the order of their places.
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

    /// Whether the object has this peculiarity. Each has a place of its own in the sequence of objects; in a sample
    /// with fewer objects than peculiarities, objects have several.
    ///
    /// The first and the last object of an hour hold events of the neighbouring hours. An empty object cannot, and one
    /// with a foreign name must not, so their places are among the other objects. If hours have no others, the first
    /// and the last object of the sample are these two.
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
