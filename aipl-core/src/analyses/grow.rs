//! GROW: by how much more buyers (G), more orders a buyer (R), higher prices (O) and a wider range (W) changed a brand's GMV.
//!
//! Definition: `python/docs/definitions/assets.md` (GROW; definitions §4.1). Sourced: each lever's score is the absolute GMV that it adds, and the
//! scores make up the whole. Ours: the algebra (GMV = buyers × orders a buyer × GMV an order, split by LMDI or Shapley), and what counts
//! as extension.

use arrow::array::{ArrayRef, RecordBatch};
use hashbrown::HashMap;
use serde_json::{Value, json};

use crate::analyses::asked::{AnalysisError, Asked, check_range};
use crate::analyses::dimensions::{DimensionReader, Dimensions, Wanted, check_distinct};
use crate::analyses::labels::{counts, scope_array};
use crate::analyses::outcome::Report;
use crate::analyses::totals::{CellValue, Trading, amount, check_days, figures, people_where, table, total};
use crate::audience::Audience;
use crate::base::statistics::{Split, split};
use crate::base::{Day, IdValue};
use crate::stage::orders::is_new;
use crate::stage::{OrderReader, Trade};
use crate::timeline::{Attributes, Bucket, History, Runtime, ScopeValue, Timelines};

/// The dimension that tells new buyers of a period from existing ones.
const CUSTOMERS: &str = "customers";

/// Optional parameters of [`grow`].
#[derive(Debug, Clone, Default)]
pub struct GrowParams {
    /// Only these brands.
    pub scopes: Option<Vec<ScopeValue>>,
    /// Label fields, tags, or `customers` (new or existing in the period): the change is split within each group.
    pub by: Vec<String>,
    /// How the change of a group is split.
    pub method: Split,
    /// A buyer is new whose first order of the period has none in so many days before it; 365 if not given.
    pub lookback: Option<u32>,
    /// A field with the launch date of the item.
    pub launch: Option<String>,
    /// Tags of consumers.
    pub attributes: Option<Attributes>,
}

/// The split of each brand's change, by group and in all.
#[derive(Debug, Clone)]
pub struct Grow {
    /// One row a brand and group.
    pub groups: RecordBatch,
    /// One row a brand.
    pub totals: RecordBatch,
    /// The account of rows.
    pub report: Report,
    /// How to ask again.
    pub recipe: Value,
}

/// Two periods, the second after the first.
pub type Periods = ((Day, Day), (Day, Day));

/// What a group bought in both periods, products launched in between apart.
#[derive(Debug, Clone, Copy, Default)]
struct Both {
    trading: [Trading; 2],
    launched: i128,
}

impl std::ops::AddAssign for Both {
    fn add_assign(&mut self, more: Both) {
        self.trading[0] += more.trading[0];
        self.trading[1] += more.trading[1];
        self.launched += more.launched;
    }
}

/// The parts of a change.
#[derive(Debug, Clone, Copy, Default)]
struct Parts {
    before: f64,
    after: f64,
    levers: [f64; 5],
}

/// Columns besides levers and groups.
const COLUMNS: [&str; 8] = [
    "scope",
    "gmv_before",
    "gmv_after",
    "change",
    "buyers_before",
    "buyers_after",
    "orders_before",
    "orders_after",
];

const LEVERS: [&str; 5] = ["penetration", "repurchase", "price", "extension", "new_products"];

/// Takes a period, the key of a group, what was bought in it, and the GMV of new products.
type Visit<'v> = &'v mut dyn FnMut(usize, &[u64], Trading, i128);

/// The choices of a refused name with the one that is no field.
fn with_customers(error: AnalysisError) -> AnalysisError {
    match error {
        AnalysisError::Parameter { parameter, problem } => AnalysisError::parameter(parameter, format!("{problem}; or {CUSTOMERS:?}")),
        other => other,
    }
}

fn check_period(name: &'static str, start: Day, end: Day) -> Result<(), AnalysisError> {
    check_range(start, end).map_err(|_| AnalysisError::parameter(name, format!("ends on {end}, before it begins on {start}")))
}

