//! RFM: how recently, how often and for how much each consumer bought, and the eight types of customers that this makes.
//!
//! Definition: `python/docs/definitions/assets.md` (RFM; definitions §6.8). Sourced: the three scores, the comparison with a mean or a given score, the
//! names of the types. Ours: which combination bears which name (the usual convention), quintiles by mid-rank.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use roaring::RoaringBitmap;
use serde_json::json;

use crate::analyses::asked::{AnalysisError, Asked, find_scope};
use crate::analyses::labels::{counts, scope_array};
use crate::analyses::outcome::{Answer, Report};
use crate::analyses::totals::{amount, bit_of, check_days, figures, shares, table};
use crate::audience::Audience;
use crate::base::statistics::ratio;
use crate::base::{ConsumerIdx, Day, Decimal6, IdKind};
use crate::stage::OrderReader;
use crate::timeline::{Folded, Runtime, ScopeValue, Timelines, Universe, fold};

/// How values become scores, and scores high or low.
#[derive(Debug, Clone, PartialEq)]
pub enum RfmScheme {
    /// High is at least the mean of the brand's buyers (for recency: at most the mean of days).
    Mean,
    /// Scores 1 to 5 by fifths of the brand's buyers; high is at least the mean score.
    Quintile,
    /// Scores by thresholds: one more than the number of thresholds that are reached. High is at least the mean score, or with one
    /// threshold, whoever reaches it.
    Custom {
        /// Days since the last order, each reached by at most so many.
        recency: Vec<i64>,
        /// Orders, each reached by at least so many.
        frequency: Vec<i64>,
        /// Amounts, each reached by at least so much.
        monetary: Vec<Decimal6>,
    },
}

/// Optional parameters of [`rfm`].
#[derive(Debug, Clone, PartialEq)]
pub struct RfmParams {
    /// Only these brands.
    pub scopes: Option<Vec<ScopeValue>>,
    /// Orders of so many days up to the day count.
    pub window: u32,
    /// How scores are made.
    pub scheme: RfmScheme,
}

impl Default for RfmParams {
    fn default() -> Self {
        RfmParams {
            scopes: None,
            window: 365,
            scheme: RfmScheme::Mean,
        }
    }
}

/// The types by their bits, R the highest: from `000` to `111`.
pub const RFM_TYPES: [&str; 8] = [
    "potential",
    "key_win_back",
    "general_keep",
    "key_keep",
    "general_develop",
    "key_develop",
    "general_value",
    "high_value",
];

/// A buyer of a brand.
#[derive(Debug, Clone, Copy)]
struct Buyer {
    consumer: ConsumerIdx,
    scope: u32,
    recency: i32,
    frequency: u32,
    monetary: i128,
}

/// What a buyer is found to be.
#[derive(Debug, Clone, Copy)]
struct Scored {
    scores: [u8; 3],
    kind: u8,
}

impl Buyer {
    /// Recency, frequency, monetary value, of which more is better: a short time since the last order is, so recency counts backward.
    fn values(&self) -> [i128; 3] {
        [-i128::from(self.recency), i128::from(self.frequency), self.monetary]
    }
}

/// The buyers of brands with their scores and types.
#[derive(Debug)]
pub struct Rfm {
    universe: Arc<Universe>,
    scopes: Vec<ScopeValue>,
    scope_type: IdKind,
    /// In order of consumer and scope.
    buyers: Vec<Buyer>,
    /// As many as buyers.
    scored: Vec<Scored>,
    as_of: Day,
    report: Report,
    recipe: serde_json::Value,
}

