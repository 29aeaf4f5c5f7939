//! The stages of one history over time: every maximal run of days with one label, in one pass.
//!
//! An event on day d counts for a rule of N days on `[d, d + N − 1]`. So the label changes only on days when an event comes in,
//! leaves a window, or a state changes; between them nothing is looked at.

use std::collections::HashMap;

use crate::model::program::{Counter, Program};
use crate::timeline::History;
use crate::timeline::bucket::NO_STATE;
use crate::timeline::rows::{PayloadLayout, class_of, day_of};

/// Days with one label: 0 is out, `i + 1` is stage `i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// The label.
    pub label: u8,
    /// The first day number.
    pub first: i32,
    /// The last day number.
    pub last: i32,
}

/// Finds the intervals of histories within a range of days; holds scratch space, one per thread.
#[derive(Debug)]
pub struct IntervalFinder<'a> {
    program: &'a Program,
    /// Leaf masks by class.
    masks: &'a [u64],
    layout: PayloadLayout,
    first: i32,
    last: i32,
    /// The running value of each leaf.
    values: Vec<i128>,
    /// How often each order is in the window of each leaf that counts orders.
    orders: Vec<HashMap<(u64, u64), u32>>,
    /// Leaves that hold, but for states.
    truth: u64,
    /// The row that next leaves each window.
    tails: Vec<usize>,
    /// Days after an event on which it still counts for each leaf.
    reach: Vec<i32>,
    /// The last day of each leaf that holds, and the last day with an event of those that ask for two.
    ends: Vec<i32>,
    twice_on: Vec<i32>,
    states: States,
}

/// No day.
const NEVER: i32 = i32::MIN;

/// A change of a state on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    /// By an event: the place among the history's changes in order of time, the state, on or off.
    Toggle(usize, u8, bool),
    /// A period of a table begins or ends.
    Period(u8, bool),
}

/// States of a history as its days go by.
#[derive(Debug, Default)]
struct States {
    changes: Vec<(i32, Change)>,
    next: usize,
    /// For each state: the place of the last switch, whether it was on, and how many periods are open.
    now: Vec<(usize, bool, u32)>,
    on: u64,
}

impl<'a> IntervalFinder<'a> {
    /// A finder for the days from `first` to `last`; rows must bear all that counts on them.
    #[must_use]
    pub fn new(program: &'a Program, masks: &'a [u64], layout: PayloadLayout, first: i32, last: i32) -> Self {
        IntervalFinder {
            program,
            masks,
            layout,
            first,
            last,
            values: vec![0; program.leaves.len()],
            orders: vec![HashMap::new(); program.leaves.len()],
            truth: 0,
            tails: vec![0; program.windows.len()],
            reach: program
                .leaves
                .iter()
                .map(|leaf| leaf.days.map_or(i32::MAX, |days| days as i32 - 1))
                .collect(),
            ends: vec![NEVER; program.leaves.len()],
            twice_on: vec![NEVER; program.leaves.len()],
            states: States::default(),
        }
    }

    /// Calls `visit` with each interval, in order of day: they follow on each other from the day on which the pair exists (or the
    /// first day of the range) to the last day of the range. Events must be in order of day.
    pub fn find(&mut self, history: &History<'_>, visit: impl FnMut(Interval)) {
        self.states.begin(history, self.program.states.len());
        if self.program.counts_once() {
            self.find_simple(history, visit);
        } else {
            self.find_counting(history, visit);
        }
    }

