//! Parquet files: row groups and pages passed over by time statistics, behavior and time first, the rest for rows that matter.

mod events;
mod group;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, RowGroupMetaData};

use crate::event::Tally;
use crate::source::error::guard;
use crate::source::expected::{Expected, Texts};
use crate::source::files::{DataFile, FileList, join_schemas};
use crate::source::positioned::PositionedFile;
use crate::source::{Plan, Request, Sink, Source, SourceError, TakePiece};
use events::GroupReader;
use group::Group;

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
    pub fn open<'a>(paths: &[String], expected: impl Into<Expected<'a>>) -> Result<Self, SourceError> {
        let expected = expected.into();
        let list = FileList::expand(paths, FORMAT, &[".parquet", ".pq", ".parq"])?;
        let files = list
            .files
            .iter()
            .map(|file| open_file(file, expected))
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
        })
    }
}

fn open_file(file: &DataFile, expected: Expected<'_>) -> Result<OpenFile, SourceError> {
    let positioned = PositionedFile::open(&file.path)?;
    guard(&file.name, FORMAT, || {
        let malformed = |error: ParquetError| SourceError::Malformed {
            path: file.name.to_string(),
            format: FORMAT,
            problem: error.to_string(),
        };
        let options = || ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let plain = ArrowReaderMetadata::load(&positioned, options()).map_err(malformed)?;
        let hinted = hinted_schema(plain.schema(), expected);
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
fn hinted_schema(noted: &SchemaRef, expected: Expected<'_>) -> SchemaRef {
    let hint = |field: &Arc<Field>| {
        let plain = match field.data_type() {
            DataType::Dictionary(_, values) => values.as_ref(),
            other => other,
        };
        let texts = expected.texts(field.name());
        let text = matches!(plain, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        // Some writers leave text unmarked; bytes that are wanted are read as text, and refused if they are none.
        let unmarked = matches!(plain, DataType::Binary | DataType::LargeBinary | DataType::BinaryView) && texts.is_some();
        let wanted = match text || unmarked {
            false => plain.clone(),
            true if unmarked || texts != Some(Texts::Few) => DataType::Utf8View,
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

    fn plan<'a>(&'a self, _: &'a [String]) -> Result<Plan<'a>, SourceError> {
        Ok(Plan::Splits(self.splits.len()))
    }

    fn read_split(&self, split: usize, request: &Request, sink: &mut dyn Sink, tally: &mut Tally) -> Result<(), SourceError> {
        let group = self.group(split)?;
        guard(&group.data.name.clone(), FORMAT, || {
            GroupReader { group, request }.read(sink, tally)
        })
    }

    fn read_pieces(&self, split: usize, columns: &[String], take: &mut TakePiece<'_>, tally: &mut Tally) -> Result<(), SourceError> {
        let group = self.group(split)?;
        guard(&group.data.name.clone(), FORMAT, || group.read_pieces(columns, take, tally))
    }
}

impl ParquetSource {
    fn group(&self, split: usize) -> Result<Group<'_>, SourceError> {
        let (file, number) = self.splits[split];
        let (data, open) = (&self.list.files[file], &self.files[file]);
        let file = PositionedFile::open(&data.path)?;
        if file.length() != open.length {
            return Err(SourceError::Changed {
                path: data.name.to_string(),
            });
        }
        Ok(Group { data, open, file, number })
    }
}
