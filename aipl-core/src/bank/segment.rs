//! Segments: Parquet files of events in order, whose row groups hold whole units of buckets.

use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, PageIndexPolicy};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use crate::bank::error::BankError;
use crate::bank::files::{CheckedFile, NewFile, Published};
use crate::bank::record::FileRecord;
use crate::bank::rows::Shape;
use crate::bank::text::check_text;
use crate::base::id::BUCKETS;
use crate::source::SourceError;
use crate::source::error::guard;

type Result<T> = std::result::Result<T, BankError>;

/// Consecutive buckets that are read and written together.
pub(crate) const UNIT_BUCKETS: usize = 8;
/// Units of a segment.
pub(crate) const UNITS: usize = BUCKETS / UNIT_BUCKETS;
/// Row groups get about this many rows, until there is one a unit.
const GROUP_ROWS: u64 = 16_384;
/// Rows of a page: what is decoded at least where a few rows are wanted.
const PAGE_ROWS: usize = 8_192;
const BUCKETS_KEY: &str = "aipl.buckets";

/// What the disk or Parquet says while a file is written.
pub(crate) fn write_fault(bank: &Path, error: &ParquetError) -> BankError {
    BankError::written(bank, error)
}

/// What Arrow says of rows that were checked; a fault of ours.
pub(crate) fn arrow_fault(error: arrow::error::ArrowError) -> BankError {
    BankError::from(SourceError::Sink(error.to_string()))
}

pub(crate) fn properties() -> parquet::file::properties::WriterPropertiesBuilder {
    let (consumers, times) = (ColumnPath::from("consumer_idx"), ColumnPath::from("time"));
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(format!("aipl version {}", env!("CARGO_PKG_VERSION")))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_column_dictionary_enabled(consumers.clone(), false)
        .set_column_encoding(consumers, Encoding::DELTA_BINARY_PACKED)
        // Times within a consumer's events jump about: their high bytes are alike, their low bytes are not.
        .set_column_dictionary_enabled(times.clone(), false)
        .set_column_encoding(times, Encoding::BYTE_STREAM_SPLIT)
}

/// How many row groups a segment of so many rows has.
pub(crate) fn group_count(rows: u64) -> usize {
    let wanted = (rows / GROUP_ROWS).clamp(1, UNITS as u64) as usize;
    // A power of two divides the units evenly.
    1 << wanted.ilog2()
}

/// One row group, encoded.
pub(crate) type Group = Vec<ArrowColumnChunk>;

/// Writes one segment, row group by row group in order of bucket.
pub(crate) struct SegmentWriter {
    writer: SerializedFileWriter<NewFile>,
    factory: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    bank: std::path::PathBuf,
    rows: u64,
    buckets: Vec<u64>,
    days: Option<(i32, i32)>,
}

impl SegmentWriter {
    pub fn create(bank: &Path, shape: &Shape) -> Result<Self> {
        let (file, schema) = (NewFile::create(bank, "parquet")?, shape.arrow());
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties().build()));
        let (writer, factory) = writer
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(|error| write_fault(bank, &error))?;
        Ok(SegmentWriter {
            writer,
            factory,
            schema,
            bank: bank.to_owned(),
            rows: 0,
            buckets: vec![0; BUCKETS],
            days: None,
        })
    }

    /// Encodes a row group; any thread may.
    pub fn encode(&self, batches: &[RecordBatch]) -> Result<Group> {
        let fault = |error: ParquetError| write_fault(&self.bank, &error);
        let mut columns = self.factory.create_column_writers(0).map_err(fault)?;
        for batch in batches {
            // Every column is flat, so it has one leaf and one writer.
            for ((field, array), column) in self.schema.fields().iter().zip(batch.columns()).zip(&mut columns) {
                check_text(field.name(), array)?;
                for leaf in compute_leaves(field, array).map_err(fault)? {
                    column.write(&leaf).map_err(fault)?;
                }
            }
        }
        columns.into_iter().map(|column| column.close().map_err(fault)).collect()
    }

    /// Adds the next row group, with its rows by bucket (all 256) and its days.
    pub fn append(&mut self, group: Group, buckets: &[u64], days: Option<(i32, i32)>) -> Result<()> {
        self.buckets.iter_mut().zip(buckets).for_each(|(all, own)| *all += own);
        self.rows += buckets.iter().sum::<u64>();
        self.days = [self.days, days]
            .into_iter()
            .flatten()
            .reduce(|left, right| (left.0.min(right.0), left.1.max(right.1)));
        let appended = self.writer.next_row_group().and_then(|mut row_group| {
            group.into_iter().try_for_each(|chunk| chunk.append_to_row_group(&mut row_group))?;
            row_group.close().map(drop)
        });
        appended.map_err(|error| write_fault(&self.bank, &error))
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends the segment and puts it in its place.
    pub fn publish(self) -> Result<Published> {
        let (bank, rows, days) = (self.bank.clone(), self.rows, self.days);
        self.end()?.publish(&bank, "segments", rows, days)
    }

    /// Ends the segment and leaves it among the files that no commit names, for this process alone.
    pub fn set_aside(self) -> Result<Published> {
        let (rows, days) = (self.rows, self.days);
        Ok(self.end()?.set_aside(rows, days))
    }

    fn end(mut self) -> Result<NewFile> {
        let counts = serde_json::to_string(&self.buckets).unwrap_or_default();
        self.writer.append_key_value_metadata(KeyValue::new(BUCKETS_KEY.to_owned(), counts));
        let mut file = self.writer.into_inner().map_err(|error| write_fault(&self.bank, &error))?;
        file.flush().map_err(|error| BankError::io(&self.bank, &error))?;
        Ok(file)
    }
}