    /// Where every rule asks for one event, or for two days: an event only ever moves the day on which a leaf ends further out.
    fn find_simple(&mut self, history: &History<'_>, mut visit: impl FnMut(Interval)) {
        let program = self.program;
        let (mut row, mut run, mut truth) = (0, None::<Interval>, 0u64);
        let mut next_end = i32::MAX;
        self.twice_on.fill(NEVER);
        loop {
            let incoming = history.words.get(row).map_or(i32::MAX, |&word| day_of(word));
            let day = incoming.min(next_end.saturating_add(1)).min(self.states.next_day());
            if day > self.last {
                break;
            }
            if next_end < day {
                for bit in bits(truth) {
                    truth &= !(u64::from(self.ends[bit] < day) << bit);
                }
            }
            let mut mask = 0;
            while let Some(&word) = history.words.get(row).filter(|word| day_of(**word) == day) {
                mask |= self.masks[class_of(word)];
                row += 1;
            }
            for bit in bits(mask & program.once) {
                self.ends[bit] = day.saturating_add(self.reach[bit]);
            }
            truth |= mask & program.once;
            for bit in bits(mask & program.twice) {
                let before = std::mem::replace(&mut self.twice_on[bit], day);
                if before != NEVER && before.saturating_add(self.reach[bit]) >= day {
                    self.ends[bit] = before.saturating_add(self.reach[bit]);
                    truth |= 1 << bit;
                }
            }
            next_end = bits(truth).map(|bit| self.ends[bit]).min().unwrap_or(i32::MAX);
            self.states.pass(day, program);
            self.turn(&mut run, program.label(truth | self.states.on), day, &mut visit);
        }
        self.close(run, self.last, &mut visit);
    }

    /// Begins another run if the label changes on the day.
    #[inline]
    fn turn(&self, run: &mut Option<Interval>, label: u8, day: i32, visit: &mut impl FnMut(Interval)) {
        if run.is_none_or(|open| open.label != label) {
            self.close(run.take(), day - 1, visit);
            *run = Some(Interval {
                label,
                first: day,
                last: day,
            });
        }
    }

    fn find_counting(&mut self, history: &History<'_>, mut visit: impl FnMut(Interval)) {
        self.begin();
        let (mut row, mut run) = (0, None::<Interval>);
        while let Some(day) = self.next_day(history, row).filter(|day| *day <= self.last) {
            self.expire(history, day);
            row = self.admit(history, row, day);
            self.states.pass(day, self.program);
            self.turn(&mut run, self.program.label(self.truth | self.states.on), day, &mut visit);
        }
        self.close(run, self.last, &mut visit);
    }

    fn close(&self, run: Option<Interval>, last: i32, visit: &mut impl FnMut(Interval)) {
        if let Some(run) = run.filter(|_| last >= self.first) {
            visit(Interval {
                first: run.first.max(self.first),
                last,
                ..run
            });
        }
    }

    fn begin(&mut self) {
        self.values.fill(0);
        for &bit in &self.program.counted {
            self.orders[bit].clear();
        }
        self.tails.fill(0);
        self.truth = self.program.empty_truth();
    }

