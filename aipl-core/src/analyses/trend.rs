//! Stages over time: how many consumers are in each, enter it, leave it, or have been in it since the start.
//!
//! Definitions: `python/docs/definitions/flow.md` (trend; the interval form of stages). Ours: weeks end on Sunday, and a step that
//! the range cuts off ends with the range.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arrow::array::{ArrayRef, Date32Array, Int64Array, RecordBatch};
use serde_json::json;

use crate::analyses::asked::{AnalysisError, Asked, check_range};
use crate::analyses::labels::{check_scope_text, scope_array, stage_array};
use crate::analyses::outcome::{Answer, Report};
use crate::analyses::steps::{Step, Steps};
use crate::base::Day;
use crate::event::Tally;
use crate::model::{Program, StageModel};
use crate::stage::{Interval, IntervalFinder};
use crate::timeline::{Bucket, Folded, KeptStages, Runtime, ScopeValue, Timelines, fold};

/// The most cells (scopes × stages × steps) of a trend.
const MAX_CELLS: usize = 100_000_000;

/// What a trend counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Measure {
    /// Consumers in the stage at the close of the step's last day.
    #[default]
    Stock,
    /// Entries into the stage on the step's days: in it at the close of a day, and not of the day before.
    Entries,
    /// Exits from the stage on the step's days: not in it at the close of a day, but of the day before.
    Exits,
    /// Distinct consumers in the stage on any day from the start of the trend to the step's last day.
    Union,
}

impl Measure {
    /// Reads `stock`, `entries`, `exits` or `union`.
    ///
    /// # Errors
    /// [`AnalysisError::Parameter`] with the choices.
    pub fn parse(text: &str) -> Result<Measure, AnalysisError> {
        Ok(match text {
            "stock" => Measure::Stock,
            "entries" => Measure::Entries,
            "exits" => Measure::Exits,
            "union" => Measure::Union,
            _ => {
                return Err(AnalysisError::parameter(
                    "measure",
                    format!("{text:?} is not one of \"stock\", \"entries\", \"exits\", \"union\""),
                ));
            }
        })
    }

    /// `stock`, `entries`, `exits` or `union`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Measure::Stock => "stock",
            Measure::Entries => "entries",
            Measure::Exits => "exits",
            Measure::Union => "union",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Measure::Stock => "distinct consumers in the stage at the close of the day",
            Measure::Entries => "entries into the stage on the days of the step (a consumer who enters twice counts twice)",
            Measure::Exits => "exits from the stage on the days of the step (a consumer who leaves twice counts twice)",
            Measure::Union => "distinct consumers in the stage on any day from the start to the day",
        }
    }
}

/// Optional parameters of [`trend`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrendParams {
    /// Only these scopes; `None` takes every scope that an event or state could count for on some day of the range.
    pub scopes: Option<Vec<ScopeValue>>,
    /// How far apart the days are.
    pub step: Step,
    /// What is counted.
    pub measure: Measure,
}

