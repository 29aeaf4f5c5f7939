//! Benefits: coupons from issue to claim to use, and what they drove.
//!
//! Definition: `python/docs/definitions/assets.md` (benefits; definitions §11). Sourced: claim rate, redemption rate over issued or over claimed (always
//! named), amount driven as the payable of coupon orders, cost as the discount given. Ours: how groups are fixed at the start of the
//! period. What coupons *caused* is another question: they serve price discrimination and pull sales forward.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use serde_json::json;

use crate::analyses::asked::{AnalysisError, Asked, check_range};
use crate::analyses::labels::{counts, label_code, scope_array};
use crate::analyses::outcome::Answer;
use crate::analyses::totals::{Trading, amount, bit_of, check_days, figures, people, shares, table, total};
use crate::audience::Audience;
use crate::base::Day;
use crate::base::suggest::hint;
use crate::event::schema::LABEL_FIELDS;
use crate::model::StageModel;
use crate::model::data::OUT;
use crate::stage::{Labeler, OrderReader, Trade};
use crate::timeline::rows::{class_of, day_of};
use crate::timeline::{Bucket, History, Question, Runtime, ScopeValue, Timelines};

/// How consumers are told apart.
#[derive(Debug, Clone, Default)]
pub enum BenefitGroups {
    /// Not at all.
    #[default]
    All,
    /// By their stage at the close of the day before the period.
    Stage(StageModel),
    /// Existing customers have an order in so many days before the period; all others are new.
    Customers(u32),
}

/// Parameters of [`benefits`].
#[derive(Debug, Clone, Default)]
pub struct BenefitParams {
    /// Only these brands.
    pub scopes: Option<Vec<ScopeValue>>,
    /// The behavior that issues a coupon.
    pub issued: Option<String>,
    /// The behavior that claims one.
    pub claimed: Option<String>,
    /// The behavior that uses one.
    pub used: String,
    /// A label field that names the coupon.
    pub coupon: Option<String>,
    /// A measure with the discount given, of uses and of the orders that they name.
    pub discount: Option<String>,
    /// How consumers are told apart.
    pub by: BenefitGroups,
}

/// Steps of the funnel, in order of their places.
pub const BENEFIT_STEPS: [&str; 3] = ["issued", "claimed", "used"];

/// The funnel of a group.
#[derive(Debug, Clone, Default)]
struct Funnel {
    events: [i64; 3],
    people: [i64; 3],
    coupons: [HashSet<u64>; 3],
    /// All orders of the period, and those that a use names.
    all: Trading,
    driven: Trading,
    discount: i128,
}

impl Funnel {
    fn add(&mut self, more: Funnel) {
        for step in 0..3 {
            self.events[step] += more.events[step];
            self.people[step] += more.people[step];
        }
        self.coupons.iter_mut().zip(more.coupons).for_each(|(own, more)| own.extend(more));
        self.all += more.all;
        self.driven += more.driven;
        self.discount += more.discount;
    }
}

struct Prepared<'a> {
    asked: Asked<'a>,
    trade: Trade,
    /// The bits of the steps; 0 where a step is not looked at.
    steps: [u64; 3],
    coupon: Option<usize>,
    discount: Option<usize>,
    /// The place of the amount among the sums, where there is one.
    amount: Option<usize>,
    days: (Day, Day),
    /// Days before the start in which an order makes an existing customer.
    lookback: Option<i32>,
    staged: bool,
}

