//! Consumer assets: what the consumers of each stage are worth over a horizon, and what made the worth change.
//!
//! Definition: `python/docs/definitions/assets.md` (consumer assets; definitions §5). Sourced: the three factors and that the asset is an amount of
//! money. Ours: the formula, `asset = Σ people × conversion × value`.

use std::ops::RangeInclusive;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use serde_json::{Value, json};

use crate::analyses::asked::{AnalysisError, Asked, convert_scopes, find_scope};
use crate::analyses::dimensions::Dimensions;
use crate::analyses::labels::{counts, scope_array, stage_array};
use crate::analyses::market;
use crate::analyses::outcome::{Answer, Report};
use crate::analyses::totals::{amount, bit_of, check_days, figures, people, stage_named, table, total};
use crate::audience::Audience;
use crate::base::statistics::{Split, ratio, split, wilson};
use crate::base::{Day, IdKind};
use crate::event::Tally;
use crate::model::StageModel;
use crate::stage::{Interval, IntervalFinder, OrderReader, Trade};
use crate::timeline::{Bucket, History, Runtime, ScopeValue, Timelines, Visited};

/// A stage with fewer past buyers than this borrows those of higher stages (definitions, §5).
const LEAST_BUYERS: i64 = 30;

/// Optional parameters of [`consumer_equity`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EquityParams {
    /// Only these scopes.
    pub scopes: Option<Vec<ScopeValue>>,
    /// Purchases in so many days after a day are what its stages are worth.
    pub horizon: u32,
    /// How many past days conversion and value are taken from.
    pub snapshots: u32,
    /// How many days apart these are.
    pub every: u32,
    /// Whether a buyer is worth what he spends in the categories of the brand times its share of them, rather than what he spends with it.
    pub category_spend: bool,
}

impl Default for EquityParams {
    fn default() -> Self {
        EquityParams {
            scopes: None,
            horizon: 365,
            snapshots: 3,
            every: 30,
            category_spend: false,
        }
    }
}

/// Consumer assets by stage and in all.
#[derive(Debug, Clone)]
pub struct ConsumerEquity {
    /// One row a scope and stage.
    pub stages: RecordBatch,
    /// One row a scope.
    pub totals: RecordBatch,
    /// The account of rows.
    pub report: Report,
    /// How to ask again.
    pub recipe: Value,
    scopes: Vec<ScopeValue>,
    scope_type: IdKind,
    /// Consumers, conversion and value by scope; nothing where a stage with consumers has no estimate.
    factors: Vec<Option<[f64; 3]>>,
}

/// What is known of a stage.
#[derive(Debug, Clone, Copy, Default)]
struct Stage {
    /// In it on the day.
    now: i64,
    /// In it on the past days, how many of these bought within the horizon, and what they spent.
    past: i64,
    buyers: i64,
    /// Nothing where a brand's share of its categories is not known.
    spent: Option<f64>,
    exact: i128,
}

impl std::ops::AddAssign for Stage {
    fn add_assign(&mut self, more: Stage) {
        self.now += more.now;
        self.past += more.past;
        self.buyers += more.buyers;
        self.spent = self.spent.zip(more.spent).map(|(own, more)| own + more);
        self.exact += more.exact;
    }
}

/// Stages by scope, and whether anybody was in one on each past day.
#[derive(Default)]
struct Found {
    stages: Vec<Stage>,
    peopled: Vec<bool>,
}

/// The value of a stage's consumers.
#[derive(Debug, Clone, Copy)]
struct Worth {
    conversion: Option<f64>,
    interval: Option<(f64, f64)>,
    value: Option<f64>,
    asset: Option<f64>,
    pooled: bool,
}

struct Prepared<'a> {
    asked: Asked<'a>,
    trade: Trade,
    /// The categories of rows, for category spend.
    category: Option<Dimensions>,
    as_of: Day,
    horizon: i32,
    /// Past days, the earliest first.
    past: Vec<i32>,
}