/// Counts consumers by scope and stage at the end of each step from `start` to `end`, in one pass over all histories.
///
/// # Shape and units
/// `day` (date32, the last day of the step), `scope`, `stage` (utf8 code), `consumers` (int64; for entries and exits the number
/// of entries and exits): every day × scope × stage, zeros included, in this order. A trend of stocks equals a snapshot a day.
///
/// # Errors
/// A reversed range; a model that does not fit; more than 100 million cells; what the source refuses.
///
/// # Example
/// ```
/// use std::sync::Arc;
/// use aipl_core::analyses::{TrendParams, trend};
/// use aipl_core::event::EventSchema;
/// use aipl_core::model::StageModel;
/// use aipl_core::source::Events;
/// use aipl_core::timeline::Runtime;
/// use arrow::array::{AsArray, RecordBatch, StringArray};
/// use arrow::datatypes::Int64Type;
///
/// let column = |value: &'static str| Arc::new(StringArray::from(vec![value])) as _;
/// let batch = RecordBatch::try_from_iter([
///     ("user", column("u1")), ("brand", column("b")), ("action", column("impression")), ("at", column("2024-06-01")),
/// ])?;
/// let events = Events::from_batches(batch.schema(), vec![batch], EventSchema::new("user", "brand", "action", "at"), "Asia/Shanghai")?;
/// let model = StageModel::preset("databank")?;
/// let answer = trend(&events, &model, "2024-06-15".parse()?, "2024-06-16".parse()?, &TrendParams::default(), &Runtime::default())?;
/// // Aware for 15 days, then out.
/// assert_eq!(answer.table.column(3).as_primitive::<Int64Type>().values(), &[1, 0, 0, 0, 0, 0, 0, 0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn trend(
    source: &dyn Timelines,
    model: &StageModel,
    start: Day,
    end: Day,
    params: &TrendParams,
    runtime: &Runtime<'_>,
) -> Result<Answer, AnalysisError> {
    check_range(start, end)?;
    let asked = Asked::new(source, model, params.scopes.as_deref())?;
    let steps = Steps::new(params.step, start, end);
    if let Some(kept) = kept_days(&asked, &steps, params)? {
        return of_kept(&asked, model, &kept, &steps, params, runtime);
    }
    let stages = asked.program.stages;
    let cells: OnceLock<Vec<AtomicI64>> = OnceLock::new();
    let counted = |bucket: Bucket<'_>| {
        let size = bucket.scopes.len().saturating_mul(stages).saturating_mul(steps.days.len() + 1);
        if size > MAX_CELLS {
            return Err(size);
        }
        let cells = cells.get_or_init(|| std::iter::repeat_with(AtomicI64::default).take(size).collect());
        count_bucket(&bucket, &asked.program, &steps, params.measure, cells);
        Ok(())
    };
    // What came in on the first day is seen against the day before.
    let Folded { buckets, about } = fold(source, &asked.question(start + -1, end), runtime, counted)?;
    if let Some(Err(size)) = buckets.into_iter().find(Result::is_err) {
        let problem = format!("{size} cells (scopes × stages × steps) are more than {MAX_CELLS}; name scopes, or take a longer step");
        return Err(AnalysisError::parameter("scopes", problem));
    }
    check_scope_text(&about.scopes, asked.scope_type(), stages * steps.days.len())?;
    let scopes = about.scopes.len();
    let counts = add_up(
        cells.into_inner().unwrap_or_default(),
        scopes * stages,
        steps.days.len(),
        params.measure,
    );
    let told = Told {
        scopes: &about.scopes,
        counts,
        steps: &steps,
    };
    let account = |notes| asked.report(about.tally, about.elapsed, Some(&about.universe), notes, runtime);
    told.answer(&asked, model, params, account)
}

/// The kept sets of every day of a trend of daily stocks, if all of them are kept.
fn kept_days(asked: &Asked<'_>, steps: &Steps, params: &TrendParams) -> Result<Option<Vec<Arc<dyn KeptStages>>>, AnalysisError> {
    if params.measure != Measure::Stock || params.step != Step::Day {
        return Ok(None);
    }
    asked.all_kept(&steps.days)
}

/// The trend of days that are all kept; no event is read.
fn of_kept(
    asked: &Asked<'_>,
    model: &StageModel,
    kept: &[Arc<dyn KeptStages>],
    steps: &Steps,
    params: &TrendParams,
    runtime: &Runtime<'_>,
) -> Result<Answer, AnalysisError> {
    let (started, stages) = (Instant::now(), asked.program.stages);
    let listed = |day: &Arc<dyn KeptStages>| {
        let listed = day.scopes().iter().zip(day.listed()).filter(|(_, listed)| **listed);
        listed.map(|(scope, _)| scope.clone()).collect::<Vec<_>>()
    };
    let scopes: Vec<ScopeValue> = match &asked.named {
        Some(named) => named.clone(),
        // What came in on the first day is seen against the day before, so its scopes are in the answer.
        None => {
            let before = asked.kept(Day::from_number(i64::from(steps.start) - 1).unwrap_or(Day::MIN))?;
            before
                .iter()
                .chain(kept)
                .flat_map(listed)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect()
        }
    };
    let mut counts = Vec::with_capacity(steps.days.len() * scopes.len() * stages);
    for day in kept {
        for scope in &scopes {
            match day.scopes().binary_search(scope) {
                Ok(place) => counts.extend_from_slice(&day.counts()[place * stages..(place + 1) * stages]),
                Err(_) => counts.resize(counts.len() + stages, 0),
            }
        }
    }
    let told = Told {
        scopes: &scopes,
        counts,
        steps,
    };
    let note = || "all days were materialized; no event was read".to_owned();
    let account = |notes: Vec<String>| {
        let notes = notes.into_iter().chain([note()]).collect();
        Report {
            identity: kept.last().and_then(|day| day.identity()),
            ..asked.report(Tally::default(), started.elapsed(), None, notes, runtime)
        }
    };
    told.answer(asked, model, params, account)
}

