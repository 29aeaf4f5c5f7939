//! FAST: how many consumers a brand can run (F), how many of them move up (A), how many members it has (S), and how many of these act (T).
//!
//! Definition: `python/docs/definitions/assets.md` (FAST; definitions §3). Sourced: F is a union over days, the numerator of A, members as super
//! users, the acts of T, 180 days. Ours: the denominator of A (all in a stage at the start), and percentile and index in place of
//! the unpublished index algorithm.

use arrow::array::ArrayRef;
use serde_json::json;

use crate::analyses::asked::{AnalysisError, Asked, check_range, convert_scopes, find_scope};
use crate::analyses::labels::{counts, scope_array};
use crate::analyses::outcome::Answer;
use crate::analyses::totals::{Grouping, Judge, bit_of, bits, count_groups, figures, people_of_group, shares, table};
use crate::audience::Audience;
use crate::base::Day;
use crate::base::statistics::{log_index, percentile, ratio};
use crate::model::StageModel;
use crate::model::program::Program;
use crate::stage::{Interval, IntervalFinder, states_on};
use crate::timeline::rows::{class_of, day_of};
use crate::timeline::{Bucket, Runtime, ScopeValue, Timelines};

/// Fewer brands than this make no panel (definitions, §3).
const LEAST_PANEL: usize = 10;
/// A super user is active who has acted in so many days (definitions, §3).
const ACTIVE_DAYS: i32 = 180;
/// What counts as an act of a super user: add-to-cart, favorite, claims, interaction (definitions, §3).
pub const ACTS: [&str; 8] = [
    "add_to_cart",
    "favorite",
    "sample_claim",
    "share",
    "comment",
    "like",
    "follow",
    "review",
];

/// Optional parameters of [`fast`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FastParams {
    /// Only these scopes.
    pub scopes: Option<Vec<ScopeValue>>,
    /// Brands of the category, which percentiles and indices are taken in.
    pub panel: Option<Vec<ScopeValue>>,
    /// Whether a panel of fewer than 10 brands is taken all the same.
    pub force: bool,
    /// The state of super users.
    pub members: String,
    /// Behaviors that count as acts of a super user.
    pub acts: Vec<String>,
    /// Whether A counts whoever was in a higher stage on any day after the start, rather than at the end.
    pub peak: bool,
}

impl Default for FastParams {
    fn default() -> Self {
        FastParams {
            scopes: None,
            panel: None,
            force: false,
            members: "member".to_owned(),
            acts: ACTS.map(str::to_owned).to_vec(),
            peak: false,
        }
    }
}

/// Groups of [`fast`], in order of their bits.
pub const FAST_GROUPS: [&str; 7] = [
    "fertility",
    "aipl_start",
    "aipl_end",
    "advanced",
    "superiority",
    "thriving",
    "outside",
];

struct Prepared<'a> {
    asked: Asked<'a>,
    days: (Day, Day),
    member: u64,
    act: u64,
    peak: bool,
}

