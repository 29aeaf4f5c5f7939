//! Retention: of those who began in a day, week or month, how many came back in each later one.
//!
//! Definition: `python/docs/definitions/assets.md` (retention). Field standard; no platform page is quoted.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Date32Array};
use serde_json::json;

use crate::analyses::asked::{AnalysisError, Asked, check_range};
use crate::analyses::labels::{counts, scope_array};
use crate::analyses::outcome::Answer;
use crate::analyses::steps::Step;
use crate::analyses::totals::{MAX_CELLS, check_day, people, shares, table, total};
use crate::audience::Audience;
use crate::base::Day;
use crate::timeline::rows::{class_of, day_of};
use crate::timeline::{Bucket, History, Question, Runtime, ScopeValue, Timelines};

/// Parameters of [`retention`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionParams {
    /// Only these brands.
    pub scopes: Option<Vec<ScopeValue>>,
    /// How long a period is.
    pub unit: Step,
    /// Whether periods are counted from each consumer's own first day (1, 7 or 30 days each), rather than by the calendar.
    pub rolling: bool,
    /// Whether whoever came back in a later period counts as well.
    pub on_or_after: bool,
    /// Behaviors that begin a cohort, and count as coming back.
    pub behaviors: Vec<String>,
}

impl Default for RetentionParams {
    fn default() -> Self {
        RetentionParams {
            scopes: None,
            unit: Step::Month,
            rolling: false,
            on_or_after: false,
            behaviors: vec!["purchase".to_owned()],
        }
    }
}

/// A cohort: when its consumers began (the first day of the unit), and for each later period how many came back.
#[derive(Default)]
struct Cohort {
    size: i64,
    retained: Vec<i64>,
}

struct Prepared<'a> {
    asked: Asked<'a>,
    bit: u64,
    days: (Day, Day),
    params: &'a RetentionParams,
    /// Calendar units that the range touches: first and last day of each.
    units: Vec<(i32, i32)>,
    /// The unit of each day of the range.
    unit_of: Vec<u32>,
}

impl<'a> Prepared<'a> {
    fn new(source: &'a dyn Timelines, days: (Day, Day), params: &'a RetentionParams) -> Result<Self, AnalysisError> {
        check_range(days.0, days.1)?;
        if params.behaviors.is_empty() {
            return Err(AnalysisError::parameter("behaviors", "the list of behaviors is empty"));
        }
        let mut asked = Asked::of_events(source, params.scopes.as_deref())?;
        // Whoever began before the range is in none of its cohorts.
        let bit = asked.watch("behaviors", &params.behaviors, None)?;
        let (mut units, mut unit_of) = (Vec::new(), Vec::new());
        let (start, end) = (days.0.number(), days.1.number());
        let mut first = params.unit.first_day(start);
        while first <= end {
            let next = params.unit.next(first);
            unit_of.resize((next.min(end + 1) - start) as usize, units.len() as u32);
            units.push((first, next - 1));
            first = next;
        }
        Ok(Prepared {
            asked,
            bit,
            days,
            params,
            units,
            unit_of,
        })
    }

    fn unit(&self, day: i32) -> usize {
        self.unit_of[(day - self.days.0.number()) as usize] as usize
    }

