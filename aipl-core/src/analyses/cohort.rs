//! Cohort tracking: a frozen audience - those whom a campaign reached - and the stages it is in on later days.
//!
//! Definition: `python/docs/definitions/assets.md` (cohort tracking; definitions §9, "activity group tracking").

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, RecordBatch};
use roaring::RoaringBitmap;
use serde_json::{Value, json};

use crate::analyses::asked::{AnalysisError, Asked, Within};
use crate::analyses::labels::{counts, label_array, scope_array};
use crate::analyses::outcome::Report;
use crate::analyses::totals::{MAX_CELLS, add_places, check_day, check_words, people, shares, stage_named, table, total};
use crate::audience::Audience;
use crate::base::{ConsumerIdx, Day};
use crate::model::StageModel;
use crate::model::data::OUT;
use crate::stage::{Interval, IntervalFinder, OrderReader, Trade};
use crate::timeline::{Bucket, History, Runtime, ScopeValue, Timelines};

/// A frozen audience on later days.
#[derive(Debug, Clone)]
pub struct CohortTrack {
    /// By day, scope and stage.
    pub stages: RecordBatch,
    /// By day and scope: in the chain, and bought.
    pub summary: RecordBatch,
    /// The account of rows.
    pub report: Report,
    /// How to ask again.
    pub recipe: Value,
}

struct Prepared<'a> {
    asked: Asked<'a>,
    trade: Trade,
    within: Arc<Within>,
    /// In order.
    days: Vec<i32>,
}

impl<'a> Prepared<'a> {
    fn new(
        source: &'a dyn Timelines,
        model: &'a StageModel,
        audience: &Audience,
        days: &[Day],
        scopes: Option<&[ScopeValue]>,
    ) -> Result<Self, AnalysisError> {
        check_words(model, &WORDS)?;
        if days.is_empty() {
            return Err(AnalysisError::parameter("days", "the list of days is empty"));
        }
        let mut asked = Asked::new(source, model, scopes)?;
        let trade = asked.watch_trade(Some(1))?;
        let mut days: Vec<i32> = days.iter().map(|day| day.number()).collect();
        days.sort_unstable();
        days.dedup();
        let within = asked.within("audience", audience)?;
        Ok(Prepared {
            asked,
            trade,
            within,
            days,
        })
    }

    fn range(&self) -> (Day, Day) {
        let day = |number: Option<&i32>| {
            number
                .and_then(|number| Day::from_number(i64::from(*number)).ok())
                .unwrap_or(Day::MIN)
        };
        (day(self.days.first()), day(self.days.last()))
    }

    /// What reads the stages and orders of a bucket's histories.
    fn kernels<'b>(&'b self, bucket: &Bucket<'b>) -> (IntervalFinder<'b>, OrderReader<'b>) {
        let (first, last) = self.range();
        let layout = bucket.timelines.layout();
        let finder = IntervalFinder::new(&self.asked.program, bucket.masks, layout, first.number(), last.number());
        (finder, OrderReader::new(self.trade, bucket))
    }

    /// The label of a history at the close of each day, and whether it has bought on any day from the first to it.
    fn each_day(
        &self,
        finder: &mut IntervalFinder<'_>,
        orders: &mut OrderReader<'_>,
        history: &History<'_>,
        mut visit: impl FnMut(usize, u8, bool),
    ) {
        let mut labels = vec![0; self.days.len()];
        finder.find(history, |Interval { label, first, last }| {
            let from = self.days.partition_point(|day| *day < first);
            let to = self.days.partition_point(|day| *day <= last);
            labels[from..to].fill(label);
        });
        let bought = orders
            .orders(history)
            .iter()
            .map(|order| order.day)
            .find(|day| *day >= self.days[0]);
        for (place, (label, day)) in labels.into_iter().zip(&self.days).enumerate() {
            visit(place, label, bought.is_some_and(|bought| bought <= *day));
        }
    }
}

