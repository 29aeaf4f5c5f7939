//! The consumers of a bank: identifiers and their lasting numbers, in files of their own.

use std::collections::HashMap;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, UInt32Type};
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;

use crate::bank::error::BankError;
use crate::bank::files::{NewFile, Published};
use crate::bank::record::FileRecord;
use crate::bank::segment::{ParquetFile, arrow_fault, properties, write_fault};
use crate::bank::text::{check_text, is_text};
use crate::base::id::{BUCKETS, MAX_LOCAL};
use crate::base::{ConsumerIdx, IdKind, IdValue};
use crate::timeline::bucket::TooManyConsumers;
use crate::timeline::read::each_bucket;
use crate::timeline::scan::ScanError;
use crate::timeline::universe::IdStore;
use crate::timeline::{Runtime, Universe};

type Result<T> = std::result::Result<T, BankError>;

/// Consumers written at a time.
const BATCH_IDS: usize = 1 << 16;

/// What an id column holds.
fn id_type(id_kind: IdKind) -> DataType {
    match id_kind {
        IdKind::Int64 => DataType::Int64,
        IdKind::Text => DataType::Utf8,
    }
}

/// Writes consumers, in order of number.
pub(crate) fn write(bank: &Path, id_kind: IdKind, consumers: impl Iterator<Item = (ConsumerIdx, IdValue)>) -> Result<Published> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("consumer_idx", DataType::UInt32, false),
        Field::new("consumer", id_type(id_kind), false),
    ]));
    let file = NewFile::create(bank, "parquet")?;
    let fault = |error: ParquetError| write_fault(bank, &error);
    let mut writer = ArrowWriter::try_new(
        file,
        schema.clone(),
        Some(properties().set_column_dictionary_enabled("consumer".into(), false).build()),
    )
    .map_err(fault)?;
    let (mut consumers, mut count) = (consumers.peekable(), 0);
    while consumers.peek().is_some() {
        let part: Vec<(ConsumerIdx, IdValue)> = consumers.by_ref().take(BATCH_IDS).collect();
        count += part.len() as u64;
        let numbers = UInt32Array::from_iter_values(part.iter().map(|(idx, _)| idx.0));
        let ids: ArrayRef = match id_kind {
            IdKind::Int64 => Arc::new(Int64Array::from_iter_values(part.iter().map(|(_, id)| match id {
                IdValue::Int(value) => *value,
                IdValue::Text(_) => 0,
            }))),
            IdKind::Text => Arc::new(StringArray::from_iter_values(part.iter().map(|(_, id)| id.to_string()))),
        };
        check_text("consumer", &ids)?;
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(numbers), ids]).map_err(arrow_fault)?;
        writer.write(&batch).map_err(fault)?;
    }
    let mut file = writer.into_inner().map_err(fault)?;
    file.flush().map_err(|error| BankError::io(bank, &error))?;
    file.publish(bank, "ids", count, None)
}

/// Reads all consumers, and checks that every number up to the counts is there once and in its place. On the threads of
/// a runtime, or on this one.
pub(crate) fn read(
    files: &[(FileRecord, Arc<ParquetFile>)],
    id_kind: IdKind,
    counts: &[u32],
    lineage: u128,
    runtime: Option<&Runtime<'_>>,
) -> Result<Universe> {
    let ranges = |(record, file): &'_ (FileRecord, Arc<ParquetFile>)| {
        let (rows, file) = (record.rows, file.clone());
        (0..rows)
            .step_by(PART_ROWS)
            .map(move |start| (file.clone(), start..rows.min(start + PART_ROWS as u64)))
    };
    let parts = on_threads(files.iter().flat_map(ranges).collect(), runtime, |(file, rows)| {
        Ids::read(&file, rows, id_kind)
    })?;
    let bucket = |number: usize| read_bucket(&parts, number, id_kind, counts[number]);
    let stores = on_threads((0..BUCKETS).collect(), runtime, bucket)?;
    Ok(Universe::lasting(id_kind, stores, lineage))
}