/// A Parquet file of the bank with its footer.
#[derive(Debug)]
pub(crate) struct ParquetFile {
    file: CheckedFile,
    metadata: ArrowReaderMetadata,
}

impl ParquetFile {
    pub fn open(bank: &Path, record: &FileRecord, blocks: &[u8]) -> Result<Self> {
        let file = CheckedFile::open(bank, record, blocks)?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load(&file, options).map_err(|error| read_fault(file.name(), error))?;
        let rows = metadata.metadata().file_metadata().num_rows();
        if u64::try_from(rows) != Ok(record.rows) {
            return Err(BankError::corrupt(
                &**file.name(),
                format!("{rows} rows instead of {}", record.rows),
            ));
        }
        Ok(ParquetFile { file, metadata })
    }

    /// The columns that there are.
    pub fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    /// Its name within the bank.
    pub fn name(&self) -> &Arc<str> {
        self.file.name()
    }

    fn corrupt(&self, problem: impl Into<String>) -> BankError {
        BankError::corrupt(&**self.file.name(), problem)
    }

    /// Reads these columns of a range of rows as one batch, and how many bytes they take in the file.
    pub fn read(&self, columns: &[&str], rows: Range<u64>) -> Result<(RecordBatch, u64)> {
        self.read_ranges(columns, &[rows])
    }

    /// Reads these columns of some rows, which are given in order, as one batch.
    pub fn read_rows(&self, columns: &[&str], rows: &[u64]) -> Result<RecordBatch> {
        let ranges: Vec<Range<u64>> = rows.iter().map(|&row| row..row + 1).collect();
        Ok(self.read_ranges(columns, &ranges)?.0)
    }

    fn read_ranges(&self, columns: &[&str], ranges: &[Range<u64>]) -> Result<(RecordBatch, u64)> {
        let name = self.file.name().to_string();
        let decoded = guard(&name, "Parquet", || Ok(self.decode(columns, ranges)));
        match decoded {
            Ok(result) => result,
            Err(_) => Err(self.corrupt("its decoder failed")),
        }
    }

