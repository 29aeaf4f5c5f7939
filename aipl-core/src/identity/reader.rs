//! Reading rows into an intake: one reader a worker.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::{Array, ArrayRef, RecordBatch};

use crate::event::columns::{ACCEPTED_IDS, IdRef};
use crate::event::time::ACCEPTED_TIMES;
use crate::event::{IdColumn, Reason, Tally, TimeColumn};
use crate::identity::IdentityError;
use crate::identity::bucket::{ABSENT, BUCKETS, Waiting, bucket_of, tag_of};
use crate::identity::gathered::Gathered;
use crate::identity::intake::{Intake, LINK_COLUMNS, Read, SEEN, STRIDE, Shape};
use crate::identity::normalize::{Normal, hashed};
use crate::identity::observations::NONE;

/// Bytes of identifiers that a worker gathers before it looks them up: few enough to stay in a large cache, and enough
/// to work on each bucket for a while.
const WAITING_BYTES: usize = 1 << 23;

/// One worker of an intake.
#[derive(Debug)]
pub struct Reader<'a> {
    intake: &'a Intake,
    /// Rows that are looked up.
    done: Vec<Gathered>,
    /// Rows of which some identifiers wait.
    rows: Gathered,
    blanks: Vec<u64>,
    /// Type names met in links.
    kinds: HashMap<String, Option<u8>>,
    /// The bucket that this worker begins with.
    first_bucket: usize,
    /// Identifiers on their way into the table, by bucket.
    pending: Vec<Waiting>,
    /// Bytes that wait.
    waiting: usize,
}

/// A column of identifiers.
struct Column<'a> {
    name: &'a str,
    ids: &'a IdColumn,
}

/// Where a row stands, for the account of what could not be used.
struct At<'a> {
    place: &'a Arc<str>,
    first_row: u64,
}

impl<'a> Reader<'a> {
    /// A reader for one worker.
    #[must_use]
    pub fn new(intake: &'a Intake) -> Self {
        Reader {
            intake,
            done: Vec::new(),
            rows: Gathered::new(intake.width()),
            blanks: vec![0; intake.inner.types.len()],
            kinds: HashMap::new(),
            first_bucket: intake.readers.fetch_add(STRIDE, Relaxed) % BUCKETS,
            pending: std::iter::repeat_with(Waiting::default).take(BUCKETS).collect(),
            waiting: 0,
        }
    }
}

