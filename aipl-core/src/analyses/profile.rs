//! What is special in an audience: each tag's share of it beside that of a base, as a target group index.
//!
//! Definition: `python/docs/definitions/assets.md` (TGI; definitions §6.1). The index is sourced; the interval and the standardized difference are field standard.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, StringArray};
use hashbrown::HashMap;
use serde_json::json;

use crate::analyses::asked::{AnalysisError, Asked, Within, check_range};
use crate::analyses::dimensions::{DimensionReader, Dimensions, check_distinct};
use crate::analyses::labels::counts;
use crate::analyses::outcome::Answer;
use crate::analyses::totals::{CellValue, SMALL, bit_of, figures, people_where, shares, table, total};
use crate::audience::Audience;
use crate::base::statistics::{ratio, standardized_difference, target_group_index};
use crate::base::{Day, IdValue};
use crate::timeline::rows::{class_of, day_of};
use crate::timeline::{Attributes, Bucket, History, Question, Runtime, ScopeValue, Timelines};

/// Parameters of [`profile`].
#[derive(Debug, Clone)]
pub struct ProfileParams {
    /// Label fields of events, or tags of consumers.
    pub by: Vec<String>,
    /// Whom the audience is compared with; default: everybody with an event that is looked at.
    pub base: Option<Audience>,
    /// Events of these days.
    pub days: (Day, Day),
    /// Only events of these behaviors; all if none are named.
    pub behaviors: Vec<String>,
    /// Only events with these brands.
    pub scopes: Option<Vec<ScopeValue>>,
    /// Tags of consumers.
    pub attributes: Option<Attributes>,
}

/// How many of the audience and of the base have a value.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    audience: i64,
    base: i64,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, more: Count) {
        self.audience += more.audience;
        self.base += more.base;
    }
}

/// Consumers by dimension and value, and in all.
#[derive(Default)]
struct Seen {
    all: Count,
    values: HashMap<(usize, u64), Count>,
}

struct Prepared<'a> {
    asked: Asked<'a>,
    dimensions: Dimensions,
    seen: u64,
    audience: Arc<Within>,
    base: Option<Arc<Within>>,
    days: (Day, Day),
}

impl<'a> Prepared<'a> {
    fn new(source: &'a dyn Timelines, audience: &Audience, params: &ProfileParams) -> Result<Self, AnalysisError> {
        check_range(params.days.0, params.days.1)?;
        if params.by.is_empty() {
            return Err(AnalysisError::parameter("by", "the list of fields and tags is empty"));
        }
        check_distinct("by", &params.by)?;
        let mut asked = Asked::of_events(source, params.scopes.as_deref())?;
        let behaviors = if params.behaviors.is_empty() {
            source.schema().vocabulary()
        } else {
            params.behaviors.clone()
        };
        let seen = asked.watch("behaviors", &behaviors, Some(1))?;
        let dimensions = Dimensions::new(&mut asked, "by", &params.by, params.attributes.as_ref())?;
        let audience = asked.within("audience", audience)?;
        let base = params.base.as_ref().map(|base| asked.within("base", base)).transpose()?;
        Ok(Prepared {
            asked,
            dimensions,
            seen,
            audience,
            base,
            days: params.days,
        })
    }

    fn question(&self) -> Question<'_> {
        self.asked.question(self.days.0, self.days.1)
    }

    /// Calls `visit` with every consumer who has an event that is looked at, and the dimensions and values that he has; 0 where he has none.
    fn each_consumer(&self, bucket: &Bucket<'_>, mut visit: impl FnMut(u32, &[(usize, u64)])) {
        let reader = self.dimensions.reader(bucket);
        let (mut consumer, mut values) = (None, Vec::new());
        bucket.timelines.for_each_history(|history| {
            if consumer.is_some_and(|consumer| consumer != history.consumer) {
                self.finish(consumer.take(), &mut values, &mut visit);
            }
            if self.add(bucket, &reader, &history, &mut values) {
                consumer = Some(history.consumer);
            }
        });
        self.finish(consumer, &mut values, &mut visit);
    }

    /// Adds the values of a history's events; tells whether there are any events that are looked at.
    fn add(&self, bucket: &Bucket<'_>, reader: &DimensionReader<'_>, history: &History<'_>, values: &mut Vec<(usize, u64)>) -> bool {
        let days = self.days.0.number()..=self.days.1.number();
        let mut any = false;
        for (row, &word) in history.words.iter().enumerate() {
            if bucket.masks[class_of(word)] & self.seen == 0 || !days.contains(&day_of(word)) {
                continue;
            }
            for which in 0..self.dimensions.len() {
                // A consumer's own tag is the same in every row.
                if !any || !self.dimensions.is_tag(which) {
                    values.push((which, reader.value(history, row, which)));
                }
            }
            any = true;
        }
        any
    }

    fn finish(&self, consumer: Option<u32>, values: &mut Vec<(usize, u64)>, visit: &mut impl FnMut(u32, &[(usize, u64)])) {
        if let Some(consumer) = consumer {
            values.sort_unstable();
            values.dedup();
            // Whoever has a value is not one without.
            let several: Vec<bool> = (0..self.dimensions.len())
                .map(|which| values.iter().any(|(of, value)| *of == which && *value > 0))
                .collect();
            values.retain(|(which, value)| *value > 0 || !several[*which]);
            visit(consumer, values);
        }
        values.clear();
    }
}

