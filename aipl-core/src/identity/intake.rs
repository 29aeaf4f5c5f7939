//! Taking in rows: columns of identifiers, or links, into a map.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use rayon::prelude::*;

use crate::base::Zone;
use crate::base::id::BUCKETS;
use crate::event::columns::{ACCEPTED_IDS, IdRef};
use crate::event::time::ACCEPTED_TIMES;
use crate::event::{IdColumn, Reason, Tally, TimeColumn};
use crate::identity::IdentityError;
use crate::identity::id_type::{Hash, IdType};
use crate::identity::map::{IdentityMap, Inner};
use crate::identity::normalize::{Normal, hashed};
use crate::identity::observations::{Batch, Part};
use crate::identity::table::{Bucket, Interning, NONE, bucket_of, entry_of, key_of, split};

/// The columns of a table of links.
pub const LINK_COLUMNS: [&str; 4] = ["id_type_a", "id_a", "id_type_b", "id_b"];
/// Bytes of identifiers that a worker gathers before it looks them up.
const WAITING_BYTES: usize = 1 << 28;
/// Bytes of an identifier that waits, besides its text.
const WAITING_EACH: usize = size_of::<(u64, u32)>() + size_of::<(u8, u16)>();
/// Buckets between the first ones of two workers; odd, so that many workers spread over all.
const STRIDE: usize = 101;
/// Bits that tell which hashed values were met.
const SEEN: [(Hash, u8); 2] = [(Hash::Md5, 1), (Hash::Sha256, 2)];

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
enum Shape {
    /// A column a type: the type's place and the column.
    Rows(Vec<(u8, String)>),
    /// Two identifiers a row, each with its type.
    Links,
}

/// Takes one batch of rows into a map.
#[derive(Debug)]
pub struct Intake {
    inner: Inner,
    interning: Interning,
    place: String,
    shape: Shape,
    seen_at: Option<String>,
    source: Option<String>,
    zone: Arc<Zone>,
    seeds: Vec<u64>,
    sources: Mutex<HashMap<String, u32>>,
    /// Hashed values met, by type.
    hashes_met: Vec<AtomicU8>,
    /// How many identifiers there were before.
    before: u32,
    readers: AtomicUsize,
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
            interning: std::mem::take(&mut inner.table).open(),
            seeds: inner.types.iter().map(IdType::seed).collect(),
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

    fn width(&self) -> usize {
        match &self.shape {
            Shape::Rows(found) => found.len(),
            Shape::Links => 2,
        }
    }

