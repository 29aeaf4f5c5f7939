//! Rows on their way into a map: their identifiers are known by bucket, and get lasting numbers once all rows are read.

use std::mem::take;

use rayon::prelude::*;

use crate::identity::bucket::{ABSENT, BUCKETS};
use crate::identity::observations::{NONE, Part};

/// Some rows. What is kept by row tells only the bucket of each identifier, what is kept by bucket which one it is: so each list is
/// written from front to back, and identifiers are looked up and numbered bucket by bucket.
#[derive(Debug)]
pub struct Gathered {
    width: usize,
    /// The bucket of every identifier, row by row; [`ABSENT`] where there is none.
    pub(super) homes: Vec<u8>,
    /// Identifiers of every bucket, in the order of rows.
    pub(super) ids: Vec<Vec<u32>>,
    /// When each row was seen, if rows say so, as in [`Part`].
    pub(super) seen_at: Vec<i64>,
    /// Each row's source, if rows name one, as in [`Part`].
    pub(super) sources: Vec<u32>,
}

impl Gathered {
    /// No rows yet, of so many identifiers each.
    pub(super) fn new(width: usize) -> Self {
        Gathered {
            width,
            homes: Vec::new(),
            ids: vec![Vec::new(); BUCKETS],
            seen_at: Vec::new(),
            sources: Vec::new(),
        }
    }

    /// How many rows show an identifier.
    pub(super) fn rows_shown(&self) -> u64 {
        let shows = |row: &&[u8]| row.iter().any(|bucket| *bucket != ABSENT);
        self.homes.chunks_exact(self.width).filter(shows).count() as u64
    }

    /// Bucket and id of every identifier, row by row; [`NONE`] where there is none.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (u8, u32)> {
        let mut next = [0; BUCKETS];
        self.homes.iter().map(move |&home| {
            if home == ABSENT {
                return (home, NONE);
            }
            let bucket = usize::from(home);
            next[bucket] += 1;
            (home, self.ids[bucket][next[bucket] - 1])
        })
    }

    /// Calls `visit` with row, bucket and id of every identifier.
    pub(super) fn for_each(&self, mut visit: impl FnMut(usize, u8, u32)) {
        for (place, (bucket, id)) in self.in_order().enumerate() {
            if bucket != ABSENT {
                visit(place / self.width, bucket, id);
            }
        }
    }

    /// The rows, with identifiers in their places.
    pub(super) fn into_part(mut self) -> Part {
        Part {
            ids: self.in_order().map(|(_, id)| id).collect(),
            seen_at: take(&mut self.seen_at),
            sources: take(&mut self.sources),
        }
    }
}

/// Changes every identifier, bucket by bucket on all threads.
pub(super) fn renumber(rows: &mut [Gathered], number: impl Fn(usize, u32) -> u32 + Sync) {
    let mut by_bucket: Vec<Vec<&mut Vec<u32>>> = (0..BUCKETS).map(|_| Vec::with_capacity(rows.len())).collect();
    for gathered in rows {
        by_bucket
            .iter_mut()
            .zip(&mut gathered.ids)
            .for_each(|(bucket, ids)| bucket.push(ids));
    }
    by_bucket.into_par_iter().enumerate().for_each(|(bucket, lists)| {
        for ids in lists {
            ids.iter_mut().for_each(|id| *id = number(bucket, *id));
        }
    });
}
