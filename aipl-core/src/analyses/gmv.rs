//! GMV and annual active consumers: the two goals of the growth compass.
//!
//! Definition: `python/docs/definitions/assets.md` (GMV and AAC; definitions §12). That an active consumer has a confirmed order in the past 12
//! months is published for the platform; that this is 365 days, and a brand's, is ours. So is the netting of refunds
//! ([`stage::orders`](crate::stage::orders)).

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array};
use serde_json::json;

use crate::analyses::asked::{AnalysisError, Asked, check_range};
use crate::analyses::labels::{check_scope_text, counts, scope_array};
use crate::analyses::outcome::Answer;
use crate::analyses::steps::{Step, Steps};
use crate::analyses::totals::{MAX_CELLS, Trading, add_places, amount, check_days, figures, money_notes, people, table, total};
use crate::audience::Audience;
use crate::base::Day;
use crate::base::statistics::ratio;
use crate::stage::{OrderReader, Trade};
use crate::timeline::{Bucket, Question, Runtime, ScopeValue, Timelines};

/// Optional parameters of [`gmv_aac`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GmvParams {
    /// Only these brands.
    pub scopes: Option<Vec<ScopeValue>>,
    /// How the range is cut.
    pub step: Step,
    /// An active consumer has an order in so many days.
    pub active_days: u32,
}

impl Default for GmvParams {
    fn default() -> Self {
        GmvParams {
            scopes: None,
            step: Step::Month,
            active_days: 365,
        }
    }
}

/// Whom a cell of [`gmv_aac`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GmvPeople {
    /// Those with an order in the step.
    Buyers,
    /// Those with an order in the days that make an active consumer, up to the step's last day.
    Active,
}

impl GmvPeople {
    /// Reads `buyers` or `aac`.
    ///
    /// # Errors
    /// [`AnalysisError::Parameter`] with the choices.
    pub fn parse(text: &str) -> Result<GmvPeople, AnalysisError> {
        match text {
            "buyers" => Ok(GmvPeople::Buyers),
            "aac" => Ok(GmvPeople::Active),
            _ => Err(AnalysisError::parameter(
                "who",
                format!("{text:?} is not one of \"buyers\", \"aac\""),
            )),
        }
    }
}

/// What was bought in a step, and how the number of active consumers changes with it.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    trading: Trading,
    active: i64,
}

impl std::ops::AddAssign for Cell {
    fn add_assign(&mut self, more: Cell) {
        self.trading += more.trading;
        self.active += more.active;
    }
}

/// Cells by scope and step, or that there would be too many.
#[derive(Default)]
struct Cells {
    places: Vec<Cell>,
    too_many: usize,
}

/// The question of both functions here.
struct Prepared<'a> {
    asked: Asked<'a>,
    trade: Trade,
    steps: Steps,
    days: (Day, Day),
    active_days: i32,
}

impl<'a> Prepared<'a> {
    fn new(source: &'a dyn Timelines, start: Day, end: Day, params: &GmvParams) -> Result<Self, AnalysisError> {
        check_range(start, end)?;
        let active_days = check_days("active_days", params.active_days)?;
        let mut asked = Asked::of_events(source, params.scopes.as_deref())?;
        let trade = asked.watch_trade(Some(params.active_days))?;
        Ok(Prepared {
            asked,
            trade,
            steps: Steps::new(params.step, start, end),
            days: (start, end),
            active_days,
        })
    }

    fn question(&self) -> Question<'_> {
        self.asked.question(self.days.0, self.days.1)
    }

    fn count(&self, bucket: &Bucket<'_>, cells: &mut Cells) {
        let width = self.steps.days.len() + 1;
        let size = bucket.scopes.len().saturating_mul(width);
        if size > MAX_CELLS {
            cells.too_many = size;
            return;
        }
        cells.places.resize(size, Cell::default());
        let mut reader = OrderReader::new(self.trade, bucket);
        bucket.timelines.for_each_history(|history| {
            let own = &mut cells.places[history.scope as usize * width..][..width];
            let inside = |day: i32| (self.steps.start..=self.steps.end).contains(&day);
            let (orders, lines) = reader.both(&history);
            for line in lines.iter().filter(|line| inside(line.day)) {
                own[self.steps.of(line.day)].trading.gmv += line.amount;
            }
            let (mut last_step, mut active_to) = (None, i32::MIN);
            for order in orders {
                if inside(order.day) {
                    let step = self.steps.of(order.day);
                    own[step].trading.orders += 1;
                    own[step].trading.buyers += i64::from(last_step.replace(step) != Some(step));
                }
                // Active from the order on; what an earlier order covers is counted already.
                let from = order.day.max(active_to.saturating_add(1)).max(self.steps.start);
                active_to = order.day + self.active_days - 1;
                let to = active_to.min(self.steps.end);
                let range = if from <= to { self.steps.within(from, to) } else { 0..0 };
                if !range.is_empty() {
                    own[range.start].active += 1;
                    own[range.end].active -= 1;
                }
            }
        });
    }
}