    /// A reader for one worker.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader {
            intake: self,
            parts: Vec::new(),
            blanks: vec![0; self.seeds.len()],
            kinds: HashMap::new(),
            first_bucket: self.readers.fetch_add(STRIDE, Relaxed) % BUCKETS,
            pending: std::iter::repeat_with(Pending::default).take(BUCKETS).collect(),
            waiting: 0,
            open: Part::default(),
        }
    }

    /// Ends the batch: identifiers get their numbers, and persons are worked out again from all rows.
    ///
    /// # Errors
    /// Values hashed in another way than the map's; more identifiers than can be numbered.
    pub fn finish(mut self, read: Vec<Read>, mut tally: Tally, stop: &(dyn Fn() -> bool + Sync)) -> Result<IdentityMap, IdentityError> {
        let (width, mut parts) = (self.width(), Vec::new());
        for share in read {
            parts.extend(share.parts);
            self.inner.blanks.iter_mut().zip(share.blanks).for_each(|(all, own)| *all += own);
        }
        let seen = |part: &Part| part.ids.chunks_exact(width).filter(|ids| ids.iter().any(|id| *id != NONE)).count() as u64;
        tally.rows_kept = parts.par_iter().map(seen).sum();
        let moved = self.settle_hashes()?;
        if !moved.is_empty() {
            parts.par_iter_mut().for_each(|part: &mut Part| {
                part.ids.iter_mut().for_each(|id| *id = moved.get(id).copied().unwrap_or(*id));
            });
        }
        let mut inner = self.inner;
        let met = self.sources.into_inner().unwrap_or_else(PoisonError::into_inner);
        let places = inner.settle_sources(met);
        parts.par_iter_mut().for_each(|part| {
            part.sources
                .iter_mut()
                .filter(|source| **source != NONE)
                .for_each(|source| *source = places[*source as usize]);
        });
        let timed = self.seen_at.is_some();
        inner.keep(self.interning, self.before, parts, width, timed, &|entry| {
            moved.contains_key(&entry)
        })?;
        inner.tally.merge(tally);
        inner.link(stop);
        Ok(IdentityMap { inner: Arc::new(inner) })
    }

    /// Settles how each type is hashed; plain values of a hashed type move to their hashed form. Gives old and new entries.
    fn settle_hashes(&mut self) -> Result<HashMap<u32, u32>, IdentityError> {
        let mut moved = HashMap::new();
        for (kind, met) in (0u8..).zip(&self.hashes_met) {
            let met = met.load(Relaxed);
            let place = usize::from(kind);
            if self.inner.hashes[place].is_some() || met == 0 {
                continue;
            }
            let found = SEEN.iter().rfind(|(_, bit)| met & bit != 0).map(|(hash, _)| *hash);
            let Some(hash) = found else { continue };
            if !self.inner.batches.is_empty() {
                return Err(IdentityError::HashMismatch {
                    id_type: self.inner.types[place].name.clone(),
                    found: hash.to_string(),
                    kept: "plain".to_owned(),
                });
            }
            self.inner.hashes[place] = Some(hash);
            let normalizer = self.inner.types[place].normalizer;
            let plain = |text: &str| matches!(normalizer.normalize(text), Normal::Plain(_));
            for (old, text) in self.interning.fresh(kind).into_iter().filter(|(_, text)| plain(text)) {
                let new = self.interning.entry(self.seeds[place], kind, &hashed(hash, &text));
                moved.insert(old, new.ok_or(IdentityError::TooManyIds)?);
            }
        }
        Ok(moved)
    }

    fn number_source(&self, name: &str) -> u32 {
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
    /// Numbers the new identifiers among a batch's entries, and keeps its rows. `before` is the number of identifiers so far; entries that
    /// are `dead` get no number.
    pub fn keep(
        &mut self,
        interning: Interning,
        before: u32,
        mut parts: Vec<Part>,
        width: usize,
        timed: bool,
        dead: &(impl Fn(u32) -> bool + Sync),
    ) -> Result<(), IdentityError> {
        let first_seen = timed.then(|| FirstSeen::new(&parts, width));
        let by_entry = first_seen.as_ref().map(|first_seen| |entry: u32| first_seen.of(entry));
        self.table = interning.settle(dead, by_entry.as_ref().map(|of| of as &(dyn Fn(u32) -> i64 + Sync)))?;
        let table = &self.table;
        parts.par_iter_mut().for_each(|part| {
            part.ids.iter_mut().filter(|id| **id != NONE).for_each(|id| *id = table.number(*id));
        });
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

/// When entries of a batch were first seen.
struct FirstSeen(BTreeMap<usize, Vec<AtomicI64>>);

impl FirstSeen {
    fn new(parts: &[Part], width: usize) -> Self {
        let mut longest: BTreeMap<usize, u32> = BTreeMap::new();
        for id in parts.iter().flat_map(|part| &part.ids).filter(|id| **id != NONE) {
            let local = longest.entry(split(*id).0).or_default();
            *local = (*local).max(split(*id).1);
        }
        let seen = longest
            .into_iter()
            .map(|(bucket, last)| (bucket, (0..=last).map(|_| AtomicI64::new(i64::MAX)).collect()));
        let first = FirstSeen(seen.collect());
        parts.par_iter().for_each(|part| {
            for row in part.rows(width) {
                for id in row.ids.iter().filter(|id| **id != NONE) {
                    if let Some(seen) = first.cell(*id) {
                        seen.fetch_min(row.seen_at, Relaxed);
                    }
                }
            }
        });
        first
    }

    fn cell(&self, entry: u32) -> Option<&AtomicI64> {
        let (bucket, local) = split(entry);
        self.0.get(&bucket)?.get(local as usize)
    }

    fn of(&self, entry: u32) -> i64 {
        self.cell(entry).map_or(i64::MAX, |seen| seen.load(Relaxed))
    }
}

/// What one worker has read.
#[derive(Debug, Default)]
pub struct Read {
    parts: Vec<Part>,
    blanks: Vec<u64>,
}

/// One worker of an intake.
#[derive(Debug)]
pub struct Reader<'a> {
    intake: &'a Intake,
    parts: Vec<Part>,
    blanks: Vec<u64>,
    /// Type names met in links.
    kinds: HashMap<String, Option<u8>>,
    /// The bucket that this worker begins with.
    first_bucket: usize,
    pending: Vec<Pending>,
    /// Bytes that wait.
    waiting: usize,
    /// Rows that are read, of which some identifiers still wait.
    open: Part,
}

/// Where a row stands, for the account of what could not be used.
struct At<'a> {
    place: &'a Arc<str>,
    first_row: u64,
}

