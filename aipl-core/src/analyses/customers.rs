//! New and existing customers of a period.
//!
//! Definition: `python/docs/definitions/assets.md` (new and existing; definitions §6.6). The look-back is not published; 365 days and the rule
//! are ours, and every row says its look-back.

use arrow::array::ArrayRef;
use serde_json::json;

use crate::analyses::asked::{AnalysisError, Asked, check_range};
use crate::analyses::labels::{counts, scope_array};
use crate::analyses::outcome::Answer;
use crate::analyses::totals::{
    Grouping, Judge, Trading, amount, bit_of, bits, check_days, figures, money_notes, people_of_group, shares, table, total,
};
use crate::audience::Audience;
use crate::base::Day;
use crate::base::statistics::ratio;
use crate::stage::orders::is_new;
use crate::stage::{OrderReader, Trade};
use crate::timeline::{Bucket, Runtime, ScopeValue, Timelines};

/// Optional parameters of [`new_vs_existing`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerParams {
    /// Only these brands.
    pub scopes: Option<Vec<ScopeValue>>,
    /// A buyer is new whose first order of the period has none in so many days before it.
    pub lookback: u32,
}

impl Default for CustomerParams {
    fn default() -> Self {
        CustomerParams {
            scopes: None,
            lookback: 365,
        }
    }
}

/// The two kinds of buyers, in order of their bits and rows.
pub const CUSTOMERS: [&str; 2] = ["new", "existing"];

struct Prepared<'a> {
    asked: Asked<'a>,
    trade: Trade,
    days: (Day, Day),
    lookback: i32,
}

impl<'a> Prepared<'a> {
    fn new(source: &'a dyn Timelines, days: (Day, Day), params: &CustomerParams) -> Result<Self, AnalysisError> {
        check_range(days.0, days.1)?;
        let lookback = check_days("lookback", params.lookback)?;
        let mut asked = Asked::of_events(source, params.scopes.as_deref())?;
        let trade = asked.watch_trade(Some(params.lookback + 1))?;
        Ok(Prepared {
            asked,
            trade,
            days,
            lookback,
        })
    }

    fn numbers(&self) -> (i32, i32) {
        (self.days.0.number(), self.days.1.number())
    }
}

impl Grouping for Prepared<'_> {
    fn asked(&self) -> &Asked<'_> {
        &self.asked
    }

    fn days(&self) -> (Day, Day) {
        self.days
    }

    fn judge<'b>(&'b self, bucket: Bucket<'b>) -> Judge<'b> {
        let mut reader = OrderReader::new(self.trade, &bucket);
        Box::new(move |history| {
            let new = is_new(reader.orders(history), self.numbers(), self.lookback);
            bits(&[new == Some(true), new == Some(false)])
        })
    }
}