impl<'a> Prepared<'a> {
    fn new(source: &'a dyn Timelines, model: &'a StageModel, as_of: Day, params: &EquityParams) -> Result<Self, AnalysisError> {
        let horizon = check_days("horizon", params.horizon)?;
        let every = check_days("every", params.every)?;
        if !(1..=1000).contains(&params.snapshots) {
            return Err(AnalysisError::parameter(
                "snapshots",
                format!("{} is not from 1 to 1000", params.snapshots),
            ));
        }
        // All brands are needed to know what else a consumer spends in a category.
        let scopes = if params.category_spend { None } else { params.scopes.as_deref() };
        let mut asked = Asked::new(source, model, scopes)?;
        let trade = asked.watch_trade(Some(1))?;
        if !trade.has_amounts() {
            return Err(AnalysisError::parameter(
                "source",
                "its EventSchema maps no amount, and assets are worth money",
            ));
        }
        let category = params.category_spend.then(|| {
            if source.schema().column("category").is_none() {
                return Err(AnalysisError::parameter(
                    "spend",
                    "the EventSchema maps no category, and \"category\" needs one",
                ));
            }
            Dimensions::new(&mut asked, "spend", &["category".to_owned()], None)
        });
        let category = category.transpose()?;
        let first = i64::from(as_of.number()) - i64::from(horizon) - i64::from(every) * (i64::from(params.snapshots) - 1);
        if first < 0 {
            let problem = format!("{horizon} days and {} snapshots reach back before 1970", params.snapshots);
            return Err(AnalysisError::parameter("horizon", problem));
        }
        Ok(Prepared {
            asked,
            trade,
            category,
            as_of,
            horizon,
            past: (0..params.snapshots as i32)
                .map(|snapshot| first as i32 + snapshot * every)
                .collect(),
        })
    }

    fn first(&self) -> Day {
        Day::from_number(i64::from(self.past[0])).unwrap_or(Day::MIN)
    }

    fn window(&self, past: i32) -> RangeInclusive<i32> {
        past + 1..=past + self.horizon
    }

    /// What reads the stages and orders of a bucket's histories.
    fn kernels<'b>(&'b self, bucket: &Bucket<'b>) -> (IntervalFinder<'b>, OrderReader<'b>) {
        let (first, last) = (self.past[0], self.as_of.number());
        let layout = bucket.timelines.layout();
        let finder = IntervalFinder::new(&self.asked.program, bucket.masks, layout, first, last);
        (finder, OrderReader::new(self.trade, bucket))
    }

    /// The labels of a history on the past days and, last, on the day itself.
    fn labels(&self, finder: &mut IntervalFinder<'_>, history: &History<'_>, labels: &mut [u8]) {
        labels.fill(0);
        let days = || self.past.iter().copied().chain([self.as_of.number()]);
        finder.find(history, |Interval { label, first, last }| {
            for (own, day) in labels.iter_mut().zip(days()) {
                if (first..=last).contains(&day) {
                    *own = label;
                }
            }
        });
    }
}