    fn decode(&self, columns: &[&str], ranges: &[Range<u64>]) -> Result<(RecordBatch, u64)> {
        let fault = |error| read_fault(self.file.name(), error);
        let fields = self.metadata.schema().fields();
        let roots: Vec<usize> = columns
            .iter()
            .filter_map(|name| fields.iter().position(|field| field.name() == name))
            .collect();
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), roots);
        let (start, end) = (
            ranges.first().map_or(0, |range| range.start),
            ranges.last().map_or(0, |range| range.end),
        );
        let (mut groups, mut first, mut base, mut bytes) = (Vec::new(), 0u64, None, 0u64);
        for (number, group) in self.metadata.metadata().row_groups().iter().enumerate() {
            let count = u64::try_from(group.num_rows()).unwrap_or(0);
            let next = first + count;
            if first < end && next > start {
                base.get_or_insert(first);
                groups.push(number);
                let wanted = (0..group.num_columns()).filter(|&leaf| mask.leaf_included(leaf));
                let chunks: u64 = wanted
                    .map(|leaf| u64::try_from(group.column(leaf).compressed_size()).unwrap_or(0))
                    .sum();
                let shared = next.min(end) - first.max(start);
                bytes += (chunks as f64 * shared as f64 / count as f64) as u64;
            }
            first = next;
        }
        let (base, mut at, mut selectors) = (base.unwrap_or(0), base.unwrap_or(0), Vec::with_capacity(2 * ranges.len()));
        for range in ranges {
            selectors.push(RowSelector::skip(range.start.saturating_sub(at.max(base)) as usize));
            selectors.push(RowSelector::select((range.end - range.start) as usize));
            at = range.end;
        }
        let count = ranges.iter().map(|range| range.end - range.start).sum::<u64>() as usize;
        let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), self.metadata.clone())
            .with_row_groups(groups)
            .with_projection(mask)
            .with_row_selection(RowSelection::from(selectors))
            .with_batch_size(count.max(1))
            .build()
            .map_err(fault)?;
        let schema = arrow::array::RecordBatchReader::schema(&reader);
        let batches = reader.by_ref().collect::<std::result::Result<Vec<_>, _>>();
        let batches = batches.map_err(|error| match error {
            arrow::error::ArrowError::ExternalError(inner) => external(self.file.name(), inner),
            arrow::error::ArrowError::ParquetError(problem) => self.corrupt(problem),
            other => self.corrupt(other.to_string()),
        })?;
        let batch = match &batches[..] {
            [only] => only.clone(),
            several => arrow::compute::concat_batches(&schema, several).map_err(|error| self.corrupt(error.to_string()))?,
        };
        if batch.num_rows() != count {
            return Err(self.corrupt(format!("{} rows where {count} are said to be", batch.num_rows())));
        }
        Ok((batch, bytes))
    }
}

/// What Parquet says of a file of the bank: mostly that it is damaged, unless the disk itself failed.
fn read_fault(name: &Arc<str>, error: ParquetError) -> BankError {
    match error {
        ParquetError::External(inner) => external(name, inner),
        other => BankError::corrupt(&**name, other.to_string()),
    }
}

fn external(name: &Arc<str>, error: Box<dyn std::error::Error + Send + Sync>) -> BankError {
    match error.downcast::<BankError>() {
        Ok(own) => *own,
        Err(other) => match other.downcast::<ParquetError>() {
            Ok(parquet) => read_fault(name, *parquet),
            Err(other) => BankError::corrupt(&**name, other.to_string()),
        },
    }
}

/// A segment that is open to read.
#[derive(Debug)]
pub(crate) struct Segment {
    pub file: ParquetFile,
    /// First and last day number.
    pub days: (i32, i32),
    /// Where each bucket's rows begin; 257 numbers.
    pub starts: Vec<u64>,
}

impl Segment {
    pub fn open(bank: &Path, record: &FileRecord, blocks: &[u8]) -> Result<Self> {
        let file = ParquetFile::open(bank, record, blocks)?;
        let values = file.metadata.metadata().file_metadata().key_value_metadata();
        let counts = values
            .and_then(|values| values.iter().find(|entry| entry.key == BUCKETS_KEY))
            .and_then(|entry| serde_json::from_str::<Vec<u64>>(entry.value.as_deref()?).ok())
            .filter(|counts| counts.len() == BUCKETS)
            .ok_or_else(|| file.corrupt("it does not say which rows are of which bucket"))?;
        let mut starts = Vec::with_capacity(BUCKETS + 1);
        starts.push(0u64);
        let mut total = 0u64;
        for count in counts {
            total = total.saturating_add(count);
            starts.push(total);
        }
        if total != record.rows {
            return Err(file.corrupt("the rows of its buckets do not add up"));
        }
        Ok(Segment {
            file,
            days: record.days.unwrap_or((i32::MIN, i32::MAX)),
            starts,
        })
    }

    /// The rows of some buckets.
    pub fn range(&self, buckets: Range<usize>) -> Range<u64> {
        self.starts[buckets.start]..self.starts[buckets.end]
    }
}
