//! A map as Arrow rows and back: every observation in long form, with the rules in the schema's metadata. Reading
//! resolves anew, so what comes back is what was stored, person by person.
//!
//! A checksum over rules and rows stands beside the rules. Maps that were stored before there was one are read as they
//! are.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchReader};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::base::id::MAX_ID_BYTES;
use crate::base::stop;
use crate::identity::IdentityError;
use crate::identity::bucket::ABSENT;
use crate::identity::gathered::Gathered;
use crate::identity::id_type::{Hash, IdType, MAX_ID_TYPES};
use crate::identity::map::{Guards, IdentityMap, Inner};
use crate::identity::observations::{Batch, NONE};
use crate::identity::table::Interning;
use crate::identity::tables::Columns;

/// The key of the rules in the schema's metadata.
const KEY: &str = "aipl.identity";
/// The key of the checksum there: 32 hexadecimal digits.
const SUM_KEY: &str = "aipl.identity.xxh3";
/// The version of the form.
const VERSION: u32 = 1;
/// The longest rules that are read.
const MAX_RULE_BYTES: usize = 256 << 20;
/// The most sources.
const MAX_SOURCES: usize = 1 << 20;
/// Batches that may be without a row, besides one a row.
const MAX_EMPTY_BATCHES: usize = 1 << 16;
/// The most blank values of a type.
const MAX_BLANKS: u64 = 1 << 53;
/// Rows between two questions whether to stop.
const STEP: usize = 1 << 16;
/// Identifiers of one batch of rows.
const BATCH_IDS: usize = 1 << 16;

/// The rules of a map, as they are stored.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    version: u32,
    id_types: Vec<IdType>,
    hashes: Vec<Option<Hash>>,
    max_people_per_id: Option<u32>,
    max_component: Option<u32>,
    unlinked: Vec<((String, String), (String, String))>,
    blocked: Vec<(String, String)>,
    blanks: Vec<u64>,
    sources: Vec<String>,
    batches: usize,
}

/// The observations of a map: columns `batch`, `row`, `id_type`, `id`, `seen_at`, `source`; a row of the table is an
/// identifier of an observation.
#[derive(Debug)]
pub struct Observations {
    map: IdentityMap,
    schema: SchemaRef,
    /// Batch, part and row to go on with.
    next: (usize, usize, usize),
    row: i64,
}

impl IdentityMap {
    /// The map as Arrow rows; their number comes with them.
    ///
    /// # Errors
    /// None in practice: the rules are plain data.
    pub fn observations(&self) -> Result<(usize, Observations), IdentityError> {
        let inner = &self.inner;
        let named = |id: u32| {
            let (kind, text) = self.described(id);
            (inner.types[usize::from(kind)].name.clone(), text.to_owned())
        };
        let stored = Stored {
            version: VERSION,
            id_types: inner.types.clone(),
            hashes: inner.hashes.clone(),
            max_people_per_id: inner.guards.max_people_per_id,
            max_component: inner.guards.max_component,
            unlinked: inner.cuts.iter().map(|&(low, high)| (named(low), named(high))).collect(),
            blocked: inner.blocked.iter().map(|&id| named(id)).collect(),
            blanks: inner.blanks.clone(),
            sources: inner.sources.clone(),
            batches: inner.batches.len(),
        };
        let text = serde_json::to_string(&stored).map_err(|error| malformed(error.to_string()))?;
        let empty = rows(&[], self).map_err(|error| malformed(error.to_string()))?;
        let metadata = HashMap::from([(SUM_KEY.to_owned(), self.checksum(&text)), (KEY.to_owned(), text)]);
        let schema = Schema::new_with_metadata(empty.schema().fields().clone(), metadata);
        let ids = inner.batches.iter().flat_map(|batch| &batch.parts).flat_map(|part| &part.ids);
        Ok((
            ids.filter(|id| **id != NONE).count(),
            Observations {
                map: self.clone(),
                schema: Arc::new(schema),
                next: (0, 0, 0),
                row: 0,
            },
        ))
    }

    /// The checksum of the rules and of all rows.
    fn checksum(&self, rules: &str) -> String {
        let (inner, mut sum) = (&self.inner, Sum::new(rules));
        for (batch, stored) in (0..).zip(&inner.batches) {
            let rows = stored.parts.iter().flat_map(|part| part.rows(stored.width));
            for (number, row) in (0i64..).zip(rows) {
                if number as usize % STEP == STEP - 1 && stop::requested() {
                    return sum.digits();
                }
                for &id in row.ids.iter().filter(|id| **id != NONE) {
                    let (kind, text) = self.described(id);
                    let source = inner.sources.get(row.source as usize).map(String::as_str);
                    sum.add((batch, number), &inner.types[usize::from(kind)].name, text, row.seen_at, source);
                }
            }
        }
        sum.digits()
    }