struct Prepared<'a> {
    asked: Asked<'a>,
    trade: Trade,
    dimensions: Dimensions,
    /// The place among the dimensions of what tells new from existing buyers, if asked for.
    customers: Option<usize>,
    launch: Option<Dimensions>,
    periods: [(i32, i32); 2],
    days: (Day, Day),
    lookback: i32,
}

impl<'a> Prepared<'a> {
    fn new(source: &'a dyn Timelines, periods: Periods, params: &GrowParams) -> Result<Self, AnalysisError> {
        let ((first, end0), (start1, last)) = periods;
        check_period("period0", first, end0)?;
        check_period("period1", start1, last)?;
        check_distinct("by", &params.by)?;
        if let Some(name) = params
            .by
            .iter()
            .find(|name| COLUMNS.contains(&name.as_str()) || LEVERS.contains(&name.as_str()))
        {
            let problem = format!("{name:?} is a column of the table itself; map the field, or name the tag, otherwise");
            return Err(AnalysisError::parameter("by", problem));
        }
        if start1 <= end0 {
            return Err(AnalysisError::parameter(
                "period1",
                format!("begins on {start1}, not after period0, which ends on {end0}"),
            ));
        }
        let lookback = check_days("lookback", params.lookback.unwrap_or(365))?;
        let mut asked = Asked::of_events(source, params.scopes.as_deref())?;
        let customers = params.by.iter().position(|name| name == CUSTOMERS);
        let trade = asked.watch_trade(Some(lookback as u32 + 1))?;
        if !trade.has_amounts() {
            return Err(AnalysisError::parameter(
                "source",
                "its EventSchema maps no amount, and GROW splits GMV",
            ));
        }
        let names: Vec<String> = params.by.iter().filter(|name| *name != CUSTOMERS).cloned().collect();
        let is_tag = params
            .attributes
            .as_ref()
            .is_some_and(|attributes| attributes.tag(CUSTOMERS).is_some());
        if customers.is_some() && (is_tag || source.schema().column(CUSTOMERS).is_some()) {
            let problem = format!(
                "{CUSTOMERS:?} tells new from existing buyers, and is also a field or tag; map the field, or name the tag, otherwise"
            );
            return Err(AnalysisError::parameter("by", problem));
        }
        let dimensions = Dimensions::new(&mut asked, "by", &names, params.attributes.as_ref()).map_err(with_customers)?;
        let launch = params.launch.iter().cloned().collect::<Vec<_>>();
        let launch = (!launch.is_empty())
            .then(|| Dimensions::new(&mut asked, "launch", &launch, None))
            .transpose()?;
        let numbers = |(start, end): (Day, Day)| (start.number(), end.number());
        Ok(Prepared {
            asked,
            trade,
            dimensions,
            customers,
            launch,
            periods: [numbers(periods.0), numbers(periods.1)],
            days: (first, last),
            lookback,
        })
    }

    /// What a history bought by period and group. The key of a group begins with the scope, and ends with 1 for new buyers and 2 for existing
    /// ones, or 0.
    fn each_group(&self, reader: &mut OrderReader<'_>, values: &mut Values<'_>, history: &History<'_>, visit: Visit<'_>) {
        let (orders, lines) = reader.both(history);
        values.found.clear();
        values.keys.clear();
        for (period, &bounds) in self.periods.iter().enumerate() {
            let kind = match (self.customers, is_new(orders, bounds, self.lookback)) {
                (None, _) => 0,
                (Some(_), Some(true)) => 1,
                (Some(_), _) => 2,
            };
            for (at, line) in lines
                .iter()
                .enumerate()
                .filter(|(_, line)| (bounds.0..=bounds.1).contains(&line.day))
            {
                let launched = period == 1 && values.launched(history, line.row);
                values.found.push((period, values.keys.len(), launched, at));
                values.keys.push(u64::from(history.scope));
                values.groups.write_key(history, line.row, &mut values.keys);
                values.keys.push(kind);
            }
        }
        let (keys, width) = (&values.keys, self.dimensions.len() + 2);
        let key = |at: usize| &keys[at..at + width];
        values
            .found
            .sort_unstable_by_key(|&(period, at, launched, line)| (period, key(at), launched, line));
        for group in values
            .found
            .chunk_by(|left, right| (left.0, key(left.1)) == (right.0, key(right.1)))
        {
            let split = group.partition_point(|(_, _, launched, _)| !launched);
            let trading = Trading::of(group[..split].iter().map(|(.., at)| &lines[*at]), &mut values.ids);
            let launched = group[split..].iter().map(|(.., at)| lines[*at].amount).sum();
            visit(group[0].0, key(group[0].1), trading, launched);
        }
    }