    /// The next day on which anything changes.
    fn next_day(&self, history: &History<'_>, row: usize) -> Option<i32> {
        let incoming = history.words.get(row).map(|&word| day_of(word));
        let expiry = |(&(days, _), &tail): (&(i32, u64), &usize)| (tail < row).then(|| day_of(history.words[tail]).saturating_add(days));
        let leaving = self.program.windows.iter().zip(&self.tails).filter_map(expiry).min();
        let change = self.states.next_day();
        [incoming, leaving, (change < i32::MAX).then_some(change)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes out of each window what is too old on the day.
    fn expire(&mut self, history: &History<'_>, day: i32) {
        let program = self.program;
        for (window, &(days, leaves)) in program.windows.iter().enumerate() {
            let tail = self.tails[window];
            let mut end = tail;
            while history.words.get(end).is_some_and(|&word| day_of(word).saturating_add(days) <= day) {
                end += 1;
            }
            self.tails[window] = end;
            self.count(history, tail, end, leaves, false);
        }
    }

    /// Takes in the rows of the day; gives the first row after them.
    fn admit(&mut self, history: &History<'_>, row: usize, day: i32) -> usize {
        let mut end = row;
        while history.words.get(end).is_some_and(|&word| day_of(word) == day) {
            end += 1;
        }
        self.count(history, row, end, u64::MAX, true);
        end
    }

    /// Counts rows of whole days in or out, for some leaves.
    fn count(&mut self, history: &History<'_>, start: usize, end: usize, leaves: u64, enters: bool) {
        let (mut row, mut touched) = (start, 0);
        let sign = if enters { 1 } else { -1 };
        while row < end {
            let day = day_of(history.words[row]);
            let mut whole_day = 0;
            while row < end && day_of(history.words[row]) == day {
                let mask = self.masks[class_of(history.words[row])] & leaves;
                whole_day |= mask;
                self.count_row(history, row, mask, sign);
                row += 1;
            }
            for bit in bits(whole_day) {
                if self.program.leaves[bit].counter == Counter::Days {
                    self.values[bit] += sign;
                }
            }
            touched |= whole_day;
        }
        for bit in bits(touched) {
            let holds = self.program.leaves[bit].holds(self.values[bit]);
            self.truth = self.truth & !(1 << bit) | u64::from(holds) << bit;
        }
    }

    #[inline]
    fn count_row(&mut self, history: &History<'_>, row: usize, mask: u64, sign: i128) {
        let width = self.layout.width();
        for bit in bits(mask) {
            match self.program.leaves[bit].counter {
                Counter::Events => self.values[bit] += sign,
                Counter::Sum(place) => {
                    self.values[bit] += sign * i128::from(history.payloads[row * width + self.layout.sums_at() + place] as i64);
                }
                Counter::Orders => {
                    let order = (history.payloads[row * width], history.payloads[row * width + 1]);
                    self.values[bit] += count_order(&mut self.orders[bit], order, sign);
                }
                Counter::Days | Counter::State | Counter::Watched => {}
            }
        }
    }
}

/// Counts an order in or out; gives the change of the number of distinct orders.
fn count_order(orders: &mut HashMap<(u64, u64), u32>, order: (u64, u64), sign: i128) -> i128 {
    if order == (0, 0) {
        return 0;
    }
    let times = orders.entry(order).or_default();
    if sign > 0 {
        *times += 1;
        return i128::from(*times == 1);
    }
    *times = times.saturating_sub(1);
    if *times > 0 {
        return 0;
    }
    orders.remove(&order);
    -1
}

/// The places of the set bits.
fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (mask != 0).then(|| mask.trailing_zeros() as usize);
        mask &= mask.wrapping_sub(1);
        bit
    })
}

impl States {
    fn begin(&mut self, history: &History<'_>, states: usize) {
        (self.next, self.on) = (0, 0);
        self.changes.clear();
        if history.toggles.is_empty() && history.spans.is_empty() {
            return;
        }
        self.now.clear();
        self.now.resize(states, (0, false, 0));
        let toggles = history.toggles.iter().enumerate();
        self.changes
            .extend(toggles.map(|(place, (_, toggle))| (toggle.day, Change::Toggle(place, toggle.state, !toggle.off))));
        for (_, span) in history.spans {
            self.changes.push((span.first, Change::Period(span.state, true)));
            self.changes.push((span.last.saturating_add(1), Change::Period(span.state, false)));
        }
        self.changes.sort_unstable();
    }

    /// The day of the next change.
    #[inline]
    fn next_day(&self) -> i32 {
        self.changes.get(self.next).map_or(i32::MAX, |(day, _)| *day)
    }

    /// Applies the changes of the day.
    fn pass(&mut self, day: i32, program: &Program) {
        while let Some(&(_, change)) = self.changes.get(self.next).filter(|(on, _)| *on <= day) {
            self.next += 1;
            let state = match change {
                Change::Toggle(place, state, on) => {
                    let now = &mut self.now[usize::from(state)];
                    // Where a clock is set back over midnight, a later switch can bear an earlier day.
                    if place >= now.0 {
                        (now.0, now.1) = (place, on);
                    }
                    state
                }
                Change::Period(NO_STATE, _) => continue,
                Change::Period(state, begins) => {
                    let open = &mut self.now[usize::from(state)].2;
                    *open = if begins { *open + 1 } else { open.saturating_sub(1) };
                    state
                }
            };
            let (_, switched, open) = self.now[usize::from(state)];
            let bit = program.states[usize::from(state)].1;
            self.on = if switched || open > 0 { self.on | bit } else { self.on & !bit };
        }
    }
}