/// The consumers of one file with their numbers.
pub(crate) fn read_file(file: &ParquetFile, rows: u64, id_kind: IdKind) -> Result<Vec<(ConsumerIdx, IdValue)>> {
    let mut consumers = Vec::new();
    for start in (0..rows).step_by(PART_ROWS) {
        let part = Ids::read(file, start..rows.min(start + PART_ROWS as u64), id_kind)?;
        let id = |row: usize| match id_kind {
            IdKind::Int64 => IdValue::Int(part.ids.as_primitive::<Int64Type>().value(row)),
            IdKind::Text => IdValue::Text(part.ids.as_string::<i32>().value(row).to_owned()),
        };
        consumers.extend(
            part.numbers()
                .iter()
                .enumerate()
                .map(|(row, &number)| (ConsumerIdx(number), id(row))),
        );
    }
    Ok(consumers)
}

/// Works on items on the threads of a runtime, or on this one.
fn on_threads<I: Send, R: Send>(items: Vec<I>, runtime: Option<&Runtime<'_>>, work: impl Fn(I) -> Result<R> + Sync) -> Result<Vec<R>> {
    match runtime {
        Some(runtime) => Ok(each_bucket(items, runtime, |_, item| Ok(work(item)?))?),
        None => items.into_iter().map(work).collect(),
    }
}

/// Consumers are decoded so many rows at a time, each part by one thread.
const PART_ROWS: usize = 1 << 20;

/// Consumers of a part of a file.
struct Ids {
    name: Arc<str>,
    numbers: ArrayRef,
    ids: ArrayRef,
}

impl Ids {
    fn read(file: &ParquetFile, rows: Range<u64>, id_kind: IdKind) -> Result<Ids> {
        let damaged = |problem: &str| BankError::corrupt(&**file.name(), problem);
        let (batch, _) = file.read(&["consumer_idx", "consumer"], rows)?;
        let typed = |name: &str, data_type: &DataType| {
            let column = batch
                .column_by_name(name)
                .filter(|column| column.data_type() == data_type && column.null_count() == 0);
            column.cloned().ok_or_else(|| damaged("it does not have the columns of consumers"))
        };
        let (numbers, ids) = (typed("consumer_idx", &DataType::UInt32)?, typed("consumer", &id_type(id_kind))?);
        if !is_text(&ids) {
            return Err(damaged("an identifier is not UTF-8"));
        }
        if !numbers.as_primitive::<UInt32Type>().values().is_sorted() {
            return Err(damaged("its consumers are not in order"));
        }
        Ok(Ids {
            name: file.name().clone(),
            numbers,
            ids,
        })
    }

    fn numbers(&self) -> &[u32] {
        self.numbers.as_primitive::<UInt32Type>().values()
    }
}

/// The consumers of a bucket: each part goes on where the one before ended.
fn read_bucket(parts: &[Ids], bucket: usize, id_kind: IdKind, count: u32) -> Result<IdStore> {
    let mut store = IdStore::empty(id_kind);
    for part in parts {
        let numbers = part.numbers();
        let start = numbers.partition_point(|&number| ConsumerIdx(number).bucket() < bucket);
        let own = numbers[start..]
            .iter()
            .take_while(|&&number| ConsumerIdx(number).bucket() == bucket);
        for (row, &number) in (start..).zip(own) {
            if ConsumerIdx(number).local() as usize != store.len() {
                return Err(BankError::corrupt(
                    &*part.name,
                    format!("consumer number {number} is not in its place"),
                ));
            }
            match id_kind {
                IdKind::Int64 => store.push_int(part.ids.as_primitive::<Int64Type>().value(row)),
                IdKind::Text => store.push_text(part.ids.as_string::<i32>().value(row)),
            }
        }
    }
    if store.len() != count as usize {
        let problem = format!("bucket {bucket} has {} consumers instead of {count}", store.len());
        return Err(BankError::corrupt("ids", problem));
    }
    store.index();
    Ok(store)
}