/// The share of each tag value in an audience, beside its share in a base.
///
/// # Shape and units
/// `tag`, `value` (utf8; null: those without a value), `audience` (int64: consumers of the audience with the value), `audience_total`, `share` (of one), `base`, `base_total`,
/// `base_share`, `tgi` (100 × share ÷ base_share), `tgi_low`, `tgi_high` (95 %), `difference` (standardized: (share − base_share) ÷ the mean standard deviation), `small` (fewer
/// than 30 of the audience: too few to act on). In order of `by` and value. A consumer with several values of a field counts once for each, so
/// that shares of a field may add up to more than one. Only consumers with an event that is looked at count, of both groups; the
/// interval is that of independent samples, wider than need be where the audience lies in the base. Null where there is
/// nothing to divide by.
///
/// # Errors
/// A reversed range; an unknown field, tag or behavior; what the source refuses.
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
/// let buyers = snapshot(&events, &model, june.1, &SnapshotParams::default(), &runtime)?.audience(&brand, "P")?;
/// let params = ProfileParams {
///     by: vec!["category".into()],
///     base: None,
///     days: june,
///     behaviors: Vec::new(),
///     scopes: None,
///     attributes: None,
/// };
/// let answer = profile(&events, &buyers, &params, &runtime)?;
/// // coffee, then tea
/// assert_eq!(answer.table["audience"].as_primitive::<Int64Type>().values(), &[1, 0]);
/// assert_eq!(profile_people(&events, &buyers, &params, ("audience", "category", CellValue::Is("coffee")), &runtime)?.ids()?, ["u2".into()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn profile(
    source: &dyn Timelines,
    audience: &Audience,
    params: &ProfileParams,
    runtime: &Runtime<'_>,
) -> Result<Answer, AnalysisError> {
    let prepared = Prepared::new(source, audience, params)?;
    let each = |bucket: &Bucket<'_>, seen: &mut Seen| {
        let members = prepared.audience.members(bucket);
        let base = prepared.base.as_ref().map(|base| base.members(bucket));
        prepared.each_consumer(bucket, |consumer, values| {
            let own = Count {
                audience: i64::from(members.contains(consumer)),
                base: i64::from(base.as_ref().is_none_or(|base| base.contains(consumer))),
            };
            if own.audience + own.base == 0 {
                return;
            }
            seen.all += own;
            values.iter().for_each(|key| *seen.values.entry(*key).or_default() += own);
        });
    };
    let merge = |all: &mut Seen, more: Seen| {
        all.all += more.all;
        more.values
            .into_iter()
            .for_each(|(key, count)| *all.values.entry(key).or_default() += count);
    };
    let (seen, about) = total(&prepared.asked, &prepared.question(), runtime, each, merge)?;
    let mut rows: Vec<((usize, u64), Count)> = seen.values.into_iter().collect();
    rows.sort_unstable_by_key(|(key, _)| *key);
    let all = seen.all;
    let left = audience.len() as i64 - all.audience;
    let note = || format!("{left} of the audience have no event that is looked at, and do not count");
    let index = |count: &Count| target_group_index((count.audience, all.audience), (count.base, all.base));
    let interval = |count: &Count| index(count).and_then(|index| index.interval);
    let difference = |count: &Count| {
        let share = ratio(count.audience as f64, all.audience as f64)?;
        standardized_difference(share, ratio(count.base as f64, all.base as f64)?)
    };
    let value = |(which, number): (usize, u64)| {
        let values = prepared.dimensions.values(&about.labels, which);
        (number > 0).then(|| values[number as usize - 1].to_string())
    };
    let columns: [(&str, ArrayRef); 13] = [
        (
            "tag",
            Arc::new(StringArray::from_iter_values(rows.iter().map(|((which, _), _)| &params.by[*which]))),
        ),
        ("value", Arc::new(StringArray::from_iter(rows.iter().map(|(key, _)| value(*key))))),
        ("audience", counts(rows.iter().map(|(_, count)| count.audience))),
        ("audience_total", counts(rows.iter().map(|_| all.audience))),
        ("share", shares(rows.iter().map(|(_, count)| (count.audience, all.audience)))),
        ("base", counts(rows.iter().map(|(_, count)| count.base))),
        ("base_total", counts(rows.iter().map(|_| all.base))),
        ("base_share", shares(rows.iter().map(|(_, count)| (count.base, all.base)))),
        ("tgi", figures(rows.iter().map(|(_, count)| index(count).map(|index| index.value)))),
        (
            "tgi_low",
            figures(rows.iter().map(|(_, count)| interval(count).map(|(low, _)| low))),
        ),
        (
            "tgi_high",
            figures(rows.iter().map(|(_, count)| interval(count).map(|(_, high)| high))),
        ),
        ("difference", figures(rows.iter().map(|(_, count)| difference(count)))),
        (
            "small",
            Arc::new(BooleanArray::from_iter(rows.iter().map(|(_, count)| Some(count.audience < SMALL)))),
        ),
    ];
    let parameters = [
        ("by", json!(params.by)),
        ("audience", json!(audience.made())),
        (
            "base",
            json!(
                params
                    .base
                    .as_ref()
                    .map_or("everybody with an event that is looked at", Audience::made)
            ),
        ),
        ("start", json!(params.days.0.to_string())),
        ("end", json!(params.days.1.to_string())),
        ("behaviors", json!(params.behaviors)),
        ("convention", json!("TGI as published; interval of independent samples")),
    ];
    Ok(prepared.asked.answer(
        table(columns)?,
        ("profile", "distinct consumers; shares of one; tgi 100 is as in the base"),
        &parameters,
        about,
        (left > 0).then(note).into_iter().collect(),
        runtime,
    ))
}

