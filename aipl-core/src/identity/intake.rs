//! Taking in rows: columns of identifiers, or links, into a map.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use rayon::prelude::*;

use crate::base::Zone;
use crate::event::Tally;
use crate::identity::IdentityError;
use crate::identity::bucket::FRESH;
use crate::identity::gathered::{Gathered, renumber};
use crate::identity::id_type::Hash;
use crate::identity::map::{IdentityMap, Inner};
use crate::identity::normalize::{Normal, hashed};
use crate::identity::observations::{Batch, NONE};
use crate::identity::table::{Interning, Newcomer};

/// The columns of a table of links.
pub const LINK_COLUMNS: [&str; 4] = ["id_type_a", "id_a", "id_type_b", "id_b"];
/// Buckets between the first ones of two workers; odd, so that many workers spread over all.
pub(super) const STRIDE: usize = 51;
/// Bits that tell which hashed values were met.
pub(super) const SEEN: [(Hash, u8); 2] = [(Hash::Md5, 1), (Hash::Sha256, 2)];

/// Which columns to read besides identifiers, and how.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The column of times; `None` takes `seen_at` where there is one.
    pub seen_at: Option<String>,
    /// The column of sources; `None` takes `source` where there is one.
    pub source: Option<String>,
    /// The zone of wall-clock times.
    pub zone: Arc<Zone>,
}

/// What the rows look like.
#[derive(Debug)]
pub(super) enum Shape {
    /// A column a type: the type's place and the column.
    Rows(Vec<(u8, String)>),
    /// Two identifiers a row, each with its type.
    Links,
}

/// What one worker has read.
#[derive(Debug)]
pub struct Read {
    pub(super) rows: Vec<Gathered>,
    pub(super) blanks: Vec<u64>,
}

/// Takes one batch of rows into a map.
#[derive(Debug)]
pub struct Intake {
    pub(super) inner: Inner,
    pub(super) interning: Interning,
    pub(super) place: String,
    pub(super) shape: Shape,
    pub(super) seen_at: Option<String>,
    pub(super) source: Option<String>,
    pub(super) zone: Arc<Zone>,
    pub(super) sources: Mutex<HashMap<String, u32>>,
    /// Hashed values met, by type.
    pub(super) hashes_met: Vec<AtomicU8>,
    /// How many identifiers there were before.
    pub(super) before: u32,
    pub(super) readers: AtomicUsize,
}

impl Intake {
    /// Begins a batch of rows with these columns.
    ///
    /// # Errors
    /// No column of identifiers; a column that is named and not there.
    pub fn new(map: &IdentityMap, place: &str, columns: &SchemaRef, reading: &Reading) -> Result<Self, IdentityError> {
        let mut inner = (*map.inner).clone();
        inner.members = std::sync::OnceLock::new();
        let has = |name: &str| columns.field_with_name(name).is_ok();
        let shape = if LINK_COLUMNS.iter().all(|name| has(name)) {
            Shape::Links
        } else {
            let found = (0u8..).zip(&inner.types).filter(|(_, id_type)| has(&id_type.name));
            Shape::Rows(found.map(|(kind, id_type)| (kind, id_type.name.clone())).collect())
        };
        if matches!(&shape, Shape::Rows(found) if found.is_empty()) {
            return Err(IdentityError::NoIdColumns {
                place: place.to_owned(),
                wanted: inner.types.iter().map(|id_type| id_type.name.clone()).collect(),
                columns: columns.fields().iter().map(|field| field.name().clone()).collect(),
            });
        }
        let named = |field: &str, wanted: &Option<String>| match wanted {
            Some(column) if !has(column) => Err(IdentityError::Parameter {
                field: field.to_owned(),
                problem: format!("{place} has no column {column:?}"),
            }),
            Some(column) => Ok(Some(column.clone())),
            None => Ok(has(field).then(|| field.to_owned())),
        };
        let (seen_at, source) = (named("seen_at", &reading.seen_at)?, named("source", &reading.source)?);
        Ok(Intake {
            before: inner.table.len() as u32,
            readers: AtomicUsize::new(0),
            interning: Arc::unwrap_or_clone(std::mem::take(&mut inner.table)).open(),
            sources: Mutex::new(inner.sources.iter().cloned().zip(0..).collect()),
            hashes_met: inner.types.iter().map(|_| AtomicU8::new(0)).collect(),
            place: place.to_owned(),
            zone: reading.zone.clone(),
            shape,
            seen_at,
            source,
            inner,
        })
    }