/// What the consumers of each stage are worth over a horizon: people × conversion × value.
///
/// # Shape and units
/// `stages`: `scope`, `stage` (utf8 code), `consumers` (int64: in the stage at the close of `as_of`), `past_consumers` (in it on the past days, summed over these),
/// `past_buyers` (of these, with an order in the `horizon` days after), `conversion` (past_buyers ÷ past_consumers), `conversion_low`, `conversion_high` (95 % Wilson; the past days
/// overlap, so it is a lower bound of the uncertainty), `value` (what a buyer spent in the horizon, in units of the amount column), `asset` (consumers ×
/// conversion × value), `pooled` (fewer than 30 past buyers: conversion and value are those of the stage with the next higher ones, or, where these do not
/// suffice, the next lower). `totals`: `scope`, `consumers` (V), `conversion` (C: expected buyers ÷ consumers), `value` (W: asset ÷ expected buyers), `asset` = V × C × W.
/// Null where there is nothing to divide by.
///
/// Past days are `as_of − horizon` and every `every` days before.
///
/// # Errors
/// A horizon longer than the history: nobody is in a stage on the earliest past day. A schema without amounts, or, for category spend, without
/// categories; what the source refuses.
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
/// let params = EquityParams {
///     horizon: 30,
///     snapshots: 1,
///     ..EquityParams::default()
/// };
/// let before = consumer_equity(&events, &model, "2024-06-28".parse()?, &params, &runtime)?;
/// let after = consumer_equity(&events, &model, june.1, &params, &runtime)?;
/// assert_eq!(after.totals["consumers"].as_primitive::<Int64Type>().values(), &[3]);
/// let change = after.compare(&before, Split::Lmdi)?.table;
/// assert_eq!(change.num_rows(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn consumer_equity(
    source: &dyn Timelines,
    model: &StageModel,
    as_of: Day,
    params: &EquityParams,
    runtime: &Runtime<'_>,
) -> Result<ConsumerEquity, AnalysisError> {
    let mut prepared = Prepared::new(source, model, as_of, params)?;
    let window = as_of.number() - prepared.horizon + 1..=as_of.number();
    let category = prepared.category.take();
    let question = prepared.asked.question(prepared.first(), as_of);
    let read = |category| market::read(&prepared.asked, &question, (prepared.trade, category), &window, runtime);
    let market = category.map(read).transpose()?;
    let (found, about) = find(&prepared, market.as_ref(), runtime)?;
    let anybody = found.stages.iter().any(|stage| stage.now + stage.past > 0);
    if let Some(empty) = found
        .peopled
        .iter()
        .position(|peopled| !peopled)
        .filter(|_| anybody || params.scopes.is_none())
    {
        let day = Day::from_number(i64::from(prepared.past[empty])).unwrap_or(Day::MIN);
        let problem = format!(
            "{} days and {} snapshots need the stages of {day}, and nobody is in one on that day; take a shorter horizon, or fewer snapshots",
            params.horizon, params.snapshots
        );
        return Err(AnalysisError::parameter("horizon", problem));
    }
    answer(&prepared, model, params, &found.stages, about, runtime)
}

fn find(prepared: &Prepared<'_>, market: Option<&market::Market>, runtime: &Runtime<'_>) -> Result<(Found, Visited), AnalysisError> {
    let stages = prepared.asked.program.stages;
    let each = |bucket: &Bucket<'_>, found: &mut Found| {
        found.stages.resize(bucket.scopes.len() * stages, Stage::default());
        found.peopled.resize(prepared.past.len(), false);
        let (mut finder, mut reader) = prepared.kernels(bucket);
        let mut labels = vec![0; prepared.past.len() + 1];
        let mut visit = |history: &History<'_>, spending: Option<&market::Spending>| {
            prepared.labels(&mut finder, history, &mut labels);
            let own = &mut found.stages[history.scope as usize * stages..][..stages];
            let was_in_one = labels[..prepared.past.len()].iter().any(|label| *label > 0);
            let (orders, lines) = if was_in_one { reader.both(history) } else { Default::default() };
            for (place, past) in prepared.past.iter().enumerate().filter(|(place, _)| labels[*place] > 0) {
                found.peopled[place] = true;
                let window = prepared.window(*past);
                let stage = &mut own[usize::from(labels[place]) - 1];
                stage.past += 1;
                if orders.iter().any(|order| window.contains(&order.day)) {
                    stage.buyers += 1;
                    match (market, spending) {
                        (Some(market), Some(spending)) => stage.exact += market.spent(spending, history.scope, &window),
                        _ => {
                            stage.exact += lines
                                .iter()
                                .filter(|line| window.contains(&line.day))
                                .map(|line| line.amount)
                                .sum::<i128>()
                        }
                    }
                }
            }
            if let Some(now) = labels.last().filter(|label| **label > 0) {
                own[usize::from(*now) - 1].now += 1;
            }
        };
        match market {
            None => bucket.timelines.for_each_history(|history| visit(&history, None)),
            Some(market) => market.each_consumer(bucket, |history, spending| visit(history, Some(spending))),
        }
    };
    let merge = |all: &mut Found, more: Found| {
        crate::analyses::totals::add_places(&mut all.stages, more.stages);
        all.peopled.resize(all.peopled.len().max(more.peopled.len()), false);
        all.peopled.iter_mut().zip(more.peopled).for_each(|(all, more)| *all |= more);
    };
    let question = prepared.asked.question(prepared.first(), prepared.as_of);
    let (mut found, about) = total(&prepared.asked, &question, runtime, each, merge)?;
    found.stages.resize(about.scopes.len() * stages, Stage::default());
    found.peopled.resize(prepared.past.len(), false);
    for (place, stage) in found.stages.iter_mut().enumerate() {
        let share = market.map_or(Some(1.0), |market| market.share((place / stages) as u32));
        stage.spent = share.map(|share| amount(stage.exact) * share);
    }
    Ok((found, about))
}

