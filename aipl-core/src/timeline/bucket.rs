//! The second half of a scan: the rows of one bucket put in order, consumer by consumer.

use crate::base::IdKind;
use crate::base::id::MAX_LOCAL;
use crate::timeline::interner::{Interner, Texts};
use crate::timeline::labels::settle_payloads;
use crate::timeline::rows::{PayloadLayout, Pending, Toggle, class_of, day_of, pack, scope_of};
use crate::timeline::spans::OwnedSpan;
use crate::timeline::universe::IdStore;

/// A state that a table says was on: leaf bits, scope and the closed range of days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateSpan {
    /// Scope number.
    pub scope: u32,
    /// First day number.
    pub first: i32,
    /// Last day number.
    pub last: i32,
    /// Place in the program's states, or [`NO_STATE`].
    pub state: u8,
}

/// A state that no rule asks for; it only proves that the pair exists.
pub const NO_STATE: u8 = u8::MAX;

/// State changes and state periods, each with its consumer.
#[derive(Debug, Default)]
pub(crate) struct States {
    pub toggles: Vec<(u32, Toggle)>,
    pub spans: Vec<(u32, StateSpan)>,
}

/// The ordered timelines of one bucket's consumers.
#[derive(Debug)]
pub struct BucketTimelines {
    /// Where each consumer's words begin; one more than there are consumers.
    starts: Vec<u32>,
    words: Vec<u64>,
    payloads: Vec<u64>,
    layout: PayloadLayout,
    toggles: Vec<(u32, Toggle)>,
    spans: Vec<(u32, StateSpan)>,
}

/// One consumer's events and states with one scope.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// The consumer's local number.
    pub consumer: u32,
    /// The scope's place in the answer.
    pub scope: u32,
    /// Day and class of each event, in order of day.
    pub words: &'a [u64],
    /// Payload integers of each event.
    pub payloads: &'a [u64],
    /// State changes in order of time.
    pub toggles: &'a [(u32, Toggle)],
    /// States from tables.
    pub spans: &'a [(u32, StateSpan)],
}

/// A bucket that cannot be numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash bucket holds more than {MAX_LOCAL} consumers (over 4 billion in all)")]
pub struct TooManyConsumers;

/// How buckets are put together: the final places of scopes and classes, which depend on the data alone.
#[derive(Debug)]
pub(crate) struct Assembly<'a> {
    pub id_kind: IdKind,
    pub layout: PayloadLayout,
    pub scope_places: &'a [u32],
    pub class_places: &'a [u16],
    pub label_places: &'a [Vec<u32>],
}

impl BucketTimelines {
    /// Timelines of rows that stand in order of consumer already. Scopes, toggles and spans bear their final numbers.
    pub(crate) fn of_ordered(
        starts: Vec<u32>,
        words: Vec<u64>,
        payloads: Vec<u64>,
        layout: PayloadLayout,
        states: States,
        sorted: bool,
    ) -> Self {
        let States { mut toggles, mut spans } = states;
        toggles.sort_unstable();
        spans.sort_unstable();
        let mut timelines = BucketTimelines {
            starts,
            words,
            payloads,
            layout,
            toggles,
            spans,
        };
        if !sorted {
            timelines.sort_consumers();
        }
        timelines
    }

    /// Puts the rows of one bucket, as all workers met them, in order.
    ///
    /// # Errors
    /// [`TooManyConsumers`].
    pub(crate) fn assemble(parts: Vec<Pending>, spans: &[OwnedSpan], assembly: &Assembly<'_>) -> Result<(IdStore, Self), TooManyConsumers> {
        let &Assembly {
            id_kind,
            layout,
            scope_places,
            ..
        } = assembly;
        let rows: usize = parts.iter().map(|part| part.rows.len()).sum();
        let mut interner = Interner::new(rows / 2);
        let mut numbers = Vec::with_capacity(rows);
        let mut toggles: Vec<(u32, Toggle)> = Vec::new();
        for part in &parts {
            let mut texts = Texts { bytes: &part.texts };
            numbers.extend(part.rows.iter().map(|&(key, _)| interner.number(key, texts.next(id_kind))));
            let mut texts = Texts { bytes: &part.toggle_texts };
            toggles.extend(
                part.toggles
                    .iter()
                    .map(|&(key, toggle)| (interner.number(key, texts.next(id_kind)), toggle)),
            );
        }
        let mut spans: Vec<(u32, StateSpan)> = spans.iter().map(|(id, span)| (interner.number_of(id), *span)).collect();
        let (ids, places) = interner.settle(id_kind)?;
        numbers.iter_mut().for_each(|number| *number = places[*number as usize]);
        for (consumer, toggle) in &mut toggles {
            *consumer = places[*consumer as usize];
            toggle.scope = scope_places[toggle.scope as usize];
        }
        for (consumer, span) in &mut spans {
            *consumer = places[*consumer as usize];
            span.scope = scope_places[span.scope as usize];
        }
        toggles.sort_unstable();
        spans.sort_unstable();
        let mut timelines = BucketTimelines {
            starts: starts(numbers.iter().copied(), ids.len()),
            words: vec![0; rows],
            payloads: vec![0; rows * layout.width()],
            layout,
            toggles,
            spans,
        };
        timelines.scatter(parts, &numbers, assembly);
        settle_payloads(&mut timelines.payloads, layout, assembly.label_places);
        timelines.sort_consumers();
        Ok((ids, timelines))
    }

