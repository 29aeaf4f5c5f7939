//! The opportunity form of GROW: what a brand would gain if one lever stood at the benchmark of its category.
//!
//! Definition: `python/docs/definitions/assets.md` (GROW; definitions §4.1). The use is sourced (where to grow next), the formula is ours.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use serde_json::json;

use crate::analyses::asked::{AnalysisError, Asked, check_range, find_scope};
use crate::analyses::labels::scope_array;
use crate::analyses::outcome::Answer;
use crate::analyses::totals::{Trading, add_places, figures, table, total};
use crate::base::Day;
use crate::stage::OrderReader;
use crate::timeline::{Bucket, Runtime, ScopeValue, Timelines};

/// Buyers, orders a buyer, GMV an order.
const LEVERS: [&str; 3] = ["penetration", "repurchase", "price"];

/// What each lever would be worth if it stood at the benchmark, the others as they are.
#[derive(Debug, Clone, PartialEq)]
pub enum Benchmark {
    /// The mean of the brands of the panel (of all, if none is named) that have buyers.
    Mean,
    /// The median of these.
    Median,
    /// Buyers, orders a buyer and GMV an order; nothing for a lever that is not looked at.
    Given([Option<f64>; 3]),
}

/// The growth that each brand would have if one of buyers, orders a buyer and GMV an order stood at the benchmark, the others as they are.
///
/// # Shape and units
/// `scope`, `lever` (`penetration`, `repurchase`, `price`), `value` (distinct buyers; orders a buyer; GMV an order), `benchmark`, `opportunity` (float64, what the GMV
/// of the period would gain; negative where the brand is ahead), `opportunity_share` (of the sum of the positive ones). Ours: no
/// platform publishes the formula.
///
/// # Errors
/// A reversed range; a schema without amounts; what the source refuses.
///
/// # Example
/// ```
/// # use std::sync::Arc;
/// # use aipl_core::analyses::*;
/// # use aipl_core::{base::Day, base::statistics::Split, event::EventSchema, model::StageModel, source::Events};
/// # use aipl_core::timeline::{Runtime, ScopeValue};
/// # use arrow::array::{AsArray, Float64Array, RecordBatch, StringArray};
/// # use arrow::datatypes::{Float64Type, Int64Type};
/// # let text = |values: [&'static str; 4]| Arc::new(StringArray::from(values.to_vec())) as _;
/// # let batch = RecordBatch::try_from_iter([
/// #     ("user", text(["u1", "u1", "u2", "u3"])),
/// #     ("brand", text(["b"; 4])),
/// #     ("action", text(["purchase", "purchase", "purchase", "view"])),
/// #     ("at", text(["2024-05-01", "2024-06-01", "2024-06-28", "2024-06-29"])),
/// #     ("paid", Arc::new(Float64Array::from(vec![Some(50.0), Some(50.0), Some(30.0), None])) as _),
/// #     ("kind", text(["tea", "tea", "coffee", "tea"])),
/// # ])?;
/// # let schema = EventSchema::new("user", "brand", "action", "at").with_field("amount", "paid").with_field("category", "kind");
/// # let events = Events::from_batches(batch.schema(), vec![batch], schema, "Asia/Shanghai")?;
/// # let (model, brand, runtime) = (StageModel::preset("databank")?, ScopeValue::of("b"), Runtime::default());
/// # let june: (Day, Day) = ("2024-06-01".parse()?, "2024-06-30".parse()?);
/// // u1 buys for 50 on May 1 and June 1, u2 for 30 on June 28; u3 views on June 29.
/// let four = Benchmark::Given([Some(4.0), None, None]);
/// let answer = grow_opportunity(&events, june, (None, None), &four, &runtime)?;
/// // Two buyers spend 40 each; four would spend 80 more.
/// assert_eq!(answer.table["opportunity"].as_primitive::<Float64Type>().value(0), 80.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn grow_opportunity(
    source: &dyn Timelines,
    days: (Day, Day),
    (scopes, panel): (Option<&[ScopeValue]>, Option<&[ScopeValue]>),
    benchmark: &Benchmark,
    runtime: &Runtime<'_>,
) -> Result<Answer, AnalysisError> {
    check_range(days.0, days.1)?;
    if let Benchmark::Given(values) = benchmark
        && (values.iter().all(Option::is_none) || values.iter().flatten().any(|value| !value.is_finite() || *value < 0.0))
    {
        let problem = "values of buyers, frequency and price must be finite and at least 0, and one at least is needed";
        return Err(AnalysisError::parameter("benchmark", problem));
    }
    let mut asked = Asked::of_events(source, None)?;
    let trade = asked.watch_trade(Some(1))?;
    if !trade.has_amounts() {
        return Err(AnalysisError::parameter(
            "source",
            "its EventSchema maps no amount, and GROW is about GMV",
        ));
    }
    let bounds = days.0.number()..=days.1.number();
    let each = |bucket: &Bucket<'_>, all: &mut Vec<Trading>| {
        all.resize(bucket.scopes.len(), Trading::default());
        let (mut reader, mut ids) = (OrderReader::new(trade, bucket), Vec::new());
        bucket.timelines.for_each_history(|history| {
            let inside = reader.lines(&history).iter().filter(|line| bounds.contains(&line.day));
            all[history.scope as usize] += Trading::of(inside, &mut ids);
        });
    };
    let (mut all, about) = total(&asked, &asked.question(days.0, days.1), runtime, each, add_places)?;
    all.resize(about.scopes.len(), Trading::default());
    let known = |scope: &ScopeValue| find_scope(&about.scopes, scope).ok();
    // A named brand that nothing was bought of has neither a row nor a place in the panel.
    let named = |scopes: Option<&[ScopeValue]>| match scopes {
        Some(scopes) => scopes.iter().filter_map(known).collect::<BTreeSet<usize>>(),
        None => (0..about.scopes.len()).collect(),
    };
    let shown: Vec<usize> = named(scopes).into_iter().collect();
    let unknown = scopes.into_iter().flatten().filter(|scope| known(scope).is_none());
    let notes = unknown
        .map(|scope| format!("scope {:?}: nothing was bought of it in the period", scope.to_string()))
        .collect();
    let names = panel.map(|panel| panel.iter().map(ToString::to_string).collect::<Vec<_>>());
    let panel = named(panel).into_iter().map(|scope| all[scope]).filter(|own| own.orders > 0);
    let panel: Vec<[f64; 3]> = panel.map(|own| own.factors()).collect();
    let benchmarks = benchmarks(benchmark, &panel);
    let gains: Vec<[Option<f64>; 3]> = shown.iter().map(|scope| gains(all[*scope].factors(), benchmarks)).collect();
    let rows = || (0..shown.len() * 3).map(|row| (row / 3, row % 3));
    let positive = |own: &[Option<f64>; 3]| own.iter().flatten().filter(|gain| **gain > 0.0).sum::<f64>();
    let share = |(at, lever): (usize, usize)| gains[at][lever].filter(|gain| *gain > 0.0).map(|gain| gain / positive(&gains[at]));
    let levers = rows().map(|(_, lever)| LEVERS[lever]).collect::<Vec<_>>();
    let value = |(at, lever): (usize, usize)| (all[shown[at]].orders > 0).then(|| all[shown[at]].factors()[lever]);
    let columns: [(&str, ArrayRef); 6] = [
        (
            "scope",
            scope_array(
                &about.scopes,
                asked.scope_type(),
                rows().map(|(at, _)| shown[at]).collect::<Vec<_>>().into_iter(),
            ),
        ),
        ("lever", Arc::new(StringArray::from(levers))),
        ("value", figures(rows().map(value))),
        ("benchmark", figures(rows().map(|(_, lever)| benchmarks[lever]))),
        ("opportunity", figures(rows().map(|(at, lever)| gains[at][lever]))),
        ("opportunity_share", figures(rows().map(share))),
    ];
    let measure = match benchmark {
        Benchmark::Mean => json!("mean"),
        Benchmark::Median => json!("median"),
        Benchmark::Given(values) => json!(values),
    };
    let parameters = [
        ("period", json!([days.0.to_string(), days.1.to_string()])),
        ("benchmark", measure),
        ("panel", json!(names)),
        ("convention", json!("ours: one factor at the benchmark, the others as they are")),
    ];
    Ok(asked.answer(
        table(columns)?,
        ("grow_opportunity", "money in units of the amount column"),
        &parameters,
        about,
        notes,
        runtime,
    ))
}

fn benchmarks(benchmark: &Benchmark, panel: &[[f64; 3]]) -> [Option<f64>; 3] {
    let column = |lever: usize| panel.iter().map(|factors| factors[lever]).collect::<Vec<f64>>();
    match benchmark {
        Benchmark::Given(values) => *values,
        Benchmark::Mean => std::array::from_fn(|lever| (!panel.is_empty()).then(|| column(lever).iter().sum::<f64>() / panel.len() as f64)),
        Benchmark::Median => std::array::from_fn(|lever| {
            let mut values = column(lever);
            values.sort_by(f64::total_cmp);
            let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
            Some(f64::midpoint(*low, *high))
        }),
    }
}

fn gains(own: [f64; 3], benchmarks: [Option<f64>; 3]) -> [Option<f64>; 3] {
    std::array::from_fn(|lever| {
        let others: f64 = (0..3).filter(|other| *other != lever).map(|other| own[other]).product();
        benchmarks[lever]
            .filter(|_| own[0] > 0.0)
            .map(|value| (value - own[lever]) * others)
    })
}