    /// The map that was stored as these rows; unfinished once `stop` holds. What could not be used when they were read
    /// is not stored.
    ///
    /// # Errors
    /// Rows that no map was stored as, or that are damaged: not those that their checksum is of. What reading them
    /// refuses.
    pub fn from_observations(
        schema: &Schema,
        batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Self, IdentityError> {
        let text = schema
            .metadata()
            .get(KEY)
            .ok_or_else(|| malformed(format!("its schema has no {KEY:?} metadata, so it is no stored IdentityMap")))?;
        within("bytes of rules", text.len(), MAX_RULE_BYTES)?;
        let stored: Stored = serde_json::from_str(text).map_err(|error| malformed(format!("its rules cannot be read: {error}")))?;
        if stored.version != VERSION {
            return Err(malformed(format!(
                "it is of version {}; this library reads version {VERSION}",
                stored.version
            )));
        }
        stored.check()?;
        let guards = Guards {
            max_people_per_id: stored.max_people_per_id,
            max_component: stored.max_component,
        };
        let map = IdentityMap::new(stored.id_types, guards)?;
        if stored.hashes.len() != map.types().len() || stored.blanks.len() != map.types().len() {
            return Err(malformed("its rules do not fit its id types".to_owned()));
        }
        let mut inner = (*map.inner).clone();
        (inner.hashes, inner.blanks, inner.sources) = (stored.hashes, stored.blanks, stored.sources);
        let mut gathering = Gathering::new(inner, Sum::new(text));
        for batch in batches {
            if stop() {
                break;
            }
            gathering.take(&batch.map_err(|error| malformed(error.to_string()))?, stored.batches)?;
        }
        if stop() {
            return Ok(map);
        }
        let sum = std::mem::replace(&mut gathering.sum, Sum::new("")).digits();
        if schema.metadata().get(SUM_KEY).is_some_and(|known| *known != sum) {
            return Err(malformed("its checksum does not agree; it is damaged".to_owned()));
        }
        gathering.end_batches(stored.batches)?;
        let inner = gathering.inner;
        let map = IdentityMap { inner: Arc::new(inner) };
        let number = |(name, text): &(String, String)| {
            let kind = map.kind("id_type", name)?;
            map.inner
                .table
                .find(kind, text)
                .ok_or_else(|| malformed("its rules name an identifier that it does not hold".to_owned()))
        };
        let (mut cuts, mut blocked) = (Vec::new(), Vec::new());
        for (left, right) in &stored.unlinked {
            cuts.push(crate::identity::link::pair(number(left)?, number(right)?));
        }
        for id in &stored.blocked {
            blocked.push(number(id)?);
        }
        let mut inner = (*map.inner).clone();
        inner.cuts.extend(cuts);
        inner.blocked.extend(blocked);
        inner.link(stop);
        Ok(IdentityMap { inner: Arc::new(inner) })
    }
}

impl Stored {
    /// Refuses what no map says of itself.
    fn check(&self) -> Result<(), IdentityError> {
        within("sources", self.sources.len(), MAX_SOURCES)?;
        if self.blanks.iter().any(|count| *count > MAX_BLANKS) {
            return Err(malformed(format!("it counts more than {MAX_BLANKS} blank values")));
        }
        Ok(())
    }
}

fn within(what: &str, found: usize, limit: usize) -> Result<(), IdentityError> {
    if found <= limit {
        return Ok(());
    }
    Err(malformed(format!("it has {found} {what}; at most {limit} are read")))
}

/// A checksum over the rules and rows of a map.
struct Sum(Xxh3);

impl Sum {
    fn new(rules: &str) -> Self {
        let mut sum = Sum(Xxh3::new());
        sum.text(rules);
        sum
    }

