//! Flow rates between every pair of a list of days: the table that operators keep before a festival.
//!
//! Definitions: `python/docs/definitions/flow.md` (flow-rate triangle).

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, Date32Array, RecordBatch};
use serde_json::json;

use crate::analyses::asked::{AnalysisError, Asked, Within, arrow_fault};
use crate::analyses::labels::{check_scope_text, counts, label_array, percents, scope_array};
use crate::analyses::outcome::Answer;
use crate::audience::Audience;
use crate::base::Day;
use crate::model::{Program, StageModel};
use crate::stage::{Interval, IntervalFinder};
use crate::timeline::{Bucket, Folded, Runtime, ScopeValue, Timelines, fold};

/// The most cells (scopes × pairs of days × stages × stages) of a triangle.
const MAX_CELLS: usize = 100_000_000;

/// Optional parameters of [`flow_triangle`].
#[derive(Debug, Clone, Default)]
pub struct TriangleParams {
    /// Only these scopes; `None` takes every scope that an event or state could count for between the days.
    pub scopes: Option<Vec<ScopeValue>>,
    /// Only these consumers.
    pub within: Option<Audience>,
}

/// The flow rates between every pair of days, in one pass.
///
/// # Shape and units
/// `start`, `end` (date32), `scope`, `from_stage`, `to_stage` (utf8; `out` only as to-stage), `consumers`, `base` (int64), `percent`
/// (float64, of the consumers in `from_stage` at the close of `start`; null where there are none). In order of start, end,
/// scope and stages. Each pair equals [`Flow::rates`](crate::analyses::Flow::rates) of these
/// two days, which may list more scopes: a flow knows all days before.
///
/// # Errors
/// Fewer than two different days; too many cells; what [`flow`](crate::analyses::flow()) refuses.
pub fn flow_triangle(
    source: &dyn Timelines,
    model: &StageModel,
    days: &[Day],
    params: &TriangleParams,
    runtime: &Runtime<'_>,
) -> Result<Answer, AnalysisError> {
    let mut days = days.to_vec();
    days.sort_unstable();
    days.dedup();
    let [first, .., last] = days[..] else {
        return Err(AnalysisError::parameter("days", "at least two different days are needed"));
    };
    let mut asked = Asked::new(source, model, params.scopes.as_deref())?;
    let within = params
        .within
        .as_ref()
        .map(|audience| asked.within("within", audience))
        .transpose()?;
    let pairs: Vec<(usize, usize)> = (0..days.len())
        .flat_map(|start| (start + 1..days.len()).map(move |end| (start, end)))
        .collect();
    let labels = asked.program.stages + 1;
    let cells: OnceLock<Vec<AtomicI64>> = OnceLock::new();
    let counted = |bucket: Bucket<'_>| {
        let size = [pairs.len(), labels, labels]
            .into_iter()
            .fold(bucket.scopes.len(), usize::saturating_mul);
        if size > MAX_CELLS {
            return Err(size);
        }
        let cells = cells.get_or_init(|| std::iter::repeat_with(AtomicI64::default).take(size).collect());
        count_bucket(&bucket, &asked.program, &days, within.as_deref(), cells);
        Ok(())
    };
    let Folded { buckets, about } = fold(source, &asked.question(first, last), runtime, counted)?;
    if let Some(Err(size)) = buckets.into_iter().find(Result::is_err) {
        let problem = format!("{size} cells (scopes × pairs of days × stages²) are more than {MAX_CELLS}; name scopes, or fewer days");
        return Err(AnalysisError::parameter("days", problem));
    }
    check_scope_text(&about.scopes, asked.scope_type(), pairs.len() * asked.program.stages * labels)?;
    let cells: Vec<i64> = cells
        .into_inner()
        .unwrap_or_default()
        .into_iter()
        .map(AtomicI64::into_inner)
        .collect();
    let cell = |scope: usize, pair: usize, from: usize, to: usize| cells[((scope * pairs.len() + pair) * labels + from) * labels + to];
    let order = || (1..labels).chain([0]);
    let mut rows = Vec::new();
    for pair in 0..pairs.len() {
        for scope in 0..about.scopes.len() {
            for from in 1..labels {
                let base: i64 = (0..labels).map(|to| cell(scope, pair, from, to)).sum();
                rows.extend(order().map(|to| (pair, scope, from, to, cell(scope, pair, from, to), base)));
            }
        }
    }
    let day = |place: &dyn Fn((usize, usize)) -> usize| {
        Arc::new(Date32Array::from_iter_values(
            rows.iter().map(|row| days[place(pairs[row.0])].number()),
        )) as ArrayRef
    };
    let table = RecordBatch::try_from_iter_with_nullable([
        ("start", day(&|pair| pair.0), false),
        ("end", day(&|pair| pair.1), false),
        (
            "scope",
            scope_array(&about.scopes, asked.scope_type(), rows.iter().map(|row| row.1)),
            false,
        ),
        ("from_stage", label_array(model, rows.iter().map(|row| row.2)), false),
        ("to_stage", label_array(model, rows.iter().map(|row| row.3)), false),
        ("consumers", counts(rows.iter().map(|row| row.4)), false),
        ("base", counts(rows.iter().map(|row| row.5)), false),
        ("percent", percents(rows.iter().map(|row| (row.4, Some(row.5)))), true),
    ])
    .map_err(arrow_fault)?;
    let nobody = |scope: usize| rows.iter().all(|row| row.1 != scope || row.5 == 0);
    let notes = asked.empty_scopes(&about.scopes, nobody, "nobody is in a stage on any of the days but the last");
    let unit = "percent of the consumers in from_stage at the close of start who are in to_stage at the close of end";
    let parameters = [
        ("days", json!(days.iter().map(ToString::to_string).collect::<Vec<_>>())),
        ("within", json!(params.within.as_ref().map(Audience::made))),
    ];
    Ok(Answer {
        table,
        recipe: asked.recipe("flow_triangle", unit, &parameters),
        report: asked.report(about.tally, about.elapsed, Some(&about.universe), notes, runtime),
    })
}

fn count_bucket(bucket: &Bucket<'_>, program: &Program, days: &[Day], within: Option<&Within>, cells: &[AtomicI64]) {
    let members = within.map(|within| within.members(bucket));
    let numbers: Vec<i32> = days.iter().map(|day| day.number()).collect();
    let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
    let mut finder = IntervalFinder::new(program, bucket.masks, bucket.timelines.layout(), first, last);
    let (all_labels, pairs) = (program.stages + 1, days.len() * (days.len() - 1) / 2);
    let mut labels = vec![0u8; days.len()];
    bucket.timelines.for_each_history(|history| {
        if members.as_ref().is_some_and(|members| !members.contains(history.consumer)) {
            return;
        }
        labels.fill(0);
        finder.find(&history, |Interval { label, first, last }| {
            let range = numbers.partition_point(|&day| day < first)..numbers.partition_point(|&day| day <= last);
            labels[range].fill(label);
        });
        let mut pair = history.scope as usize * pairs;
        for (start, &from) in labels.iter().enumerate() {
            for &to in &labels[start + 1..] {
                if from != 0 {
                    let cell = (pair * all_labels + usize::from(from)) * all_labels + usize::from(to);
                    cells[cell].fetch_add(1, Ordering::Relaxed);
                }
                pair += 1;
            }
        }
    });
}