impl Reader<'_> {
    /// Takes rows with the columns asked for.
    ///
    /// # Errors
    /// A column of a type that does not fit; more identifiers than can be numbered.
    pub fn take(&mut self, place: &Arc<str>, first_row: u64, batch: &RecordBatch, tally: &mut Tally) -> Result<(), IdentityError> {
        let rows = batch.num_rows();
        tally.rows_read += rows as u64;
        let at = At { place, first_row };
        let columns = self.id_columns(batch)?;
        match &self.intake.shape {
            Shape::Rows(found) => {
                let columns: Vec<Column> = found.iter().zip(&columns).map(|((_, name), ids)| Column { name, ids }).collect();
                for row in 0..rows {
                    for ((kind, _), column) in found.iter().zip(&columns) {
                        let bucket = self.take_one(&at, column, row, *kind, tally);
                        self.rows.homes.push(bucket);
                    }
                }
            }
            Shape::Links => {
                let kinds = [0, 2].map(|at_column| self.link_kinds(&at, LINK_COLUMNS[at_column], &columns[at_column], tally));
                let ends = [1, 3].map(|at_column| Column {
                    name: LINK_COLUMNS[at_column],
                    ids: &columns[at_column],
                });
                for (row, kinds) in kinds[0].iter().zip(&kinds[1]).enumerate() {
                    let mut own = [(*kinds.0, &ends[0]), (*kinds.1, &ends[1])];
                    if matches!(kinds, (Some(one), Some(other)) if one > other) {
                        // The identifier of higher priority stands first.
                        own.reverse();
                    }
                    for (kind, column) in own {
                        let bucket = kind.map_or(ABSENT, |kind| self.take_one(&at, column, row, kind, tally));
                        self.rows.homes.push(bucket);
                    }
                }
            }
        }
        let seen_at = self.times(&at, batch, tally)?;
        self.rows.seen_at.extend(seen_at);
        let sources = self.sources(&at, batch, tally)?;
        self.rows.sources.extend(sources);
        if self.waiting > WAITING_BYTES {
            self.intern()?;
        }
        Ok(())
    }

    /// What was read and looked up.
    #[must_use]
    pub fn into_read(self) -> Read {
        Read {
            rows: self.done,
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
                IdRef::Bad(reason) => return tally.reject(at.place, at.first_row + row as u64, reason, name, String::new),
                IdRef::Int(_) => "",
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

    /// Brings one value to its one form and lets it wait. Gives its bucket, or that there is none.
    #[inline]
    fn take_one(&mut self, at: &At<'_>, column: &Column<'_>, row: usize, kind: u8, tally: &mut Tally) -> u8 {
        let intake = self.intake;
        let (id_type, hash) = (&intake.inner.types[usize::from(kind)], intake.inner.hashes[usize::from(kind)]);
        let mut reject = |reason: Reason| {
            tally.reject(at.place, at.first_row + row as u64, reason, column.name, String::new);
            ABSENT
        };
        let normal = match column.ids.get(row) {
            IdRef::Null => return ABSENT,
            IdRef::Bad(reason) => return reject(reason),
            IdRef::Text(text) => id_type.normalizer.normalize(text),
            IdRef::Int(value) => owned(id_type.normalizer.normalize(&value.to_string())),
        };
        let text = match normal {
            Normal::Plain(text) => match hash {
                Some(hash) => Cow::Owned(hashed(hash, &text)),
                None => text,
            },
            Normal::Hashed(own, _) if hash.is_some_and(|hash| hash != own) => return reject(Reason::OtherHash),
            Normal::Hashed(own, text) => {
                let bit = SEEN.iter().find(|(known, _)| *known == own).map_or(0, |(_, bit)| *bit);
                if intake.hashes_met[usize::from(kind)].load(Relaxed) & bit == 0 {
                    intake.hashes_met[usize::from(kind)].fetch_or(bit, Relaxed);
                }
                text
            }
            Normal::Blank => {
                self.blanks[usize::from(kind)] += 1;
                return ABSENT;
            }
            Normal::Malformed => return reject(Reason::MalformedId),
        };
        let key = intake.interning.keys().of(kind, text.as_bytes());
        let bucket = bucket_of(key);
        self.pending[bucket].push(tag_of(key), kind, &text);
        self.waiting += text.len() + Waiting::EACH;
        bucket as u8
    }

    /// Finds or adds all identifiers that wait, bucket by bucket. To be called at the end as well.
    ///
    /// # Errors
    /// More identifiers than can be numbered.
    pub fn intern(&mut self) -> Result<(), IdentityError> {
        for turn in 0..BUCKETS {
            // Workers begin at different buckets, so that they do not wait for each other at every one.
            let bucket = (turn + self.first_bucket) % BUCKETS;
            let (own, ids) = (&mut self.pending[bucket], &mut self.rows.ids[bucket]);
            let found = self.intake.interning.with_bucket(bucket, |known| known.look_up(own, ids));
            found.ok_or(IdentityError::TooManyIds)?;
            own.clear();
        }
        self.waiting = 0;
        self.done
            .push(std::mem::replace(&mut self.rows, Gathered::new(self.intake.width())));
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
            let wrong = times.kind().wrong(raw);
            let resolved = wrong.is_none().then(|| times.kind().resolve(raw, zone)).flatten();
            resolved.map_or_else(
                || {
                    let reason = wrong.unwrap_or(Reason::TimeOutOfRange);
                    tally.reject(at.place, at.first_row + row as u64, reason, name, String::new);
                    i64::MAX
                },
                |(instant, _)| instant,
            )
        };
        Ok((0..batch.num_rows()).map(instant).collect())
    }

    fn sources(&self, at: &At<'_>, batch: &RecordBatch, tally: &mut Tally) -> Result<Vec<u32>, IdentityError> {
        let Some(name) = &self.intake.source else { return Ok(Vec::new()) };
        let array = self.column(batch, name)?;
        let column = IdColumn::new(&array).ok_or_else(|| self.wrong_type(name, &array, ACCEPTED_IDS))?;
        let mut met: HashMap<String, u32> = HashMap::new();
        let mut numbers = vec![NONE; batch.num_rows()];
        column.for_each(|row, id| {
            if let IdRef::Bad(reason) = id {
                tally.reject(at.place, at.first_row + row as u64, reason, name, String::new);
            }
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