    fn text(&mut self, text: &str) {
        self.0.update(&(text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
    }

    /// Adds an identifier of an observation: its batch and row, type and text, when it was seen, and its source.
    fn add(&mut self, (batch, row): (i64, i64), kind: &str, id: &str, seen_at: i64, source: Option<&str>) {
        [batch, row, seen_at].iter().for_each(|number| self.0.update(&number.to_le_bytes()));
        self.text(kind);
        self.text(id);
        self.0.update(&[u8::from(source.is_some())]);
        source.into_iter().for_each(|source| self.text(source));
    }

    fn digits(self) -> String {
        format!("{:032x}", self.0.digest128())
    }
}

fn malformed(problem: String) -> IdentityError {
    IdentityError::Malformed {
        place: "stored identity map".to_owned(),
        problem,
    }
}

/// One identifier of one observation.
struct Entry {
    batch: i64,
    row: i64,
    id: u32,
    seen_at: i64,
    source: u32,
}

fn rows(entries: &[Entry], map: &IdentityMap) -> Result<RecordBatch, ArrowError> {
    let described = |entry: &Entry| map.described(entry.id);
    let source = |entry: &Entry| map.inner.sources.get(entry.source as usize).map(String::as_str);
    Columns::new()
        .integers("batch", entries.iter().map(|entry| entry.batch))
        .integers("row", entries.iter().map(|entry| entry.row))
        .texts(
            "id_type",
            entries
                .iter()
                .map(|entry| map.types()[usize::from(described(entry).0)].name.as_str()),
        )
        .texts("id", entries.iter().map(|entry| described(entry).1))
        .instants("seen_at", entries.iter().map(|entry| entry.seen_at))
        .optional_texts("source", entries.iter().map(source))
        .batch()
}

impl Iterator for Observations {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut entries = Vec::new();
        let batches = &self.map.inner.batches;
        while let Some(batch) = batches.get(self.next.0).filter(|_| entries.len() < BATCH_IDS) {
            let Some(part) = batch.parts.get(self.next.1) else {
                self.next = (self.next.0 + 1, 0, 0);
                self.row = 0;
                continue;
            };
            let width = batch.width;
            let left = part.rows(width).skip(self.next.2).take(BATCH_IDS / width.max(1) + 1);
            let mut taken = 0;
            for row in left {
                let known = row.ids.iter().filter(|id| **id != NONE);
                entries.extend(known.map(|&id| Entry {
                    batch: self.next.0 as i64,
                    row: self.row,
                    id,
                    seen_at: row.seen_at,
                    source: row.source,
                }));
                taken += 1;
                self.row += 1;
            }
            self.next.2 += taken;
            if self.next.2 * width >= part.ids.len() {
                self.next = (self.next.0, self.next.1 + 1, 0);
            }
        }
        if entries.is_empty() {
            return None;
        }
        Some(rows(&entries, &self.map).and_then(|batch| batch.with_schema(self.schema.clone())))
    }
}

impl RecordBatchReader for Observations {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// Rows of a stored map on their way back.
struct Gathering {
    inner: Inner,
    interning: Option<Interning>,
    /// Bucket and id of the identifiers of the batch at hand, row by row.
    ids: Vec<(u8, u32)>,
    /// Where each row ends, when it was seen, and its source.
    rows: Vec<(usize, i64, u32)>,
    sources: HashMap<String, u32>,
    /// The observation at hand: batch and row.
    at: (i64, i64),
    /// Rows taken.
    taken: usize,
    sum: Sum,
}

impl Gathering {
    fn new(inner: Inner, sum: Sum) -> Self {
        Gathering {
            sum,
            taken: 0,
            interning: None,
            ids: Vec::new(),
            rows: Vec::new(),
            sources: inner.sources.iter().cloned().zip(0..).collect(),
            at: (0, -1),
            inner,
        }
    }

