//! Penetration: how many buy a category, how many of these a brand, and what its share of the category's GMV is made of.
//!
//! Definition: `python/docs/definitions/assets.md` (penetration; definitions §6.2), standard measures that no platform page quotes.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::ArrayRef;
use hashbrown::HashMap;
use serde_json::json;

use crate::analyses::asked::{AnalysisError, Asked, Within, check_range, convert_scopes, find_scope};
use crate::analyses::dimensions::{Dimensions, Purchase, each_shopper};
use crate::analyses::labels::{counts, scope_array};
use crate::analyses::outcome::Answer;
use crate::analyses::totals::{CellValue, Trading, amount, figures, money_notes, people_where, shares, table, total};
use crate::audience::Audience;
use crate::base::statistics::ratio;
use crate::base::{Day, IdValue};
use crate::stage::Trade;
use crate::timeline::{Bucket, Question, Runtime, ScopeValue, Timelines};

/// Optional parameters of [`penetration`].
#[derive(Debug, Clone, Default)]
pub struct PenetrationParams {
    /// Only this category, as text.
    pub category: Option<String>,
    /// Only these brands.
    pub scopes: Option<Vec<ScopeValue>>,
    /// The population: only its members' purchases count, and category penetration is a share of it. Default: all buyers of the period.
    pub reference: Option<Audience>,
}

/// What a category or brand sold, and what its buyers spent in the category.
#[derive(Debug, Clone, Copy, Default)]
struct Sold {
    own: Trading,
    requirements: i128,
}

impl std::ops::AddAssign for Sold {
    fn add_assign(&mut self, more: Sold) {
        self.own += more.own;
        self.requirements += more.requirements;
    }
}

/// By category and brand; the category itself under [`WHOLE`].
#[derive(Default)]
struct Market {
    buyers: i64,
    sold: HashMap<(u64, u32), Sold>,
}

/// What was sold, with its category and brand.
type Row = ((u64, u32), Sold);

/// In the place of a brand: all brands of the category.
const WHOLE: u32 = u32::MAX;

struct Prepared<'a> {
    asked: Asked<'a>,
    trade: Trade,
    category: Dimensions,
    reference: Option<Arc<Within>>,
    days: (Day, Day),
    bounds: RangeInclusive<i32>,
}

impl<'a> Prepared<'a> {
    fn new(source: &'a dyn Timelines, days: (Day, Day), params: &PenetrationParams) -> Result<Self, AnalysisError> {
        check_range(days.0, days.1)?;
        let mut asked = Asked::of_events(source, None)?;
        let trade = asked.watch_trade(Some(1))?;
        let category = Dimensions::new(&mut asked, "category", &["category".to_owned()], None)?;
        let reference = params
            .reference
            .as_ref()
            .map(|audience| asked.within("reference", audience))
            .transpose()?;
        Ok(Prepared {
            asked,
            trade,
            category,
            reference,
            days,
            bounds: days.0.number()..=days.1.number(),
        })
    }

    fn question(&self) -> Question<'_> {
        self.asked.question(self.days.0, self.days.1)
    }

    fn count(&self, bucket: &Bucket<'_>, market: &mut Market) {
        let members = self.reference.as_ref().map(|reference| reference.members(bucket));
        let mut ids = Vec::new();
        each_shopper(bucket, self.trade, &self.category, &self.bounds, |shopper, purchases| {
            if members.as_ref().is_some_and(|members| !members.contains(shopper)) {
                return;
            }
            market.buyers += Trading::of(purchases.iter().map(|purchase| &purchase.line), &mut ids).buyers;
            purchases.sort_by_key(|purchase| (purchase.values[0], purchase.scope));
            for category in purchases.chunk_by(|left, right| left.values[0] == right.values[0]) {
                let number = category[0].values[0];
                if number == 0 {
                    continue;
                }
                let whole = Trading::of(category.iter().map(|purchase| &purchase.line), &mut ids);
                market.sold.entry((number, WHOLE)).or_default().own += whole;
                for brand in category.chunk_by(|left, right| left.scope == right.scope) {
                    let own = Trading::of(brand.iter().map(|purchase| &purchase.line), &mut ids);
                    let requirements = if own.buyers > 0 { whole.gmv } else { 0 };
                    *market.sold.entry((number, brand[0].scope)).or_default() += Sold { own, requirements };
                }
            }
        });
    }
}