/// Groups of [`profile`], in order of their bits.
pub const PROFILE_GROUPS: [&str; 2] = ["audience", "base"];

/// The consumers of a group with a value of a tag; with any, all of the group that the shares are of.
///
/// # Errors
/// As [`profile`]; a tag that is not among `by`; an unknown group; a value that is not there.
pub fn profile_people(
    source: &dyn Timelines,
    audience: &Audience,
    params: &ProfileParams,
    (group, tag, value): (&str, &str, CellValue<'_>),
    runtime: &Runtime<'_>,
) -> Result<Audience, AnalysisError> {
    let of_base = bit_of("who", group, &PROFILE_GROUPS)? == 2;
    let prepared = Prepared::new(source, audience, params)?;
    let Some(which) = params.by.iter().position(|name| name == tag) else {
        return Err(AnalysisError::parameter(
            "tag",
            format!("{tag:?} is not one of {}", params.by.join(", ")),
        ));
    };
    let whose = match (of_base, &params.base) {
        (false, _) => audience.made(),
        (true, Some(base)) => base.made(),
        (true, None) => "everybody",
    };
    let made = format!("{whose} with {tag} {value}");
    let (asked, dimensions, question) = (&prepared.asked, &prepared.dimensions, prepared.question());
    let known = |labels: &[Vec<IdValue>]| dimensions.check_value(labels, which, "value", value);
    let group = if of_base {
        prepared.base.as_ref()
    } else {
        Some(&prepared.audience)
    };
    people_where(asked, &question, None, &made, runtime, known, |bucket, _, push| {
        let Some(wanted) = dimensions.wanted(bucket.labels, which, value) else {
            return;
        };
        let members = group.map(|group| group.members(bucket));
        prepared.each_consumer(bucket, |consumer, values| {
            let inside = members.as_ref().is_none_or(|members| members.contains(consumer));
            if inside && values.iter().any(|(of, number)| *of == which && wanted.is(*number)) {
                push(consumer);
            }
        });
    })
}
