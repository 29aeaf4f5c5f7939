//! One row group: its columns, decoded or given by the path.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection};
use parquet::file::metadata::ColumnChunkMetaData;

use super::pages::{Chunk, PageFile};
use super::{BATCH_ROWS, FORMAT, OpenFile, measure};
use crate::event::Tally;
use crate::source::files::DataFile;
use crate::source::limits::ReadOptions;
use crate::source::positioned::PositionedFile;
use crate::source::{Piece, SourceError, TakePiece};

/// One row group of an open file.
pub(super) struct Group<'a> {
    pub data: &'a DataFile,
    pub open: &'a OpenFile,
    pub file: PositionedFile,
    pub number: usize,
    pub options: ReadOptions,
}

impl Group<'_> {
    /// How many rows its footer declares.
    pub fn rows(&self) -> usize {
        self.open.metadata.metadata().row_group(self.number).num_rows() as usize
    }

    /// Its first row's number in the file.
    pub fn first_row(&self) -> u64 {
        self.open.first_rows[self.number]
    }

    /// Hands over these columns of every row.
    pub fn read_pieces(&self, names: &[String], take: &mut TakePiece<'_>, tally: &mut Tally) -> Result<(), SourceError> {
        let mut first_row = self.first_row();
        self.each_batch(names, tally, |batch, tally| {
            let rows = batch.num_rows() as u64;
            let piece = Piece {
                place: self.data.name.clone(),
                first_row,
                batch,
            };
            first_row += rows;
            take(&piece, tally)
        })
    }

    /// Calls `take` with these columns of every row, batch by batch.
    pub fn each_batch(
        &self,
        names: &[String],
        tally: &mut Tally,
        mut take: impl FnMut(RecordBatch, &mut Tally) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let mut wanted: Vec<&str> = names.iter().map(String::as_str).filter(|name| self.in_file(name)).collect();
        if wanted.is_empty() {
            // Rows that the footer declares are there only if some column has them.
            wanted.extend(self.least_column());
        }
        self.count_bytes(&wanted, tally);
        for batch in self.counted(self.columns(&wanted, None, BATCH_ROWS)?) {
            let batch = batch?;
            take(self.complete(names, Some(&batch), batch.num_rows())?, tally)?;
        }
        Ok(())
    }

    /// The same batches, with a refusal at the end where they are not as many rows as the footer declares.
    pub fn counted<'b>(&'b self, batches: Batches<'b>) -> impl Iterator<Item = Result<RecordBatch, SourceError>> {
        let mut found = Some(0);
        let mut batches = batches;
        std::iter::from_fn(move || match batches.next() {
            Some(Ok(batch)) => {
                found = found.map(|found| found + batch.num_rows());
                Some(Ok(batch))
            }
            Some(refused) => {
                found = None;
                Some(refused)
            }
            None => self.check_rows(found.take()?).err().map(Err),
        })
    }

    /// Refuses pages that hold more or fewer rows than the footer declares.
    pub fn check_rows(&self, found: usize) -> Result<(), SourceError> {
        if found == self.rows() {
            return Ok(());
        }
        Err(self.malformed(format!("its pages hold {found} rows where its footer says {}", self.rows())))
    }

    /// The column that takes the fewest bytes.
    pub fn least_column(&self) -> Option<&str> {
        let group = self.open.metadata.metadata().row_group(self.number);
        let fields = self.open.metadata.schema().fields();
        let least = group
            .columns()
            .iter()
            .enumerate()
            .min_by_key(|(_, chunk)| chunk.compressed_size())?
            .0;
        let root = self.open.metadata.parquet_schema().get_column_root_idx(least);
        fields.get(root).map(|field| field.name().as_str())
    }

    /// Whether a column is in the file itself.
    pub fn in_file(&self, name: &str) -> bool {
        self.data.constant(name).is_none() && self.open.metadata.schema().index_of(name).is_ok()
    }

    /// These columns in order: decoded, given by the path, or null where this file lacks an optional one.
    pub fn complete(&self, names: &[String], decoded: Option<&RecordBatch>, rows: usize) -> Result<RecordBatch, SourceError> {
        let column = |name: &String| {
            let array = self
                .data
                .constant(name)
                .map(|constant| constant.column(rows))
                .or_else(|| decoded.and_then(|batch| batch.column_by_name(name).cloned()))
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

    /// Counts the bytes of columns that are read.
    pub fn count_bytes(&self, names: &[&str], tally: &mut Tally) {
        let (_, leaves) = self.leaves(names);
        tally.bytes += self.sum(&leaves, |chunk| chunk.compressed_size());
    }

    fn sum(&self, leaves: &[usize], size: impl Fn(&ColumnChunkMetaData) -> i64) -> u64 {
        let group = self.open.metadata.metadata().row_group(self.number);
        let sizes = leaves.iter().map(|&leaf| u64::try_from(size(group.column(leaf))).unwrap_or(0));
        sizes.fold(0, u64::saturating_add)
    }

    /// How many rows of these columns a batch can reach over: their pages are held together.
    pub fn reach(&self, names: &[&str]) -> usize {
        let (_, leaves) = self.leaves(names);
        let decoded = self.sum(&leaves, |chunk| chunk.uncompressed_size()).max(1);
        // A quarter leaves room for pages that are larger than others.
        let rows = u128::from(self.rows() as u64) * u128::from(self.options.max_decoded_bytes / 4) / u128::from(decoded);
        usize::try_from(rows).unwrap_or(usize::MAX).max(1)
    }

    /// Columns as the decoder knows them, and their leaves.
    fn leaves(&self, names: &[&str]) -> (ProjectionMask, Vec<usize>) {
        let metadata = &self.open.metadata;
        let fields = metadata.schema().fields();
        let roots: Vec<usize> = names
            .iter()
            .filter_map(|name| fields.iter().position(|field| field.name() == name))
            .collect();
        let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
        let group = metadata.metadata().row_group(self.number);
        let leaves = (0..group.num_columns()).filter(|&leaf| mask.leaf_included(leaf)).collect();
        (mask, leaves)
    }

    /// Decodes columns of the file, of all rows or of those selected.
    pub fn columns(&self, names: &[&str], selection: Option<RowSelection>, batch_rows: usize) -> Result<Batches<'_>, SourceError> {
        let (mask, leaves) = self.leaves(names);
        let (pages, batch_rows) = self.pages(&leaves, batch_rows.min(self.reach(names)))?;
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(pages.clone(), self.open.metadata.clone())
            .with_row_groups(vec![self.number])
            .with_projection(mask)
            .with_batch_size(batch_rows);
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection);
        }
        Ok(Batches {
            reader: builder.build().map_err(|error| self.fault(&pages, error))?,
            pages,
            group: self,
        })
    }

    /// The pages of these leaves, and how many rows of them can be decoded at a time.
    fn pages(&self, leaves: &[usize], batch_rows: usize) -> Result<(PageFile, usize), SourceError> {
        let metadata = self.open.metadata.metadata();
        let group = metadata.row_group(self.number);
        let indexes = metadata.offset_index().and_then(|groups| groups.get(self.number));
        let mut chunks = Vec::with_capacity(leaves.len());
        let mut rows = batch_rows;
        for &leaf in leaves {
            let locations = indexes
                .and_then(|index| index.get(leaf))
                .map(|index| index.page_locations().as_slice());
            let chunk = || {
                Chunk::new(group.column(leaf), self.rows() as u64, locations)
                    .ok_or_else(|| self.malformed("a column chunk with a negative place or size"))
            };
            let mut known = chunk()?;
            if measure::is_needed(group.column(leaf), self.is_dictionary(leaf)) {
                known.lengths_known = true;
                let mut probe = chunk()?;
                probe.lengths_known = true;
                let pages = PageFile::new(self.file.clone(), self.data.name.clone(), self.options, vec![probe]);
                let widest = measure::widest(&pages, group.column(leaf), self.rows(), self.is_dictionary(leaf), &self.options);
                let widest = widest.map_err(|error| self.fault(&pages, error))?;
                rows = rows.min((self.options.max_decoded_bytes / widest.max(1)) as usize);
            }
            chunks.push(known);
        }
        let pages = PageFile::new(self.file.clone(), self.data.name.clone(), self.options, chunks);
        Ok((pages, rows.max(1)))
    }

    /// Whether a leaf is decoded as a dictionary.
    fn is_dictionary(&self, leaf: usize) -> bool {
        let root = self.open.metadata.parquet_schema().get_column_root_idx(leaf);
        matches!(
            self.open.metadata.schema().fields().get(root).map(|field| field.data_type()),
            Some(DataType::Dictionary(_, _))
        )
    }

    pub fn malformed(&self, error: impl std::fmt::Display) -> SourceError {
        SourceError::Malformed {
            path: self.data.name.to_string(),
            format: FORMAT,
            problem: error.to_string(),
        }
    }

    /// What a decoder reports: a refusal of ours that went through it, or damage.
    fn fault(&self, pages: &PageFile, error: impl std::fmt::Display) -> SourceError {
        pages.refused().unwrap_or_else(|| self.malformed(error))
    }
}

/// Batches of one row group.
pub(super) struct Batches<'a> {
    reader: ParquetRecordBatchReader,
    pages: PageFile,
    group: &'a Group<'a>,
}

impl Iterator for Batches<'_> {
    type Item = Result<RecordBatch, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pages.end_batch();
        let batch = self.reader.next()?;
        Some(batch.map_err(|error| self.group.fault(&self.pages, error)))
    }
}
