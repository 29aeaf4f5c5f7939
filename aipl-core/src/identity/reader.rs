//! Reading rows into an intake: one reader a worker.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::{Array, ArrayRef, RecordBatch};

use crate::base::id::BUCKETS;
use crate::event::columns::{ACCEPTED_IDS, IdRef};
use crate::event::time::ACCEPTED_TIMES;
use crate::event::{IdColumn, Reason, Tally, TimeColumn};
use crate::identity::IdentityError;
use crate::identity::intake::{Intake, LINK_COLUMNS, Read, SEEN, STRIDE, Shape};
use crate::identity::normalize::{Normal, hashed};
use crate::identity::observations::Part;
use crate::identity::table::{Bucket, NONE, bucket_of, entry_of, key_of};

/// Bytes of identifiers that a worker gathers before it looks them up.
const WAITING_BYTES: usize = 1 << 28;
/// Bytes of an identifier that waits, besides its text.
const WAITING_EACH: usize = size_of::<(u64, u32)>() + size_of::<(u8, u16)>();

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

impl<'a> Reader<'a> {
    /// A reader for one worker.
    #[must_use]
    pub fn new(intake: &'a Intake) -> Self {
        Reader {
            intake,
            parts: Vec::new(),
            blanks: vec![0; intake.seeds.len()],
            kinds: HashMap::new(),
            first_bucket: intake.readers.fetch_add(STRIDE, Relaxed) % BUCKETS,
            pending: std::iter::repeat_with(Pending::default).take(BUCKETS).collect(),
            waiting: 0,
            open: Part::default(),
        }
    }
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
            let text = match id {
                IdRef::Text(text) => text,
                IdRef::Null => return,
                IdRef::Int(_) | IdRef::Bad(_) => "",
            };
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
                Normal::Hashed(own, _) if hash.is_some_and(|hash| hash != own) => {
                    reject(Reason::OtherHash);
                    continue;
                }
                Normal::Hashed(own, text) => {
                    let bit = SEEN.iter().find(|(known, _)| *known == own).map_or(0, |(_, bit)| *bit);
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