    fn question(&self) -> Question<'_> {
        self.asked.question(self.days.0, self.days.1)
    }

    /// Days of a rolling period.
    fn length(&self) -> i32 {
        match self.params.unit {
            Step::Day => 1,
            Step::Week => 7,
            Step::Month => 30,
        }
    }

    /// The period of a day after a first one.
    fn period(&self, first: i32, day: i32) -> usize {
        if self.params.rolling {
            ((day - first) / self.length()) as usize
        } else {
            self.unit(day) - self.unit(first)
        }
    }

    /// How many periods a cohort may have within the range; period 0 is its own.
    fn periods(&self, cohort: usize) -> usize {
        let first = self.units[cohort].0.max(self.days.0.number());
        self.period(first, self.days.1.number()) + 1
    }

    /// Whether all days of a period of all consumers of a cohort lie in the range.
    fn complete(&self, cohort: usize, period: usize) -> bool {
        let end = self.days.1.number();
        if self.params.rolling {
            // Who began on the cohort's last day, or on the last day of the range, has seen the least.
            let latest = self.units[cohort].1.min(end);
            return i64::from(latest) + i64::from(self.length()) * (period as i64 + 1) - 1 <= i64::from(end);
        }
        self.units.get(cohort + period).is_some_and(|(_, last)| *last <= end)
    }

    /// The cohort of a history, and the periods in which it came back, ascending.
    fn returns(&self, bucket: &Bucket<'_>, history: &History<'_>, periods: &mut Vec<usize>) -> Option<usize> {
        periods.clear();
        let watched = |word: &&u64| bucket.masks[class_of(**word)] & self.bit != 0 && day_of(**word) <= self.days.1.number();
        let mut days = history.words.iter().filter(watched).map(|word| day_of(*word));
        let first = days.next().filter(|first| *first >= self.days.0.number())?;
        let mut last = first;
        for day in days.filter(|day| *day > first) {
            if day != last {
                periods.push(self.period(first, day));
                last = day;
            }
        }
        periods.dedup();
        Some(self.unit(first))
    }
}

/// Of the consumers who did one of the behaviors for the first time in each day, week or month of a range, how many did one again in
/// each later period.
///
/// # Shape and units
/// `scope`, `cohort` (date32: the first day of the calendar unit; it may lie before the start), `period` (int64, 0 is the cohort's own unit), `cohort_size` (int64),
/// `retained`, `rate` (retained ÷ cohort_size), `complete` (whether the whole period lies in the range for every consumer of the cohort; if not, the cell is
/// censored and will still grow). Period 0 counts those who came back on a later day of it. With `on_or_after`, whoever came back in the period
/// or in a later one; such a cell can still grow after it is complete. Every cohort with a consumer × every period up to the end.
///
/// # Errors
/// A reversed range; an unknown behavior; what the source refuses; expired events, since firsts need all of them.
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
/// let params = RetentionParams::default();
/// let range = ("2024-05-01".parse()?, june.1);
/// let answer = retention(&events, range, &params, &runtime)?;
/// // of May in May and June, of June in June
/// assert_eq!(answer.table["retained"].as_primitive::<Int64Type>().values(), &[0, 1, 0]);
/// assert_eq!(retained(&events, range, &params, (&brand, range.0, Some(1)), &runtime)?.ids()?, ["u1".into()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn retention(
    source: &dyn Timelines,
    days: (Day, Day),
    params: &RetentionParams,
    runtime: &Runtime<'_>,
) -> Result<Answer, AnalysisError> {
    let prepared = Prepared::new(source, days, params)?;
    type Cohorts = BTreeMap<(u32, usize), Cohort>;
    let each = |bucket: &Bucket<'_>, cohorts: &mut Cohorts| {
        let mut periods = Vec::new();
        bucket.timelines.for_each_history(|history| {
            let Some(began) = prepared.returns(bucket, &history, &mut periods) else {
                return;
            };
            let cohort = cohorts.entry((history.scope, began)).or_default();
            cohort.size += 1;
            let last = periods.last().map_or(0, |last| last + 1);
            cohort.retained.resize(cohort.retained.len().max(last), 0);
            if params.on_or_after {
                cohort.retained[..last].iter_mut().for_each(|retained| *retained += 1);
            } else {
                periods.iter().for_each(|period| cohort.retained[*period] += 1);
            }
        });
    };
    let merge = |all: &mut Cohorts, more: Cohorts| {
        for (key, cohort) in more {
            let own = all.entry(key).or_default();
            own.size += cohort.size;
            own.retained.resize(own.retained.len().max(cohort.retained.len()), 0);
            own.retained.iter_mut().zip(cohort.retained).for_each(|(own, more)| *own += more);
        }
    };
    let (cohorts, about) = total(&prepared.asked, &prepared.question(), runtime, each, merge)?;
    let cells: usize = cohorts.keys().map(|(_, cohort)| prepared.periods(*cohort)).sum();
    if cells > MAX_CELLS {
        let problem = format!("{cells} cells (cohorts × periods) are more than {MAX_CELLS}; name scopes, or take a longer unit");
        return Err(AnalysisError::parameter("unit", problem));
    }
    let rows: Vec<(u32, usize, usize, &Cohort)> = cohorts
        .iter()
        .flat_map(|((scope, began), cohort)| (0..prepared.periods(*began)).map(move |period| (*scope, *began, period, cohort)))
        .collect();
    let retained = |(_, _, period, cohort): &(u32, usize, usize, &Cohort)| cohort.retained.get(*period).copied().unwrap_or(0);
    let complete = |(_, began, period, _): &(u32, usize, usize, &Cohort)| Some(prepared.complete(*began, *period));
    let columns: [(&str, ArrayRef); 7] = [
        (
            "scope",
            scope_array(
                &about.scopes,
                prepared.asked.scope_type(),
                rows.iter().map(|(scope, ..)| *scope as usize),
            ),
        ),
        (
            "cohort",
            Arc::new(Date32Array::from_iter_values(
                rows.iter().map(|(_, began, ..)| prepared.units[*began].0),
            )),
        ),
        ("period", counts(rows.iter().map(|(_, _, period, _)| *period as i64))),
        ("cohort_size", counts(rows.iter().map(|(.., cohort)| cohort.size))),
        ("retained", counts(rows.iter().map(retained))),
        ("rate", shares(rows.iter().map(|row| (retained(row), row.3.size)))),
        ("complete", Arc::new(BooleanArray::from_iter(rows.iter().map(complete)))),
    ];
    let parameters = [
        ("start", json!(days.0.to_string())),
        ("end", json!(days.1.to_string())),
        ("step", json!(params.unit.code())),
        ("mode", json!(if params.rolling { "rolling" } else { "calendar" })),
        ("kind", json!(if params.on_or_after { "on_or_after" } else { "exact" })),
        ("behaviors", json!(params.behaviors)),
    ];
    Ok(prepared.asked.answer(
        table(columns)?,
        ("retention", "distinct consumers; rates of the cohort"),
        &parameters,
        about,
        Vec::new(),
        runtime,
    ))
}

