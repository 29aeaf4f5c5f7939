//! Which rows can matter, judged by behavior and time alone.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::BooleanBuffer;

use crate::event::time::ACCEPTED_TIMES;
use crate::event::{BehaviorCode, Reason, SchemaError, Tally, TimeColumn, TimeKind};
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

/// Judges rows by behavior and time.
pub(crate) struct Selector<'a> {
    request: &'a Request,
    kind: Option<(TimeKind, Bounds)>,
}

/// Raw time bounds by behavior code: outside them a row certainly does not matter.
struct Bounds {
    lows: Box<[i64; 256]>,
    high: i64,
    /// Raw values outside these are out of the supported range.
    valid: (i64, i64),
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
                let raw = |first: i32, last: i32| kind.raw_range(first.max(0), last, &request.zone);
                let low_of = |&first: &i32| {
                    if first > request.last_day {
                        i64::MAX
                    } else {
                        raw(first, request.last_day).0
                    }
                };
                let mut lows = Box::new([i64::MAX; 256]);
                lows.iter_mut()
                    .zip(&request.first_days)
                    .for_each(|(low, first)| *low = low_of(first));
                // Two days inside both ends no zone matters; beyond, rows are resolved one by one.
                Bounds {
                    lows,
                    high: raw(0, request.last_day).1,
                    valid: raw(2, 84_003),
                }
            }
        };
        &self.kind.insert((kind, bounds)).1
    }

    /// Judges consecutive rows. Survivors are appended; the result says which rows they are.
    pub fn select(
        &mut self,
        codes: &[BehaviorCode],
        time: &ArrayRef,
        place: &Arc<str>,
        first_row: u64,
        out: &mut Survivors,
        tally: &mut Tally,
    ) -> Result<BooleanBuffer, SourceError> {
        let request = self.request;
        let column = TimeColumn::new(time, request.schema.time_unit(), &request.zone).ok_or_else(|| time_type(request, place, time))?;
        let (kind, raw) = (column.kind(), column.raw());
        let special = request.decoder.special();
        let bounds = self.bounds(kind);
        tally.rows_read += raw.len() as u64;
        let (mut keep, odd) = judge(codes, raw, bounds, special.null);
        if let Some(nulls) = column.nulls() {
            keep = &keep & nulls.inner();
        }
        if odd || column.nulls().is_some() {
            keep = self.account(&keep, codes, &column, place, first_row, tally);
        }
        Ok(self.resolve(keep, codes, kind, raw, first_row, out))
    }

    /// The slow path: counts rejected and ignored rows, and drops them.
    fn account(
        &self,
        keep: &BooleanBuffer,
        codes: &[BehaviorCode],
        times: &TimeColumn,
        place: &Arc<str>,
        first_row: u64,
        tally: &mut Tally,
    ) -> BooleanBuffer {
        let request = self.request;
        let special = request.decoder.special();
        let [behavior_column, time_column] = request.lead();
        BooleanBuffer::collect_bool(codes.len(), |row| {
            let number = first_row + row as u64;
            let code = codes[row];
            if code == special.ignored {
                tally.rows_ignored += 1;
                return false;
            }
            if code >= special.null {
                let reason = if code == special.null {
                    Reason::NullBehavior
                } else {
                    Reason::UnknownBehavior
                };
                tally.reject(place, number, reason, behavior_column, String::new);
                return false;
            }
            let raw = times.raw()[row];
            if times.nulls().is_some_and(|nulls| nulls.is_null(row)) {
                tally.reject(place, number, Reason::NullTime, time_column, String::new);
                return false;
            }
            if times.kind().is_unreadable(raw) {
                tally.reject(place, number, Reason::UnreadableTime, time_column, String::new);
                return false;
            }
            if times.kind().resolve(raw, &request.zone).is_none() {
                tally.reject(place, number, Reason::TimeOutOfRange, time_column, String::new);
                return false;
            }
            keep.value(row)
        })
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
        let divisor = if extremes.0 > extremes.1 {
            None
        } else {
            kind.plain_days(extremes.0, extremes.1, zone)
        };
        let start = out.len();
        out.rows.reserve(keep.count_set_bits());
        let any_instants = request.instants.iter().any(|needed| *needed);
        let mut dropped = false;
        for row in keep.set_indices() {
            let (instant, day) = match divisor {
                Some(units) if !request.instants[usize::from(codes[row])] => (0, raw[row].div_euclid(units) as i32),
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

/// The rows within their coarse bounds, and whether any row needs a closer look (an odd time or no behavior).
fn judge(codes: &[BehaviorCode], raw: &[i64], bounds: &Bounds, first_special: BehaviorCode) -> (BooleanBuffer, bool) {
    let (earliest, latest) = bounds.valid;
    let mut odd = false;
    let mut words = Vec::with_capacity(raw.len().div_ceil(64));
    for (codes, raw) in codes.chunks(64).zip(raw.chunks(64)) {
        let mut word = 0u64;
        for (place, (&code, &value)) in codes.iter().zip(raw).enumerate() {
            word |= u64::from((value >= bounds.lows[usize::from(code)]) & (value <= bounds.high)) << place;
            odd |= (code >= first_special) | (value < earliest) | (value > latest);
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
    let mut codes = Vec::with_capacity(behavior.len());
    request.decoder.decode(&behavior, &mut codes);
    scratch.clear();
    let keep = selector.select(&codes, &time, &piece.place, piece.first_row, scratch, tally)?;
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
