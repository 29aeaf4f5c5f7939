//! Rows between reading and ordering: a consumer's key, one word of scope, day and kind, and what some models need besides.

use std::sync::{Mutex, PoisonError};

/// Bits of a row's word below the scope: 17 of the day, 15 of the class.
pub(crate) const DAY_SHIFT: u32 = 15;
pub(crate) const SCOPE_SHIFT: u32 = 32;
pub(crate) const MAX_CLASSES: usize = 1 << DAY_SHIFT;

/// A row's place in time and kind: scope, day and class in one integer that sorts in this order.
#[inline]
pub(crate) fn pack(scope: u32, day: i32, class: u16) -> u64 {
    u64::from(scope) << SCOPE_SHIFT | (day as u64) << DAY_SHIFT | u64::from(class)
}

/// The day of a word.
#[inline]
pub(crate) fn day_of(word: u64) -> i32 {
    ((word as u32) >> DAY_SHIFT) as i32
}

/// The class of a word.
#[inline]
pub(crate) fn class_of(word: u64) -> usize {
    (word & (MAX_CLASSES as u64 - 1)) as usize
}

/// The scope of a word.
#[inline]
pub(crate) fn scope_of(word: u64) -> u32 {
    (word >> SCOPE_SHIFT) as u32
}

/// A change of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Toggle {
    /// Scope number.
    pub scope: u32,
    /// When, in UTC µs.
    pub instant: i64,
    /// Off sorts after on, so that at the same instant leaving wins.
    pub off: bool,
    /// Place in [`Program::states`](crate::model::Program::states).
    pub state: u8,
    /// The day number.
    pub day: i32,
}

/// Rows of one bucket as one worker met them. Texts of consumers stand in the same order as the rows.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub rows: Vec<(u64, u64)>,
    pub texts: Vec<u8>,
    pub payloads: Vec<u64>,
    pub toggles: Vec<(u64, Toggle)>,
    pub toggle_texts: Vec<u8>,
}

/// What stands beside a word when the model or the schema needs more than day and kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PayloadLayout {
    /// Whether two integers of an order's identity come first.
    pub orders: bool,
    /// Whether two integers of the event's own identity follow.
    pub events: bool,
    /// How many measures follow.
    pub sums: usize,
    /// How many labels follow: 0 for none, else one more than the label's place among the values of its field.
    pub labels: usize,
    /// Whether the row's place in a log comes last.
    pub places: bool,
}

impl PayloadLayout {
    /// Integers a row.
    #[must_use]
    pub fn width(self) -> usize {
        2 * usize::from(self.orders) + 2 * usize::from(self.events) + self.sums + self.labels + usize::from(self.places)
    }

    /// Where the event's identity begins.
    #[must_use]
    pub fn event_at(self) -> usize {
        2 * usize::from(self.orders)
    }

    /// Where the place in the log stands.
    #[must_use]
    pub fn place_at(self) -> usize {
        self.labels_at() + self.labels
    }

    /// Where labels begin.
    #[must_use]
    pub fn labels_at(self) -> usize {
        self.sums_at() + self.sums
    }

    /// Where measures begin.
    #[must_use]
    pub fn sums_at(self) -> usize {
        2 * usize::from(self.orders) + 2 * usize::from(self.events)
    }
}

/// Numbers the different leaf masks that rows carry, for all workers of a scan.
#[derive(Debug)]
pub(crate) struct Classes {
    masks: Mutex<Vec<u64>>,
}

impl Classes {
    /// Class 0 is the row that only proves that the consumer exists.
    pub fn new() -> Self {
        Classes {
            masks: Mutex::new(vec![0]),
        }
    }

    pub fn number(&self, mask: u64) -> Option<u16> {
        let mut masks = self.masks.lock().unwrap_or_else(PoisonError::into_inner);
        let found = masks.iter().position(|known| *known == mask).or_else(|| {
            masks.push(mask);
            (masks.len() <= MAX_CLASSES).then(|| masks.len() - 1)
        });
        found.map(|class| class as u16)
    }

    /// Masks in ascending order, and for each class its place in that order: numbers that depend on the data alone.
    pub fn settle(self) -> (Vec<u64>, Vec<u16>) {
        let masks = self.masks.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut ordered: Vec<(u64, u16)> = masks.into_iter().zip(0..).collect();
        ordered.sort_unstable();
        let mut places = vec![0; ordered.len()];
        ordered
            .iter()
            .zip(0..)
            .for_each(|((_, class), place)| places[usize::from(*class)] = place);
        (ordered.into_iter().map(|(mask, _)| mask).collect(), places)
    }
}
