//! What a question asks of a source, and what a source gives back.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use crate::base::Zone;
use crate::event::{BehaviorCode, BehaviorDecoder, EventSchema, Tally};
use crate::source::SourceError;

/// What a question needs of every source.
#[derive(Debug, Clone)]
pub struct Request {
    /// The mapping of columns.
    pub schema: EventSchema,
    /// Reads the behavior column.
    pub decoder: BehaviorDecoder,
    /// The zone of wall-clock times and of calendar days.
    pub zone: Arc<Zone>,
    /// The earliest day, by behavior code, on which an event can matter; `i32::MAX` if it never can.
    pub first_days: Vec<i32>,
    /// The last day that the question sees.
    pub last_day: i32,
    /// Columns needed besides behavior and time, each once.
    pub columns: Vec<String>,
    /// By behavior code, whether the exact instant is needed besides the day.
    pub instants: Vec<bool>,
}

impl Request {
    /// The columns that every row is judged by.
    #[must_use]
    pub fn lead(&self) -> [&str; 2] {
        [
            self.schema.column("behavior").unwrap_or_default(),
            self.schema.column("time").unwrap_or_default(),
        ]
    }

    /// Every column that the request decodes, each once.
    #[must_use]
    pub fn all_columns(&self) -> Vec<String> {
        let mut all = self.lead().map(str::to_owned).to_vec();
        all.extend_from_slice(&self.columns);
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Events that can matter to the question: parallel slices, and the needed columns of the same rows.
#[derive(Debug)]
pub struct EventBatch<'a> {
    /// The file, or the name of the in-memory source.
    pub place: &'a Arc<str>,
    /// Row numbers within it.
    pub rows: &'a [u64],
    /// Day numbers in the source's zone.
    pub days: &'a [i32],
    /// Behavior codes.
    pub codes: &'a [BehaviorCode],
    /// Instants (UTC µs); arbitrary where the request does not ask for one, empty if it asks for none.
    pub instants: &'a [i64],
    /// The requested columns.
    pub columns: &'a RecordBatch,
}

/// Takes event batches.
pub trait Sink {
    /// Whether to go on; sources ask between batches, also where no row survives.
    ///
    /// # Errors
    /// [`SourceError::Canceled`].
    fn checkpoint(&self) -> Result<(), SourceError> {
        Ok(())
    }

    /// Takes one batch; rejected rows go to the tally.
    ///
    /// # Errors
    /// Whatever makes going on useless.
    fn accept(&mut self, batch: &EventBatch<'_>, tally: &mut Tally) -> Result<(), SourceError>;
}
