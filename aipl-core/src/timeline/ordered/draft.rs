//! The rows of an ordered home that matter to a question, on their way into timelines.

use std::ops::Range;

use crate::base::ConsumerIdx;
use crate::base::id::BUCKETS;
use crate::timeline::bucket::{BucketTimelines, StateSpan, States, starts};
use crate::timeline::labels::settle_payloads;
use crate::timeline::ordered::{Elsewhere, destinations};
use crate::timeline::rows::{PayloadLayout, Toggle, class_of, day_of, pack, scope_of};
use crate::timeline::universe::Universe;

/// The rows of a run that matter, scopes and classes not yet settled.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// Where each consumer's rows begin, if the run came with starts.
    pub starts: Vec<u32>,
    /// Each row's consumer, if it did not.
    pub owners: Vec<u32>,
    pub words: Vec<u64>,
    pub payloads: Vec<u64>,
    pub toggles: Vec<(u32, Toggle)>,
    /// Whether another run's rows were put between.
    pub mixed: bool,
    /// Rows of accounts that count elsewhere; their owners are whole numbers.
    pub leaving: Option<Box<Draft>>,
}

impl Draft {
    /// Rows and changes of states.
    pub fn rows(&self) -> u64 {
        (self.words.len() + self.toggles.len()) as u64
    }

    /// Sets the rows of accounts apart that count elsewhere.
    pub fn part(&mut self, moved: &[(u32, Elsewhere)], layout: PayloadLayout) {
        if moved.is_empty() {
            return;
        }
        let (width, mut leaving, mut staying) = (layout.width(), Draft::default(), Draft::default());
        let mut destination = destinations(moved);
        for (row, &owner) in self.owners.iter().enumerate() {
            let (owner, part) = match destination(owner) {
                Some(Elsewhere::At(home)) => (home.0, &mut leaving),
                _ => (owner, &mut staying),
            };
            part.owners.push(owner);
            part.words.push(self.words[row]);
            part.payloads.extend_from_slice(&self.payloads[row * width..(row + 1) * width]);
        }
        let mut destination = destinations(moved);
        for &(owner, toggle) in &self.toggles {
            match destination(owner) {
                Some(Elsewhere::At(home)) => leaving.toggles.push((home.0, toggle)),
                _ => staying.toggles.push((owner, toggle)),
            }
        }
        if leaving.rows() > 0 {
            staying.leaving = Some(Box::new(leaving));
            *self = staying;
        }
    }

    /// A bucket's rows together with those that came from other buckets.
    pub fn joined(mut self, guests: Draft, consumers: usize, layout: PayloadLayout) -> Draft {
        if guests.rows() == 0 {
            return self;
        }
        let counts = self.starts.windows(2).map(|bounds| (bounds[1] - bounds[0]) as usize);
        self.owners = (0..)
            .zip(counts)
            .flat_map(|(owner, count)| std::iter::repeat_n(owner, count))
            .collect();
        merge(vec![self, guests], consumers, layout.width())
    }
}

/// Rows that left their buckets, by the bucket where they count.
pub(crate) fn guests_by_bucket(leaving: Vec<Draft>, layout: PayloadLayout) -> Vec<Draft> {
    let width = layout.width();
    let mut guests: Vec<Draft> = std::iter::repeat_with(Draft::default).take(BUCKETS).collect();
    for draft in leaving {
        for (row, &owner) in draft.owners.iter().enumerate() {
            let home = ConsumerIdx(owner);
            let guests = &mut guests[home.bucket()];
            guests.owners.push(home.local());
            guests.words.push(draft.words[row]);
            guests.payloads.extend_from_slice(&draft.payloads[row * width..(row + 1) * width]);
        }
        for (owner, toggle) in draft.toggles {
            let home = ConsumerIdx(owner);
            guests[home.bucket()].toggles.push((home.local(), toggle));
        }
    }
    guests
}

/// One draft a bucket, with starts.
pub(crate) fn merge_by_bucket(
    drafts: Vec<(usize, Draft)>,
    universe: &Universe,
    buckets: Range<usize>,
    layout: PayloadLayout,
) -> Vec<Draft> {
    let mut runs: Vec<Vec<Draft>> = buckets.clone().map(|_| Vec::new()).collect();
    drafts.into_iter().for_each(|(place, draft)| runs[place].push(draft));
    runs.into_iter()
        .zip(buckets)
        .map(|(runs, bucket)| merge(runs, universe.bucket(bucket).len(), layout.width()))
        .collect()
}

