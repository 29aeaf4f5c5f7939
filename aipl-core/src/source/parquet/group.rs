//! One row group: its columns, decoded or given by the path.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection};

use super::{BATCH_ROWS, FORMAT, OpenFile};
use crate::event::Tally;
use crate::source::files::DataFile;
use crate::source::positioned::PositionedFile;
use crate::source::{Piece, SourceError, TakePiece};

/// One row group of an open file.
pub(super) struct Group<'a> {
    pub data: &'a DataFile,
    pub open: &'a OpenFile,
    pub file: PositionedFile,
    pub number: usize,
}

impl Group<'_> {
    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.open.metadata.metadata().row_group(self.number).num_rows() as usize
    }

    /// Its first row's number in the file.
    pub fn first_row(&self) -> u64 {
        self.open.first_rows[self.number]
    }

    /// Hands over these columns of every row.
    pub fn read_pieces(&self, names: &[String], take: &mut TakePiece<'_>, tally: &mut Tally) -> Result<(), SourceError> {
        let wanted: Vec<&str> = names.iter().map(String::as_str).filter(|name| self.in_file(name)).collect();
        let mut first_row = self.first_row();
        let mut give = |batch: Option<&RecordBatch>, rows: usize, tally: &mut Tally| {
            let piece = Piece {
                place: self.data.name.clone(),
                first_row,
                batch: self.complete(names, batch, rows)?,
            };
            first_row += rows as u64;
            take(&piece, tally)
        };
        if wanted.is_empty() {
            return give(None, self.rows(), tally);
        }
        for batch in self.columns(&wanted, None, BATCH_ROWS, tally)? {
            let batch = batch.map_err(|error| self.malformed(error))?;
            give(Some(&batch), batch.num_rows(), tally)?;
        }
        Ok(())
    }

    /// Whether a column is in the file itself.
    pub fn in_file(&self, name: &str) -> bool {
        self.data.constant(name).is_none() && self.open.metadata.schema().index_of(name).is_ok()
    }

    /// These columns in order: decoded, given by the path, or null where this file lacks an optional one.
    pub fn complete(&self, names: &[String], decoded: Option<&RecordBatch>, rows: usize) -> Result<RecordBatch, SourceError> {
        let column = |name: &String| {
            let array = decoded
                .and_then(|batch| batch.column_by_name(name).cloned())
                .or_else(|| self.data.constant(name).map(|constant| constant.column(rows)))
                .unwrap_or_else(|| arrow::array::new_null_array(&DataType::Null, rows));
            (Field::new(name, array.data_type().clone(), true), array)
        };
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = names.iter().map(column).unzip();
        RecordBatch::try_new_with_options(
            Arc::new(Schema::new(fields)),
            arrays,
            &RecordBatchOptions::new().with_row_count(Some(rows)),
        )
        .map_err(|error| self.malformed(error))
    }

    /// Decodes columns of the file, of all rows or of those selected.
    pub fn columns(
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
        let group = metadata.metadata().row_group(self.number);
        tally.bytes += (0..group.num_columns())
            .filter(|&leaf| mask.leaf_included(leaf))
            .map(|leaf| u64::try_from(group.column(leaf).compressed_size()).unwrap_or(0))
            .sum::<u64>();
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), metadata.clone())
            .with_row_groups(vec![self.number])
            .with_projection(mask)
            .with_batch_size(batch_rows);
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection);
        }
        builder.build().map_err(|error| self.malformed(error))
    }

    pub fn malformed(&self, error: impl std::fmt::Display) -> SourceError {
        SourceError::Malformed {
            path: self.data.name.to_string(),
            format: FORMAT,
            problem: error.to_string(),
        }
    }
}