/// The stages of a frozen audience at the close of some days, and how many of it have bought since the first.
///
/// # Shape and units
/// `stages`: `day` (date32), `scope`, `stage` (utf8 code, from the lowest, then `out`), `consumers` (int64), `share` (of the whole audience). `summary`: `day`, `scope`,
/// `audience` (int64: its size, the denominator of all shares), `in_chain`, `in_chain_share`, `bought` (with an order on any day from the first to this one),
/// `bought_share`. Every day × scope. Whoever of the audience the events do not know is `out`.
///
/// # Errors
/// No days; a model that does not fit, or has a stage `in_chain` or `bought`; more than 20 million cells; what the source refuses.
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
/// let reached = snapshot(&events, &model, "2024-05-31".parse()?, &SnapshotParams::default(), &runtime)?.audience(&brand, "P")?;
/// let track = cohort_track(&events, &model, &reached, &[june.0, june.1], None, &runtime)?;
/// assert_eq!(track.summary["bought"].as_primitive::<Int64Type>().values(), &[1, 1]);
/// let loyal = cohort_people(&events, &model, &reached, (&[june.0, june.1], None), (&brand, "L", june.1), &runtime)?;
/// assert_eq!(loyal.ids()?, ["u1".into()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn cohort_track(
    source: &dyn Timelines,
    model: &StageModel,
    audience: &Audience,
    days: &[Day],
    scopes: Option<&[ScopeValue]>,
    runtime: &Runtime<'_>,
) -> Result<CohortTrack, AnalysisError> {
    let prepared = Prepared::new(source, model, audience, days, scopes)?;
    let (first, last) = prepared.range();
    let stages = prepared.asked.program.stages;
    // Each stage, and those who have bought.
    let (width, dates) = (stages + 1, prepared.days.len());
    let each = |bucket: &Bucket<'_>, cells: &mut Vec<i64>| {
        let size = bucket.scopes.len() * dates * width;
        if size > MAX_CELLS {
            return;
        }
        cells.resize(size, 0);
        let members = prepared.within.members(bucket);
        let (mut finder, mut orders) = prepared.kernels(bucket);
        bucket.timelines.for_each_history(|history| {
            if !members.contains(history.consumer) {
                return;
            }
            prepared.each_day(&mut finder, &mut orders, &history, |day, label, bought| {
                let own = &mut cells[(history.scope as usize * dates + day) * width..][..width];
                if label > 0 {
                    own[usize::from(label) - 1] += 1;
                }
                own[stages] += i64::from(bought);
            });
        });
    };
    let (mut cells, about) = total(&prepared.asked, &prepared.asked.question(first, last), runtime, each, add_places)?;
    let scopes = about.scopes.len();
    if scopes * dates * width > MAX_CELLS {
        return Err(AnalysisError::parameter(
            "scopes",
            format!("scopes × days × stages are more than {MAX_CELLS}; name scopes, or fewer days"),
        ));
    }
    cells.resize(scopes * dates * width, 0);
    let size = audience.len() as i64;
    let own = |day: usize, scope: usize| &cells[(scope * dates + day) * width..][..width];
    let in_chain = |day: usize, scope: usize| own(day, scope)[..stages].iter().sum::<i64>();
    let date = |day: usize| prepared.days[day];
    let rows = || (0..dates).flat_map(|day| (0..scopes).map(move |scope| (day, scope)));
    let cells_of = || rows().flat_map(|(day, scope)| (0..=stages).map(move |stage| (day, scope, stage)));
    let consumers = |(day, scope, stage): (usize, usize, usize)| match stage {
        stage if stage < stages => own(day, scope)[stage],
        _ => size - in_chain(day, scope),
    };
    let places = |scopes: Vec<usize>| scope_array(&about.scopes, prepared.asked.scope_type(), scopes.into_iter());
    let of_days = |days: Vec<i32>| Arc::new(Date32Array::from(days)) as ArrayRef;
    // A label of 0 is written as out.
    let label = |(_, _, stage): (usize, usize, usize)| if stage == stages { 0 } else { stage + 1 };
    let by_stage = table([
        ("day", of_days(cells_of().map(|(day, ..)| date(day)).collect())),
        ("scope", places(cells_of().map(|(_, scope, _)| scope).collect())),
        ("stage", label_array(model, cells_of().map(label).collect::<Vec<_>>().into_iter())),
        ("consumers", counts(cells_of().map(consumers))),
        ("share", shares(cells_of().map(|cell| (consumers(cell), size)))),
    ])?;
    let bought = |(day, scope): (usize, usize)| own(day, scope)[stages];
    let summary = table([
        ("day", of_days(rows().map(|(day, _)| date(day)).collect())),
        ("scope", places(rows().map(|(_, scope)| scope).collect())),
        ("audience", counts(rows().map(|_| size))),
        ("in_chain", counts(rows().map(|(day, scope)| in_chain(day, scope)))),
        ("in_chain_share", shares(rows().map(|(day, scope)| (in_chain(day, scope), size)))),
        ("bought", counts(rows().map(bought))),
        ("bought_share", shares(rows().map(|row| (bought(row), size)))),
    ])?;
    let listed: Vec<String> = days.iter().map(ToString::to_string).collect();
    let parameters = [("days", json!(listed)), ("audience", json!(audience.made()))];
    Ok(CohortTrack {
        stages: by_stage,
        summary,
        recipe: prepared.asked.recipe(
            "cohort_track",
            "distinct consumers of the audience; shares of the whole audience",
            &parameters,
        ),
        report: prepared.asked.report_of(about, Vec::new(), runtime),
    })
}