impl<'a> Prepared<'a> {
    fn new(source: &'a dyn Timelines, days: (Day, Day), params: &'a BenefitParams) -> Result<Self, AnalysisError> {
        check_range(days.0, days.1)?;
        let scopes = params.scopes.as_deref();
        let mut asked = match &params.by {
            BenefitGroups::Stage(model) => Asked::new(source, model, scopes)?,
            BenefitGroups::All | BenefitGroups::Customers(_) => Asked::of_events(source, scopes)?,
        };
        let lookback = match params.by {
            BenefitGroups::Customers(days) => Some(check_days("lookback", days)?),
            BenefitGroups::All | BenefitGroups::Stage(_) => None,
        };
        let trade = asked.watch_trade(Some(lookback.unwrap_or(0) as u32 + 1))?;
        let mut step = |parameter: &'static str, name: Option<&String>| match name {
            Some(name) => asked.watch(parameter, std::slice::from_ref(name), Some(1)),
            None => Ok(0),
        };
        let steps = [
            step("issued", params.issued.as_ref())?,
            step("claimed", params.claimed.as_ref())?,
            step("used", Some(&params.used))?,
        ];
        let coupon = params.coupon.as_ref().map(|field| asked.carry_label("coupon", field)).transpose()?;
        let discount = params
            .discount
            .as_ref()
            .map(|measure| carry_measure(&mut asked, measure))
            .transpose()?;
        let amount = trade.has_amounts().then(|| asked.program.carry_sum("amount"));
        Ok(Prepared {
            asked,
            trade,
            steps,
            coupon,
            discount,
            amount,
            days,
            lookback,
            staged: matches!(params.by, BenefitGroups::Stage(_)),
        })
    }

    /// From the day before the start on, whose close tells the stage.
    fn question(&self) -> Question<'_> {
        self.asked.question(self.days.0 + -1, self.days.1)
    }

    /// Reads orders from the first day that is looked at on.
    fn reader<'b>(&self, bucket: &Bucket<'b>) -> OrderReader<'b> {
        OrderReader::new(self.trade, bucket).since(self.days.0.number() - self.lookback.unwrap_or(0))
    }

    /// The group of a history: a label, or 1 for new and 2 for existing customers.
    fn group(&self, labeler: &mut Labeler<'_>, reader: &mut OrderReader<'_>, history: &History<'_>) -> u8 {
        let start = self.days.0.number();
        match self.lookback {
            _ if self.staged => labeler.label(history),
            Some(lookback) => {
                let before = |day: i32| (start - lookback..start).contains(&day);
                1 + u8::from(reader.orders(history).iter().any(|order| before(order.day)))
            }
            None => 0,
        }
    }

    /// The funnel of one history; nothing if it has neither a step nor an order in the period.
    fn funnel(&self, bucket: &Bucket<'_>, reader: &mut OrderReader<'_>, history: &History<'_>) -> Option<Funnel> {
        let (layout, inside) = (bucket.timelines.layout(), self.days.0.number()..=self.days.1.number());
        let width = layout.width();
        let mut funnel = Funnel::default();
        let mut named: BTreeSet<(u64, u64)> = BTreeSet::new();
        let mut loose = 0;
        for (row, &word) in history
            .words
            .iter()
            .enumerate()
            .filter(|(_, word)| inside.contains(&day_of(**word)))
        {
            let mask = bucket.masks[class_of(word)];
            let payload = &history.payloads[row * width..(row + 1) * width];
            for (step, _) in self.steps.iter().enumerate().filter(|(_, bit)| mask & **bit != 0) {
                funnel.events[step] += 1;
                funnel.people[step] = 1;
                let coupon = self.coupon.map_or(0, |place| payload[layout.labels_at() + place]);
                if coupon > 0 {
                    funnel.coupons[step].insert(coupon);
                }
            }
            if mask & self.steps[2] == 0 {
                continue;
            }
            funnel.discount += self.measure(self.discount, payload, layout.sums_at());
            if layout.orders && (payload[0], payload[1]) != (0, 0) {
                named.insert((payload[0], payload[1]));
            } else {
                loose += self.measure(self.amount, payload, layout.sums_at());
            }
        }
        let (mut ids, lines) = (Vec::new(), reader.lines(history));
        let own = || lines.iter().filter(|line| inside.contains(&line.day));
        funnel.all = Trading::of(own(), &mut ids);
        funnel.driven = Trading::of(own().filter(|line| named.contains(&line.id)), &mut ids);
        funnel.driven.gmv += loose;
        for line in own().filter(|line| line.ordered && named.contains(&line.id)) {
            let payload = &history.payloads[line.row * width..(line.row + 1) * width];
            funnel.discount += self.measure(self.discount, payload, layout.sums_at());
        }
        let empty = funnel.events == [0; 3] && funnel.all == Trading::default();
        (!empty).then_some(funnel)
    }

    fn measure(&self, place: Option<usize>, payload: &[u64], sums: usize) -> i128 {
        place.map_or(0, |place| i128::from(payload[sums + place] as i64))
    }
}

/// Carries a measure: a standard one, or an own attribute.
fn carry_measure(asked: &mut Asked<'_>, measure: &str) -> Result<usize, AnalysisError> {
    let schema = asked.source.schema();
    let required = ["consumer", "brand", "behavior", "time"];
    let is_label = |role: &str| required.contains(&role) || LABEL_FIELDS.contains(&role);
    if is_label(measure) || schema.column(measure).is_none() {
        let mapped: Vec<&str> = schema.mapped().map(|(role, _)| role).filter(|role| !is_label(role)).collect();
        let tail = hint(measure, mapped.iter().copied());
        let problem = format!(
            "{measure:?} is no mapped measure or attribute{tail}; choices: {}",
            mapped.join(", ")
        );
        return Err(AnalysisError::parameter("discount", problem));
    }
    Ok(asked.program.carry_sum(measure))
}

