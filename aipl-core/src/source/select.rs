//! Which rows can matter, judged by behavior and time alone.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::BooleanBuffer;

use crate::event::time::ACCEPTED_TIMES;
use crate::event::{BehaviorCode, BehaviorCodes, Reason, SchemaError, Tally, TimeColumn, TimeKind};
use crate::source::{EventBatch, Request, Sink, SourceError};
use arrow::record_batch::RecordBatch;

/// Rows that survived, as parallel vectors.
#[derive(Debug, Default)]
pub(crate) struct Survivors {
    pub rows: Vec<u64>,
    pub days: Vec<i32>,
    pub codes: Vec<BehaviorCode>,
    pub instants: Vec<i64>,
}

impl Survivors {
    pub fn clear(&mut self) {
        self.rows.clear();
        self.days.clear();
        self.codes.clear();
        self.instants.clear();
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Hands over the survivors from `start` on, as many as `columns` has rows.
    pub fn give(
        &self,
        start: usize,
        place: &Arc<str>,
        columns: &RecordBatch,
        sink: &mut dyn Sink,
        tally: &mut Tally,
    ) -> Result<(), SourceError> {
        let range = start..start + columns.num_rows();
        let instants = if self.instants.is_empty() {
            &[][..]
        } else {
            &self.instants[range.clone()]
        };
        sink.accept(
            &EventBatch {
                place,
                rows: &self.rows[range.clone()],
                days: &self.days[range.clone()],
                codes: &self.codes[range],
                instants,
                columns,
            },
            tally,
        )
    }
}

/// Consecutive rows of one place, with their behaviors.
pub(crate) struct Stretch<'a> {
    pub place: &'a Arc<str>,
    /// The number of the first row in the place.
    pub first_row: u64,
    pub behaviors: &'a BehaviorCodes,
    /// Which of these behaviors are the rows'.
    pub range: Range<usize>,
}

impl Stretch<'_> {
    fn codes(&self) -> &[BehaviorCode] {
        &self.behaviors.codes[self.range.clone()]
    }

    /// What is wrong with the behavior of a row, where it is among the first.
    fn complaint(&self, row: usize, request: &Request) -> String {
        let at = self.range.start + row;
        self.behaviors
            .unknown
            .iter()
            .find(|(noted, _)| *noted == at)
            .map_or_else(String::new, |(_, raw)| request.decoder.complaint(raw))
    }
}

/// Judges rows by behavior and time.
pub(crate) struct Selector<'a> {
    request: &'a Request,
    kind: Option<(TimeKind, Bounds)>,
}

/// Raw time bounds by behavior code: outside them a row certainly does not matter.
struct Bounds {
    /// The least value, and how far beyond it a value may lie.
    windows: Box<[(i64, u64); 256]>,
    /// The least value that is certainly in the supported range, and how far that reaches.
    valid: (i64, u64),
}

impl<'a> Selector<'a> {
    pub fn new(request: &'a Request) -> Self {
        Selector { request, kind: None }
    }

    /// The earliest day on which one of these rows could matter; `i32::MAX` if none can.
    pub fn earliest(&self, codes: &[BehaviorCode]) -> i32 {
        let mut present = [false; 256];
        codes.iter().for_each(|&code| present[usize::from(code)] = true);
        self.request
            .first_days
            .iter()
            .zip(present)
            .filter(|(_, present)| *present)
            .map(|(day, _)| *day)
            .min()
            .unwrap_or(i32::MAX)
    }

    /// Whether rows no later than this day could all be without effect; if not, their behaviors need not be looked at.
    pub fn may_skip(&self, latest: i32) -> bool {
        self.request.first_days.iter().any(|&first| latest < first)
    }

    fn bounds(&mut self, kind: TimeKind) -> &Bounds {
        let request = self.request;
        let bounds = match self.kind.take() {
            Some((known, bounds)) if known == kind => bounds,
            _ => {
                let range = |first: i32, last: i32| {
                    let (low, high) = kind.raw_range(first.max(0), last, &request.zone);
                    (low, high.abs_diff(low))
                };
                // A window that no value lies in: nothing is below it, and it reaches nowhere.
                let mut windows = Box::new([(i64::MAX, 0); 256]);
                for (window, &first) in windows
                    .iter_mut()
                    .zip(&request.first_days)
                    .filter(|(_, first)| **first <= request.last_day)
                {
                    *window = range(first, request.last_day);
                }
                // Two days inside both ends no zone matters; beyond, rows are resolved one by one.
                Bounds {
                    windows,
                    valid: range(2, 84_003),
                }
            }
        };
        &self.kind.insert((kind, bounds)).1
    }