    /// Takes rows of a map of so many batches.
    fn take(&mut self, batch: &RecordBatch, stored: usize) -> Result<(), IdentityError> {
        let column = |name: &str, wanted: &DataType| {
            let column = batch
                .column_by_name(name)
                .ok_or_else(|| malformed(format!("it has no column {name:?}")))?;
            // What a footer only claims to be text is not taken for it.
            let valid = column.to_data().validate_full();
            valid
                .and_then(|()| cast(column, wanted))
                .map_err(|error| malformed(format!("column {name:?}: {error}")))
        };
        let instants = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let (batches, rows) = (column("batch", &DataType::Int64)?, column("row", &DataType::Int64)?);
        let (kinds, ids) = (column("id_type", &DataType::Utf8)?, column("id", &DataType::Utf8)?);
        let (times, sources) = (column("seen_at", &instants)?, column("source", &DataType::Utf8)?);
        if [&batches, &rows, &kinds, &ids].iter().any(|column| column.null_count() > 0) {
            return Err(malformed("it holds nulls where a stored map has none".to_owned()));
        }
        let (batches, rows) = (batches.as_primitive::<Int64Type>(), rows.as_primitive::<Int64Type>());
        let (kinds, ids, sources) = (kinds.as_string::<i32>(), ids.as_string::<i32>(), sources.as_string::<i32>());
        let times = times.as_primitive::<TimestampMicrosecondType>();
        for place in 0..batch.num_rows() {
            // Whoever gathers asks again, and ends with what there is: nobody sees it.
            if place % STEP == STEP - 1 && stop::requested() {
                break;
            }
            let name = kinds.value(place);
            let kind = self.inner.types.iter().position(|known| known.name == name);
            let kind = kind.ok_or_else(|| malformed(format!("it holds the id type {name:?}, which its rules do not name")))?;
            let at = (batches.value(place), rows.value(place));
            if usize::try_from(at.0).is_ok_and(|batch| batch >= stored) {
                return Err(malformed(format!(
                    "it has a row of batch {}, and {stored} batches by its rules",
                    at.0
                )));
            }
            if !(1..=MAX_ID_BYTES).contains(&ids.value(place).len()) {
                return Err(malformed(format!("it holds an identifier of {} bytes", ids.value(place).len())));
            }
            if at < self.at {
                return Err(malformed("its rows are not in order of batch and row".to_owned()));
            }
            self.end_batches(usize::try_from(at.0).unwrap_or_default())?;
            let source = sources.is_valid(place).then(|| self.number_source(sources.value(place)));
            let table = &mut self.inner.table;
            let interning = self
                .interning
                .get_or_insert_with(|| Arc::unwrap_or_clone(std::mem::take(table)).open());
            let id = interning.id(kind as u8, ids.value(place), 1);
            self.ids.push(id.ok_or(IdentityError::TooManyIds)?);
            let seen_at = if times.is_valid(place) { times.value(place) } else { i64::MAX };
            let named = sources.is_valid(place).then(|| sources.value(place));
            self.sum.add(at, name, ids.value(place), seen_at, named);
            let row = (self.ids.len(), seen_at, source.unwrap_or(NONE));
            match self.rows.last_mut().filter(|_| self.at == at) {
                Some(last) => *last = row,
                None => self.rows.push(row),
            }
            let start = self.rows.len().checked_sub(2).map_or(0, |before| self.rows[before].0);
            // All rows of a batch take as much room as its longest.
            within("identifiers in one row", self.ids.len() - start, MAX_ID_TYPES)?;
            (self.at, self.taken) = (at, self.taken + 1);
        }
        Ok(())
    }

    fn number_source(&mut self, name: &str) -> u32 {
        if let Some(number) = self.sources.get(name) {
            return *number;
        }
        let number = self.inner.sources.len() as u32;
        self.inner.sources.push(name.to_owned());
        self.sources.insert(name.to_owned(), number);
        number
    }

    /// Ends batches up to a number of them, of which only so many can be empty.
    fn end_batches(&mut self, count: usize) -> Result<(), IdentityError> {
        let empty = count.saturating_sub(self.inner.batches.len());
        within("batches without a row", empty, self.taken + MAX_EMPTY_BATCHES)?;
        let nothing = Arc::new(Batch {
            width: 1,
            parts: Vec::new(),
        });
        while self.inner.batches.len() < count {
            match self.rows.is_empty() {
                true => self.inner.batches.push(nothing.clone()),
                false => self.end_batch()?,
            }
        }
        Ok(())
    }

    /// Ends the batch at hand; the next one begins.
    fn end_batch(&mut self) -> Result<(), IdentityError> {
        let (ids, rows) = (std::mem::take(&mut self.ids), std::mem::take(&mut self.rows));
        let starts = std::iter::once(0).chain(rows.iter().map(|row| row.0));
        let width = starts.zip(&rows).map(|(start, row)| row.0 - start).max().unwrap_or(1);
        let mut gathered = Gathered::new(width);
        let mut start = 0;
        for (end, seen_at, source) in rows {
            for &(bucket, id) in &ids[start..end] {
                gathered.homes.push(bucket);
                gathered.ids[usize::from(bucket)].push(id);
            }
            gathered.homes.extend(std::iter::repeat_n(ABSENT, width - (end - start)));
            gathered.seen_at.push(seen_at);
            gathered.sources.push(source);
            start = end;
        }
        let table = &mut self.inner.table;
        let before = self.interning.as_ref().map_or(table.len(), Interning::known) as u32;
        let interning = self
            .interning
            .take()
            .unwrap_or_else(|| Arc::unwrap_or_clone(std::mem::take(table)).open());
        self.inner.keep(interning, before, vec![gathered], width, true, &HashMap::new())
    }
}