/// What each brand sold by step of a range, and how many active consumers it has at the end of each.
///
/// # Shape and units
/// `day` (date32, the last day of the step), `scope`, `gmv` (float64: the nearest to the exact sum; purchases of the step less what was refunded of
/// them up to `end`), `orders`, `buyers` (int64, distinct in the step), `aov` (gmv ÷ orders), `frequency` (orders ÷ buyers), `aac` (int64: distinct
/// consumers with an order in the last `active_days` days up to the step's last day), `gmv_per_aac`. Every brand with an order that could
/// count × every step, in order of day and scope. Null where there is nothing to divide by; money is null where the schema maps no amount.
///
/// # Errors
/// A reversed range; more than 20 million cells; what the source refuses.
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
/// let answer = gmv_aac(&events, june.0, june.1, &GmvParams::default(), &runtime)?;
/// assert_eq!(answer.table["gmv"].as_primitive::<Float64Type>().values(), &[80.0]);
/// assert_eq!(answer.table["aac"].as_primitive::<Int64Type>().values(), &[2]);
/// let buyers = gmv_people(&events, june, &GmvParams::default(), (&brand, june.1), GmvPeople::Buyers, &runtime)?;
/// assert_eq!(buyers.ids()?, ["u1".into(), "u2".into()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn gmv_aac(source: &dyn Timelines, start: Day, end: Day, params: &GmvParams, runtime: &Runtime<'_>) -> Result<Answer, AnalysisError> {
    let prepared = Prepared::new(source, start, end, params)?;
    let merge = |all: &mut Cells, more: Cells| {
        add_places(&mut all.places, more.places);
        all.too_many = all.too_many.max(more.too_many);
    };
    let (cells, about) = total(
        &prepared.asked,
        &prepared.question(),
        runtime,
        |bucket, cells| prepared.count(bucket, cells),
        merge,
    )?;
    if cells.too_many > 0 {
        let problem = format!(
            "{} cells (brands × steps) are more than {MAX_CELLS}; name scopes, or take a longer step",
            cells.too_many
        );
        return Err(AnalysisError::parameter("scopes", problem));
    }
    let (steps, width) = (prepared.steps.days.len(), prepared.steps.days.len() + 1);
    check_scope_text(&about.scopes, prepared.asked.scope_type(), steps)?;
    let mut places = cells.places;
    places.resize(about.scopes.len() * width, Cell::default());
    for scope in places.chunks_mut(width) {
        let mut active = 0;
        for cell in scope {
            active += cell.active;
            cell.active = active;
        }
    }
    let rows = || (0..steps).flat_map(|step| (0..about.scopes.len()).map(move |scope| (step, scope)));
    let cell = |(step, scope): (usize, usize)| places[scope * width + step];
    let has_money = prepared.trade.has_amounts();
    let money = |value: Option<f64>| value.filter(|_| has_money);
    let scope_places: Vec<usize> = rows().map(|(_, scope)| scope).collect();
    let columns: [(&str, ArrayRef); 9] = [
        (
            "day",
            Arc::new(Date32Array::from_iter_values(
                rows().map(|(step, _)| prepared.steps.days[step].number()),
            )),
        ),
        (
            "scope",
            scope_array(&about.scopes, prepared.asked.scope_type(), scope_places.into_iter()),
        ),
        ("gmv", figures(rows().map(|row| money(Some(amount(cell(row).trading.gmv)))))),
        ("orders", counts(rows().map(|row| cell(row).trading.orders))),
        ("buyers", counts(rows().map(|row| cell(row).trading.buyers))),
        ("aov", figures(rows().map(|row| money(cell(row).trading.order_value())))),
        ("frequency", figures(rows().map(|row| cell(row).trading.frequency()))),
        ("aac", counts(rows().map(|row| cell(row).active))),
        (
            "gmv_per_aac",
            figures(rows().map(|row| money(ratio(amount(cell(row).trading.gmv), cell(row).active as f64)))),
        ),
    ];
    let parameters = [
        ("start", json!(start.to_string())),
        ("end", json!(end.to_string())),
        ("step", json!(params.step.code())),
        ("active_days", json!(params.active_days)),
        ("convention", json!("AAC of a brand, over active_days, is ours")),
    ];
    let unit = "gmv in units of the amount column; distinct orders and buyers of the step; aac: distinct consumers with an order in the last active_days days";
    Ok(prepared.asked.answer(
        table(columns)?,
        ("gmv_aac", unit),
        &parameters,
        about,
        money_notes(has_money),
        runtime,
    ))
}

/// The consumers behind a cell of [`gmv_aac`]: of a brand, in the step that ends on a day.
///
/// # Errors
/// As [`gmv_aac`]; an unknown brand; a day that ends no step.
pub fn gmv_people(
    source: &dyn Timelines,
    (start, end): (Day, Day),
    params: &GmvParams,
    (scope, day): (&ScopeValue, Day),
    who: GmvPeople,
    runtime: &Runtime<'_>,
) -> Result<Audience, AnalysisError> {
    let prepared = Prepared::new(source, start, end, params)?;
    let Ok(step) = prepared.steps.days.binary_search(&day) else {
        return Err(AnalysisError::parameter(
            "day",
            format!("{day} is not the last day of a step of this answer"),
        ));
    };
    let (first, last) = match who {
        GmvPeople::Buyers => prepared.steps.bounds(step),
        GmvPeople::Active => (day.number() - prepared.active_days + 1, day.number()),
    };
    let words = if who == GmvPeople::Buyers {
        "buyers in the step to"
    } else {
        "active consumers on"
    };
    let made = format!("{scope} {words} {day}");
    people(
        &prepared.asked,
        &prepared.question(),
        Some(scope),
        &made,
        runtime,
        |bucket, place, push| {
            let mut reader = OrderReader::new(prepared.trade, bucket);
            bucket.timelines.for_each_history(|history| {
                let bought = |reader: &mut OrderReader<'_>| reader.orders(&history).iter().any(|order| (first..=last).contains(&order.day));
                if Some(history.scope as usize) == place && bought(&mut reader) {
                    push(history.consumer);
                }
            });
        },
    )
}