/// Coupons of each brand in a period: issued, claimed, used, and what was bought with them.
///
/// # Shape and units
/// `scope`, and with groups `stage` (utf8 code or `out`, at the close of the day before the period) or `customers` (`new`, `existing`); for each step `issued`, `claimed`, `used`
/// (int64, events), `…_people` (distinct consumers), `…_coupons` (distinct coupons; null without a field that names them); `claim_rate` (claimed ÷ issued),
/// `redemption_rate_of_issued` (used ÷ issued), `redemption_rate_of_claimed` (used ÷ claimed); `orders` (that a use names), `orders_share` (of all orders of the period), `amount_driven` (GMV of
/// these orders, and the amounts of uses that name none), `discount` (of uses and of these orders), all in units of their columns. A step
/// that is not named is null. Every brand, and group, with a step or an order.
///
/// # Errors
/// A reversed range; a behavior, field or measure that is not there; what the source refuses.
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
/// // Stands in for coupons: views are what is used here.
/// let params = BenefitParams {
///     used: "view".into(),
///     ..BenefitParams::default()
/// };
/// let answer = benefits(&events, june, &params, &runtime)?;
/// assert_eq!(answer.table["used_people"].as_primitive::<Int64Type>().values(), &[1]);
/// assert_eq!(benefit_people(&events, june, &params, (&brand, "used", None), &runtime)?.ids()?, ["u3".into()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn benefits(source: &dyn Timelines, days: (Day, Day), params: &BenefitParams, runtime: &Runtime<'_>) -> Result<Answer, AnalysisError> {
    let prepared = Prepared::new(source, days, params)?;
    type Funnels = BTreeMap<(u32, u8), Funnel>;
    let each = |bucket: &Bucket<'_>, funnels: &mut Funnels| {
        let mut reader = prepared.reader(bucket);
        let before = days.0.number() - 1;
        let mut labeler = Labeler::new(&prepared.asked.program, bucket.masks, bucket.timelines.layout(), before);
        bucket.timelines.for_each_history(|history| {
            if let Some(funnel) = prepared.funnel(bucket, &mut reader, &history) {
                let group = prepared.group(&mut labeler, &mut reader, &history);
                funnels.entry((history.scope, group)).or_default().add(funnel);
            }
        });
    };
    let merge = |all: &mut Funnels, more: Funnels| more.into_iter().for_each(|(key, funnel)| all.entry(key).or_default().add(funnel));
    let (funnels, about) = total(&prepared.asked, &prepared.question(), runtime, each, merge)?;
    let parameters = [
        ("start", json!(days.0.to_string())),
        ("end", json!(days.1.to_string())),
        ("issued", json!(params.issued)),
        ("claimed", json!(params.claimed)),
        ("used", json!(params.used)),
        ("coupon", json!(params.coupon)),
        ("discount", json!(params.discount)),
        ("by", json!(group_name(&params.by))),
        ("lookback", json!(prepared.lookback)),
        (
            "convention",
            json!("groups as of the day before the period are ours; nothing here says what coupons caused"),
        ),
    ];
    Ok(prepared.asked.answer(
        columns(&prepared, params, &about.scopes, &funnels)?,
        ("benefits", "events, distinct consumers and distinct coupons; rates of one"),
        &parameters,
        about,
        Vec::new(),
        runtime,
    ))
}

fn group_name(by: &BenefitGroups) -> Option<&'static str> {
    match by {
        BenefitGroups::All => None,
        BenefitGroups::Stage(_) => Some("stage"),
        BenefitGroups::Customers(_) => Some("customers"),
    }
}

/// The code of a group by its code or name.
fn check_group<'g>(by: &'g BenefitGroups, group: &'g str) -> Result<&'g str, AnalysisError> {
    match by {
        BenefitGroups::Stage(_) if group == OUT => Ok(OUT),
        BenefitGroups::Stage(model) => Ok(&model.stages[model.stage_index(group)?].code),
        BenefitGroups::Customers(_) => bit_of("group", group, &["new", "existing"]).map(|_| group),
        BenefitGroups::All => Err(AnalysisError::parameter("group", "this answer has no groups; ask with by=")),
    }
}

fn group_code(by: &BenefitGroups, group: u8) -> &str {
    match (by, group) {
        (BenefitGroups::Stage(model), label) => label_code(model, usize::from(label)),
        (_, 1) => "new",
        _ => "existing",
    }
}