    /// The columns to read.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        let mut columns: Vec<String> = match &self.shape {
            Shape::Rows(found) => found.iter().map(|(_, column)| column.clone()).collect(),
            Shape::Links => LINK_COLUMNS.map(str::to_owned).to_vec(),
        };
        columns.extend(self.seen_at.clone());
        columns.extend(self.source.clone());
        columns.sort();
        columns.dedup();
        columns
    }

    pub(super) fn width(&self) -> usize {
        match &self.shape {
            Shape::Rows(found) => found.len(),
            Shape::Links => 2,
        }
    }

    /// Ends the batch: identifiers get their numbers, and persons are worked out again from all rows.
    ///
    /// # Errors
    /// Values hashed in another way than the map's; more identifiers than can be numbered.
    pub fn finish(mut self, read: Vec<Read>, mut tally: Tally, stop: &(dyn Fn() -> bool + Sync)) -> Result<IdentityMap, IdentityError> {
        let width = self.width();
        let mut rows = Vec::new();
        for share in read {
            rows.extend(share.rows);
            self.inner.blanks.iter_mut().zip(share.blanks).for_each(|(all, own)| *all += own);
        }
        tally.rows_kept = rows.par_iter().map(Gathered::rows_shown).sum();
        let moved = self.settle_hashes()?;
        let mut inner = self.inner;
        let met = self.sources.into_inner().unwrap_or_else(PoisonError::into_inner);
        let places = inner.settle_sources(met);
        for number in rows.iter_mut().flat_map(|rows| &mut rows.sources).filter(|number| **number != NONE) {
            *number = places[*number as usize];
        }
        let timed = self.seen_at.is_some();
        inner.keep(self.interning, self.before, rows, width, timed, &moved)?;
        inner.tally.merge(tally);
        inner.link(stop);
        Ok(IdentityMap { inner: Arc::new(inner) })
    }

    /// Settles how each type is hashed; plain values of a hashed type move to their hashed form. Gives old and new identifiers.
    fn settle_hashes(&mut self) -> Result<HashMap<Newcomer, Newcomer>, IdentityError> {
        let mut moved = HashMap::new();
        for (kind, met) in (0u8..).zip(&self.hashes_met) {
            let met = met.load(Relaxed);
            let place = usize::from(kind);
            if self.inner.hashes[place].is_some() || met == 0 {
                continue;
            }
            let found: Vec<Hash> = SEEN.iter().filter(|(_, bit)| met & bit != 0).map(|(hash, _)| *hash).collect();
            let mismatch = |kept: &str| IdentityError::HashMismatch {
                id_type: self.inner.types[place].name.clone(),
                found: found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "),
                kept: kept.to_owned(),
            };
            let &[hash] = found.as_slice() else {
                return Err(mismatch("one kind of"));
            };
            if self.interning.has(kind) {
                return Err(mismatch("plain"));
            }
            self.inner.hashes[place] = Some(hash);
            let normalizer = self.inner.types[place].normalizer;
            let form = |text: &str| matches!(normalizer.normalize(text), Normal::Plain(_)).then(|| hashed(hash, text));
            moved.extend(self.interning.replace(kind, form)?);
        }
        Ok(moved)
    }

    pub(super) fn number_source(&self, name: &str) -> u32 {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let next = sources.len() as u32;
        match sources.get(name) {
            Some(number) => *number,
            None => {
                sources.insert(name.to_owned(), next);
                next
            }
        }
    }
}

impl Inner {
    /// Numbers the new identifiers of a batch, and keeps its rows. `before` is the number of identifiers so far; new ones that have `moved`
    /// stand for others.
    pub fn keep(
        &mut self,
        interning: Interning,
        before: u32,
        mut rows: Vec<Gathered>,
        width: usize,
        timed: bool,
        moved: &HashMap<Newcomer, Newcomer>,
    ) -> Result<(), IdentityError> {
        let first_seen = timed.then(|| FirstSeen::new(&rows, &interning.fresh(), moved));
        let of_new = first_seen.as_ref().map(|first_seen| |new: Newcomer| first_seen.of(new));
        let (table, mut numbers) = interning.settle(of_new.as_ref().map(|of| of as &(dyn Fn(Newcomer) -> i64 + Sync)))?;
        numbers.alias(moved);
        self.table = Arc::new(table);
        renumber(&mut rows, |bucket, id| numbers.of(bucket, id));
        let parts = rows.into_par_iter().map(Gathered::into_part).collect();
        self.batches.push(Arc::new(Batch { width, parts }));
        self.find_ignored(before);
        Ok(())
    }

    /// Gives the sources met lasting numbers, new ones in order of name, and tells them by the numbers they had.
    fn settle_sources(&mut self, met: HashMap<String, u32>) -> Vec<u32> {
        let known = self.sources.len();
        let mut fresh: Vec<(String, u32)> = met.into_iter().filter(|(_, number)| *number as usize >= known).collect();
        fresh.sort_unstable();
        let mut places: Vec<u32> = (0..(known + fresh.len()) as u32).collect();
        for (name, number) in fresh {
            places[number as usize] = self.sources.len() as u32;
            self.sources.push(name);
        }
        places
    }
}

/// When new identifiers of a batch were first seen, by bucket.
struct FirstSeen(Vec<Vec<AtomicI64>>);

impl FirstSeen {
    fn new(rows: &[Gathered], fresh: &[u32], moved: &HashMap<Newcomer, Newcomer>) -> Self {
        let never = |count: &u32| (0..*count).map(|_| AtomicI64::new(i64::MAX)).collect();
        let first = FirstSeen(fresh.iter().map(never).collect());
        rows.par_iter().for_each(|rows| {
            rows.for_each(|row, bucket, id| {
                if id >= FRESH {
                    first.0[usize::from(bucket)][(id ^ FRESH) as usize].fetch_min(rows.seen_at[row], Relaxed);
                }
            });
        });
        for (&old, &(bucket, local)) in moved {
            first.0[bucket][local as usize].fetch_min(first.of(old), Relaxed);
        }
        first
    }

    fn of(&self, (bucket, local): Newcomer) -> i64 {
        self.0[bucket][local as usize].load(Relaxed)
    }
}
