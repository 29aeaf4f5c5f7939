//! People, goods and place: a table of two dimensions, with an index of each cell.
//!
//! Definition: `python/docs/definitions/assets.md` (people, goods, place; definitions §6.3). The list of modules is published, no formula is; the index
//! is that of §6.1.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use hashbrown::HashMap;
use serde_json::json;

use crate::analyses::asked::{AnalysisError, Asked, Within, check_range};
use crate::analyses::dimensions::{Dimensions, Purchase, Wanted, each_shopper};
use crate::analyses::labels::counts;
use crate::analyses::outcome::Answer;
use crate::analyses::totals::{CellValue, MAX_CELLS, SMALL, Trading, amount, figures, people_where, table, total};
use crate::audience::Audience;
use crate::base::statistics::ratio;
use crate::base::{Day, IdValue};
use crate::stage::Trade;
use crate::timeline::{Attributes, Bucket, Question, Runtime, ScopeValue, Timelines};

/// What a cell holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CellMeasure {
    /// Distinct buyers.
    #[default]
    People,
    /// Distinct orders.
    Orders,
    /// What was paid less what was refunded.
    Gmv,
}

impl CellMeasure {
    /// Reads `people`, `orders` or `gmv`.
    ///
    /// # Errors
    /// [`AnalysisError::Parameter`] with the choices.
    pub fn parse(text: &str) -> Result<CellMeasure, AnalysisError> {
        Ok(match text {
            "people" => CellMeasure::People,
            "orders" => CellMeasure::Orders,
            "gmv" => CellMeasure::Gmv,
            _ => {
                let problem = format!("{text:?} is not one of \"people\", \"orders\", \"gmv\"");
                return Err(AnalysisError::parameter("measure", problem));
            }
        })
    }

    fn code(self) -> &'static str {
        match self {
            CellMeasure::People => "people",
            CellMeasure::Orders => "orders",
            CellMeasure::Gmv => "gmv",
        }
    }

    fn of(self, trading: &Trading) -> f64 {
        match self {
            CellMeasure::People => trading.buyers as f64,
            CellMeasure::Orders => trading.orders as f64,
            CellMeasure::Gmv => amount(trading.gmv),
        }
    }
}

/// Parameters of [`crosstab`].
#[derive(Debug, Clone)]
pub struct CrosstabParams {
    /// A label field or tag for the rows.
    pub rows: String,
    /// A label field or tag for the columns.
    pub columns: String,
    /// What cells hold.
    pub measure: CellMeasure,
    /// Purchases of these days.
    pub days: (Day, Day),
    /// Only these brands.
    pub scopes: Option<Vec<ScopeValue>>,
    /// Only these consumers.
    pub within: Option<Audience>,
    /// Tags of consumers.
    pub attributes: Option<Attributes>,
}

/// Cells by row and column; sums of a row, a column, or all of them under [`ALL`].
type Cells = HashMap<[u64; 2], Trading>;

/// In the place of a value: all values.
const ALL: u64 = u64::MAX;

struct Prepared<'a> {
    asked: Asked<'a>,
    trade: Trade,
    dimensions: Dimensions,
    within: Option<Arc<Within>>,
    days: (Day, Day),
    bounds: RangeInclusive<i32>,
}

impl<'a> Prepared<'a> {
    fn new(source: &'a dyn Timelines, params: &CrosstabParams) -> Result<Self, AnalysisError> {
        check_range(params.days.0, params.days.1)?;
        let mut asked = Asked::of_events(source, params.scopes.as_deref())?;
        let trade = asked.watch_trade(Some(1))?;
        if params.measure == CellMeasure::Gmv && !trade.has_amounts() {
            return Err(AnalysisError::parameter(
                "measure",
                "the EventSchema maps no amount, so there is no GMV",
            ));
        }
        let attributes = params.attributes.as_ref();
        let names = [params.rows.clone(), params.columns.clone()];
        let dimensions = Dimensions::new(&mut asked, "rows, columns", &names, attributes)?;
        let within = params
            .within
            .as_ref()
            .map(|audience| asked.within("within", audience))
            .transpose()?;
        Ok(Prepared {
            asked,
            trade,
            dimensions,
            within,
            days: params.days,
            bounds: params.days.0.number()..=params.days.1.number(),
        })
    }