    /// Judges consecutive rows. Survivors are appended; the result says which rows they are.
    pub fn select(
        &mut self,
        stretch: &Stretch<'_>,
        time: &ArrayRef,
        out: &mut Survivors,
        tally: &mut Tally,
    ) -> Result<BooleanBuffer, SourceError> {
        let request = self.request;
        let column =
            TimeColumn::new(time, request.schema.time_unit(), &request.zone).ok_or_else(|| time_type(request, stretch.place, time))?;
        let (kind, raw, codes) = (column.kind(), column.raw(), stretch.codes());
        tally.rows_read += raw.len() as u64;
        let (mut keep, odd_times) = judge(codes, raw, self.bounds(kind));
        if let Some(nulls) = column.nulls() {
            keep = &keep & nulls.inner();
        }
        let first_special = request.decoder.special().null;
        if odd_times || column.nulls().is_some() || codes.iter().fold(false, |special, &code| special | (code >= first_special)) {
            keep = self.account(&keep, stretch, &column, tally);
        }
        Ok(self.resolve(keep, codes, kind, raw, stretch.first_row, out))
    }

    /// The slow path: counts rejected and ignored rows, and drops them.
    fn account(&self, keep: &BooleanBuffer, stretch: &Stretch<'_>, times: &TimeColumn, tally: &mut Tally) -> BooleanBuffer {
        let special = self.request.decoder.special();
        let [behavior_column, time_column] = self.request.lead();
        BooleanBuffer::collect_bool(keep.len(), |row| {
            let code = stretch.codes()[row];
            if code == special.ignored {
                tally.rows_ignored += 1;
                return false;
            }
            let (reason, column) = match code {
                code if code == special.null => (Some(Reason::NullBehavior), behavior_column),
                code if code == special.unknown => (Some(Reason::UnknownBehavior), behavior_column),
                code if code == special.not_utf8 => (Some(Reason::NotUtf8), behavior_column),
                _ => (self.bad_time(times, row), time_column),
            };
            let Some(reason) = reason else { return keep.value(row) };
            let detail = || {
                if reason == Reason::UnknownBehavior {
                    stretch.complaint(row, self.request)
                } else {
                    String::new()
                }
            };
            tally.reject(stretch.place, stretch.first_row + row as u64, reason, column, detail);
            false
        })
    }

    fn bad_time(&self, times: &TimeColumn, row: usize) -> Option<Reason> {
        let raw = times.raw()[row];
        if times.nulls().is_some_and(|nulls| nulls.is_null(row)) {
            Some(Reason::NullTime)
        } else if let Some(wrong) = times.kind().wrong(raw) {
            Some(wrong)
        } else {
            times
                .kind()
                .resolve(raw, &self.request.zone)
                .is_none()
                .then_some(Reason::TimeOutOfRange)
        }
    }