/// In the place of a stage: those in any, those who have bought, those in none.
const WORDS: [&str; 3] = ["in_chain", "bought", OUT];

/// The consumers of the audience who are in a stage (by code or name, `in_chain` for any, `out` for none) of a scope at the close of a day, or who have
/// `bought` since the first of the days.
///
/// # Errors
/// As [`cohort_track`]; an unknown scope, stage or day.
pub fn cohort_people(
    source: &dyn Timelines,
    model: &StageModel,
    audience: &Audience,
    (days, scopes): (&[Day], Option<&[ScopeValue]>),
    (scope, stage, day): (&ScopeValue, &str, Day),
    runtime: &Runtime<'_>,
) -> Result<Audience, AnalysisError> {
    let prepared = Prepared::new(source, model, audience, days, scopes)?;
    check_day("day", day, days)?;
    let at = prepared.days.partition_point(|own| *own < day.number());
    let wanted = match stage {
        word if WORDS.contains(&word) => None,
        stage => Some(stage_named("who", model, stage, &WORDS)?),
    };
    let (first, last) = prepared.range();
    let question = prepared.asked.question(first, last);
    let made = format!("{} in {scope} {stage} on {day}", audience.made());
    let found = people(&prepared.asked, &question, Some(scope), &made, runtime, |bucket, place, push| {
        let members = prepared.within.members(bucket);
        let (mut finder, mut orders) = prepared.kernels(bucket);
        bucket.timelines.for_each_history(|history| {
            if Some(history.scope as usize) != place || !members.contains(history.consumer) {
                return;
            }
            prepared.each_day(&mut finder, &mut orders, &history, |day, label, bought| {
                let is = match (wanted, stage) {
                    (Some(wanted), _) => label == wanted,
                    (None, "bought") => bought,
                    // Those in the chain are found, and taken off the audience afterward.
                    (None, _) => label > 0,
                };
                if day == at && is {
                    push(history.consumer);
                }
            });
        });
    })?;
    if stage == OUT {
        without(audience, &found, &made)
    } else {
        Ok(found)
    }
}

/// An audience without those of another universe.
fn without(audience: &Audience, others: &Audience, made: &str) -> Result<Audience, AnalysisError> {
    let universe = audience.universe()?;
    let bits: RoaringBitmap = others
        .ids()?
        .iter()
        .filter_map(|id| universe.find(id))
        .map(|ConsumerIdx(idx)| idx)
        .collect();
    Ok(Audience::new(audience.bits() - &bits, universe.clone(), made))
}