/// Scores every buyer of every brand by recency, frequency and monetary value.
///
/// # Errors
/// A schema without amounts; a window of no day; thresholds out of order; what the source refuses.
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
/// let scored = rfm(&events, june.1, &RfmParams::default(), &runtime)?;
/// assert_eq!(scored.table()?.table["recency"].as_primitive::<Int64Type>().values(), &[29, 2]);
/// assert_eq!(scored.audience("general_develop", Some(&brand))?.ids()?, ["u2".into()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn rfm(source: &dyn Timelines, as_of: Day, params: &RfmParams, runtime: &Runtime<'_>) -> Result<Rfm, AnalysisError> {
    check(params)?;
    let mut asked = Asked::of_events(source, params.scopes.as_deref())?;
    let trade = asked.watch_trade(Some(params.window))?;
    if !trade.has_amounts() {
        return Err(AnalysisError::parameter(
            "source",
            "its EventSchema maps no amount, and without one there is no M of RFM",
        ));
    }
    let window = as_of.number() - params.window as i32 + 1..=as_of.number();
    let Folded { buckets, about } = fold(source, &asked.question(as_of, as_of), runtime, |bucket| {
        let mut reader = OrderReader::new(trade, &bucket);
        let mut buyers = Vec::new();
        bucket.timelines.for_each_history(|history| {
            let (orders, lines) = reader.both(&history);
            let inside = orders.iter().filter(|order| window.contains(&order.day));
            let (frequency, last) = inside.fold((0, None), |(count, _), order| (count + 1, Some(order.day)));
            let Some(last) = last else { return };
            let monetary = lines.iter().filter(|line| window.contains(&line.day)).map(|line| line.amount).sum();
            buyers.push(Buyer {
                consumer: ConsumerIdx::new(bucket.number, history.consumer),
                scope: history.scope,
                recency: as_of.number() - last,
                frequency,
                monetary,
            });
        });
        buyers
    })?;
    let buyers = runtime.run(|| about.universe.sorted(&buckets, |buyer| buyer.consumer));
    let scored = score(&buyers, about.scopes.len(), &params.scheme);
    let parameters = [
        ("as_of", json!(as_of.to_string())),
        ("window", json!(params.window)),
        ("scheme", scheme_json(&params.scheme)),
        (
            "convention",
            json!("which scores make which type, and quintiles by mid-rank, are ours"),
        ),
    ];
    Ok(Rfm {
        recipe: asked.recipe(
            "rfm",
            "recency in days, frequency in distinct orders, monetary in units of the amount column",
            &parameters,
        ),
        scope_type: asked.scope_type(),
        universe: about.universe.clone(),
        scopes: about.scopes.clone(),
        report: asked.report_of(about, Vec::new(), runtime),
        buyers,
        scored,
        as_of,
    })
}

fn check(params: &RfmParams) -> Result<(), AnalysisError> {
    check_days("window", params.window)?;
    let RfmScheme::Custom {
        recency,
        frequency,
        monetary,
    } = &params.scheme
    else {
        return Ok(());
    };
    let monetary: Vec<i64> = monetary.iter().map(|value| value.0).collect();
    let falling: Vec<i64> = recency.iter().rev().copied().collect();
    for (name, thresholds) in [("recency", &falling), ("frequency", frequency), ("monetary", &monetary)] {
        if thresholds.is_empty() || thresholds.len() > 100 || thresholds.windows(2).any(|pair| pair[0] >= pair[1]) {
            let order = if name == "recency" { "falling" } else { "rising" };
            let problem = format!("thresholds of {name} must be 1 to 100 {order} numbers: each is harder to reach than the one before");
            return Err(AnalysisError::parameter("scheme", problem));
        }
    }
    Ok(())
}

fn scheme_json(scheme: &RfmScheme) -> serde_json::Value {
    match scheme {
        RfmScheme::Mean => json!("mean"),
        RfmScheme::Quintile => json!("quintile"),
        RfmScheme::Custom {
            recency,
            frequency,
            monetary,
        } => {
            let monetary: Vec<f64> = monetary.iter().map(|value| amount(i128::from(value.0))).collect();
            json!({"recency": recency, "frequency": frequency, "monetary": monetary})
        }
    }
}