/// What new and existing customers of each brand bought in a period.
///
/// # Shape and units
/// `scope`, `customers` (`new` or `existing`), `buyers` (int64), `buyers_share` (of all buyers of the period), `orders`, `gmv`, `gmv_share`, `aov` (gmv ÷ orders),
/// `frequency` (orders ÷ buyers), `lookback` (int64, days). Two rows a brand with an order that could count. New: no order in the `lookback` days
/// before the first order of the period. What was refunded without an order's name counts with the buyer, or, if he did not buy in
/// the period, with `existing`, so that both add up to the GMV.
///
/// # Errors
/// A reversed range; a look-back of no day; what the source refuses.
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
/// let answer = new_vs_existing(&events, june, &CustomerParams::default(), &runtime)?;
/// assert_eq!(answer.table["gmv"].as_primitive::<Float64Type>().values(), &[30.0, 50.0]);
/// let new = customers(&events, june, &CustomerParams::default(), (&brand, "new"), &runtime)?;
/// assert_eq!(new.ids()?, ["u2".into()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn new_vs_existing(
    source: &dyn Timelines,
    days: (Day, Day),
    params: &CustomerParams,
    runtime: &Runtime<'_>,
) -> Result<Answer, AnalysisError> {
    let prepared = Prepared::new(source, days, params)?;
    let (start, end) = prepared.numbers();
    let each = |bucket: &Bucket<'_>, totals: &mut Vec<[Trading; 2]>| {
        totals.resize(bucket.scopes.len(), Default::default());
        let (mut reader, mut ids) = (OrderReader::new(prepared.trade, bucket), Vec::new());
        bucket.timelines.for_each_history(|history| {
            let (orders, lines) = reader.both(&history);
            let kind = usize::from(is_new(orders, (start, end), prepared.lookback) != Some(true));
            let inside = lines.iter().filter(|line| (start..=end).contains(&line.day));
            totals[history.scope as usize][kind] += Trading::of(inside, &mut ids);
        });
    };
    let merge = |all: &mut Vec<[Trading; 2]>, more: Vec<[Trading; 2]>| {
        all.resize(all.len().max(more.len()), Default::default());
        for (all, more) in all.iter_mut().zip(more) {
            all.iter_mut().zip(more).for_each(|(all, more)| *all += more);
        }
    };
    let question = prepared.asked.question(days.0, days.1);
    let (mut totals, about) = total(&prepared.asked, &question, runtime, each, merge)?;
    totals.resize(about.scopes.len(), Default::default());
    let rows = || {
        totals.iter().flat_map(|both| {
            both.iter()
                .map(move |own| (*own, both[0].buyers + both[1].buyers, both[0].gmv + both[1].gmv))
        })
    };
    let has_money = prepared.trade.has_amounts();
    let money = |value: Option<f64>| value.filter(|_| has_money);
    let lines = totals.len() * 2;
    let names = (0..lines).map(|row| Some(CUSTOMERS[row % 2]));
    let columns: [(&str, ArrayRef); 10] = [
        (
            "scope",
            scope_array(&about.scopes, prepared.asked.scope_type(), (0..lines).map(|row| row / 2)),
        ),
        ("customers", std::sync::Arc::new(arrow::array::StringArray::from_iter(names))),
        ("buyers", counts(rows().map(|(own, ..)| own.buyers))),
        ("buyers_share", shares(rows().map(|(own, buyers, _)| (own.buyers, buyers)))),
        ("orders", counts(rows().map(|(own, ..)| own.orders))),
        ("gmv", figures(rows().map(|(own, ..)| money(Some(amount(own.gmv)))))),
        (
            "gmv_share",
            figures(rows().map(|(own, _, gmv)| money(ratio(amount(own.gmv), amount(gmv))))),
        ),
        ("aov", figures(rows().map(|(own, ..)| money(own.order_value())))),
        ("frequency", figures(rows().map(|(own, ..)| own.frequency()))),
        ("lookback", counts((0..lines).map(|_| i64::from(params.lookback)))),
    ];
    let parameters = [
        ("start", json!(days.0.to_string())),
        ("end", json!(days.1.to_string())),
        ("lookback", json!(params.lookback)),
        ("convention", json!("the look-back and its rule are ours")),
    ];
    Ok(prepared.asked.answer(
        table(columns)?,
        (
            "new_vs_existing",
            "distinct buyers and orders of the period; gmv in units of the amount column",
        ),
        &parameters,
        about,
        money_notes(has_money),
        runtime,
    ))
}

/// The new or existing buyers of a brand.
///
/// # Errors
/// As [`new_vs_existing`]; an unknown brand or kind.
pub fn customers(
    source: &dyn Timelines,
    days: (Day, Day),
    params: &CustomerParams,
    (scope, kind): (&ScopeValue, &str),
    runtime: &Runtime<'_>,
) -> Result<Audience, AnalysisError> {
    let bit = bit_of("who", kind, &CUSTOMERS)?;
    let prepared = Prepared::new(source, days, params)?;
    let made = format!("{scope} {kind} customers from {} to {}", days.0, days.1);
    people_of_group(&prepared, scope, bit, &made, runtime)
}