    fn values<'b>(&'b self, bucket: &Bucket<'b>) -> Values<'b> {
        let dated = |launch: &Dimensions| {
            let values = launch.values(bucket.labels, 0).iter();
            values
                .map(|value| launch_day(value).is_some_and(|day| day > self.periods[0].1))
                .collect::<Vec<bool>>()
        };
        Values {
            found: Vec::new(),
            keys: Vec::new(),
            ids: Vec::new(),
            groups: self.dimensions.reader(bucket),
            launches: self.launch.as_ref().map(|launch| (launch.reader(bucket), dated(launch))),
        }
    }
}

/// The day of a launch date.
fn launch_day(value: &IdValue) -> Option<i32> {
    value.to_string().parse::<Day>().ok().map(Day::number)
}

/// Reads groups and launches of rows; with scratch space.
struct Values<'b> {
    /// Period, place of the key, whether it is of a new product, and place of each line.
    found: Vec<(usize, usize, bool, usize)>,
    /// Keys, one after the other.
    keys: Vec<u64>,
    ids: Vec<(u64, u64)>,
    groups: DimensionReader<'b>,
    /// Beside the reader of launch dates, whether each of these lies after the first period.
    launches: Option<(DimensionReader<'b>, Vec<bool>)>,
}

impl Values<'_> {
    fn launched(&self, history: &History<'_>, row: usize) -> bool {
        let Some((reader, fresh)) = &self.launches else { return false };
        match reader.value(history, row, 0) {
            0 => false,
            value => fresh[value as usize - 1],
        }
    }
}

