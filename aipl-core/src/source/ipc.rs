//! Arrow IPC files (Feather V2) and streams.

use std::io::BufReader;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::{FileReader, StreamReader};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use crate::base::stop;
use crate::source::error::guard;
use crate::source::expected::Expected;
use crate::source::files::{DataFile, FileList, join_schemas};
use crate::source::ipc_sizes::Sizes;
use crate::source::limits::ReadOptions;
use crate::source::positioned::{PositionedFile, Stamp};
use crate::source::{Piece, Plan, Source, SourceError};

pub(super) const FORMAT: &str = "Arrow IPC";
const PIECE_ROWS: usize = 1 << 16;

/// Arrow IPC files as a source, read one after the other and decoded by the calling thread (decoding is little more
/// than reading).
#[derive(Debug)]
pub struct IpcSource {
    list: FileList,
    /// What each file was when its schema was read.
    stamps: Vec<Stamp>,
    columns: SchemaRef,
    options: ReadOptions,
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>>>;

impl IpcSource {
    /// Opens every file's schema.
    ///
    /// # Errors
    /// No file, a file that is no Arrow IPC or asks for more than the options allow, or files whose identifier columns
    /// disagree.
    pub fn open<'a>(paths: &[String], expected: impl Into<Expected<'a>>, options: ReadOptions) -> Result<Self, SourceError> {
        let list = FileList::expand(paths, FORMAT, &[".arrow", ".ipc", ".feather", ".arrows"])?;
        let (mut schemas, mut stamps) = (Vec::new(), Vec::new());
        for file in &list.files {
            stop::checkpoint()?;
            let open = OpenFile::open(file, PositionedFile::open(&file.path)?, &options)?;
            schemas.push(open.schema.clone());
            stamps.push(open.file.stamp());
        }
        Ok(IpcSource {
            columns: join_schemas(&list, &schemas, expected.into())?,
            list,
            stamps,
            options,
        })
    }
}

fn malformed(file: &DataFile, error: &impl std::fmt::Display) -> SourceError {
    SourceError::Malformed {
        path: file.name.to_string(),
        format: FORMAT,
        problem: error.to_string(),
    }
}

/// A file in whichever of the two IPC forms it has.
struct OpenFile {
    file: PositionedFile,
    is_file: bool,
    schema: SchemaRef,
}

impl OpenFile {
    fn open(data: &DataFile, file: PositionedFile, options: &ReadOptions) -> Result<Self, SourceError> {
        guard(&data.name, FORMAT, || {
            let mut magic = [0; 6];
            let is_file = file.handle().read_exact_at(&mut magic, 0).is_ok() && &magic == b"ARROW1";
            let sizes = Sizes {
                file: &file,
                name: &data.name,
                is_file,
                options,
            };
            sizes.check_outline()?;
            let reader = BufReader::new(file.reader(0));
            let schema = if is_file {
                FileReader::try_new(reader, None).map(|reader| reader.schema())
            } else {
                StreamReader::try_new(reader, None).map(|reader| reader.schema())
            };
            let schema = schema.map_err(|error| malformed(data, &error))?;
            sizes.check_schema(&schema)?;
            Ok(OpenFile { file, is_file, schema })
        })
    }

    /// Its batches, with the wanted columns alone.
    fn batches(&self, data: &DataFile, wanted: &[String], options: &ReadOptions) -> Result<Batches, SourceError> {
        guard(&data.name, FORMAT, || {
            let indices: Vec<usize> = wanted.iter().filter_map(|name| self.schema.index_of(name).ok()).collect();
            let sizes = Sizes {
                file: &self.file,
                name: &data.name,
                is_file: self.is_file,
                options,
            };
            sizes.check_batches(&self.schema, Some(&indices))?;
            let reader = BufReader::new(self.file.reader(0));
            let failed = |error: arrow::error::ArrowError| malformed(data, &error);
            Ok(if self.is_file {
                Box::new(FileReader::try_new(reader, Some(indices)).map_err(failed)?) as Batches
            } else {
                Box::new(StreamReader::try_new(reader, Some(indices)).map_err(failed)?)
            })
        })
    }
}