fn columns(
    prepared: &Prepared<'_>,
    params: &BenefitParams,
    scopes: &[ScopeValue],
    funnels: &BTreeMap<(u32, u8), Funnel>,
) -> Result<RecordBatch, AnalysisError> {
    let rows: Vec<&Funnel> = funnels.values().collect();
    let looked = |step: usize| prepared.steps[step] != 0;
    let optional = |values: Vec<Option<i64>>| Arc::new(arrow::array::Int64Array::from(values)) as ArrayRef;
    let of_step = |step: usize, of: &dyn Fn(&Funnel) -> i64| optional(rows.iter().map(|row| looked(step).then(|| of(row))).collect());
    let rate = |above: usize, below: usize| {
        let both = looked(above) && looked(below);
        shares(
            rows.iter()
                .map(move |row| (row.events[above], if both { row.events[below] } else { 0 })),
        )
    };
    let mut columns: Vec<(String, ArrayRef)> = vec![(
        "scope".to_owned(),
        scope_array(
            scopes,
            prepared.asked.scope_type(),
            funnels.keys().map(|(scope, _)| *scope as usize).collect::<Vec<_>>().into_iter(),
        ),
    )];
    if let Some(name) = group_name(&params.by) {
        let codes = funnels.keys().map(|(_, group)| group_code(&params.by, *group));
        columns.push((name.to_owned(), Arc::new(StringArray::from_iter_values(codes))));
    }
    for (step, name) in BENEFIT_STEPS.iter().enumerate() {
        columns.push(((*name).to_owned(), of_step(step, &|row| row.events[step])));
        columns.push((format!("{name}_people"), of_step(step, &|row| row.people[step])));
        let named = prepared.coupon.is_some() && looked(step);
        let coupons = rows.iter().map(|row| named.then(|| row.coupons[step].len() as i64)).collect();
        columns.push((format!("{name}_coupons"), optional(coupons)));
    }
    let has_amounts = prepared.amount.is_some();
    let driven = rows.iter().map(|row| Some(amount(row.driven.gmv)).filter(|_| has_amounts));
    let discount = rows
        .iter()
        .map(|row| Some(amount(row.discount)).filter(|_| prepared.discount.is_some()));
    let more: [(&str, ArrayRef); 7] = [
        ("claim_rate", rate(1, 0)),
        ("redemption_rate_of_issued", rate(2, 0)),
        ("redemption_rate_of_claimed", rate(2, 1)),
        ("orders", counts(rows.iter().map(|row| row.driven.orders))),
        ("orders_share", shares(rows.iter().map(|row| (row.driven.orders, row.all.orders)))),
        ("amount_driven", figures(driven)),
        ("discount", figures(discount)),
    ];
    columns.extend(more.map(|(name, column)| (name.to_owned(), column)));
    table(columns.iter().map(|(name, column)| (name.as_str(), column.clone())))
}

/// The consumers of a step (`issued`, `claimed`, `used`) of a brand, of one group or all.
///
/// # Errors
/// As [`benefits`]; an unknown brand, step or group.
pub fn benefit_people(
    source: &dyn Timelines,
    days: (Day, Day),
    params: &BenefitParams,
    (scope, step, group): (&ScopeValue, &str, Option<&str>),
    runtime: &Runtime<'_>,
) -> Result<Audience, AnalysisError> {
    let bit = bit_of("step", step, &BENEFIT_STEPS)?;
    let step = bit.trailing_zeros() as usize;
    if [params.issued.is_none(), params.claimed.is_none(), false][step] {
        let name = BENEFIT_STEPS[step];
        return Err(AnalysisError::parameter(
            "step",
            format!("no behavior is given for {name:?}, so nobody is known"),
        ));
    }
    let group = group.map(|group| check_group(&params.by, group)).transpose()?;
    let prepared = Prepared::new(source, days, params)?;
    let words = group.map_or_else(String::new, |group| format!(" ({group})"));
    let made = format!("{scope} coupons {}{words} from {} to {}", BENEFIT_STEPS[step], days.0, days.1);
    people(
        &prepared.asked,
        &prepared.question(),
        Some(scope),
        &made,
        runtime,
        |bucket, place, push| {
            let mut reader = prepared.reader(bucket);
            let before = days.0.number() - 1;
            let mut labeler = Labeler::new(&prepared.asked.program, bucket.masks, bucket.timelines.layout(), before);
            bucket.timelines.for_each_history(|history| {
                if Some(history.scope as usize) != place {
                    return;
                }
                let funnel = prepared.funnel(bucket, &mut reader, &history);
                if funnel.is_none_or(|funnel| funnel.people[step] == 0) {
                    return;
                }
                let own = prepared.group(&mut labeler, &mut reader, &history);
                if group.is_none_or(|group| group_code(&params.by, own) == group) {
                    push(history.consumer);
                }
            });
        },
    )
}