/// Splits the change of each brand's GMV from one period to a later one.
///
/// # Shape and units
/// `groups`: `scope`, a utf8 column a name of `by`, `gmv_before`, `gmv_after`, `change`, then the parts that make it up: `penetration` (G: more buyers),
/// `repurchase` (R: more orders a buyer), `price` (O: more GMV an order), `extension` (W: groups of a field or tag that had no order in one of the
/// periods), `new_products` (W: items launched after the first period); and `buyers_before`, `buyers_after`, `orders_before`, `orders_after` (int64,
/// those of new products left out). `totals`: the same sums of money by `scope`. Money is float64 in units of the amount column; the parts
/// add up to the change but for the rounding of floats.
///
/// # Errors
/// A reversed range; periods that overlap; an unknown field; a schema without amounts; what the source refuses.
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
/// let may = ("2024-05-01".parse()?, "2024-05-31".parse()?);
/// let change = grow(&events, (may, june), &GrowParams::default(), &runtime)?;
/// assert_eq!(change.totals["change"].as_primitive::<Float64Type>().values(), &[30.0]);
/// let before = grow_buyers(&events, (may, june), &GrowParams::default(), (&brand, &[], 0), &runtime)?;
/// assert_eq!(before.ids()?, ["u1".into()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn grow(source: &dyn Timelines, periods: Periods, params: &GrowParams, runtime: &Runtime<'_>) -> Result<Grow, AnalysisError> {
    let prepared = Prepared::new(source, periods, params)?;
    type Groups = HashMap<Vec<u64>, Both>;
    let each = |bucket: &Bucket<'_>, groups: &mut Groups| {
        let (mut reader, mut values) = (OrderReader::new(prepared.trade, bucket), prepared.values(bucket));
        bucket.timelines.for_each_history(|history| {
            prepared.each_group(&mut reader, &mut values, &history, &mut |period, key, trading, launched| {
                let both = groups.entry_ref(key).or_default();
                both.trading[period] += trading;
                both.launched += launched;
            });
        });
    };
    let merge = |all: &mut Groups, more: Groups| more.into_iter().for_each(|(key, both)| *all.entry(key).or_default() += both);
    let question = prepared.asked.question(prepared.days.0, prepared.days.1);
    let (groups, about) = total(&prepared.asked, &question, runtime, each, merge)?;
    let mut groups: Vec<(Vec<u64>, Both)> = groups.into_iter().collect();
    groups.sort_unstable_by(|left, right| left.0.cmp(&right.0));
    let parts: Vec<Parts> = groups
        .iter()
        .map(|(_, both)| parts(both, params.method, prepared.dimensions.len() > 0))
        .collect();
    let scope = |key: &Vec<u64>| key[0] as usize;
    let mut columns: Vec<(&str, ArrayRef)> = vec![(
        "scope",
        scope_array(&about.scopes, prepared.asked.scope_type(), groups.iter().map(|(key, _)| scope(key))),
    )];
    let mut label = 0;
    for (place, name) in params.by.iter().enumerate() {
        let column = if prepared.customers == Some(place) {
            let kind = |(key, _): &(Vec<u64>, Both)| key.last().map(|kind| if *kind == 1 { "new" } else { "existing" });
            std::sync::Arc::new(arrow::array::StringArray::from_iter(groups.iter().map(kind))) as ArrayRef
        } else {
            label += 1;
            prepared
                .dimensions
                .array(&about.labels, label - 1, groups.iter().map(|(key, _)| key[label]))
        };
        columns.push((name.as_str(), column));
    }
    columns.extend(money_columns(&parts));
    let count = |of: fn(&Trading) -> i64, period: usize| counts(groups.iter().map(move |(_, both)| of(&both.trading[period])));
    columns.extend([
        ("buyers_before", count(|trading| trading.buyers, 0)),
        ("buyers_after", count(|trading| trading.buyers, 1)),
        ("orders_before", count(|trading| trading.orders, 0)),
        ("orders_after", count(|trading| trading.orders, 1)),
    ]);
    let mut totals = vec![Parts::default(); about.scopes.len()];
    for ((key, _), parts) in groups.iter().zip(&parts) {
        let all = &mut totals[scope(key)];
        (all.before, all.after) = (all.before + parts.before, all.after + parts.after);
        all.levers.iter_mut().zip(parts.levers).for_each(|(all, part)| *all += part);
    }
    let names = scope_array(&about.scopes, prepared.asked.scope_type(), 0..totals.len());
    let unreadable = prepared
        .launch
        .iter()
        .flat_map(|launch| launch.values(&about.labels, 0))
        .filter(|value| launch_day(value).is_none());
    let unreadable: Vec<String> = unreadable.map(ToString::to_string).collect();
    let notes = unreadable.first().map(|first| {
        format!(
            "launch: {} values are no day (YYYY-MM-DD), such as {first:?}; what bears them is not new",
            unreadable.len()
        )
    });
    let range = |(start, end): (Day, Day)| json!([start.to_string(), end.to_string()]);
    let parameters = [
        ("period0", range(periods.0)),
        ("period1", range(periods.1)),
        ("by", json!(params.by)),
        ("method", json!(if params.method == Split::Lmdi { "lmdi" } else { "shapley" })),
        ("lookback", json!(prepared.lookback)),
        ("launch", json!(params.launch)),
        (
            "convention",
            json!("the algebra of the split, and what counts as extension, are ours; the platform's is not public"),
        ),
    ];
    Ok(Grow {
        groups: table(columns)?,
        totals: table(std::iter::once(("scope", names)).chain(money_columns(&totals)))?,
        recipe: prepared.asked.recipe("grow", "money in units of the amount column", &parameters),
        report: prepared.asked.report_of(about, notes.into_iter().collect(), runtime),
    })
}

fn money_columns(parts: &[Parts]) -> Vec<(&'static str, ArrayRef)> {
    let column = |of: &dyn Fn(&Parts) -> f64| figures(parts.iter().map(|parts| Some(of(parts))));
    let mut columns = vec![
        ("gmv_before", column(&|parts| parts.before)),
        ("gmv_after", column(&|parts| parts.after)),
        ("change", column(&|parts| parts.after - parts.before)),
    ];
    columns.extend(
        LEVERS
            .iter()
            .enumerate()
            .map(|(lever, name)| (*name, column(&|parts| parts.levers[lever]))),
    );
    columns
}