/// Joins the runs of a bucket: every consumer's rows of all runs stand together, the runs one after the other.
fn merge(mut runs: Vec<Draft>, consumers: usize, width: usize) -> Draft {
    if let [only] = &mut runs[..] {
        if only.starts.is_empty() {
            only.starts = starts(only.owners.iter().copied(), consumers);
            only.owners = Vec::new();
        }
        return std::mem::take(only);
    }
    let rows = runs.iter().map(|run| run.words.len()).sum();
    let starts = starts(runs.iter().flat_map(|run| run.owners.iter().copied()), consumers);
    let mut next = starts.clone();
    let (mut words, mut payloads) = (vec![0; rows], vec![0; rows * width]);
    for run in &runs {
        for (row, (&owner, &word)) in run.owners.iter().zip(&run.words).enumerate() {
            let at = next[owner as usize] as usize;
            next[owner as usize] += 1;
            words[at] = word;
            payloads[at * width..(at + 1) * width].copy_from_slice(&run.payloads[row * width..(row + 1) * width]);
        }
    }
    Draft {
        starts,
        owners: Vec::new(),
        words,
        payloads,
        toggles: runs.into_iter().flat_map(|run| run.toggles).collect(),
        mixed: true,
        leaving: None,
    }
}

/// The payloads of some of so many rows.
pub(crate) fn pick(payloads: Vec<u64>, width: usize, kept: &[u32], rows: usize) -> Vec<u64> {
    if kept.len() == rows || width == 0 {
        return payloads;
    }
    let row = |&at: &u32| &payloads[at as usize * width..(at as usize + 1) * width];
    let mut picked = Vec::with_capacity(kept.len() * width);
    kept.iter().for_each(|at| picked.extend_from_slice(row(at)));
    picked
}

/// The final places of scopes and classes.
pub(crate) struct Settled<'a> {
    pub layout: PayloadLayout,
    pub scope_places: &'a [u32],
    pub class_places: &'a [u16],
    pub label_places: &'a [Vec<u32>],
    /// Whether the rows of one run stand in order of scope and day already.
    pub sorted: bool,
}

impl Settled<'_> {
    pub fn timelines(&self, draft: Draft, mut spans: Vec<(u32, StateSpan)>) -> BucketTimelines {
        let Draft {
            starts,
            mut words,
            mut payloads,
            mut toggles,
            mixed,
            ..
        } = draft;
        for word in &mut words {
            let scope = self.scope_places[scope_of(*word) as usize];
            *word = pack(scope, day_of(*word), self.class_places[class_of(*word)]);
        }
        settle_payloads(&mut payloads, self.layout, self.label_places);
        toggles
            .iter_mut()
            .for_each(|(_, toggle)| toggle.scope = self.scope_places[toggle.scope as usize]);
        spans
            .iter_mut()
            .for_each(|(_, span)| span.scope = self.scope_places[span.scope as usize]);
        BucketTimelines::of_ordered(
            starts,
            words,
            payloads,
            self.layout,
            States { toggles, spans },
            self.sorted && !mixed,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Reason;

    const LAYOUT: PayloadLayout = PayloadLayout {
        orders: false,
        events: false,
        sums: 1,
        labels: 0,
        places: false,
    };

    #[test]
    fn runs_of_a_bucket_are_joined_by_consumer() {
        let run = |owners: &[u32], words: &[u64]| Draft {
            owners: owners.to_vec(),
            words: words.to_vec(),
            payloads: words.iter().map(|word| word * 10).collect(),
            ..Draft::default()
        };
        let joined = merge(vec![run(&[0, 2], &[5, 1]), run(&[0, 0, 1], &[2, 3, 4])], 4, 1);
        assert_eq!(
            (joined.starts.as_slice(), joined.words.as_slice()),
            (&[0, 3, 4, 5, 5][..], &[5, 2, 3, 4, 1][..])
        );
        assert_eq!((joined.payloads.as_slice(), joined.mixed), (&[50, 20, 30, 40, 10][..], true));
        let alone = merge(vec![run(&[1, 1], &[7, 8])], 2, 1);
        assert_eq!((alone.starts.as_slice(), alone.mixed), (&[0, 0, 2][..], false));
        assert_eq!(merge(Vec::new(), 2, 0).starts, [0, 0, 0]);
    }

    #[test]
    fn rows_of_moved_accounts_go_home() {
        let moved = [
            (1, Elsewhere::At(ConsumerIdx::new(3, 7))),
            (2, Elsewhere::Nowhere(Reason::UnknownPerson)),
        ];
        let mut draft = Draft {
            owners: vec![0, 1, 1, 4],
            words: vec![10, 11, 12, 13],
            payloads: vec![20, 21, 22, 23],
            ..Draft::default()
        };
        draft.part(&moved, LAYOUT);
        assert_eq!(
            (&draft.owners[..], &draft.words[..], &draft.payloads[..]),
            (&[0, 4][..], &[10, 13][..], &[20, 23][..])
        );
        let leaving = draft.leaving.take().expect("rows left");
        let mut guests = guests_by_bucket(vec![*leaving], LAYOUT);
        let guests = std::mem::take(&mut guests[3]);
        assert_eq!((&guests.owners[..], &guests.words[..]), (&[7, 7][..], &[11, 12][..]));
        let host = Draft {
            starts: starts([7, 8].into_iter(), 9),
            words: vec![1, 2],
            payloads: vec![3, 4],
            ..Draft::default()
        };
        let joined = host.joined(guests, 9, LAYOUT);
        assert_eq!(
            (&joined.starts[7..], &joined.words[..], &joined.payloads[..]),
            (&[0, 3, 4][..], &[1, 11, 12, 2][..], &[3, 21, 22, 4][..])
        );
    }
}