impl<'a> Prepared<'a> {
    fn new(source: &'a dyn Timelines, model: &'a StageModel, (start, end): (Day, Day), params: &FastParams) -> Result<Self, AnalysisError> {
        check_range(start, end)?;
        let joined = || params.scopes.iter().chain(&params.panel).flatten().cloned().collect::<Vec<_>>();
        let scopes = params.scopes.as_ref().map(|_| joined());
        let mut asked = Asked::new(source, model, scopes.as_deref())?;
        let member = asked.watch_state(&params.members)?;
        let act = asked.watch("acts", &params.acts, Some(ACTIVE_DAYS as u32))?;
        Ok(Prepared {
            asked,
            days: (start, end),
            member,
            act,
            peak: params.peak,
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
        let (start, end) = (self.days.0.number(), self.days.1.number());
        let program: &Program = &self.asked.program;
        let mut finder = IntervalFinder::new(program, bucket.masks, bucket.timelines.layout(), start, end);
        Box::new(move |history| {
            let (mut at_start, mut at_end, mut highest) = (0, 0, 0);
            let mut any = false;
            finder.find(history, |Interval { label, first, last }| {
                any |= label > 0;
                if first <= start {
                    at_start = label;
                }
                if last > start {
                    highest = highest.max(label);
                }
                if last == end {
                    at_end = label;
                }
            });
            let reached = if self.peak { highest } else { at_end };
            let advanced = at_start > 0 && reached > at_start;
            let member = states_on(program, history, end) & self.member != 0;
            let is_act = |word: &u64| {
                let day = day_of(*word);
                day > end - ACTIVE_DAYS && day <= end && bucket.masks[class_of(*word)] & self.act != 0
            };
            let thriving = member && history.words.iter().any(is_act);
            bits(&[any, at_start > 0, at_end > 0, advanced, member, thriving, member && at_end == 0])
        })
    }
}

/// FAST of each brand over a range of days.
///
/// # Shape and units
/// `scope`; `fertility` (int64: distinct consumers in any stage on any day from `start` to `end`); `aipl_start`, `aipl_end` (in a stage at the close of these
/// days); `advanced` (in a higher stage at the end than at the start), `advancing_rate` (advanced ÷ aipl_start); `superiority` (members at the
/// close of `end`); `thriving` (members with an act in the 180 days up to `end`), `thriving_rate` (thriving ÷ superiority). Rates are shares
/// of one, null where there is nobody. With a panel: `fertility_percentile`, `advancing_percentile`, `superiority_percentile`, `thriving_percentile` (mid-rank, 0 to 100,
/// among the brands of the panel) and `fertility_index`, `superiority_index` (0 for the least of the panel, 100 for the greatest, on the scale of
/// `ln(1 + x)`); else null.
///
/// # Errors
/// A reversed range; a panel of fewer than 10 brands, unless forced; an unknown behavior; what the source refuses.
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
/// let answer = fast(&events, &model, june, &FastParams::default(), &runtime)?;
/// assert_eq!(answer.table["fertility"].as_primitive::<Int64Type>().values(), &[3]);
/// let reached = fast_people(&events, &model, june, &FastParams::default(), (&brand, "fertility"), &runtime)?;
/// assert_eq!(reached.len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn fast(
    source: &dyn Timelines,
    model: &StageModel,
    (start, end): (Day, Day),
    params: &FastParams,
    runtime: &Runtime<'_>,
) -> Result<Answer, AnalysisError> {
    check_panel(params)?;
    let prepared = Prepared::new(source, model, (start, end), params)?;
    let (found, about) = count_groups::<7>(&prepared, runtime)?;
    let place = |scope: &ScopeValue| find_scope(&about.scopes, scope);
    // A brand of the panel that nothing is known of has nobody.
    let panel: Vec<Option<usize>> = params.panel.iter().flatten().map(|scope| place(scope).ok()).collect();
    let shown: Vec<usize> = match &params.scopes {
        Some(scopes) => {
            let mut shown = scopes.iter().map(place).collect::<Result<Vec<_>, _>>()?;
            shown.sort_unstable();
            shown.dedup();
            shown
        }
        None => (0..about.scopes.len()).collect(),
    };
    let outside: i64 = shown.iter().map(|scope| found[*scope][6]).sum();
    let note =
        || format!("{outside} members are in no stage at the close of {end}; a model in which membership is no stage leaves them out of F");
    let notes = (outside > 0).then(note).into_iter().collect();
    let parameters = [
        ("start", json!(start.to_string())),
        ("end", json!(end.to_string())),
        ("members", json!(params.members)),
        ("acts", json!(params.acts)),
        ("mode", json!(if params.peak { "peak" } else { "endpoint" })),
        (
            "panel",
            json!(
                params
                    .panel
                    .as_ref()
                    .map(|panel| panel.iter().map(ToString::to_string).collect::<Vec<_>>())
            ),
        ),
        (
            "convention",
            json!("the denominator of the advancing rate, percentiles and indices are ours; the platform's index algorithm is not public"),
        ),
    ];
    Ok(prepared.asked.answer(
        columns(&prepared.asked, &about.scopes, &found, &shown, &panel)?,
        ("fast", "distinct consumers; rates are shares of one"),
        &parameters,
        about,
        notes,
        runtime,
    ))
}

fn check_panel(params: &FastParams) -> Result<(), AnalysisError> {
    let Some(panel) = &params.panel else { return Ok(()) };
    let distinct: std::collections::BTreeSet<&ScopeValue> = panel.iter().collect();
    if distinct.len() != panel.len() {
        return Err(AnalysisError::parameter("panel", "names a brand twice"));
    }
    if panel.len() < LEAST_PANEL && !params.force {
        let problem = format!(
            "{} brands are fewer than {LEAST_PANEL}; force=True takes them all the same",
            panel.len()
        );
        return Err(AnalysisError::parameter("panel", problem));
    }
    Ok(())
}

fn columns(
    asked: &Asked<'_>,
    scopes: &[ScopeValue],
    found: &[[i64; 7]],
    shown: &[usize],
    panel: &[Option<usize>],
) -> Result<arrow::array::RecordBatch, AnalysisError> {
    let group = |name: &str| FAST_GROUPS.iter().position(|known| *known == name).unwrap_or_default();
    let count = |name: &'static str| (name, counts(shown.iter().map(|scope| found[*scope][group(name)])));
    let share = |above: &'static str, below: &'static str| {
        move |scope: &usize| ratio(found[*scope][group(above)] as f64, found[*scope][group(below)] as f64)
    };
    let rate = |above, below| shares(shown.iter().map(|scope| (found[*scope][group(above)], found[*scope][group(below)])));
    let number = |name: &'static str| move |scope: &usize| Some(found[*scope][group(name)] as f64);
    let in_panel = |value: &dyn Fn(&usize) -> Option<f64>, of: fn(f64, &[f64]) -> Option<f64>, absent: Option<f64>| -> ArrayRef {
        let others: Vec<f64> = panel.iter().filter_map(|scope| scope.as_ref().map_or(absent, value)).collect();
        figures(shown.iter().map(|scope| of(value(scope)?, &others)))
    };
    table([
        ("scope", scope_array(scopes, asked.scope_type(), shown.iter().copied())),
        count("fertility"),
        count("aipl_start"),
        count("aipl_end"),
        count("advanced"),
        ("advancing_rate", rate("advanced", "aipl_start")),
        count("superiority"),
        count("thriving"),
        ("thriving_rate", rate("thriving", "superiority")),
        ("fertility_percentile", in_panel(&number("fertility"), percentile, Some(0.0))),
        ("advancing_percentile", in_panel(&share("advanced", "aipl_start"), percentile, None)),
        ("superiority_percentile", in_panel(&number("superiority"), percentile, Some(0.0))),
        ("thriving_percentile", in_panel(&share("thriving", "superiority"), percentile, None)),
        ("fertility_index", in_panel(&number("fertility"), log_index, Some(0.0))),
        ("superiority_index", in_panel(&number("superiority"), log_index, Some(0.0))),
    ])
}

/// The consumers of a group of [`fast`]: `fertility`, `aipl_start`, `aipl_end`, `advanced`, `superiority`, `thriving`, or `outside` (members in no stage
/// at the end).
///
/// # Errors
/// As [`fast`]; an unknown scope or group.
pub fn fast_people(
    source: &dyn Timelines,
    model: &StageModel,
    (start, end): (Day, Day),
    params: &FastParams,
    (scope, group): (&ScopeValue, &str),
    runtime: &Runtime<'_>,
) -> Result<Audience, AnalysisError> {
    let bit = bit_of("who", group, &FAST_GROUPS)?;
    let prepared = Prepared::new(source, model, (start, end), params)?;
    if let Some(scopes) = &params.scopes {
        // The panel is asked for besides, and has no rows.
        find_scope(&convert_scopes(source, prepared.asked.program.scope, scopes)?, scope)?;
    }
    let made = format!("{scope} FAST {group} from {start} to {end} ({})", model.id);
    people_of_group(&prepared, scope, bit, &made, runtime)
}