/// Gives every buyer scores and type, by the buyers of the same brand.
fn score(buyers: &[Buyer], scopes: usize, scheme: &RfmScheme) -> Vec<Scored> {
    let thresholds = thresholds(scheme);
    let mut scales: Vec<[Scale<'_>; 3]> = (0..scopes)
        .map(|_| std::array::from_fn(|which| Scale::new(scheme, &thresholds[which])))
        .collect();
    for buyer in buyers {
        let own = &mut scales[buyer.scope as usize];
        own.iter_mut().zip(buyer.values()).for_each(|(scale, value)| scale.take(value));
    }
    scales.iter_mut().flatten().for_each(Scale::settle);
    let mut sums = vec![([0u64; 3], 0u64); scopes];
    let mut scored = Vec::with_capacity(buyers.len());
    for buyer in buyers {
        let (own, values) = (&scales[buyer.scope as usize], buyer.values());
        let scores = std::array::from_fn(|which| own[which].score(values[which]));
        let (sums, count) = &mut sums[buyer.scope as usize];
        sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += u64::from(score));
        *count += 1;
        scored.push(Scored { scores, kind: 0 });
    }
    for (buyer, own) in buyers.iter().zip(&mut scored) {
        let (sums, count) = &sums[buyer.scope as usize];
        own.kind = (0..3).fold(0, |kind, which| {
            let score = own.scores[which];
            let high = match thresholds[which].len() {
                1 => score == 2,
                _ => u64::from(score) * count >= sums[which],
            };
            kind << 1 | u8::from(high)
        });
    }
    scored
}

/// The thresholds of each value, of which more is better; none where the scheme has none.
fn thresholds(scheme: &RfmScheme) -> [Vec<i128>; 3] {
    match scheme {
        RfmScheme::Mean | RfmScheme::Quintile => Default::default(),
        RfmScheme::Custom {
            recency,
            frequency,
            monetary,
        } => [
            recency.iter().map(|days| -i128::from(*days)).collect(),
            frequency.iter().map(|orders| i128::from(*orders)).collect(),
            monetary.iter().map(|amount| i128::from(amount.0)).collect(),
        ],
    }
}

/// How one value of a brand's buyers becomes a score.
enum Scale<'t> {
    /// Their sum and number.
    Mean(i128, i128),
    /// How often each value is met; once settled, its score.
    Quintile(BTreeMap<i128, i128>),
    Thresholds(&'t [i128]),
}

impl<'t> Scale<'t> {
    fn new(scheme: &RfmScheme, thresholds: &'t [i128]) -> Self {
        match scheme {
            RfmScheme::Mean => Scale::Mean(0, 0),
            RfmScheme::Quintile => Scale::Quintile(BTreeMap::new()),
            RfmScheme::Custom { .. } => Scale::Thresholds(thresholds),
        }
    }

    /// Takes the value of a buyer.
    fn take(&mut self, value: i128) {
        match self {
            Scale::Mean(sum, count) => (*sum, *count) = (*sum + value, *count + 1),
            Scale::Quintile(places) => *places.entry(value).or_default() += 1,
            Scale::Thresholds(_) => {}
        }
    }

    /// Ends the taking.
    fn settle(&mut self) {
        let Scale::Quintile(places) = self else { return };
        let (count, mut below) = (places.values().sum::<i128>(), 0);
        for equal in places.values_mut() {
            let (middle, own) = (2 * below + *equal, *equal);
            *equal = (5 * middle / (2 * count)).min(4) + 1;
            below += own;
        }
    }

    fn score(&self, value: i128) -> u8 {
        match self {
            Scale::Mean(sum, count) => 1 + u8::from(value * count >= *sum),
            Scale::Quintile(scores) => scores[&value] as u8,
            Scale::Thresholds(thresholds) => 1 + thresholds.iter().filter(|threshold| value >= **threshold).count() as u8,
        }
    }
}

impl Rfm {
    /// `consumer`, `scope`, `recency` (int64: days from the last order to the day), `frequency` (int64: orders), `monetary` (float64: what was paid less what was
    /// refunded), `r_score`, `f_score`, `m_score` (int64, more is better), `type` (utf8): every buyer of the window, in order of consumer and scope.
    ///
    /// # Errors
    /// A table that Arrow cannot hold.
    pub fn table(&self) -> Result<Answer, AnalysisError> {
        let buyers = || self.buyers.iter();
        let consumers: ArrayRef = match self.universe.id_kind() {
            IdKind::Int64 => Arc::new(Int64Array::from_iter_values(
                buyers().map(|buyer| self.universe.int(buyer.consumer)),
            )),
            IdKind::Text => Arc::new(StringArray::from_iter_values(
                buyers().map(|buyer| self.universe.text(buyer.consumer)),
            )),
        };
        let score = |which: usize| counts(self.scored.iter().map(move |own| i64::from(own.scores[which])));
        let scopes = buyers().map(|buyer| buyer.scope as usize);
        let types = self.scored.iter().map(|own| RFM_TYPES[usize::from(own.kind)]);
        self.answer(table([
            ("consumer", consumers),
            ("scope", scope_array(&self.scopes, self.scope_type, scopes)),
            ("recency", counts(buyers().map(|buyer| i64::from(buyer.recency)))),
            ("frequency", counts(buyers().map(|buyer| i64::from(buyer.frequency)))),
            (
                "monetary",
                Arc::new(Float64Array::from_iter_values(buyers().map(|buyer| amount(buyer.monetary)))),
            ),
            ("r_score", score(0)),
            ("f_score", score(1)),
            ("m_score", score(2)),
            ("type", Arc::new(StringArray::from_iter_values(types))),
        ])?)
    }

