//! Parquet files: row groups and pages passed over by time statistics, behavior and time first, the rest for rows that matter.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanBufferBuilder, UInt64Array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, RowGroupMetaData};

use crate::event::{BehaviorCode, BehaviorCodes, EventSchema, Tally, TimeColumn};
use crate::source::error::guard;
use crate::source::files::{DataFile, FileList, join_schemas};
use crate::source::positioned::PositionedFile;
use crate::source::select::{Selector, Stretch, Survivors};
use crate::source::{Plan, Request, Sink, Source, SourceError};

const FORMAT: &str = "Parquet";
/// Rows decoded at a time: large enough to amortize, small enough for the cache.
const BATCH_ROWS: usize = 16_384;
/// Selected rows handed over at a time. Far more rows are decoded to find them, and those should stay in the cache.
const SELECTED_ROWS: usize = 2_048;
/// Where more than one row in so many survives, batches of survivors are as large as others.
const MANY: usize = 4;

/// Parquet files as a source; the unit of parallel work is a row group.
#[derive(Debug)]
pub struct ParquetSource {
    list: FileList,
    files: Vec<OpenFile>,
    columns: SchemaRef,
    /// File and row group of every split.
    splits: Vec<(usize, usize)>,
}

#[derive(Debug)]
struct OpenFile {
    /// Its length when its footer was read; opened anew for each split, so that many files need few handles.
    length: u64,
    metadata: ArrowReaderMetadata,
    /// Number of the first row of every row group.
    first_rows: Vec<u64>,
}

impl ParquetSource {
    /// Opens every file's footer.
    ///
    /// # Errors
    /// No file, a file that is no Parquet, or files whose identifier columns disagree.
    pub fn open(paths: &[String], schema: &EventSchema) -> Result<Self, SourceError> {
        let list = FileList::expand(paths, FORMAT, &[".parquet", ".pq", ".parq"])?;
        let files = list
            .files
            .iter()
            .map(|file| open_file(file, schema))
            .collect::<Result<Vec<_>, _>>()?;
        let schemas: Vec<SchemaRef> = files.iter().map(|file| file.metadata.schema().clone()).collect();
        let columns = join_schemas(&list, &schemas, schema)?;
        let splits = files
            .iter()
            .enumerate()
            .flat_map(|(file, open)| (0..open.first_rows.len()).map(move |group| (file, group)))
            .collect();
        Ok(ParquetSource {
            list,
            files,
            columns,
            splits,
        })
    }
}

fn open_file(file: &DataFile, schema: &EventSchema) -> Result<OpenFile, SourceError> {
    let positioned = PositionedFile::open(&file.path)?;
    guard(&file.name, FORMAT, || {
        let malformed = |error: ParquetError| SourceError::Malformed {
            path: file.name.to_string(),
            format: FORMAT,
            problem: error.to_string(),
        };
        let options = || ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let plain = ArrowReaderMetadata::load(&positioned, options()).map_err(malformed)?;
        let hinted = hinted_schema(plain.schema(), schema);
        let metadata = ArrowReaderMetadata::try_new(plain.metadata().clone(), options().with_schema(hinted)).map_err(malformed)?;
        let mut next = 0u64;
        let mut first_rows = Vec::with_capacity(metadata.metadata().num_row_groups());
        for group in metadata.metadata().row_groups() {
            first_rows.push(next);
            next += row_count(group).ok_or_else(|| {
                malformed(ParquetError::General(
                    "a row group whose row count is not that of its columns".to_owned(),
                ))
            })?;
        }
        Ok(OpenFile {
            length: positioned.length(),
            first_rows,
            metadata,
        })
    })
}

/// The rows of a group, if its flat columns have as many values: buffers are sized by this number.
fn row_count(group: &RowGroupMetaData) -> Option<u64> {
    let rows = group.num_rows();
    let agrees = |column: &ColumnChunkMetaData| column.column_descr().max_rep_level() > 0 || column.num_values() == rows;
    u64::try_from(rows)
        .ok()
        .filter(|rows| *rows <= u64::from(u32::MAX) && group.columns().iter().all(agrees))
}