/// The parts of a group's change. A range can only widen where groups are of goods, places or people, not of new and existing buyers.
fn parts(both: &Both, method: Split, can_extend: bool) -> Parts {
    let [before, after] = both.trading;
    let (start, end) = (amount(before.gmv), amount(after.gmv));
    let ordered = |trading: &Trading| if trading.orders > 0 { amount(trading.gmv) } else { 0.0 };
    let mut levers = [0.0; 5];
    levers[4] = amount(both.launched);
    match (before.orders > 0, after.orders > 0) {
        (true, true) => {
            levers[..3].copy_from_slice(&split(before.factors(), after.factors(), method));
        }
        (false, false) => {}
        _ if can_extend => levers[3] = ordered(&after) - ordered(&before),
        // Without buyers there is neither frequency nor price; they are taken as unchanged.
        _ => levers[0] = ordered(&after) - ordered(&before),
    }
    // What no order explains, such as a refund that names none, moves no factor; it is a matter of what was paid.
    levers[2] += end - start - levers[..4].iter().sum::<f64>();
    Parts {
        before: start,
        after: amount(after.gmv + both.launched),
        levers,
    }
}

/// The buyers of a group in the first period (0) or the second (1), those of new products left out. Values are given in the order of `by`.
///
/// # Errors
/// As [`grow`]; an unknown brand or value.
pub fn grow_buyers(
    source: &dyn Timelines,
    periods: Periods,
    params: &GrowParams,
    (scope, values, period): (&ScopeValue, &[Option<String>], usize),
    runtime: &Runtime<'_>,
) -> Result<Audience, AnalysisError> {
    let prepared = Prepared::new(source, periods, params)?;
    if values.len() != params.by.len() {
        let problem = format!("{} values are given for {} names of by", values.len(), params.by.len());
        return Err(AnalysisError::parameter("values", problem));
    }
    let kind = match prepared.customers.map(|place| values[place].as_deref()) {
        None => 0,
        Some(Some("new")) => 1,
        Some(Some("existing")) => 2,
        Some(_) => return Err(AnalysisError::parameter("values", "customers are \"new\" or \"existing\"")),
    };
    let others = params.by.iter().zip(values).filter(|(name, _)| *name != CUSTOMERS);
    let wanted: Vec<CellValue<'_>> = others.map(|(_, value)| value.as_deref().into()).collect();
    let range = if period == 0 { periods.0 } else { periods.1 };
    let group = values
        .iter()
        .map(|value| value.as_deref().unwrap_or("none"))
        .collect::<Vec<_>>()
        .join(", ");
    let made = format!("{scope} buyers ({group}) from {} to {}", range.0, range.1);
    let question = prepared.asked.question(prepared.days.0, prepared.days.1);
    let dimensions = &prepared.dimensions;
    let known = |labels: &[Vec<IdValue>]| {
        let mut each = wanted.iter().enumerate();
        each.try_for_each(|(which, value)| dimensions.check_value(labels, which, "values", *value))
    };
    people_where(
        &prepared.asked,
        &question,
        Some(scope),
        &made,
        runtime,
        known,
        |bucket, place, push| {
            let each = wanted.iter().enumerate();
            let numbers = each.map(|(which, value)| dimensions.wanted(bucket.labels, which, *value));
            let Some(numbers) = numbers.collect::<Option<Vec<Wanted>>>() else {
                return;
            };
            let (mut reader, mut values) = (OrderReader::new(prepared.trade, bucket), prepared.values(bucket));
            bucket.timelines.for_each_history(|history| {
                if Some(history.scope as usize) != place {
                    return;
                }
                prepared.each_group(&mut reader, &mut values, &history, &mut |of, found, trading, _| {
                    let found = &found[1..];
                    let is = found[numbers.len()] == kind && numbers.iter().zip(found).all(|(wanted, number)| wanted.is(*number));
                    if of == period && is && trading.buyers > 0 {
                        push(history.consumer);
                    }
                });
            });
        },
    )
}
