//! The bridge of annual active consumers: who made the number of one day into that of a later one.
//!
//! Definition: `python/docs/definitions/assets.md` (GMV and AAC; definitions §12). The classes are ours.

use arrow::array::ArrayRef;
use serde_json::json;

use crate::analyses::asked::{AnalysisError, Asked, check_range};
use crate::analyses::labels::{counts, scope_array};
use crate::analyses::outcome::Answer;
use crate::analyses::totals::{Grouping, Judge, bit_of, bits, check_days, count_groups, people_of_group, table};
use crate::audience::Audience;
use crate::base::Day;
use crate::stage::{OrderReader, Trade};
use crate::timeline::{Bucket, Runtime, ScopeValue, Timelines};

/// Optional parameters of [`aac_bridge`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeParams {
    /// Only these brands.
    pub scopes: Option<Vec<ScopeValue>>,
    /// An active consumer has an order in so many days.
    pub active_days: u32,
}

impl Default for BridgeParams {
    fn default() -> Self {
        BridgeParams {
            scopes: None,
            active_days: 365,
        }
    }
}

/// Classes of the bridge, in order of their bits and columns.
pub const BRIDGE_CLASSES: [&str; 5] = ["start", "new", "returned", "lapsed", "end"];

struct Prepared<'a> {
    asked: Asked<'a>,
    trade: Trade,
    days: (Day, Day),
    active_days: i32,
}

impl<'a> Prepared<'a> {
    fn new(source: &'a dyn Timelines, start: Day, end: Day, params: &BridgeParams) -> Result<Self, AnalysisError> {
        check_range(start, end)?;
        let active_days = check_days("active_days", params.active_days)?;
        let mut asked = Asked::of_events(source, params.scopes.as_deref())?;
        // New are told from returned by all earlier orders.
        let trade = asked.watch_trade(None)?;
        Ok(Prepared {
            asked,
            trade,
            days: (start, end),
            active_days,
        })
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
        let (start, end, active_days) = (self.days.0.number(), self.days.1.number(), self.active_days);
        let mut reader = OrderReader::new(self.trade, &bucket);
        Box::new(move |history| {
            let orders = reader.orders(history);
            let active = |day: i32| orders.iter().any(|order| (day - active_days + 1..=day).contains(&order.day));
            let ever = orders.iter().any(|order| order.day <= start);
            let (at_start, at_end) = (active(start), active(end));
            bits(&[at_start, at_end && !ever, at_end && !at_start && ever, at_start && !at_end, at_end])
        })
    }
}

/// How the annual active consumers of each brand on a day became those of a later day: end = start + new + returned − lapsed.
///
/// # Shape and units
/// `scope`, `start`, `new`, `returned`, `lapsed`, `end` (int64, distinct consumers). `start` and `end`: with an order in the last `active_days` days
/// at the close of these days. `new`: active at the end, their first order after the start. `returned`: active at the end, not at the
/// start, with an order before. `lapsed`: active at the start, not at the end. Every brand with a purchase or refund by the end.
///
/// # Errors
/// A reversed range; what the source refuses; expired events, since all orders must be seen.
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
/// let answer = aac_bridge(&events, "2024-05-31".parse()?, june.1, &BridgeParams::default(), &runtime)?;
/// assert_eq!(answer.table["new"].as_primitive::<Int64Type>().values(), &[1]);
/// let new = bridge_people(&events, ("2024-05-31".parse()?, june.1), &BridgeParams::default(), &brand, "new", &runtime)?;
/// assert_eq!(new.ids()?, ["u2".into()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn aac_bridge(
    source: &dyn Timelines,
    start: Day,
    end: Day,
    params: &BridgeParams,
    runtime: &Runtime<'_>,
) -> Result<Answer, AnalysisError> {
    let prepared = Prepared::new(source, start, end, params)?;
    let (found, about) = count_groups::<5>(&prepared, runtime)?;
    let scopes = scope_array(&about.scopes, prepared.asked.scope_type(), 0..about.scopes.len());
    let column = |place: usize| -> ArrayRef { counts(found.iter().map(|classes| classes[place])) };
    let classes = BRIDGE_CLASSES.iter().enumerate().map(|(place, name)| (*name, column(place)));
    let parameters = [
        ("start", json!(start.to_string())),
        ("end", json!(end.to_string())),
        ("active_days", json!(params.active_days)),
        ("convention", json!("AAC of a brand, over active_days, and the classes are ours")),
    ];
    Ok(prepared.asked.answer(
        table(std::iter::once(("scope", scopes)).chain(classes))?,
        ("aac_bridge", "distinct consumers"),
        &parameters,
        about,
        Vec::new(),
        runtime,
    ))
}

/// The consumers of a class of [`aac_bridge`].
///
/// # Errors
/// As [`aac_bridge`]; an unknown brand or class.
pub fn bridge_people(
    source: &dyn Timelines,
    (start, end): (Day, Day),
    params: &BridgeParams,
    scope: &ScopeValue,
    class: &str,
    runtime: &Runtime<'_>,
) -> Result<Audience, AnalysisError> {
    let bit = bit_of("who", class, &BRIDGE_CLASSES)?;
    let prepared = Prepared::new(source, start, end, params)?;
    let made = format!("{scope} active consumers from {start} to {end}: {class}");
    people_of_group(&prepared, scope, bit, &made, runtime)
}