/// How columns are to be decoded, whatever text representation the writer noted: text of few values as dictionaries, other text
/// as views into the page. All other types stay as the writer noted them (seconds, for one, are known from that note alone).
fn hinted_schema(noted: &SchemaRef, schema: &EventSchema) -> SchemaRef {
    let many_values = ["consumer", "order_id", "event_id", "time"];
    let hint = |field: &Arc<Field>| {
        let plain = match field.data_type() {
            DataType::Dictionary(_, values) => values.as_ref(),
            other => other,
        };
        let roles: Vec<&str> = schema
            .mapped()
            .filter(|(_, column)| *column == field.name())
            .map(|(role, _)| role)
            .collect();
        let text = matches!(plain, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        // Some writers leave text unmarked; bytes that the schema maps are read as text, and refused if they are none.
        let unmarked = matches!(plain, DataType::Binary | DataType::LargeBinary | DataType::BinaryView) && !roles.is_empty();
        let wanted = match text || unmarked {
            false => plain.clone(),
            true if unmarked || roles.is_empty() || roles.iter().any(|role| many_values.contains(role)) => DataType::Utf8View,
            true => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        };
        field.as_ref().clone().with_data_type(wanted)
    };
    Arc::new(Schema::new(noted.fields().iter().map(hint).collect::<Vec<_>>()))
}

impl Source for ParquetSource {
    fn name(&self) -> String {
        self.list.title(FORMAT)
    }

    fn columns(&self) -> SchemaRef {
        self.columns.clone()
    }

    fn fingerprint(&self) -> String {
        self.list.fingerprint()
    }

    fn rows(&self) -> Option<u64> {
        Some(
            self.files
                .iter()
                .map(|file| u64::try_from(file.metadata.metadata().file_metadata().num_rows()).unwrap_or(0))
                .sum(),
        )
    }

    fn plan<'a>(&'a self, _: &'a Request) -> Result<Plan<'a>, SourceError> {
        Ok(Plan::Splits(self.splits.len()))
    }

    fn read_split(&self, split: usize, request: &Request, sink: &mut dyn Sink, tally: &mut Tally) -> Result<(), SourceError> {
        let (file, group) = self.splits[split];
        let (data, open) = (&self.list.files[file], &self.files[file]);
        let file = PositionedFile::open(&data.path)?;
        if file.length() != open.length {
            return Err(SourceError::Changed {
                path: data.name.to_string(),
            });
        }
        let reader = GroupReader {
            data,
            open,
            file,
            group,
            request,
        };
        guard(&data.name, FORMAT, || reader.read(sink, tally))
    }
}

/// Reads one row group for one request.
struct GroupReader<'a> {
    data: &'a DataFile,
    open: &'a OpenFile,
    file: PositionedFile,
    group: usize,
    request: &'a Request,
}