    fn question(&self) -> Question<'_> {
        self.asked.question(self.days.0, self.days.1)
    }

    fn count(&self, bucket: &Bucket<'_>, cells: &mut Cells) {
        let members = self.within.as_ref().map(|within| within.members(bucket));
        let mut ids = Vec::new();
        each_shopper(bucket, self.trade, &self.dimensions, &self.bounds, |shopper, purchases| {
            if members.as_ref().is_some_and(|members| !members.contains(shopper)) {
                return;
            }
            // Once by both values, then by the row's alone, by the column's alone, and all together.
            for pass in [[false, false], [false, true], [true, false], [true, true]] {
                let key = |values: [u64; 2]| [0, 1].map(|which| if pass[which] { ALL } else { values[which] });
                purchases.sort_by_key(|purchase| key(purchase.values));
                for cell in purchases.chunk_by(|left, right| key(left.values) == key(right.values)) {
                    let own = Trading::of(cell.iter().map(|purchase| &purchase.line), &mut ids);
                    *cells.entry(key(cell[0].values)).or_default() += own;
                }
            }
        });
    }
}

/// Buyers, orders or GMV by two dimensions, each cell beside what its row has in all.
///
/// # Shape and units
/// `row`, `column` (utf8, null for none), the measure by its name (int64, or float64 for `gmv`), `row_total`, `column_total`, `total` (of the same measure; people and
/// orders are counted once in each), `share` (of the column), `tgi` (100 × share ÷ the row's share of the total), `people` (distinct buyers of the cell, where these are
/// not the measure), `small` (fewer than 30 of them: too few to act on). Every cell with a purchase or refund, in order of values. Null where there is nothing to
/// divide by.
///
/// # Errors
/// A reversed range; an unknown field or tag; GMV of a schema without amounts; more than 20 million cells; what the source refuses.
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
/// let params = CrosstabParams {
///     rows: "category".into(),
///     columns: "brand".into(),
///     measure: CellMeasure::Gmv,
///     days: june,
///     scopes: None,
///     within: None,
///     attributes: None,
/// };
/// let answer = crosstab(&events, &params, &runtime)?;
/// // coffee, then tea
/// assert_eq!(answer.table["gmv"].as_primitive::<Float64Type>().values(), &[30.0, 50.0]);
/// assert_eq!(crosstab_people(&events, &params, (CellValue::Is("tea"), CellValue::Any), &runtime)?.ids()?, ["u1".into()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn crosstab(source: &dyn Timelines, params: &CrosstabParams, runtime: &Runtime<'_>) -> Result<Answer, AnalysisError> {
    let prepared = Prepared::new(source, params)?;
    let merge = |all: &mut Cells, more: Cells| more.into_iter().for_each(|(key, trading)| *all.entry(key).or_default() += trading);
    let each = |bucket: &Bucket<'_>, cells: &mut Cells| prepared.count(bucket, cells);
    let (cells, about) = total(&prepared.asked, &prepared.question(), runtime, each, merge)?;
    if cells.len() > MAX_CELLS {
        return Err(AnalysisError::parameter(
            "rows, columns",
            format!("{} cells are more than {MAX_CELLS}", cells.len()),
        ));
    }
    let mut rows: Vec<([u64; 2], Trading)> = cells.iter().map(|(key, trading)| (*key, *trading)).collect();
    rows.retain(|(key, _)| !key.contains(&ALL));
    rows.sort_unstable_by_key(|(key, _)| *key);
    let measure = params.measure;
    let value = |key: [u64; 2]| cells.get(&key).map_or(0.0, |trading| measure.of(trading));
    let column = |of: &dyn Fn([u64; 2]) -> [u64; 2]| -> ArrayRef {
        let values = rows.iter().map(|(key, _)| value(of(*key)));
        match measure {
            CellMeasure::Gmv => figures(values.map(Some)),
            CellMeasure::People | CellMeasure::Orders => counts(values.map(|value| value as i64)),
        }
    };
    let share = |key: [u64; 2]| ratio(value(key), value([ALL, key[1]]));
    let index = |key: [u64; 2]| Some(100.0 * ratio(share(key)?, ratio(value([key[0], ALL]), value([ALL, ALL]))?)?);
    let small = rows.iter().map(|(_, trading)| Some(trading.buyers < SMALL));
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        (
            "row",
            prepared.dimensions.array(&about.labels, 0, rows.iter().map(|(key, _)| key[0])),
        ),
        (
            "column",
            prepared.dimensions.array(&about.labels, 1, rows.iter().map(|(key, _)| key[1])),
        ),
        (measure.code(), column(&|key| key)),
        ("row_total", column(&|key| [key[0], ALL])),
        ("column_total", column(&|key| [ALL, key[1]])),
        ("total", column(&|_| [ALL, ALL])),
        ("share", figures(rows.iter().map(|(key, _)| share(*key)))),
        ("tgi", figures(rows.iter().map(|(key, _)| index(*key)))),
    ];
    if measure != CellMeasure::People {
        columns.push(("people", counts(rows.iter().map(|(_, trading)| trading.buyers))));
    }
    columns.push(("small", Arc::new(BooleanArray::from_iter(small))));
    let parameters = [
        ("rows", json!(params.rows)),
        ("columns", json!(params.columns)),
        ("measure", json!(measure.code())),
        ("start", json!(params.days.0.to_string())),
        ("end", json!(params.days.1.to_string())),
        ("within", json!(params.within.as_ref().map(Audience::made))),
        ("convention", json!("ours; the platform's formula is not public")),
    ];
    let unit = "people: distinct buyers; orders: distinct orders; gmv in units of the amount column";
    Ok(prepared
        .asked
        .answer(table(columns)?, ("crosstab", unit), &parameters, about, Vec::new(), runtime))
}

