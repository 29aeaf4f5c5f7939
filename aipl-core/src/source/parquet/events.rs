//! Reading events of one row group: pages passed over by time statistics, behavior and time first, the rest for rows
//! that matter.

use arrow::array::{Array, ArrayRef, BooleanBufferBuilder, UInt64Array};
use arrow::buffer::BooleanBuffer;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};

use super::BATCH_ROWS;
use super::group::Group;
use crate::event::{BehaviorCode, BehaviorCodes, Tally, TimeColumn};
use crate::source::select::{Selector, Stretch, Survivors, select_batch};
use crate::source::{Piece, Request, Sink, SourceError};

/// Selected rows handed over at a time. Far more rows are decoded to find them, and those should stay in the cache.
const SELECTED_ROWS: usize = 2_048;
/// Where more than one row in so many survives, batches of survivors are as large as others.
const MANY: usize = 4;
/// The most rows of which behaviors and survivors are held at a time. Larger groups are read batch by batch, all
/// columns together.
const HELD_ROWS: usize = 1 << 22;

/// Reads one row group for one request.
pub(super) struct GroupReader<'a> {
    pub group: &'a Group<'a>,
    pub request: &'a Request,
}

impl GroupReader<'_> {
    pub fn read(&self, sink: &mut dyn Sink, tally: &mut Tally) -> Result<(), SourceError> {
        let rows = self.group.rows();
        let latest = self.latest_days();
        let earliest_ever = self.request.first_days.iter().copied().min().unwrap_or(i32::MAX);
        if latest.group.is_some_and(|latest| latest < earliest_ever) || latest.starts_after(self.request.last_day) {
            tally.rows_skipped += rows as u64;
            return Ok(());
        }
        let by_path = |name: &&str| !self.group.in_file(name);
        if rows > HELD_ROWS || self.request.lead().iter().all(by_path) {
            return self.stream(sink, tally);
        }
        let mut selector = Selector::new(self.request);
        let behaviors = self.behaviors(rows, sink, tally)?;
        let pages = self.pages_to_read(&latest, &behaviors.codes, &selector);
        let mut survivors = Survivors::default();
        sink.checkpoint()?;
        let keep = self.select(&behaviors, pages, &mut selector, &mut survivors, tally)?;
        sink.checkpoint()?;
        drop(behaviors);
        self.hand_over(keep, &survivors, sink, tally)
    }

    /// Reads all columns together, batch by batch.
    fn stream(&self, sink: &mut dyn Sink, tally: &mut Tally) -> Result<(), SourceError> {
        let (mut selector, mut scratch) = (Selector::new(self.request), Survivors::default());
        let mut first_row = self.group.first_row();
        self.group.each_batch(&self.request.all_columns(), tally, |batch, tally| {
            sink.checkpoint()?;
            let piece = Piece {
                place: self.group.data.name.clone(),
                first_row,
                batch,
            };
            first_row += piece.batch.num_rows() as u64;
            select_batch(self.request, &piece, &mut selector, &mut scratch, sink, tally)
        })
    }

    fn behaviors(&self, rows: usize, sink: &dyn Sink, tally: &mut Tally) -> Result<BehaviorCodes, SourceError> {
        let name = self.request.lead()[0];
        let mut behaviors = BehaviorCodes {
            codes: Vec::with_capacity(rows),
            unknown: Vec::new(),
        };
        if let Some(constant) = self.group.data.constant(name) {
            for run in batches_of(rows) {
                self.request.decoder.read(&constant.column(run.len()), &mut behaviors);
            }
            return Ok(behaviors);
        }
        self.group.count_bytes(&[name], tally);
        for batch in self.group.columns(&[name], None, BATCH_ROWS)? {
            sink.checkpoint()?;
            self.request.decoder.read(batch?.column(0), &mut behaviors);
        }
        self.group.check_rows(behaviors.codes.len())?;
        Ok(behaviors)
    }

    /// Judges the rows of the chosen pages; the buffer says which rows of the whole group survive.
    fn select(
        &self,
        behaviors: &BehaviorCodes,
        pages: Option<Vec<RowSelector>>,
        selector: &mut Selector<'_>,
        survivors: &mut Survivors,
        tally: &mut Tally,
    ) -> Result<BooleanBuffer, SourceError> {
        let first = self.group.first_row();
        let name = self.request.lead()[1];
        let group_rows = behaviors.codes.len();
        let mut keep = BooleanBufferBuilder::new(group_rows);
        let mut runs = pages.clone().unwrap_or_else(|| vec![RowSelector::select(group_rows)]);
        tally.rows_skipped += runs.iter().filter(|run| run.skip).map(|run| run.row_count as u64).sum::<u64>();
        if runs.iter().all(|run| run.skip) {
            return Ok(BooleanBuffer::new_unset(group_rows));
        }
        self.group.count_bytes(&[name], tally);
        let batches: Box<dyn Iterator<Item = Result<ArrayRef, SourceError>> + '_> = match self.group.data.constant(name) {
            Some(constant) => Box::new(batches_of(group_rows).map(|run| Ok(constant.column(run.len())))),
            None => Box::new(
                self.group
                    .columns(&[name], pages.map(RowSelection::from), BATCH_ROWS)?
                    .map(|batch| batch.map(|batch| batch.column(0).clone())),
            ),
        };
        let (mut row, mut run) = (0, 0);
        for time in batches {
            let time = time?;
            let mut taken = 0;
            // A batch may span several selected runs of pages.
            while taken < time.len() {
                if run == runs.len() {
                    return Err(self.group.malformed("the time column has more rows than the behavior column"));
                }
                if runs[run].skip || runs[run].row_count == 0 {
                    keep.append_n(runs[run].row_count, false);
                    row += runs[run].row_count;
                    run += 1;
                    continue;
                }
                let count = (time.len() - taken).min(runs[run].row_count);
                let part = time.slice(taken, count);
                let stretch = Stretch {
                    place: &self.group.data.name,
                    first_row: first + row as u64,
                    behaviors,
                    range: row..row + count,
                };
                keep.append_buffer(&selector.select(&stretch, &part, survivors, tally)?);
                runs[run].row_count -= count;
                row += count;
                taken += count;
            }
        }
        let passed = runs[run.min(runs.len() - 1)..]
            .iter()
            .filter(|run| run.skip)
            .map(|run| run.row_count)
            .sum::<usize>();
        if keep.len() + passed != group_rows {
            return Err(self.group.malformed("the time and behavior columns have different numbers of rows"));
        }
        keep.append_n(passed, false);
        Ok(keep.finish())
    }

    fn hand_over(&self, keep: BooleanBuffer, survivors: &Survivors, sink: &mut dyn Sink, tally: &mut Tally) -> Result<(), SourceError> {
        if survivors.len() == 0 {
            return Ok(());
        }
        let wanted: Vec<&str> = self
            .request
            .columns
            .iter()
            .map(String::as_str)
            .filter(|name| self.group.in_file(name))
            .collect();
        let mut given = 0;
        if wanted.is_empty() {
            for run in batches_of(survivors.len()) {
                let columns = self.group.complete(&self.request.columns, None, run.len())?;
                survivors.give(run.start, &self.group.data.name, &columns, sink, tally)?;
            }
            return Ok(());
        }
        self.group.count_bytes(&wanted, tally);
        let batch_rows = if survivors.len() > keep.len() / MANY {
            BATCH_ROWS
        } else {
            SELECTED_ROWS
        };
        // A batch holds the pages of all its rows, so a few rows of a large group are not read together.
        let reach = self.group.reach(&wanted);
        for start in (0..keep.len()).step_by(reach) {
            let part = keep.slice(start, reach.min(keep.len() - start));
            if part.count_set_bits() == 0 {
                continue;
            }
            for batch in self.group.columns(&wanted, selection_of(&part, start, keep.len()), batch_rows)? {
                let batch = batch?;
                let rows = batch.num_rows();
                if given + rows > survivors.len() {
                    return Err(self.group.malformed("columns have different numbers of rows"));
                }
                let columns = self.group.complete(&self.request.columns, Some(&batch), rows)?;
                survivors.give(given, &self.group.data.name, &columns, sink, tally)?;
                given += rows;
            }
        }
        if given != survivors.len() {
            return Err(self.group.malformed("columns have different numbers of rows"));
        }
        Ok(())
    }

    /// Pages whose latest time is before anything their own behaviors can still count for are not read.
    fn pages_to_read(&self, latest: &LatestDays, codes: &[BehaviorCode], selector: &Selector<'_>) -> Option<Vec<RowSelector>> {
        let outdated = |latest: i32, codes: &[BehaviorCode]| selector.may_skip(latest) && latest < selector.earliest(codes);
        if latest.group.is_some_and(|latest| outdated(latest, codes)) {
            return Some(vec![RowSelector::skip(codes.len())]);
        }
        let counted = latest.pages.iter().try_fold(0usize, |sum, (rows, _)| sum.checked_add(*rows));
        if counted != Some(codes.len()) {
            return None;
        }
        let mut row = 0;
        let runs: Vec<RowSelector> = latest
            .pages
            .iter()
            .map(|&(rows, latest)| {
                let skip = latest.is_some_and(|latest| outdated(latest, &codes[row..row + rows]));
                row += rows;
                if skip { RowSelector::skip(rows) } else { RowSelector::select(rows) }
            })
            .collect();
        runs.iter().any(|run| run.skip).then_some(runs)
    }

    /// What statistics say about the times of the group and of its pages.
    fn latest_days(&self) -> LatestDays {
        self.read_statistics().unwrap_or_default()
    }

    fn read_statistics(&self) -> Option<LatestDays> {
        let metadata = self.group.open.metadata.metadata();
        let group = metadata.row_group(self.group.number);
        let converter = StatisticsConverter::try_new(
            self.request.lead()[1],
            self.group.open.metadata.schema(),
            self.group.open.metadata.parquet_schema(),
        )
        .ok()?;
        let day = |bounds: &ArrayRef, at: usize| {
            // Bounds of texts are in order of bytes, and may be cut.
            let in_order = bounds.data_type().is_temporal() || bounds.data_type().is_integer();
            if !in_order || bounds.is_null(at) {
                return None;
            }
            let column = TimeColumn::new(bounds, self.request.schema.time_unit(), &self.request.zone)?;
            column.kind().resolve(column.raw()[at], &self.request.zone).map(|(_, day)| day)
        };
        let no_nulls = |counts: &UInt64Array, at: usize| counts.is_valid(at) && counts.value(at) == 0;
        let group_nulls = converter.row_group_null_counts([group]).ok()?;
        let settled = no_nulls(&group_nulls, 0);
        let (mins, maxes) = (converter.row_group_mins([group]).ok()?, converter.row_group_maxes([group]).ok()?);
        // A fall-back change at midnight can give an earlier instant the later day, so a day of slack is kept at both
        // ends.
        let latest_of = |bounds: &ArrayRef, at: usize| day(bounds, at).map(|day| day + 1);
        let mut statistics = LatestDays {
            group: latest_of(&maxes, 0).filter(|_| settled),
            first: day(&mins, 0).map(|day| day - 1).filter(|_| settled),
            pages: Vec::new(),
        };
        let _ = self.page_statistics(&converter, &latest_of, &mut statistics);
        Some(statistics)
    }

    fn page_statistics(
        &self,
        converter: &StatisticsConverter<'_>,
        latest_of: &dyn Fn(&ArrayRef, usize) -> Option<i32>,
        statistics: &mut LatestDays,
    ) -> Option<()> {
        let metadata = self.group.open.metadata.metadata();
        let (columns, offsets) = (metadata.column_index()?, metadata.offset_index()?);
        let groups = [self.group.number];
        let rows = converter.data_page_row_counts(offsets, metadata.row_groups(), &groups).ok()??;
        let maxes = converter.data_page_maxes(columns, offsets, &groups).ok()?;
        let nulls = converter.data_page_null_counts(columns, offsets, &groups).ok()?;
        if rows.len() != maxes.len() || rows.len() != nulls.len() {
            return None;
        }
        let page = |at: usize| {
            (
                rows.value(at) as usize,
                latest_of(&maxes, at).filter(|_| nulls.is_valid(at) && nulls.value(at) == 0),
            )
        };
        statistics.pages = (0..rows.len()).map(page).collect();
        Some(())
    }
}

/// The rows of a part of a group that begins at `start`; nothing where all rows of the group are wanted.
fn selection_of(part: &BooleanBuffer, start: usize, group_rows: usize) -> Option<RowSelection> {
    if part.count_set_bits() == group_rows {
        return None;
    }
    let selected = RowSelection::from_boolean_buffer(part.clone());
    if start == 0 {
        return Some(selected);
    }
    Some(
        std::iter::once(RowSelector::skip(start))
            .chain(Vec::<RowSelector>::from(selected))
            .collect(),
    )
}

/// Consecutive runs of rows, each no longer than a batch.
fn batches_of(rows: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..rows).step_by(BATCH_ROWS).map(move |start| start..rows.min(start + BATCH_ROWS))
}

/// The latest day of a row group and of each of its pages, where statistics say it and no time is null.
#[derive(Debug, Default)]
struct LatestDays {
    group: Option<i32>,
    first: Option<i32>,
    /// Rows of each page with the latest day among them.
    pages: Vec<(usize, Option<i32>)>,
}

impl LatestDays {
    fn starts_after(&self, last_day: i32) -> bool {
        self.first.is_some_and(|first| first > last_day)
    }
}
