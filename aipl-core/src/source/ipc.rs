//! Arrow IPC files (Feather V2) and streams.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::{FileReader, StreamReader};
use arrow::record_batch::RecordBatch;

use crate::source::error::guard;
use crate::source::expected::Expected;
use crate::source::files::{DataFile, FileList, join_schemas};
use crate::source::ipc_sizes::oversized;
use crate::source::{Piece, Plan, Source, SourceError};

const FORMAT: &str = "Arrow IPC";
const PIECE_ROWS: usize = 1 << 16;

/// Arrow IPC files as a source, read one after the other and decoded by the calling thread (decoding is little more than reading).
#[derive(Debug)]
pub struct IpcSource {
    list: FileList,
    columns: SchemaRef,
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>>>;

impl IpcSource {
    /// Opens every file's schema.
    ///
    /// # Errors
    /// No file, a file that is no Arrow IPC, or files whose identifier columns disagree.
    pub fn open<'a>(paths: &[String], expected: impl Into<Expected<'a>>) -> Result<Self, SourceError> {
        let list = FileList::expand(paths, FORMAT, &[".arrow", ".ipc", ".feather", ".arrows"])?;
        let schemas = list
            .files
            .iter()
            .map(|file| open_file(file, None).map(|(schema, _)| schema))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(IpcSource {
            columns: join_schemas(&list, &schemas, expected.into())?,
            list,
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

/// Opens a file in whichever of the two IPC forms it has.
fn open_file(file: &DataFile, wanted: Option<&[String]>) -> Result<(SchemaRef, Batches), SourceError> {
    guard(&file.name, FORMAT, || {
        let io = |error: std::io::Error| SourceError::io(&file.path, &error);
        let mut handle = File::open(&file.path).map_err(io)?;
        let mut magic = [0; 6];
        let is_file = handle.read_exact(&mut magic).is_ok() && &magic == b"ARROW1";
        handle.seek(SeekFrom::Start(0)).map_err(io)?;
        let length = handle.metadata().map_err(io)?.len();
        if let Some(problem) = oversized(&handle, length, is_file) {
            return Err(malformed(file, &problem));
        }
        let again = || File::open(&file.path).map(BufReader::new).map_err(io);
        let indices =
            |schema: &SchemaRef| wanted.map(|names| names.iter().filter_map(|name| schema.index_of(name).ok()).collect::<Vec<_>>());
        if is_file {
            let schema = FileReader::try_new(BufReader::new(handle), None)
                .map_err(|error| malformed(file, &error))?
                .schema();
            let reader = FileReader::try_new(again()?, indices(&schema)).map_err(|error| malformed(file, &error))?;
            Ok((schema, Box::new(reader) as Batches))
        } else {
            let schema = StreamReader::try_new(BufReader::new(handle), None)
                .map_err(|error| malformed(file, &error))?
                .schema();
            let reader = StreamReader::try_new(again()?, indices(&schema)).map_err(|error| malformed(file, &error))?;
            Ok((schema, Box::new(reader) as Batches))
        }
    })
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
        let pieces = self.list.files.iter().flat_map(move |file| FilePieces::new(file, columns));
        Ok(Plan::Sequence(Box::new(pieces)))
    }
}

/// The pieces of one file.
struct FilePieces<'a> {
    file: &'a DataFile,
    columns: &'a [String],
    batches: Option<Result<Batches, SourceError>>,
    pending: Option<RecordBatch>,
    next_row: u64,
}

impl<'a> FilePieces<'a> {
    fn new(file: &'a DataFile, columns: &'a [String]) -> Self {
        let batches = open_file(file, Some(columns)).map(|(_, batches)| batches);
        FilePieces {
            file,
            columns,
            batches: Some(batches),
            pending: None,
            next_row: 0,
        }
    }

    fn next_batch(&mut self) -> Option<Result<RecordBatch, SourceError>> {
        match self.batches.as_mut()? {
            Ok(batches) => {
                let decoded = guard(&self.file.name, FORMAT, || {
                    batches.next().transpose().map_err(|error| malformed(self.file, &error))
                });
                let completed = decoded.and_then(|batch| batch.map(|batch| complete(self.file, self.columns, &batch)).transpose());
                if completed.is_err() {
                    self.batches = None;
                }
                completed.transpose()
            }
            Err(_) => match self.batches.take() {
                Some(Err(error)) => Some(Err(error)),
                _ => None,
            },
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
        let piece = Piece {
            place: self.file.name.clone(),
            first_row: self.next_row,
            batch: batch.slice(0, rows),
        };
        self.next_row += rows as u64;
        Some(Ok(piece))
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
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|error| malformed(file, &error))
}