impl Source for IpcSource {
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
        None
    }

    fn plan<'a>(&'a self, columns: &'a [String]) -> Result<Plan<'a>, SourceError> {
        let files = self.list.files.iter().zip(&self.stamps);
        let pieces = files.flat_map(move |(file, stamp)| FilePieces::new(file, stamp, columns, &self.options));
        Ok(Plan::Sequence(Box::new(pieces)))
    }
}

/// The pieces of one file.
struct FilePieces<'a> {
    file: &'a DataFile,
    columns: &'a [String],
    rest: Rest,
    pending: Option<RecordBatch>,
    next_row: u64,
}

/// What is left of a file.
enum Rest {
    Batches(PositionedFile, Batches),
    Refused(SourceError),
    Nothing,
}

impl<'a> FilePieces<'a> {
    fn new(file: &'a DataFile, stamp: &Stamp, columns: &'a [String], options: &ReadOptions) -> Self {
        let opened = PositionedFile::open_again(&file.path, stamp)
            .and_then(|positioned| OpenFile::open(file, positioned, options))
            .and_then(|open| Ok((open.batches(file, columns, options)?, open.file)));
        FilePieces {
            file,
            columns,
            rest: match opened {
                Ok((batches, open)) => Rest::Batches(open, batches),
                Err(error) => Rest::Refused(error),
            },
            pending: None,
            next_row: 0,
        }
    }

    fn next_batch(&mut self) -> Option<Result<RecordBatch, SourceError>> {
        match std::mem::replace(&mut self.rest, Rest::Nothing) {
            Rest::Nothing => None,
            Rest::Refused(error) => Some(Err(error)),
            Rest::Batches(open, mut batches) => {
                let decoded = guard(&self.file.name, FORMAT, || {
                    batches.next().transpose().map_err(|error| malformed(self.file, &error))
                });
                match decoded {
                    Ok(Some(batch)) => {
                        self.rest = Rest::Batches(open, batches);
                        Some(Ok(batch))
                    }
                    Ok(None) => open.check_unchanged().err().map(Err),
                    // Damage that comes from a change is told as that.
                    Err(error) => Some(Err(open.check_unchanged().err().unwrap_or(error))),
                }
            }
        }
    }
}

impl Iterator for FilePieces<'_> {
    type Item = Result<Piece, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.pending.take() {
            Some(batch) => batch,
            None => match self.next_batch()? {
                Ok(batch) => batch,
                Err(error) => return Some(Err(error)),
            },
        };
        let rows = PIECE_ROWS.min(batch.num_rows());
        if rows < batch.num_rows() {
            self.pending = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        // What the path gives is made for the piece, not for a batch of any size.
        let completed = complete(self.file, self.columns, &batch.slice(0, rows));
        let first_row = self.next_row;
        self.next_row += rows as u64;
        Some(completed.map(|batch| Piece {
            place: self.file.name.clone(),
            first_row,
            batch,
        }))
    }
}

/// All requested columns of a decoded batch: those of the file, of its path, and nulls for optional ones it lacks.
fn complete(file: &DataFile, columns: &[String], batch: &RecordBatch) -> Result<RecordBatch, SourceError> {
    use arrow::datatypes::{DataType, Field, Schema};
    let column = |name: &String| {
        let array = file
            .constant(name)
            .map(|constant| constant.column(batch.num_rows()))
            .or_else(|| batch.column_by_name(name).cloned())
            .unwrap_or_else(|| arrow::array::new_null_array(&DataType::Null, batch.num_rows()));
        (Field::new(name, array.data_type().clone(), true), array)
    };
    let (fields, arrays): (Vec<Field>, Vec<_>) = columns.iter().map(column).unzip();
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &rows).map_err(|error| malformed(file, &error))
}