impl GroupReader<'_> {
    fn read(&self, sink: &mut dyn Sink, tally: &mut Tally) -> Result<(), SourceError> {
        let rows = self.open.metadata.metadata().row_group(self.group).num_rows() as usize;
        let mut selector = Selector::new(self.request);
        let latest = self.latest_days();
        let earliest_ever = self.request.first_days.iter().copied().min().unwrap_or(i32::MAX);
        if latest.group.is_some_and(|latest| latest < earliest_ever) || latest.starts_after(self.request.last_day) {
            tally.rows_skipped += rows as u64;
            return Ok(());
        }
        let behaviors = self.behaviors(rows, sink, tally)?;
        let pages = self.pages_to_read(&latest, &behaviors.codes, &selector);
        let mut survivors = Survivors::default();
        sink.checkpoint()?;
        let keep = self.select(&behaviors, pages, &mut selector, &mut survivors, tally)?;
        sink.checkpoint()?;
        drop(behaviors);
        self.hand_over(keep, &survivors, sink, tally)
    }

    fn behaviors(&self, rows: usize, sink: &dyn Sink, tally: &mut Tally) -> Result<BehaviorCodes, SourceError> {
        let name = self.request.lead()[0];
        let mut behaviors = BehaviorCodes {
            codes: Vec::with_capacity(rows),
            unknown: Vec::new(),
        };
        if let Some(constant) = self.data.constant(name) {
            self.request.decoder.read(&constant.column(rows), &mut behaviors);
            return Ok(behaviors);
        }
        for batch in self.columns(&[name], None, BATCH_ROWS, tally)? {
            sink.checkpoint()?;
            self.request
                .decoder
                .read(batch.map_err(|error| self.malformed(error))?.column(0), &mut behaviors);
        }
        Ok(behaviors)
    }

    /// Judges the rows of the chosen pages; the buffer says which rows of the whole group survive.
    fn select(
        &self,
        behaviors: &BehaviorCodes,
        pages: Option<Vec<RowSelector>>,
        selector: &mut Selector<'_>,
        survivors: &mut Survivors,
        tally: &mut Tally,
    ) -> Result<BooleanBuffer, SourceError> {
        let first = self.open.first_rows[self.group];
        let name = self.request.lead()[1];
        let group_rows = behaviors.codes.len();
        let mut keep = BooleanBufferBuilder::new(group_rows);
        let mut runs = pages.clone().unwrap_or_else(|| vec![RowSelector::select(group_rows)]);
        tally.rows_skipped += runs.iter().filter(|run| run.skip).map(|run| run.row_count as u64).sum::<u64>();
        if runs.iter().all(|run| run.skip) {
            return Ok(BooleanBuffer::new_unset(group_rows));
        }
        let batches: Box<dyn Iterator<Item = Result<ArrayRef, arrow::error::ArrowError>>> = match self.data.constant(name) {
            Some(constant) => Box::new(std::iter::once(Ok(constant.column(group_rows)))),
            None => Box::new(
                self.columns(&[name], pages.map(RowSelection::from), BATCH_ROWS, tally)?
                    .map(|batch| batch.map(|batch| batch.column(0).clone())),
            ),
        };
        let (mut row, mut run) = (0, 0);
        for time in batches {
            let time = time.map_err(|error| self.malformed(error))?;
            let mut taken = 0;
            // A batch may span several selected runs of pages.
            while taken < time.len() {
                while runs[run].skip || runs[run].row_count == 0 {
                    keep.append_n(runs[run].row_count, false);
                    row += runs[run].row_count;
                    run += 1;
                }
                let count = (time.len() - taken).min(runs[run].row_count);
                let part = time.slice(taken, count);
                let stretch = Stretch {
                    place: &self.data.name,
                    first_row: first + row as u64,
                    behaviors,
                    range: row..row + count,
                };
                keep.append_buffer(&selector.select(&stretch, &part, survivors, tally)?);
                runs[run].row_count -= count;
                row += count;
                taken += count;
            }
        }
        let passed = runs[run.min(runs.len() - 1)..]
            .iter()
            .filter(|run| run.skip)
            .map(|run| run.row_count)
            .sum::<usize>();
        if keep.len() + passed != group_rows {
            return Err(self.malformed("the time and behavior columns have different numbers of rows"));
        }
        keep.append_n(passed, false);
        Ok(keep.finish())
    }

    fn hand_over(&self, keep: BooleanBuffer, survivors: &Survivors, sink: &mut dyn Sink, tally: &mut Tally) -> Result<(), SourceError> {
        if survivors.len() == 0 {
            return Ok(());
        }
        let wanted: Vec<&str> = self
            .request
            .columns
            .iter()
            .map(String::as_str)
            .filter(|name| self.in_file(name))
            .collect();
        let mut given = 0;
        if wanted.is_empty() {
            return survivors.give(0, &self.data.name, &self.complete(None, survivors.len())?, sink, tally);
        }
        let all = survivors.len() == keep.len();
        let batch_rows = if survivors.len() > keep.len() / MANY {
            BATCH_ROWS
        } else {
            SELECTED_ROWS
        };
        let selection = (!all).then(|| RowSelection::from_boolean_buffer(keep));
        for batch in self.columns(&wanted, selection, batch_rows, tally)? {
            let batch = batch.map_err(|error| self.malformed(error))?;
            let rows = batch.num_rows();
            survivors.give(given, &self.data.name, &self.complete(Some(&batch), rows)?, sink, tally)?;
            given += rows;
        }
        if given != survivors.len() {
            return Err(self.malformed("columns have different numbers of rows"));
        }
        Ok(())
    }

    fn in_file(&self, name: &str) -> bool {
        self.data.constant(name).is_none() && self.open.metadata.schema().index_of(name).is_ok()
    }

    /// The requested columns in order: decoded, given by the path, or null where this file lacks an optional one.
    fn complete(&self, decoded: Option<&RecordBatch>, rows: usize) -> Result<RecordBatch, SourceError> {
        let column = |name: &String| {
            let array = decoded
                .and_then(|batch| batch.column_by_name(name).cloned())
                .or_else(|| self.data.constant(name).map(|constant| constant.column(rows)))
                .unwrap_or_else(|| arrow::array::new_null_array(&DataType::Null, rows));
            (Field::new(name, array.data_type().clone(), true), array)
        };
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = self.request.columns.iter().map(column).unzip();
        RecordBatch::try_new_with_options(
            Arc::new(Schema::new(fields)),
            arrays,
            &RecordBatchOptions::new().with_row_count(Some(rows)),
        )
        .map_err(|error| self.malformed(error))
    }

    fn columns(
        &self,
        names: &[&str],
        selection: Option<RowSelection>,
        batch_rows: usize,
        tally: &mut Tally,
    ) -> Result<ParquetRecordBatchReader, SourceError> {
        let metadata = &self.open.metadata;
        let fields = metadata.schema().fields();
        let roots: Vec<usize> = names
            .iter()
            .filter_map(|name| fields.iter().position(|field| field.name() == name))
            .collect();
        let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
        let group = metadata.metadata().row_group(self.group);
        tally.bytes += (0..group.num_columns())
            .filter(|&leaf| mask.leaf_included(leaf))
            .map(|leaf| u64::try_from(group.column(leaf).compressed_size()).unwrap_or(0))
            .sum::<u64>();
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), metadata.clone())
            .with_row_groups(vec![self.group])
            .with_projection(mask)
            .with_batch_size(batch_rows);
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection);
        }
        builder.build().map_err(|error| self.malformed(error))
    }

    fn malformed(&self, error: impl std::fmt::Display) -> SourceError {
        SourceError::Malformed {
            path: self.data.name.to_string(),
            format: FORMAT,
            problem: error.to_string(),
        }
    }

    /// Pages whose latest time is before anything their own behaviors can still count for are not read.
    fn pages_to_read(&self, latest: &LatestDays, codes: &[BehaviorCode], selector: &Selector<'_>) -> Option<Vec<RowSelector>> {
        let outdated = |latest: i32, codes: &[BehaviorCode]| selector.may_skip(latest) && latest < selector.earliest(codes);
        if latest.group.is_some_and(|latest| outdated(latest, codes)) {
            return Some(vec![RowSelector::skip(codes.len())]);
        }
        let mut row = 0;
        let runs: Vec<RowSelector> = latest
            .pages
            .iter()
            .map(|&(rows, latest)| {
                let skip = latest.is_some_and(|latest| outdated(latest, &codes[row..row + rows]));
                row += rows;
                if skip { RowSelector::skip(rows) } else { RowSelector::select(rows) }
            })
            .collect();
        (row == codes.len() && runs.iter().any(|run| run.skip)).then_some(runs)
    }

    /// What statistics say about the times of the group and of its pages.
    fn latest_days(&self) -> LatestDays {
        self.read_statistics().unwrap_or_default()
    }

    fn read_statistics(&self) -> Option<LatestDays> {
        let metadata = self.open.metadata.metadata();
        let group = metadata.row_group(self.group);
        let converter = StatisticsConverter::try_new(
            self.request.lead()[1],
            self.open.metadata.schema(),
            self.open.metadata.parquet_schema(),
        )
        .ok()?;
        let day = |bounds: &ArrayRef, at: usize| {
            if matches!(bounds.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::Dictionary(_, _)) || bounds.is_null(at) {
                return None;
            }
            let column = TimeColumn::new(bounds, self.request.schema.time_unit(), &self.request.zone)?;
            column.kind().resolve(column.raw()[at], &self.request.zone).map(|(_, day)| day)
        };
        let no_nulls = |counts: &UInt64Array, at: usize| counts.is_valid(at) && counts.value(at) == 0;
        let group_nulls = converter.row_group_null_counts([group]).ok()?;
        let settled = no_nulls(&group_nulls, 0);
        let (mins, maxes) = (converter.row_group_mins([group]).ok()?, converter.row_group_maxes([group]).ok()?);
        // A fall-back change at midnight can give an earlier instant the later day, so a day of slack is kept at both ends.
        let latest_of = |bounds: &ArrayRef, at: usize| day(bounds, at).map(|day| day + 1);
        let mut statistics = LatestDays {
            group: latest_of(&maxes, 0).filter(|_| settled),
            first: day(&mins, 0).map(|day| day - 1).filter(|_| settled),
            pages: Vec::new(),
        };
        let _ = self.page_statistics(&converter, &latest_of, &mut statistics);
        Some(statistics)
    }

    fn page_statistics(
        &self,
        converter: &StatisticsConverter<'_>,
        latest_of: &dyn Fn(&ArrayRef, usize) -> Option<i32>,
        statistics: &mut LatestDays,
    ) -> Option<()> {
        let metadata = self.open.metadata.metadata();
        let (columns, offsets) = (metadata.column_index()?, metadata.offset_index()?);
        let groups = [self.group];
        let rows = converter.data_page_row_counts(offsets, metadata.row_groups(), &groups).ok()??;
        let maxes = converter.data_page_maxes(columns, offsets, &groups).ok()?;
        let nulls = converter.data_page_null_counts(columns, offsets, &groups).ok()?;
        if rows.len() != maxes.len() || rows.len() != nulls.len() {
            return None;
        }
        let page = |at: usize| {
            (
                rows.value(at) as usize,
                latest_of(&maxes, at).filter(|_| nulls.is_valid(at) && nulls.value(at) == 0),
            )
        };
        statistics.pages = (0..rows.len()).map(page).collect();
        Some(())
    }
}

/// The latest day of a row group and of each of its pages, where statistics say it and no time is null.
#[derive(Debug, Default)]
struct LatestDays {
    group: Option<i32>,
    first: Option<i32>,
    /// Rows of each page with the latest day among them.
    pages: Vec<(usize, Option<i32>)>,
}

impl LatestDays {
    fn starts_after(&self, last_day: i32) -> bool {
        self.first.is_some_and(|first| first > last_day)
    }
}