    /// Finds the exact day of every candidate and drops those that the coarse bounds let through.
    fn resolve(
        &self,
        keep: BooleanBuffer,
        codes: &[BehaviorCode],
        kind: TimeKind,
        raw: &[i64],
        first_row: u64,
        out: &mut Survivors,
    ) -> BooleanBuffer {
        let request = self.request;
        let zone = &request.zone;
        let extremes = keep
            .set_indices()
            .fold((i64::MAX, i64::MIN), |(low, high), row| (low.min(raw[row]), high.max(raw[row])));
        let (steady, divisor) = if extremes.0 > extremes.1 {
            (None, None)
        } else {
            (
                kind.steady(extremes.0, extremes.1, zone),
                kind.plain_days(extremes.0, extremes.1, zone),
            )
        };
        let start = out.len();
        out.rows.reserve(keep.count_set_bits());
        let any_instants = request.instants.iter().any(|needed| *needed);
        let mut dropped = false;
        for row in keep.set_indices() {
            let (instant, day) = match (steady, divisor) {
                (Some(steady), _) => steady.resolve(raw[row]),
                (None, Some(units)) if !request.instants[usize::from(codes[row])] => (0, raw[row].div_euclid(units) as i32),
                _ => match kind.resolve(raw[row], zone) {
                    Some(resolved) => resolved,
                    None => {
                        dropped = true;
                        continue;
                    }
                },
            };
            if day > request.last_day || day < request.first_days[codes[row] as usize] {
                dropped = true;
                continue;
            }
            out.rows.push(first_row + row as u64);
            out.days.push(day);
            out.codes.push(codes[row]);
            if any_instants {
                out.instants.push(instant);
            }
        }
        if !dropped {
            return keep;
        }
        let mut kept = vec![false; raw.len()];
        out.rows[start..].iter().for_each(|row| kept[(row - first_row) as usize] = true);
        BooleanBuffer::from(kept)
    }
}

/// The rows within their coarse bounds, and whether any time needs a closer look.
fn judge(codes: &[BehaviorCode], raw: &[i64], bounds: &Bounds) -> (BooleanBuffer, bool) {
    let (earliest, reach) = bounds.valid;
    let mut odd = false;
    let mut words = Vec::with_capacity(raw.len().div_ceil(64));
    for (codes, raw) in codes.chunks(64).zip(raw.chunks(64)) {
        let mut word = 0u64;
        for (place, (&code, &value)) in codes.iter().zip(raw).enumerate() {
            // One unsigned comparison tests both ends of a window.
            let (low, window) = bounds.windows[usize::from(code)];
            word |= u64::from(value.wrapping_sub(low) as u64 <= window) << place;
            odd |= value.wrapping_sub(earliest) as u64 > reach;
        }
        words.push(word);
    }
    (BooleanBuffer::new(arrow::buffer::Buffer::from_vec(words), 0, raw.len()), odd)
}

fn time_type(request: &Request, place: &Arc<str>, time: &ArrayRef) -> SourceError {
    let found = match time.data_type() {
        integer if integer.is_integer() => format!("{integer} and EventSchema sets no time_unit"),
        other => other.to_string(),
    };
    SchemaError::ColumnType {
        place: place.to_string(),
        column: request.lead()[1].to_owned(),
        role: "time".to_owned(),
        found,
        accepted: ACCEPTED_TIMES,
    }
    .into()
}

/// Selects the rows of one batch that holds all requested columns, and hands them over.
pub(crate) fn select_batch(
    request: &Request,
    piece: &crate::source::Piece,
    selector: &mut Selector<'_>,
    scratch: &mut Survivors,
    sink: &mut dyn Sink,
    tally: &mut Tally,
) -> Result<(), SourceError> {
    let [behavior, time] = request.lead();
    let column = |name: &str| {
        piece
            .batch
            .column_by_name(name)
            .cloned()
            .ok_or_else(|| SourceError::Sink(format!("column {name} was not decoded")))
    };
    let (behavior, time) = (column(behavior)?, column(time)?);
    let mut behaviors = BehaviorCodes::default();
    request.decoder.read(&behavior, &mut behaviors);
    scratch.clear();
    let stretch = Stretch {
        place: &piece.place,
        first_row: piece.first_row,
        behaviors: &behaviors,
        range: 0..behavior.len(),
    };
    let keep = selector.select(&stretch, &time, scratch, tally)?;
    if scratch.len() == 0 {
        return Ok(());
    }
    let indices = request
        .columns
        .iter()
        .map(|name| piece.batch.schema().index_of(name))
        .collect::<Result<Vec<_>, _>>();
    let filtered = indices
        .and_then(|indices| piece.batch.project(&indices))
        .and_then(|columns| {
            if scratch.len() == columns.num_rows() {
                Ok(columns)
            } else {
                arrow::compute::filter_record_batch(&columns, &keep.into())
            }
        })
        .map_err(|error| SourceError::Stream {
            place: piece.place.to_string(),
            problem: error.to_string(),
        })?;
    scratch.give(0, &piece.place, &filtered, sink, tally)
}