/// What each stage is worth, stages with few buyers pooled.
fn worth(stages: &[Stage]) -> Vec<Worth> {
    let pooled = |place: usize| {
        let (mut pool, mut pooled) = (stages[place], false);
        let others = (place + 1..stages.len()).chain((0..place).rev());
        for other in others {
            if pool.buyers >= LEAST_BUYERS {
                break;
            }
            pool += stages[other];
            pooled = true;
        }
        // Alone or not, fewer buyers than that are few.
        (pool, pooled || pool.buyers < LEAST_BUYERS)
    };
    (0..stages.len())
        .map(|place| {
            let (pool, pooled) = pooled(place);
            let conversion = ratio(pool.buyers as f64, pool.past as f64);
            let value = pool.spent.and_then(|spent| ratio(spent, pool.buyers as f64));
            let now = stages[place].now as f64;
            let asset = match (conversion, value) {
                _ if stages[place].now == 0 => Some(0.0),
                // Nobody buys, whatever a buyer would spend.
                (Some(0.0), _) => Some(0.0),
                (Some(conversion), Some(value)) => Some(now * conversion * value),
                _ => None,
            };
            Worth {
                conversion,
                interval: wilson(pool.buyers, pool.past),
                value,
                asset,
                pooled,
            }
        })
        .collect()
}

/// Consumers, conversion and value of all stages together; nothing if a stage with consumers has no estimate.
fn factors(stages: &[Stage], worth: &[Worth]) -> Option<[f64; 3]> {
    let people: i64 = stages.iter().map(|stage| stage.now).sum();
    let (mut buyers, mut asset) = (0.0, 0.0);
    for (stage, worth) in stages.iter().zip(worth).filter(|(stage, _)| stage.now > 0) {
        buyers += stage.now as f64 * worth.conversion?;
        asset += worth.asset?;
    }
    Some([
        people as f64,
        ratio(buyers, people as f64).unwrap_or(0.0),
        ratio(asset, buyers).unwrap_or(0.0),
    ])
}

