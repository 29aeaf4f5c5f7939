//! Where events come from: Parquet, Arrow IPC and CSV files, and Arrow streams; each decodes only what a question
//! needs.
//!
//! A source gives [`EventBatch`]es: rows whose behavior and time are resolved and can matter to the question, with the
//! other needed columns decoded for those rows only. Rows that cannot be events are counted in the [`Tally`].

pub mod batch;
mod check;
pub mod csv;
pub mod error;
pub mod events;
pub mod expected;
pub mod files;
pub mod ipc;
mod ipc_sizes;
pub mod limits;
pub mod memory;
pub mod parquet;
mod paths;
pub(crate) mod positioned;
pub mod select;
pub mod states;
pub mod table;

pub use batch::{EventBatch, Request, Sink};
pub use error::SourceError;
pub use events::{Events, OnError};
pub use expected::Expected;
pub use files::FileList;
pub use limits::ReadOptions;
pub use states::{StateColumns, StatePeriod, StateTable};
pub use table::open_table;

use std::fmt;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use crate::event::Tally;
use std::sync::Arc;

/// A piece of a sequential source: consecutive rows with all requested columns.
#[derive(Debug)]
pub struct Piece {
    /// The file, or the name of the in-memory source.
    pub place: Arc<str>,
    /// The number of the first row.
    pub first_row: u64,
    /// The rows.
    pub batch: RecordBatch,
}

/// Pieces in order; drawn on the calling thread alone, since an Arrow C stream may belong to it.
pub type Pieces<'a> = Box<dyn Iterator<Item = Result<Piece, SourceError>> + 'a>;

/// How a source hands out its rows.
pub enum Plan<'a> {
    /// Independent parts that any thread can read.
    Splits(usize),
    /// One sequence, with what reading it has counted so far.
    Sequence(Pieces<'a>),
}

/// A place that events come from.
pub trait Source: Send + Sync + fmt::Debug {
    /// A short name for messages.
    fn name(&self) -> String;
    /// The columns there are.
    fn columns(&self) -> SchemaRef;
    /// Identifies the content as far as is cheap: paths, sizes and times of change, or shapes.
    fn fingerprint(&self) -> String;
    /// The rows there are, where that is known without reading.
    fn rows(&self) -> Option<u64>;
    /// Decides how to read these columns.
    ///
    /// # Errors
    /// What opening the source refuses.
    fn plan<'a>(&'a self, columns: &'a [String]) -> Result<Plan<'a>, SourceError>;
    /// Reads the events of one split into a sink; a source that hands out a sequence has none.
    ///
    /// # Errors
    /// What decoding refuses, naming the file.
    fn read_split(&self, _split: usize, _request: &Request, _sink: &mut dyn Sink, _tally: &mut Tally) -> Result<(), SourceError> {
        Ok(())
    }
    /// Reads these columns of every row of one split, whatever they hold.
    ///
    /// # Errors
    /// What decoding refuses, naming the file; what `take` refuses.
    fn read_pieces(&self, _split: usize, _columns: &[String], _take: &mut TakePiece<'_>, _tally: &mut Tally) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Takes a piece of a split.
pub type TakePiece<'a> = dyn FnMut(&Piece, &mut Tally) -> Result<(), SourceError> + 'a;