/// Penetration of categories and brands in a period, and each brand's share of its category's GMV as the product of its three factors.
///
/// # Shape and units
/// `category` (utf8), `scope`; `reference` (int64: the population, or all buyers of the period), `category_buyers`, `category_penetration` (÷ reference); `brand_buyers`,
/// `brand_penetration` (÷ category_buyers); `relative_frequency` (orders a buyer of the brand ÷ of the category), `relative_price` (GMV an order ÷ of the
/// category); `gmv_share` (brand_gmv ÷ category_gmv = brand_penetration × relative_frequency × relative_price); `requirements_share` (brand_gmv ÷ what the brand's
/// buyers spent in the category); `category_orders`, `brand_orders`, `category_gmv`, `brand_gmv`. Every brand with a purchase in a category, in order of both.
/// An order that holds several brands of a category is one order of the category. Purchases without a category count for none.
///
/// # Errors
/// A reversed range; a schema without categories; an unknown brand; what the source refuses.
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
/// let answer = penetration(&events, june, &PenetrationParams::default(), &runtime)?;
/// assert_eq!(answer.table["category_buyers"].as_primitive::<Int64Type>().values(), &[1, 1]);
/// let tea = penetration_people(&events, june, &PenetrationParams::default(), (Some("tea"), None), &runtime)?;
/// assert_eq!(tea.ids()?, ["u1".into()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn penetration(
    source: &dyn Timelines,
    days: (Day, Day),
    params: &PenetrationParams,
    runtime: &Runtime<'_>,
) -> Result<Answer, AnalysisError> {
    let prepared = Prepared::new(source, days, params)?;
    let merge = |all: &mut Market, more: Market| {
        all.buyers += more.buyers;
        more.sold
            .into_iter()
            .for_each(|(key, sold)| *all.sold.entry(key).or_default() += sold);
    };
    let each = |bucket: &Bucket<'_>, market: &mut Market| prepared.count(bucket, market);
    let (market, about) = total(&prepared.asked, &prepared.question(), runtime, each, merge)?;
    let known = |scope: &ScopeValue| find_scope(&about.scopes, scope).ok();
    let wanted: Option<Vec<usize>> = params.scopes.as_ref().map(|scopes| scopes.iter().filter_map(known).collect());
    let unknown = params.scopes.iter().flatten().filter(|scope| known(scope).is_none());
    let unknown: Vec<String> = unknown
        .map(|scope| format!("scope {:?}: nothing was bought of it in the period", scope.to_string()))
        .collect();
    let category = params.category.as_deref();
    let number = category.and_then(|name| prepared.category.number(&about.labels, 0, name));
    let mut rows: Vec<Row> = market.sold.iter().map(|(key, sold)| (*key, *sold)).collect();
    rows.retain(|((of, brand), _)| {
        *brand != WHOLE
            && category.is_none_or(|_| number == Some(*of))
            && wanted.as_ref().is_none_or(|wanted| wanted.contains(&(*brand as usize)))
    });
    rows.sort_unstable_by_key(|(key, _)| *key);
    let mut notes = money_notes(prepared.trade.has_amounts());
    notes.extend(unknown);
    notes.extend(
        category
            .filter(|_| rows.is_empty())
            .map(|name| format!("category {name:?}: nothing was bought of it in the period")),
    );
    let reference = params.reference.as_ref().map_or(market.buyers, |audience| audience.len() as i64);
    let whole = |row: &Row| market.sold.get(&(row.0.0, WHOLE)).map(|sold| sold.own).unwrap_or_default();
    let has_money = prepared.trade.has_amounts();
    let money = |of: &dyn Fn(&Row) -> Option<f64>| figures(rows.iter().map(|row| of(row).filter(|_| has_money)));
    let relative = |own: Option<f64>, whole: Option<f64>| ratio(own?, whole?);
    let frequency = |row: &Row| relative(row.1.own.frequency(), whole(row).frequency());
    let columns: [(&str, ArrayRef); 15] = [
        (
            "category",
            prepared
                .category
                .array(&about.labels, 0, rows.iter().map(|((category, _), _)| *category)),
        ),
        (
            "scope",
            scope_array(
                &about.scopes,
                prepared.asked.scope_type(),
                rows.iter().map(|((_, brand), _)| *brand as usize),
            ),
        ),
        ("reference", counts(rows.iter().map(|_| reference))),
        ("category_buyers", counts(rows.iter().map(|row| whole(row).buyers))),
        (
            "category_penetration",
            shares(rows.iter().map(|row| (whole(row).buyers, reference))),
        ),
        ("brand_buyers", counts(rows.iter().map(|(_, sold)| sold.own.buyers))),
        (
            "brand_penetration",
            shares(rows.iter().map(|row| (row.1.own.buyers, whole(row).buyers))),
        ),
        ("relative_frequency", figures(rows.iter().map(frequency))),
        (
            "relative_price",
            money(&|row| relative(row.1.own.order_value(), whole(row).order_value())),
        ),
        ("gmv_share", money(&|row| ratio(amount(row.1.own.gmv), amount(whole(row).gmv)))),
        (
            "requirements_share",
            money(&|row| ratio(amount(row.1.own.gmv), amount(row.1.requirements))),
        ),
        ("category_orders", counts(rows.iter().map(|row| whole(row).orders))),
        ("brand_orders", counts(rows.iter().map(|(_, sold)| sold.own.orders))),
        ("category_gmv", money(&|row| Some(amount(whole(row).gmv)))),
        ("brand_gmv", money(&|row| Some(amount(row.1.own.gmv)))),
    ];
    let parameters = [
        ("start", json!(days.0.to_string())),
        ("end", json!(days.1.to_string())),
        ("category", json!(category)),
        ("reference", json!(params.reference.as_ref().map(Audience::made))),
        ("convention", json!("standard measures; the windows are the caller's")),
    ];
    Ok(prepared.asked.answer(
        table(columns)?,
        (
            "penetration",
            "distinct buyers and orders of the period; gmv in units of the amount column; shares of one",
        ),
        &parameters,
        about,
        notes,
        runtime,
    ))
}

