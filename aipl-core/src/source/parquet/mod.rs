//! Parquet files: row groups and pages passed over by time statistics, behavior and time first, the rest for rows that
//! matter.

mod delta;
mod events;
mod expand;
mod footer;
mod group;
mod measure;
mod pages;
mod thrift;
mod unmark;
mod whole;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};

use crate::base::stop;
use crate::event::Tally;
use crate::source::error::guard;
use crate::source::expected::{Expected, Texts};
use crate::source::files::{DataFile, FileList, join_schemas};
use crate::source::limits::{ReadOptions, within};
use crate::source::positioned::{PositionedFile, Stamp};
use crate::source::{Plan, Request, Sink, Source, SourceError, TakePiece};
use events::GroupReader;
pub(crate) use expand::{exceeds, may_exceed};
use group::Group;
pub(crate) use whole::read_whole;

const FORMAT: &str = "Parquet";
/// Rows decoded at a time: large enough to amortize, small enough for the cache.
const BATCH_ROWS: usize = 16_384;

/// Parquet files as a source; the unit of parallel work is a row group.
#[derive(Debug)]
pub struct ParquetSource {
    list: FileList,
    files: Vec<OpenFile>,
    columns: SchemaRef,
    /// File and row group of every split.
    splits: Vec<(usize, usize)>,
    options: ReadOptions,
}

#[derive(Debug)]
struct OpenFile {
    /// What it was when its footer was read; opened anew for each split, so that many files need few handles.
    stamp: Stamp,
    metadata: ArrowReaderMetadata,
    /// Number of the first row of every row group.
    first_rows: Vec<u64>,
}

impl ParquetSource {
    /// Opens every file's footer.
    ///
    /// # Errors
    /// No file, a file that is no Parquet or asks for more than the options allow, or files whose identifier columns
    /// disagree.
    pub fn open<'a>(paths: &[String], expected: impl Into<Expected<'a>>, options: ReadOptions) -> Result<Self, SourceError> {
        let expected = expected.into();
        let list = FileList::expand(paths, FORMAT, &[".parquet", ".pq", ".parq"])?;
        let files = list
            .files
            .iter()
            .map(|file| open_file(file, expected, &options))
            .collect::<Result<Vec<_>, _>>()?;
        let schemas: Vec<SchemaRef> = files.iter().map(|file| file.metadata.schema().clone()).collect();
        let columns = join_schemas(&list, &schemas, expected)?;
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
            options,
        })
    }
}

fn open_file(file: &DataFile, expected: Expected<'_>, options: &ReadOptions) -> Result<OpenFile, SourceError> {
    stop::checkpoint()?;
    let positioned = PositionedFile::open(&file.path)?;
    guard(&file.name, FORMAT, || {
        footer::check(&positioned, &file.name, options)?;
        let malformed = |error: ParquetError| SourceError::Malformed {
            path: file.name.to_string(),
            format: FORMAT,
            problem: error.to_string(),
        };
        let bare = ParquetMetaDataReader::new().parse_and_finish(&positioned).map_err(malformed)?;
        footer::check_indexes(&positioned, &file.name, &bare)?;
        let footer = Arc::new(with_indexes(bare, &positioned).and_then(unmark::unmark).map_err(malformed)?);
        let seen = |options| ArrowReaderMetadata::try_new(footer.clone(), options).map_err(malformed);
        let noted = seen(ArrowReaderOptions::new())?;
        let own = seen(ArrowReaderOptions::new().with_skip_arrow_metadata(true))?;
        let metadata = seen(ArrowReaderOptions::new().with_schema(hinted_schema(noted.schema(), own.schema(), expected)))?;
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
        if u64::try_from(metadata.metadata().file_metadata().num_rows()) != Ok(next) {
            return Err(malformed(ParquetError::General(
                "its row groups have another number of rows than its footer says".to_owned(),
            )));
        }
        within("rows", next, options.rows_of(positioned.length()), "max_rows").map_err(|over| SourceError::over(&file.name, over))?;
        Ok(OpenFile {
            stamp: positioned.stamp(),
            first_rows,
            metadata,
        })
    })
}

fn with_indexes(footer: ParquetMetaData, file: &PositionedFile) -> parquet::errors::Result<ParquetMetaData> {
    let mut reader = ParquetMetaDataReader::new_with_metadata(footer).with_page_index_policy(PageIndexPolicy::Optional);
    reader.read_page_indexes(file)?;
    reader.finish()
}

/// The rows of a group, if its flat columns have as many values: buffers are sized by this number.
fn row_count(group: &RowGroupMetaData) -> Option<u64> {
    let rows = group.num_rows();
    let agrees = |column: &ColumnChunkMetaData| column.column_descr().max_rep_level() > 0 || column.num_values() == rows;
    u64::try_from(rows)
        .ok()
        .filter(|rows| *rows <= u64::from(u32::MAX) && group.columns().iter().all(agrees))
}

/// How columns are to be decoded, whatever text representation the writer noted: text of few values as dictionaries,
/// other text as views into the page; as bytes where the file does not mark it as text. All other types stay as the
/// writer noted them (seconds, for one, are known from that note alone).
fn hinted_schema(noted: &SchemaRef, own: &SchemaRef, expected: Expected<'_>) -> SchemaRef {
    let hint = |field: &Arc<Field>| {
        let own = own.field_with_name(field.name()).map_or(&DataType::Null, |own| own.data_type());
        let few = expected.texts(field.name()) == Some(Texts::Few);
        let wanted = match own {
            DataType::Utf8 => text(few, DataType::Utf8, DataType::Utf8View),
            // The decoder looks at the bytes of marked texts alone; others become text where they are judged, one by
            // one.
            DataType::Binary => text(few, DataType::Binary, DataType::BinaryView),
            _ => match field.data_type() {
                DataType::Dictionary(_, values) => values.as_ref().clone(),
                other => other.clone(),
            },
        };
        field.as_ref().clone().with_data_type(wanted)
    };
    let fields = noted.fields().iter().map(hint).collect::<Vec<_>>();
    Arc::new(Schema::new_with_metadata(fields, noted.metadata().clone()))
}

fn text(few: bool, value: DataType, view: DataType) -> DataType {
    if few {
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(value))
    } else {
        view
    }
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

    fn plan<'a>(&'a self, _: &'a [String]) -> Result<Plan<'a>, SourceError> {
        Ok(Plan::Splits(self.splits.len()))
    }

    fn read_split(&self, split: usize, request: &Request, sink: &mut dyn Sink, tally: &mut Tally) -> Result<(), SourceError> {
        self.read_group(split, |group| GroupReader { group, request }.read(sink, tally))
    }

    fn read_pieces(&self, split: usize, columns: &[String], take: &mut TakePiece<'_>, tally: &mut Tally) -> Result<(), SourceError> {
        self.read_group(split, |group| group.read_pieces(columns, take, tally))
    }
}

impl ParquetSource {
    /// Reads a row group of a file that is still the one that was opened, and is so to the end.
    fn read_group(&self, split: usize, read: impl FnOnce(&Group<'_>) -> Result<(), SourceError>) -> Result<(), SourceError> {
        let (file, number) = self.splits[split];
        let (data, open) = (&self.list.files[file], &self.files[file]);
        let group = Group {
            file: PositionedFile::open_again(&data.path, &open.stamp)?,
            data,
            open,
            number,
            options: self.options,
        };
        let outcome = guard(&data.name, FORMAT, || read(&group));
        // Damage that comes from a change is told as that.
        group.file.check_unchanged()?;
        outcome
    }
}