/// The buyers of a cell, or of the total of a row, of a column, or of all.
///
/// # Errors
/// As [`crosstab`]; a value that is not there.
pub fn crosstab_people(
    source: &dyn Timelines,
    params: &CrosstabParams,
    (row, column): (CellValue<'_>, CellValue<'_>),
    runtime: &Runtime<'_>,
) -> Result<Audience, AnalysisError> {
    let prepared = Prepared::new(source, params)?;
    let made = format!("buyers of {} {row} and {} {column}", params.rows, params.columns);
    let (asked, dimensions, question) = (&prepared.asked, &prepared.dimensions, prepared.question());
    let known = |labels: &[Vec<IdValue>]| {
        dimensions.check_value(labels, 0, "row", row)?;
        dimensions.check_value(labels, 1, "column", column)
    };
    people_where(asked, &question, None, &made, runtime, known, |bucket, _, push| {
        let wanted = [row, column];
        let wanted: [Option<Wanted>; 2] = std::array::from_fn(|which| dimensions.wanted(bucket.labels, which, wanted[which]));
        let [Some(row), Some(column)] = wanted else { return };
        let members = prepared.within.as_ref().map(|within| within.members(bucket));
        each_shopper(
            bucket,
            prepared.trade,
            &prepared.dimensions,
            &prepared.bounds,
            |shopper, purchases| {
                let inside = members.as_ref().is_none_or(|members| members.contains(shopper));
                let bought = |purchase: &Purchase| purchase.line.ordered && row.is(purchase.values[0]) && column.is(purchase.values[1]);
                if inside && purchases.iter().any(bought) {
                    push(shopper);
                }
            },
        );
    })
}