    /// Moves every row to its consumer's stretch.
    fn scatter(&mut self, parts: Vec<Pending>, numbers: &[u32], assembly: &Assembly<'_>) {
        let width = self.layout.width();
        let mut next = self.starts.clone();
        let mut numbers = numbers.iter();
        for part in parts {
            for (row, (_, word)) in part.rows.iter().enumerate() {
                let Some(&consumer) = numbers.next() else {
                    return;
                };
                let at = next[consumer as usize] as usize;
                next[consumer as usize] += 1;
                let scope = assembly.scope_places[scope_of(*word) as usize];
                self.words[at] = pack(scope, day_of(*word), assembly.class_places[class_of(*word)]);
                self.payloads[at * width..(at + 1) * width].copy_from_slice(&part.payloads[row * width..(row + 1) * width]);
            }
        }
    }

    /// Sorts each consumer's stretch by scope, day and kind.
    fn sort_consumers(&mut self) {
        let width = self.layout.width();
        for bounds in self.starts.windows(2) {
            let range = bounds[0] as usize..bounds[1] as usize;
            if width == 0 {
                self.words[range].sort_unstable();
                continue;
            }
            let mut rows: Vec<(u64, &[u64])> = range
                .clone()
                .map(|at| (self.words[at], &self.payloads[at * width..(at + 1) * width]))
                .collect();
            rows.sort_unstable();
            if self.layout.events {
                drop_repeated_events(&mut rows, self.layout);
            }
            let (words, payloads): (Vec<u64>, Vec<&[u64]>) = rows.into_iter().unzip();
            let payloads = payloads.concat();
            self.payloads[range.start * width..range.start * width + payloads.len()].copy_from_slice(&payloads);
            self.words[range.start..range.start + words.len()].copy_from_slice(&words);
            // What a repeated event leaves behind is marked, and passed over when histories are walked.
            self.words[range.start + words.len()..range.end].fill(REPEATED);
        }
    }

    /// The histories of a consumer without states.
    fn visit_events<'a>(&'a self, consumer: u32, range: std::ops::Range<usize>, visit: &mut impl FnMut(History<'a>)) {
        let width = self.layout.width();
        let words = &self.words[range.clone()];
        let mut at = 0;
        while at < words.len() && words[at] != REPEATED {
            let scope = scope_of(words[at]);
            let count = words[at..].iter().take_while(|&&word| scope_of(word) == scope).count();
            let first = range.start + at;
            visit(History {
                consumer,
                scope,
                words: &words[at..at + count],
                payloads: &self.payloads[first * width..(first + count) * width],
                toggles: &[],
                spans: &[],
            });
            at += count;
        }
    }

    /// What stands beside each word.
    #[must_use]
    pub fn layout(&self) -> PayloadLayout {
        self.layout
    }

    /// Calls `visit` with every consumer's history with every scope, in order of consumer and scope.
    pub fn for_each_history<'a>(&'a self, mut visit: impl FnMut(History<'a>)) {
        let width = self.layout.width();
        let (mut toggles, mut spans) = (&self.toggles[..], &self.spans[..]);
        for (consumer, bounds) in (0u32..).zip(self.starts.windows(2)) {
            let (mut at, end) = (bounds[0] as usize, bounds[1] as usize);
            if toggles.first().is_none_or(|(owner, _)| *owner != consumer) && spans.first().is_none_or(|(owner, _)| *owner != consumer) {
                self.visit_events(consumer, at..end, &mut visit);
                continue;
            }
            let mut own_toggles = split_front(&mut toggles, |(owner, _)| *owner == consumer);
            let mut own_spans = split_front(&mut spans, |(owner, _)| *owner == consumer);
            loop {
                let by_events = (at < end && self.words[at] != REPEATED).then(|| scope_of(self.words[at]));
                let by_toggles = own_toggles.first().map(|(_, toggle)| toggle.scope);
                let by_spans = own_spans.first().map(|(_, span)| span.scope);
                let Some(scope) = [by_events, by_toggles, by_spans].into_iter().flatten().min() else {
                    break;
                };
                let first = at;
                while at < end && scope_of(self.words[at]) == scope {
                    at += 1;
                }
                visit(History {
                    consumer,
                    scope,
                    words: &self.words[first..at],
                    payloads: &self.payloads[first * width..at * width],
                    toggles: split_front(&mut own_toggles, |(_, toggle)| toggle.scope == scope),
                    spans: split_front(&mut own_spans, |(_, span)| span.scope == scope),
                });
            }
        }
    }
}

/// Marks the place of a dropped event; no scope has this number.
const REPEATED: u64 = u64::MAX;

/// The leading elements that satisfy a condition, taken off the slice.
fn split_front<'a, T>(rest: &mut &'a [T], belongs: impl Fn(&T) -> bool) -> &'a [T] {
    let count = rest.iter().take_while(|item| belongs(item)).count();
    let (front, back) = rest.split_at(count);
    *rest = back;
    front
}

/// Keeps the first (by day and kind) of the rows of one scope with the same event identity.
fn drop_repeated_events(rows: &mut Vec<(u64, &[u64])>, layout: PayloadLayout) {
    let at = layout.event_at();
    let mut seen = std::collections::HashSet::with_capacity(rows.len());
    rows.retain(|(word, payload)| {
        let event = (payload[at], payload[at + 1]);
        event == (0, 0) || seen.insert((scope_of(*word), event))
    });
}

/// Where each consumer's rows begin.
pub(crate) fn starts(numbers: impl Iterator<Item = u32>, consumers: usize) -> Vec<u32> {
    let mut starts = vec![0u32; consumers + 1];
    numbers.for_each(|consumer| starts[consumer as usize + 1] += 1);
    let mut total = 0;
    for start in &mut starts {
        total += *start;
        *start = total;
    }
    starts
}