/// The consumers of a cohort (by the first day of its unit) of a brand: all, or those who came back in a period.
///
/// # Errors
/// As [`retention`]; an unknown brand, cohort or period.
pub fn retained(
    source: &dyn Timelines,
    days: (Day, Day),
    params: &RetentionParams,
    (scope, cohort, period): (&ScopeValue, Day, Option<usize>),
    runtime: &Runtime<'_>,
) -> Result<Audience, AnalysisError> {
    let prepared = Prepared::new(source, days, params)?;
    let words = period.map_or_else(String::new, |period| format!(", retained in period {period}"));
    let made = format!("{scope} cohort of the {} from {cohort}{words}", params.unit.code());
    let firsts: Vec<Day> = prepared
        .units
        .iter()
        .filter_map(|(first, _)| Day::from_number(i64::from(*first)).ok())
        .collect();
    check_day("cohort", cohort, &firsts)?;
    let wanted = prepared
        .units
        .iter()
        .position(|(first, _)| *first == cohort.number())
        .unwrap_or_default();
    let periods = prepared.periods(wanted);
    if let Some(period) = period.filter(|period| *period >= periods) {
        return Err(AnalysisError::parameter(
            "period",
            format!("{period} is not from 0 to {}, the periods of this cohort", periods - 1),
        ));
    }
    people(
        &prepared.asked,
        &prepared.question(),
        Some(scope),
        &made,
        runtime,
        |bucket, place, push| {
            let mut periods = Vec::new();
            bucket.timelines.for_each_history(|history| {
                if Some(history.scope as usize) != place || prepared.returns(bucket, &history, &mut periods) != Some(wanted) {
                    return;
                }
                let back = |wanted: usize| {
                    periods
                        .iter()
                        .any(|period| *period == wanted || (params.on_or_after && *period > wanted))
                };
                if period.is_none_or(back) {
                    push(history.consumer);
                }
            });
        },
    )
}
