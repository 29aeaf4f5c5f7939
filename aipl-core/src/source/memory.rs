//! Events that are already Arrow: record batches in memory, and streams from another library.

use std::fmt;
use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchReader};

use crate::source::error::guard;
use crate::source::{Piece, Plan, Source, SourceError};

/// Rows of a large batch that are handed to a worker at a time.
const PIECE_ROWS: usize = 1 << 16;

/// Opens the stream anew for each question.
pub type OpenStream = dyn Fn() -> Result<Box<dyn RecordBatchReader + Send>, SourceError> + Send + Sync;

/// An Arrow stream that can be opened again and again.
pub struct StreamSource {
    place: Arc<str>,
    schema: SchemaRef,
    rows: Option<u64>,
    open: Box<OpenStream>,
}

impl fmt::Debug for StreamSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSource")
            .field("place", &self.place)
            .field("columns", &self.schema.fields().len())
            .finish_non_exhaustive()
    }
}

impl StreamSource {
    /// A source over a stream that `open` gives from its start each time.
    #[must_use]
    pub fn new(place: &str, schema: SchemaRef, rows: Option<u64>, open: Box<OpenStream>) -> Self {
        StreamSource {
            place: place.into(),
            schema,
            rows,
            open,
        }
    }

    /// A source over batches in memory, all of one schema.
    #[must_use]
    pub fn from_batches(place: &str, schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        let again = schema.clone();
        let open = move || {
            let batches = batches.clone().into_iter().map(Ok);
            Ok(Box::new(arrow::record_batch::RecordBatchIterator::new(batches, again.clone())) as Box<dyn RecordBatchReader + Send>)
        };
        StreamSource::new(place, schema, Some(rows), Box::new(open))
    }
}

impl Source for StreamSource {
    fn name(&self) -> String {
        self.place.to_string()
    }

    fn columns(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn fingerprint(&self) -> String {
        let rows = self.rows.map_or_else(|| "unknown".to_owned(), |rows| rows.to_string());
        format!(
            "{}: {rows} rows, columns {}",
            self.place,
            self.schema
                .fields()
                .iter()
                .map(|field| field.name().as_str())
                .collect::<Vec<_>>()
                .join(", ")
        )
    }

    fn rows(&self) -> Option<u64> {
        self.rows
    }

    fn plan<'a>(&'a self, columns: &'a [String]) -> Result<Plan<'a>, SourceError> {
        let reader = (self.open)()?;
        let indices = columns.iter().filter_map(|name| self.schema.index_of(name).ok()).collect();
        Ok(Plan::Sequence(Box::new(Slices {
            place: self.place.clone(),
            reader,
            indices,
            pending: None,
            offset: 0,
            next_row: 0,
        })))
    }
}

/// Cuts a stream's batches into pieces small enough to share among threads.
struct Slices {
    place: Arc<str>,
    reader: Box<dyn RecordBatchReader + Send>,
    indices: Vec<usize>,
    pending: Option<RecordBatch>,
    offset: usize,
    next_row: u64,
}

impl Slices {
    fn refill(&mut self) -> Result<bool, SourceError> {
        let place = self.place.clone();
        let failed = |problem: String| SourceError::Stream {
            place: place.to_string(),
            problem,
        };
        let Some(batch) = guard(&place, "Arrow stream", || {
            self.reader.next().transpose().map_err(|error| failed(error.to_string()))
        })?
        else {
            return Ok(false);
        };
        let projected = batch.project(&self.indices).map_err(|error| failed(error.to_string()))?;
        // Memory that another library handed over is not taken on trust.
        for column in projected.columns() {
            guard(&place, "Arrow stream", || {
                column.to_data().validate_full().map_err(|error| failed(error.to_string()))
            })?;
        }
        self.pending = Some(projected);
        self.offset = 0;
        Ok(true)
    }
}

impl Iterator for Slices {
    type Item = Result<Piece, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.pending.as_ref().filter(|batch| self.offset < batch.num_rows()) {
                let rows = PIECE_ROWS.min(batch.num_rows() - self.offset);
                let piece = Piece {
                    place: self.place.clone(),
                    first_row: self.next_row,
                    batch: batch.slice(self.offset, rows),
                };
                self.offset += rows;
                self.next_row += rows as u64;
                return Some(Ok(piece));
            }
            match self.refill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