    /// `scope`, `type`, `consumers` (int64), `share` (of the brand's buyers), `gmv`, `gmv_share`, and the means `recency`, `frequency`, `monetary`: every brand × type, the
    /// most valuable first, zeros included.
    ///
    /// # Errors
    /// A table that Arrow cannot hold.
    pub fn summary(&self) -> Result<Answer, AnalysisError> {
        let mut sums = vec![[0i128; 4]; self.scopes.len() * 8];
        for (buyer, scored) in self.buyers.iter().zip(&self.scored) {
            let own = &mut sums[buyer.scope as usize * 8 + 7 - usize::from(scored.kind)];
            let values = [1, i128::from(buyer.recency), i128::from(buyer.frequency), buyer.monetary];
            own.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
        let rows = sums.len();
        let total = |row: usize, which: usize| -> i128 { sums[row / 8 * 8..row / 8 * 8 + 8].iter().map(|own| own[which]).sum() };
        let mean = |which: usize, unit: f64| figures(sums.iter().map(move |own| ratio(own[which] as f64 / unit, own[0] as f64)));
        let money = Decimal6::ONE as f64;
        let types = (0..rows).map(|row| RFM_TYPES[7 - row % 8]);
        self.answer(table([
            ("scope", scope_array(&self.scopes, self.scope_type, (0..rows).map(|row| row / 8))),
            ("type", Arc::new(StringArray::from_iter_values(types)) as ArrayRef),
            ("consumers", counts(sums.iter().map(|own| own[0] as i64))),
            ("share", shares((0..rows).map(|row| (sums[row][0] as i64, total(row, 0) as i64)))),
            ("gmv", figures(sums.iter().map(|own| Some(amount(own[3]))))),
            (
                "gmv_share",
                figures((0..rows).map(|row| ratio(amount(sums[row][3]), amount(total(row, 3))))),
            ),
            ("recency", mean(1, 1.0)),
            ("frequency", mean(2, 1.0)),
            ("monetary", mean(3, money)),
        ])?)
    }

    fn answer(&self, table: arrow::array::RecordBatch) -> Result<Answer, AnalysisError> {
        Ok(Answer {
            table,
            report: self.report.clone(),
            recipe: self.recipe.clone(),
        })
    }

    /// The buyers of a type: of one brand, or of any.
    ///
    /// # Errors
    /// An unknown brand or type.
    pub fn audience(&self, kind: &str, scope: Option<&ScopeValue>) -> Result<Audience, AnalysisError> {
        let bit = bit_of("type", kind, &RFM_TYPES)?;
        let scope = scope.map(|scope| find_scope(&self.scopes, scope)).transpose()?;
        let wanted =
            |(buyer, scored): &(&Buyer, &Scored)| 1 << scored.kind == bit && scope.is_none_or(|scope| scope == buyer.scope as usize);
        let both = self.buyers.iter().zip(&self.scored).filter(wanted);
        let found: RoaringBitmap = both.map(|(buyer, _)| buyer.consumer.0).collect();
        let whose = match (scope, &self.scopes[..]) {
            (Some(place), scopes) => scopes[place].to_string(),
            (None, [only]) => only.to_string(),
            (None, scopes) => format!("any of {} brands", scopes.len()),
        };
        Ok(Audience::new(
            found,
            self.universe.clone(),
            &format!("{whose} RFM {kind} on {}", self.as_of),
        ))
    }

    /// The account of rows.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }
}