/// Consumers of a batch that the bank does not know, with the numbers they get. Buckets are numbered independently.
#[derive(Debug)]
pub(crate) struct Newcomers {
    buckets: Vec<Mutex<BucketNewcomers>>,
}

#[derive(Debug, Default)]
struct BucketNewcomers {
    /// In order of number, the first of which is the bank's count.
    ids: Vec<IdValue>,
    known: HashMap<IdValue, u32>,
}

impl Newcomers {
    pub fn new() -> Self {
        Newcomers {
            buckets: std::iter::repeat_with(Mutex::default).take(BUCKETS).collect(),
        }
    }

    fn bucket(&self, bucket: usize) -> MutexGuard<'_, BucketNewcomers> {
        self.buckets[bucket].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The local number of each consumer of a bucket, in the order given; unknown ones get the next.
    pub fn number(&self, bucket: usize, ids: &IdStore, universe: &Universe) -> Result<Vec<u32>> {
        let (had, mut own) = (universe.bucket(bucket), self.bucket(bucket));
        let mut numbers = Vec::with_capacity(ids.len());
        for place in 0..ids.len() {
            let id = ids.id(place);
            let local = match had.find(&id).map(|local| local as u32).or_else(|| own.known.get(&id).copied()) {
                Some(local) => local,
                None => {
                    let local = (had.len() + own.ids.len()) as u32;
                    if local >= MAX_LOCAL {
                        return Err(ScanError::from(TooManyConsumers).into());
                    }
                    own.known.insert(id.clone(), local);
                    own.ids.push(id);
                    local
                }
            };
            numbers.push(local);
        }
        Ok(numbers)
    }

    /// Renumbers newcomers in order of key, whatever order they came in. Gives, by bucket, the final local number of
    /// each provisional one beyond the bank's count.
    pub fn settle(&self, universe: &Universe) -> Vec<Vec<u32>> {
        let settle = |bucket: usize| {
            let (had, mut own) = (universe.bucket(bucket).len() as u32, self.bucket(bucket));
            let mut order: Vec<(u64, IdValue, u32)> = own.ids.drain(..).zip(0..).map(|(id, place)| (id.key(), id, place)).collect();
            order.sort();
            let mut finals = vec![0; order.len()];
            for ((_, id, place), local) in order.into_iter().zip(had..) {
                finals[place as usize] = local;
                own.ids.push(id);
            }
            finals
        };
        (0..BUCKETS).map(settle).collect()
    }

    /// How many, by bucket.
    pub fn counts(&self) -> Vec<u32> {
        (0..BUCKETS).map(|bucket| self.bucket(bucket).ids.len() as u32).collect()
    }

    /// Ends numbering: who is known is not asked any more.
    pub fn end_numbering(&self) {
        (0..BUCKETS).for_each(|bucket| self.bucket(bucket).known = HashMap::new());
    }

    /// All with their numbers, in order.
    pub fn list<'n>(&'n self, universe: &'n Universe) -> impl Iterator<Item = (ConsumerIdx, IdValue)> + 'n {
        (0..BUCKETS).flat_map(move |bucket| {
            let had = universe.bucket(bucket).len() as u32;
            let number = |(id, local): (&IdValue, u32)| (ConsumerIdx::new(bucket, local), id.clone());
            self.bucket(bucket).ids.iter().zip(had..).map(number).collect::<Vec<_>>()
        })
    }

    /// The consumers of the bank with these.
    pub fn join(&self, universe: &Universe, lineage: u128) -> Universe {
        let store = |bucket: usize| {
            let mut store = universe.bucket(bucket).clone();
            store.append(&self.bucket(bucket).ids);
            store
        };
        Universe::lasting(universe.id_kind(), (0..BUCKETS).map(store).collect(), lineage)
    }
}
