//! The events of a bank as a source, for what needs the events themselves.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema, SchemaRef, UInt32Type};

use crate::bank::answer::Snapshot;
use crate::bank::error::BankError;
use crate::bank::merge::primitive;
use crate::bank::segment::{Segment, UNIT_BUCKETS, UNITS, arrow_fault};
use crate::base::{ConsumerIdx, IdKind};
use crate::event::Tally;
use crate::source::select::{Selector, Survivors, select_batch};
use crate::source::{Piece, Plan, Request, Sink, Source, SourceError};
use crate::timeline::ordered::buckets_of;

/// The events of a bank as a source of their own; the unit of parallel work is one of buckets.
#[derive(Debug)]
pub(super) struct BankSource {
    pub snapshot: Snapshot,
    pub columns: SchemaRef,
    /// The accounts wanted, if not all are.
    pub only: Option<Vec<ConsumerIdx>>,
}

impl BankSource {
    fn consumers(&self, numbers: &[u32]) -> Result<ArrayRef, BankError> {
        let universe = &self.snapshot.accounts;
        if let Some(bad) = numbers.iter().find(|number| !universe.contains(ConsumerIdx(**number))) {
            return Err(BankError::corrupt("segments", format!("consumer number {bad} was never given")));
        }
        Ok(match universe.id_kind() {
            IdKind::Int64 => Arc::new(Int64Array::from_iter_values(
                numbers.iter().map(|&number| universe.int(ConsumerIdx(number))),
            )),
            IdKind::Text => Arc::new(StringArray::from_iter_values(
                numbers.iter().map(|&number| universe.text(ConsumerIdx(number))),
            )),
        })
    }

    /// These columns of a segment's rows in some buckets.
    fn piece(&self, segment: &Segment, buckets: std::ops::Range<usize>, names: &[String], tally: &mut Tally) -> Result<Piece, BankError> {
        let range = segment.range(buckets);
        let mut stored: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != "consumer").collect();
        stored.push("consumer_idx");
        let (batch, bytes) = segment.file.read(&stored, range.clone())?;
        tally.bytes += bytes;
        let mut columns = Vec::with_capacity(names.len());
        for name in names {
            let column = match name.as_str() {
                "consumer" => Some(self.consumers(&primitive::<UInt32Type>(segment, &batch, "consumer_idx")?)?),
                stored => batch.column_by_name(stored).cloned(),
            };
            let column = column.ok_or_else(|| Snapshot::damaged(segment, &format!("it has no column {name:?}")))?;
            columns.push((Field::new(name, column.data_type().clone(), true), column));
        }
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(arrow_fault)?;
        Ok(Piece {
            place: segment.file.name().clone(),
            first_row: range.start,
            batch,
        })
    }

    fn each_piece(
        &self,
        unit: usize,
        names: &[String],
        tally: &mut Tally,
        mut take: impl FnMut(&Piece, &mut Tally) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let all = unit * UNIT_BUCKETS..(unit + 1) * UNIT_BUCKETS;
        let buckets = buckets_of(self.only.as_deref(), all.clone());
        for segment in &self.snapshot.segments {
            let (wanted, of_unit) = (segment.range(buckets.clone()), segment.range(all.clone()));
            tally.rows_skipped += (of_unit.end - of_unit.start) - (wanted.end - wanted.start);
            if !wanted.is_empty() {
                let piece = self.snapshot.whole(self.piece(segment, buckets.clone(), names, tally))?;
                take(&piece, tally)?;
            }
        }
        Ok(())
    }
}

impl Source for BankSource {
    fn name(&self) -> String {
        self.snapshot.bank.path().display().to_string()
    }

    fn columns(&self) -> SchemaRef {
        self.columns.clone()
    }

    fn fingerprint(&self) -> String {
        self.snapshot.state.fingerprint()
    }

    fn rows(&self) -> Option<u64> {
        Some(self.snapshot.state.rows())
    }

    fn plan<'a>(&'a self, _: &'a [String]) -> Result<Plan<'a>, SourceError> {
        Ok(Plan::Splits(UNITS))
    }

    fn read_split(&self, split: usize, request: &Request, sink: &mut dyn Sink, tally: &mut Tally) -> Result<(), SourceError> {
        let (mut selector, mut survivors) = (Selector::new(request), Survivors::default());
        self.each_piece(split, &request.all_columns(), tally, |piece, tally| {
            sink.checkpoint()?;
            select_batch(request, piece, &mut selector, &mut survivors, sink, tally)
        })
    }

    fn read_pieces(
        &self,
        split: usize,
        columns: &[String],
        take: &mut crate::source::TakePiece<'_>,
        tally: &mut Tally,
    ) -> Result<(), SourceError> {
        self.each_piece(split, columns, tally, |piece, tally| take(piece, tally))
    }
}