/// Counts by step, scope and stage.
struct Told<'a> {
    scopes: &'a [ScopeValue],
    counts: Vec<i64>,
    steps: &'a Steps,
}

impl Told<'_> {
    fn answer(
        self,
        asked: &Asked<'_>,
        model: &StageModel,
        params: &TrendParams,
        account: impl FnOnce(Vec<String>) -> Report,
    ) -> Result<Answer, AnalysisError> {
        let Told { scopes, counts, steps } = self;
        let stages = asked.program.stages;
        let series = scopes.len() * stages;
        let nothing = |scope: usize| {
            (0..counts.len() / series.max(1)).all(|step| counts[step * series + scope * stages..][..stages].iter().all(|count| *count == 0))
        };
        let notes = asked.empty_scopes(scopes, nothing, "nothing to count on any day of the range");
        let place = |row: usize| row % series;
        let rows = counts.len();
        let day = |row: usize| steps.days[row / series.max(1)].number();
        let columns: [(&str, ArrayRef); 4] = [
            ("day", Arc::new(Date32Array::from_iter_values((0..rows).map(day)))),
            (
                "scope",
                scope_array(scopes, asked.scope_type(), (0..rows).map(|row| place(row) / stages)),
            ),
            ("stage", stage_array(model, (0..rows).map(|row| place(row) % stages))),
            ("consumers", Arc::new(Int64Array::from(counts))),
        ];
        let [start, end] =
            [steps.start, steps.end].map(|day| Day::from_number(i64::from(day)).map(|day| day.to_string()).unwrap_or_default());
        let parameters = [
            ("start", json!(start)),
            ("end", json!(end)),
            ("step", json!(params.step.code())),
            ("measure", json!(params.measure.code())),
        ];
        Ok(Answer {
            table: RecordBatch::try_from_iter(columns).map_err(crate::analyses::asked::arrow_fault)?,
            recipe: asked.recipe("trend", params.measure.unit(), &parameters),
            report: account(notes),
        })
    }
}

/// Adds the differences that a bucket's histories make from step to step. Whole numbers are added, so the order does not matter.
fn count_bucket(bucket: &Bucket<'_>, program: &Program, steps: &Steps, measure: Measure, cells: &[AtomicI64]) {
    let width = steps.days.len() + 1;
    let mut finder = IntervalFinder::new(program, bucket.masks, bucket.timelines.layout(), steps.start - 1, steps.end);
    bucket.timelines.for_each_history(|history| {
        let add = |stage: usize, step: usize, difference: i64| {
            let cell = (history.scope as usize * program.stages + stage) * width + step;
            cells[cell].fetch_add(difference, Ordering::Relaxed);
        };
        let mut met = 0u32;
        finder.find(&history, |Interval { label, first, last }| {
            if label == 0 {
                return;
            }
            let stage = usize::from(label) - 1;
            let inside = last >= steps.start;
            match measure {
                Measure::Stock if inside => {
                    let range = steps.within(first.max(steps.start), last);
                    if !range.is_empty() {
                        add(stage, range.start, 1);
                        add(stage, range.end, -1);
                    }
                }
                Measure::Entries if first >= steps.start => add(stage, steps.of(first), 1),
                Measure::Exits if last < steps.end => add(stage, steps.of(last + 1), 1),
                Measure::Union if inside && met >> stage & 1 == 0 => {
                    met |= 1 << stage;
                    add(stage, steps.of(first.max(steps.start)), 1);
                }
                _ => {}
            }
        });
    });
}

/// Counts by step, scope and stage from what was added by scope, stage and step.
fn add_up(cells: Vec<AtomicI64>, series: usize, steps: usize, measure: Measure) -> Vec<i64> {
    let mut counts = vec![0; series * steps];
    if cells.is_empty() {
        return counts;
    }
    let running = matches!(measure, Measure::Stock | Measure::Union);
    let cells: Vec<i64> = cells.into_iter().map(AtomicI64::into_inner).collect();
    for (place, line) in cells.chunks(steps + 1).enumerate() {
        let mut total = 0;
        for (step, &difference) in line[..steps].iter().enumerate() {
            total = if running { total + difference } else { difference };
            counts[step * series + place] = total;
        }
    }
    counts
}