fn answer(
    prepared: &Prepared<'_>,
    model: &StageModel,
    params: &EquityParams,
    found: &[Stage],
    about: Visited,
    runtime: &Runtime<'_>,
) -> Result<ConsumerEquity, AnalysisError> {
    let stages = prepared.asked.program.stages;
    let scopes = match &params.scopes {
        Some(scopes) => convert_scopes(prepared.asked.source, prepared.asked.program.scope, scopes)?,
        None => about.scopes.clone(),
    };
    let nobody = vec![Stage::default(); stages];
    let place = |scope: &ScopeValue| about.scopes.binary_search(scope).ok();
    let shown: Vec<&[Stage]> = scopes
        .iter()
        .map(|scope| place(scope).map_or(&nobody[..], |place| &found[place * stages..(place + 1) * stages]))
        .collect();
    let unknown = scopes.iter().filter(|scope| place(scope).is_none());
    let notes = unknown.map(|scope| format!("scope {:?}: nothing in the events that this question looks at", scope.to_string()));
    let notes: Vec<String> = notes.collect();
    let worths: Vec<Vec<Worth>> = shown.iter().map(|own| worth(own)).collect();
    let factors: Vec<Option<[f64; 3]>> = shown.iter().zip(&worths).map(|(own, worth)| factors(own, worth)).collect();
    let rows = || shown.iter().zip(&worths).flat_map(|(own, worths)| own.iter().zip(worths));
    let scope_type = prepared.asked.scope_type();
    let figure = |of: fn(&Worth) -> Option<f64>| figures(rows().map(move |(_, worth)| of(worth)));
    let count = |of: fn(&Stage) -> i64| counts(rows().map(move |(stage, _)| of(stage)));
    let lines = shown.len() * stages;
    let by_stage: [(&str, ArrayRef); 11] = [
        ("scope", scope_array(&scopes, scope_type, (0..lines).map(|line| line / stages))),
        ("stage", stage_array(model, (0..lines).map(|line| line % stages))),
        ("consumers", count(|stage| stage.now)),
        ("past_consumers", count(|stage| stage.past)),
        ("past_buyers", count(|stage| stage.buyers)),
        ("conversion", figure(|worth| worth.conversion)),
        ("conversion_low", figure(|worth| worth.interval.map(|(low, _)| low))),
        ("conversion_high", figure(|worth| worth.interval.map(|(_, high)| high))),
        ("value", figure(|worth| worth.value)),
        ("asset", figure(|worth| worth.asset)),
        (
            "pooled",
            std::sync::Arc::new(BooleanArray::from_iter(rows().map(|(_, worth)| Some(worth.pooled)))),
        ),
    ];
    let people = |own: &&[Stage]| own.iter().map(|stage| stage.now).sum::<i64>();
    // A conversion of nobody, and a value of no buyer, are none.
    let factor = |place: usize| {
        let known = move |factors: &[f64; 3]| factors[..place].iter().product::<f64>() > 0.0;
        figures(
            factors
                .iter()
                .map(move |factors| factors.filter(known).map(|factors| factors[place])),
        )
    };
    let totals: [(&str, ArrayRef); 5] = [
        ("scope", scope_array(&scopes, scope_type, 0..scopes.len())),
        ("consumers", counts(shown.iter().map(people))),
        ("conversion", factor(1)),
        ("value", factor(2)),
        (
            "asset",
            figures(factors.iter().map(|factors| factors.map(|factors| factors.iter().product()))),
        ),
    ];
    let parameters = [
        ("as_of", json!(prepared.as_of.to_string())),
        ("horizon", json!(params.horizon)),
        ("snapshots", json!(params.snapshots)),
        ("every", json!(params.every)),
        ("spend", json!(if params.category_spend { "category" } else { "brand" })),
        ("convention", json!("the formula is ours; the platform's is not public")),
    ];
    Ok(ConsumerEquity {
        stages: table(by_stage)?,
        totals: table(totals)?,
        recipe: prepared.asked.recipe(
            "consumer_equity",
            "distinct consumers; money in units of the amount column",
            &parameters,
        ),
        report: prepared.asked.report_of(about, notes, runtime),
        scopes,
        scope_type,
        factors,
    })
}

/// Groups of [`equity_people`], in order of their bits.
pub const EQUITY_GROUPS: [&str; 3] = ["consumers", "past_consumers", "past_buyers"];