/// Identifiers of one bucket on their way into the table.
#[derive(Debug, Default)]
struct Pending {
    /// Key, and the place among the identifiers of the worker's rows.
    keys: Vec<(u64, u32)>,
    /// Type and length of each text.
    shapes: Vec<(u8, u16)>,
    texts: Vec<u8>,
}

impl Reader<'_> {
    /// Takes rows with the columns asked for.
    ///
    /// # Errors
    /// A column of a type that does not fit; more identifiers than can be numbered.
    pub fn take(&mut self, place: &Arc<str>, first_row: u64, batch: &RecordBatch, tally: &mut Tally) -> Result<(), IdentityError> {
        let (rows, width) = (batch.num_rows(), self.intake.width());
        tally.rows_read += rows as u64;
        let at = At { place, first_row };
        let columns = self.id_columns(batch)?;
        let base = self.open.ids.len();
        self.open.ids.resize(base + rows * width, NONE);
        match &self.intake.shape {
            Shape::Rows(found) => {
                for (slot, ((kind, name), column)) in found.iter().zip(&columns).enumerate() {
                    self.normalize(&at, name, column, |_| Some(*kind), |row| (base + row * width + slot) as u32, tally);
                }
            }
            Shape::Links => {
                let kinds = [0, 2].map(|at_column| self.link_kinds(&at, LINK_COLUMNS[at_column], &columns[at_column], tally));
                for end in 0..2 {
                    // The identifier of higher priority stands first.
                    let behind = |row: usize| match (kinds[end][row], kinds[1 - end][row]) {
                        (Some(own), Some(other)) if own != other => usize::from(own > other),
                        _ => end,
                    };
                    let place = |row: usize| (base + row * 2 + behind(row)) as u32;
                    self.normalize(
                        &at,
                        LINK_COLUMNS[2 * end + 1],
                        &columns[2 * end + 1],
                        |row| kinds[end][row],
                        place,
                        tally,
                    );
                }
            }
        }
        let seen_at = self.times(&at, batch, tally)?;
        self.open.seen_at.extend(seen_at);
        let sources = self.sources(batch)?;
        self.open.sources.extend(sources);
        if self.waiting > WAITING_BYTES || self.open.ids.len() > WAITING_BYTES {
            self.intern()?;
        }
        Ok(())
    }

    /// What was read and looked up.
    #[must_use]
    pub fn into_read(self) -> Read {
        Read {
            parts: self.parts,
            blanks: self.blanks,
        }
    }

    fn id_columns(&self, batch: &RecordBatch) -> Result<Vec<IdColumn>, IdentityError> {
        let names: Vec<&str> = match &self.intake.shape {
            Shape::Rows(found) => found.iter().map(|(_, name)| name.as_str()).collect(),
            Shape::Links => LINK_COLUMNS.to_vec(),
        };
        let column = |name: &str| {
            let array = self.column(batch, name)?;
            IdColumn::new(&array).ok_or_else(|| self.wrong_type(name, &array, ACCEPTED_IDS))
        };
        names.into_iter().map(column).collect()
    }

    fn column(&self, batch: &RecordBatch, name: &str) -> Result<ArrayRef, IdentityError> {
        batch.column_by_name(name).cloned().ok_or_else(|| IdentityError::Malformed {
            place: self.intake.place.clone(),
            problem: format!("column {name:?} was not decoded"),
        })
    }

    fn wrong_type(&self, name: &str, array: &ArrayRef, accepted: &'static str) -> IdentityError {
        IdentityError::ColumnType {
            place: self.intake.place.clone(),
            column: name.to_owned(),
            found: array.data_type().to_string(),
            accepted,
        }
    }

    /// The type that each row of a column of type names means.
    fn link_kinds(&mut self, at: &At<'_>, name: &str, column: &IdColumn, tally: &mut Tally) -> Vec<Option<u8>> {
        let types = &self.intake.inner.types;
        let mut kinds = vec![None; column.len()];
        column.for_each(|row, id| {
            let IdRef::Text(text) = id else { return };
            let kind = match self.kinds.get(text) {
                Some(kind) => *kind,
                None => {
                    let kind = types.iter().position(|known| known.name == text).map(|place| place as u8);
                    self.kinds.insert(text.to_owned(), kind);
                    kind
                }
            };
            if kind.is_none() {
                let detail = || {
                    format!(
                        "{text:?}; the id types are {}",
                        types.iter().map(|known| known.name.as_str()).collect::<Vec<_>>().join(", ")
                    )
                };
                tally.reject(at.place, at.first_row + row as u64, Reason::UnknownIdType, name, detail);
            }
            kinds[row] = kind;
        });
        kinds
    }

    /// Brings the values of a column to their one form.
    #[allow(clippy::too_many_arguments, reason = "one caller's loop body, given two shapes of rows")]
    fn normalize(
        &mut self,
        at: &At<'_>,
        name: &str,
        column: &IdColumn,
        kind_of: impl Fn(usize) -> Option<u8>,
        place_of: impl Fn(usize) -> u32,
        tally: &mut Tally,
    ) {
        let intake = self.intake;
        for row in 0..column.len() {
            let Some(kind) = kind_of(row) else { continue };
            let (id_type, hash) = (&intake.inner.types[usize::from(kind)], intake.inner.hashes[usize::from(kind)]);
            let mut reject = |reason: Reason| tally.reject(at.place, at.first_row + row as u64, reason, name, String::new);
            let normal = match column.get(row) {
                IdRef::Null => continue,
                IdRef::Bad(reason) => {
                    reject(reason);
                    continue;
                }
                IdRef::Text(text) => id_type.normalizer.normalize(text),
                IdRef::Int(value) => owned(id_type.normalizer.normalize(&value.to_string())),
            };
            let text = match normal {
                Normal::Plain(text) => hash.map_or(text.clone(), |hash| Cow::Owned(hashed(hash, &text))),
                Normal::Hashed(hash, text) => {
                    let bit = SEEN.iter().find(|(known, _)| *known == hash).map_or(0, |(_, bit)| *bit);
                    if intake.hashes_met[usize::from(kind)].load(Relaxed) & bit == 0 {
                        intake.hashes_met[usize::from(kind)].fetch_or(bit, Relaxed);
                    }
                    text
                }
                Normal::Blank => {
                    self.blanks[usize::from(kind)] += 1;
                    continue;
                }
                Normal::Malformed => {
                    reject(Reason::MalformedId);
                    continue;
                }
            };
            let key = key_of(intake.seeds[usize::from(kind)], text.as_bytes());
            let pending = &mut self.pending[bucket_of(key)];
            pending.keys.push((key, place_of(row)));
            pending.shapes.push((kind, text.len() as u16));
            pending.texts.extend_from_slice(text.as_bytes());
            self.waiting += text.len() + WAITING_EACH;
        }
    }

    /// Finds or adds all identifiers that wait, bucket by bucket: what a bucket holds is fetched from memory once for many. To be called at
    /// the end as well.
    ///
    /// # Errors
    /// More identifiers than can be numbered.
    pub fn intern(&mut self) -> Result<(), IdentityError> {
        let mut part = std::mem::take(&mut self.open);
        for turn in 0..BUCKETS {
            // Workers begin at different buckets, so that they do not wait for each other at every one.
            let bucket = (turn + self.first_bucket) % BUCKETS;
            let own = &mut self.pending[bucket];
            let full = self.intake.interning.with_bucket(bucket, |entries: &mut Bucket| {
                let mut start = 0;
                own.keys.iter().zip(&own.shapes).any(|(&(key, place), &(kind, length))| {
                    let text = &own.texts[start..start + usize::from(length)];
                    start += usize::from(length);
                    let local = entries.entry(key, kind, text);
                    part.ids[place as usize] = local.map_or(NONE, |local| entry_of(bucket, local));
                    local.is_none()
                })
            });
            if full {
                return Err(IdentityError::TooManyIds);
            }
            own.keys.clear();
            own.shapes.clear();
            own.texts.clear();
        }
        self.waiting = 0;
        part.ids.shrink_to_fit();
        self.parts.push(part);
        Ok(())
    }

    fn times(&self, at: &At<'_>, batch: &RecordBatch, tally: &mut Tally) -> Result<Vec<i64>, IdentityError> {
        let Some(name) = &self.intake.seen_at else { return Ok(Vec::new()) };
        let array = self.column(batch, name)?;
        if *array.data_type() == arrow::datatypes::DataType::Null {
            return Ok(vec![i64::MAX; batch.num_rows()]);
        }
        let zone = &self.intake.zone;
        let times = TimeColumn::new(&array, None, zone).ok_or_else(|| self.wrong_type(name, &array, ACCEPTED_TIMES))?;
        let instant = |row: usize| {
            if array.is_null(row) {
                return i64::MAX;
            }
            let raw = times.raw()[row];
            let resolved = (!times.kind().is_unreadable(raw))
                .then(|| times.kind().resolve(raw, zone))
                .flatten();
            resolved.map_or_else(
                || {
                    let reason = if times.kind().is_unreadable(raw) {
                        Reason::UnreadableTime
                    } else {
                        Reason::TimeOutOfRange
                    };
                    tally.reject(at.place, at.first_row + row as u64, reason, name, String::new);
                    i64::MAX
                },
                |(instant, _)| instant,
            )
        };
        Ok((0..batch.num_rows()).map(instant).collect())
    }

    fn sources(&self, batch: &RecordBatch) -> Result<Vec<u32>, IdentityError> {
        let Some(name) = &self.intake.source else { return Ok(Vec::new()) };
        let array = self.column(batch, name)?;
        let column = IdColumn::new(&array).ok_or_else(|| self.wrong_type(name, &array, ACCEPTED_IDS))?;
        let mut met: HashMap<String, u32> = HashMap::new();
        let mut numbers = vec![NONE; batch.num_rows()];
        column.for_each(|row, id| {
            let Some(value) = id.to_value() else { return };
            let value = value.to_string();
            numbers[row] = match met.get(&value) {
                Some(number) => *number,
                None => {
                    let number = self.intake.number_source(&value);
                    met.insert(value, number);
                    number
                }
            };
        });
        Ok(numbers)
    }
}

fn owned(normal: Normal<'_>) -> Normal<'static> {
    match normal {
        Normal::Plain(text) => Normal::Plain(Cow::Owned(text.into_owned())),
        Normal::Hashed(hash, text) => Normal::Hashed(hash, Cow::Owned(text.into_owned())),
        Normal::Blank => Normal::Blank,
        Normal::Malformed => Normal::Malformed,
    }
}