/// The buyers of a category, or of a brand in it; without a category, the population that penetration is a share of.
///
/// # Errors
/// As [`penetration`]; an unknown category or brand; a brand without a category.
pub fn penetration_people(
    source: &dyn Timelines,
    days: (Day, Day),
    params: &PenetrationParams,
    (category, scope): (Option<&str>, Option<&ScopeValue>),
    runtime: &Runtime<'_>,
) -> Result<Audience, AnalysisError> {
    let prepared = Prepared::new(source, days, params)?;
    let whose = match (category, scope) {
        (None, Some(_)) => {
            return Err(AnalysisError::parameter(
                "category",
                "a brand is named, and no category in which it is bought",
            ));
        }
        (None, None) => "anything".to_owned(),
        (Some(category), None) => category.to_owned(),
        (Some(category), Some(scope)) => format!("{scope} in {category}"),
    };
    if let (Some(named), Some(own)) = (category, params.category.as_deref().filter(|own| Some(*own) != category)) {
        let problem = format!("{named:?} is not the category of this answer, {own:?}");
        return Err(AnalysisError::parameter("category", problem));
    }
    if let (Some(scope), Some(scopes)) = (scope, &params.scopes) {
        find_scope(&convert_scopes(source, prepared.asked.program.scope, scopes)?, scope)?;
    }
    if let (None, Some(reference)) = (category, &params.reference) {
        return Ok(reference.clone());
    }
    let made = format!("buyers of {whose} from {} to {}", days.0, days.1);
    let value = category.map_or(CellValue::Any, CellValue::Is);
    let (asked, dimension, question) = (&prepared.asked, &prepared.category, prepared.question());
    let known = |labels: &[Vec<IdValue>]| dimension.check_value(labels, 0, "category", value);
    people_where(asked, &question, scope, &made, runtime, known, |bucket, place, push| {
        let Some(wanted) = dimension.wanted(bucket.labels, 0, value) else {
            return;
        };
        let members = prepared.reference.as_ref().map(|reference| reference.members(bucket));
        each_shopper(bucket, prepared.trade, dimension, &prepared.bounds, |shopper, purchases| {
            let brand = |own: u32| scope.is_none() || Some(own as usize) == place;
            let bought = |purchase: &Purchase| purchase.line.ordered && wanted.is(purchase.values[0]) && brand(purchase.scope);
            if members.as_ref().is_none_or(|members| members.contains(shopper)) && purchases.iter().any(bought) {
                push(shopper);
            }
        });
    })
}