/// The consumers of a stage (by code or name; of all stages if none is given) of a scope: in it on the day (`consumers`), on any of the past days
/// (`past_consumers`), or with an order in the horizon after such a day (`past_buyers`). Each is in the audience once, while the columns of the past
/// count a consumer for every past day.
///
/// # Errors
/// As [`consumer_equity`]; an unknown scope, stage or group.
pub fn equity_people(
    source: &dyn Timelines,
    model: &StageModel,
    (as_of, params): (Day, &EquityParams),
    (scope, stage, group): (&ScopeValue, Option<&str>, &str),
    runtime: &Runtime<'_>,
) -> Result<Audience, AnalysisError> {
    let group = bit_of("who", group, &EQUITY_GROUPS)?;
    let wanted = stage.map(|stage| stage_named("stage", model, stage, &[])).transpose()?;
    let params = EquityParams {
        // What is looked at decides which rows are refused, so the same is looked at as for the table.
        scopes: Some(vec![scope.clone()]),
        ..params.clone()
    };
    let prepared = Prepared::new(source, model, as_of, &params)?;
    let is_in = |label: u8| label > 0 && wanted.is_none_or(|wanted| wanted == label);
    let question = prepared.asked.question(prepared.first(), as_of);
    let made = format!(
        "{scope} {} {} on {as_of}",
        stage.unwrap_or("in any stage"),
        EQUITY_GROUPS[group.trailing_zeros() as usize]
    );
    people(&prepared.asked, &question, Some(scope), &made, runtime, |bucket, place, push| {
        let (mut finder, mut reader) = prepared.kernels(bucket);
        let mut labels = vec![0; prepared.past.len() + 1];
        bucket.timelines.for_each_history(|history| {
            if Some(history.scope as usize) != place {
                return;
            }
            prepared.labels(&mut finder, &history, &mut labels);
            let past = || {
                prepared
                    .past
                    .iter()
                    .zip(&labels)
                    .filter(|(_, label)| is_in(**label))
                    .map(|(day, _)| *day)
            };
            let belongs = match group {
                1 => labels.last().is_some_and(|label| is_in(*label)),
                2 => past().next().is_some(),
                _ => {
                    let orders = reader.orders(&history);
                    past().any(|day| orders.iter().any(|order| prepared.window(day).contains(&order.day)))
                }
            };
            if belongs {
                push(history.consumer);
            }
        });
    })
}

impl ConsumerEquity {
    /// A scope of the answer, as the data has it.
    ///
    /// # Errors
    /// [`AnalysisError::UnknownScope`].
    pub fn scope(&self, scope: &ScopeValue) -> Result<ScopeValue, AnalysisError> {
        find_scope(&self.scopes, scope).map(|place| self.scopes[place].clone())
    }

    /// What made the assets of an earlier day into these: the parts of more people (V), better conversion (C) and higher value (W), which add up.
    ///
    /// `scope`, `asset_before`, `asset_after`, `change`, `consumers_part`, `conversion_part`, `value_part` (float64, in units of the amount column): scopes of both days;
    /// null where one has no estimate.
    ///
    /// # Errors
    /// A table that Arrow cannot hold.
    pub fn compare(&self, before: &ConsumerEquity, method: Split) -> Result<Answer, AnalysisError> {
        let both: Vec<(&ScopeValue, [Option<[f64; 3]>; 2])> = self
            .scopes
            .iter()
            .enumerate()
            .filter_map(|(place, scope)| {
                let earlier = before.scopes.binary_search(scope).ok()?;
                Some((scope, [before.factors[earlier], self.factors[place]]))
            })
            .collect();
        let worth = |factors: Option<[f64; 3]>| factors.map(|factors| factors.iter().product::<f64>());
        let split_of = |[before, after]: [Option<[f64; 3]>; 2]| Some(split(before?, after?, method));
        let part = |which: usize| figures(both.iter().map(move |(_, both)| split_of(*both).map(|parts| parts[which])));
        let change = |[before, after]: [Option<[f64; 3]>; 2]| Some(worth(after)? - worth(before)?);
        let figure = |of: &dyn Fn([Option<[f64; 3]>; 2]) -> Option<f64>| figures(both.iter().map(|(_, both)| of(*both)));
        let scopes: Vec<ScopeValue> = both.iter().map(|(scope, _)| (*scope).clone()).collect();
        let method = if method == Split::Lmdi { "lmdi" } else { "shapley" };
        Ok(Answer {
            table: table([
                ("scope", scope_array(&scopes, self.scope_type, 0..scopes.len())),
                ("asset_before", figure(&|[before, _]| worth(before))),
                ("asset_after", figure(&|[_, after]| worth(after))),
                ("change", figure(&change)),
                ("consumers_part", part(0)),
                ("conversion_part", part(1)),
                ("value_part", part(2)),
            ])?,
            report: Report {
                tally: Tally::default(),
                ..self.report.clone()
            },
            recipe: json!({"function": "consumer_equity.compare", "before": before.recipe, "after": self.recipe, "method": method, "convention": "the split is ours"}),
        })
    }
}
