//! The label of one history at the close of one day.

use crate::model::program::{Counter, Program};
use crate::stage::states::states_on;
use crate::timeline::History;
use crate::timeline::rows::{PayloadLayout, class_of, day_of};

/// Labels histories at one day; holds scratch space, one per thread.
#[derive(Debug)]
pub struct Labeler<'a> {
    program: &'a Program,
    /// Leaf masks by class.
    masks: &'a [u64],
    layout: PayloadLayout,
    day: i32,
    counters: Vec<Tracker>,
}

/// The running value of one counting leaf.
#[derive(Debug, Default)]
struct Tracker {
    value: i128,
    last_day: i32,
    orders: Vec<(u64, u64)>,
}

impl<'a> Labeler<'a> {
    /// A labeler for the close of `day`.
    #[must_use]
    pub fn new(program: &'a Program, masks: &'a [u64], layout: PayloadLayout, day: i32) -> Self {
        let counters = program.leaves.iter().map(|_| Tracker::default()).collect();
        Labeler {
            program,
            masks,
            layout,
            day,
            counters,
        }
    }

    /// What stands beside each word.
    #[must_use]
    pub fn layout(&self) -> PayloadLayout {
        self.layout
    }

    /// 0 if the history is in no stage at the close of the day, else `i + 1` for stage `i`. Events must be in order of day.
    pub fn label(&mut self, history: &History<'_>) -> u8 {
        if !self.exists(history) {
            return 0;
        }
        let truth = self.count(history.words, history.payloads) | states_on(self.program, history, self.day);
        self.program.label(truth)
    }

    /// Whether anything of the pair has happened by the day.
    fn exists(&self, history: &History<'_>) -> bool {
        history.words.first().is_some_and(|&word| day_of(word) <= self.day)
            || history.toggles.iter().any(|(_, toggle)| toggle.day <= self.day)
            || history.spans.iter().any(|(_, span)| span.first <= self.day)
    }

    /// Truth of the counting leaves.
    fn count(&mut self, words: &[u64], payloads: &[u64]) -> u64 {
        let program = self.program;
        let (mut once, mut twice) = (0, 0);
        let (mut earlier, mut today, mut current) = (0u64, 0u64, i32::MIN);
        self.reset();
        for (row, &word) in words.iter().enumerate() {
            let day = day_of(word);
            if day > self.day {
                break;
            }
            let mask = self.masks[class_of(word)] & program.open_leaves(self.day - day);
            once |= mask;
            if day != current {
                earlier |= today;
                (today, current) = (0, day);
            }
            today |= mask & program.twice;
            twice |= today & earlier;
            if !program.counted.is_empty() {
                self.track(row, day, mask, payloads);
            }
        }
        let simple = (once & program.once) | (twice & program.twice);
        program.counted.iter().fold(simple, |truth, &bit| {
            if program.leaves[bit].holds(self.value(bit)) {
                truth | 1 << bit
            } else {
                truth
            }
        })
    }

    fn reset(&mut self) {
        for &bit in &self.program.counted {
            let tracker = &mut self.counters[bit];
            (tracker.value, tracker.last_day) = (0, i32::MIN);
            tracker.orders.clear();
        }
    }

    /// Counts one event for the leaves that need more than "once" or "twice".
    fn track(&mut self, row: usize, day: i32, mask: u64, payloads: &[u64]) {
        let width = self.layout.width();
        for &bit in self.program.counted.iter().filter(|&&bit| mask >> bit & 1 == 1) {
            let tracker = &mut self.counters[bit];
            match self.program.leaves[bit].counter {
                Counter::Events => tracker.value += 1,
                Counter::Days if tracker.last_day == day => {}
                Counter::Days => (tracker.value, tracker.last_day) = (tracker.value + 1, day),
                Counter::Orders => tracker.orders.push((payloads[row * width], payloads[row * width + 1])),
                Counter::Sum(place) => tracker.value += i128::from(payloads[row * width + self.layout.sums_at() + place] as i64),
                Counter::State | Counter::Watched => {}
            }
        }
    }

    fn value(&mut self, bit: usize) -> i128 {
        let tracker = &mut self.counters[bit];
        if self.program.leaves[bit].counter == Counter::Orders {
            tracker.orders.sort_unstable();
            tracker.orders.dedup();
            tracker.orders.retain(|order| *order != (0, 0));
            tracker.value = tracker.orders.len() as i128;
        }
        tracker.value
    }
}
