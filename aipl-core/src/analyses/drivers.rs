//! What was seen between two days by those who moved from one stage to another, and by those who did not.
//!
//! Definitions: `python/docs/definitions/flow.md` (trigger and barrier). No formula is published; all figures here are ours. They
//! show association, not cause: whoever is about to buy also sees more.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use serde_json::json;

use crate::analyses::asked::{AnalysisError, Asked, Within, arrow_fault, check_range};
use crate::analyses::labels::{counts, percents};
use crate::analyses::outcome::Answer;
use crate::audience::Audience;
use crate::base::Day;
use crate::base::suggest::hint;
use crate::event::schema::MEASURE_FIELDS;
use crate::event::{BehaviorCode, EventSchema};
use crate::model::data::OUT;
use crate::model::{Program, StageModel};
use crate::stage::{Interval, IntervalFinder, Labeler};
use crate::timeline::log::NO_LABEL;
use crate::timeline::rows::{Toggle, day_of};
use crate::timeline::timelines::refuse_expired;
use crate::timeline::{Bucket, EventLog, Folded, History, Question, Runtime, ScopeValue, Timelines, fold};

/// Fewer movers than this who saw a value make its figures too uncertain to act on.
const SMALL: i64 = 30;
/// The normal quantile of a 95 % interval.
const QUANTILE: f64 = 1.959_963_984_540_054;

/// Optional parameters of [`transition_drivers`].
#[derive(Debug, Clone, Default)]
pub struct DriverParams {
    /// Only these consumers.
    pub within: Option<Audience>,
}

/// Compares what movers and stayers saw from the day after `start` to `end`.
///
/// The base is everybody in stage `from` at the close of `start`. Movers are those of the base in one of the stages `to` at the close
/// of `end` (`out` asks what those saw who were lost); stayers are all others of the base. `by` is `behavior` or a mapped
/// label field: `touchpoint`, `channel`, `item`, `category`, `store`, `city` or an own attribute.
///
/// # Shape and units
/// One row a value that anybody of the base saw, most movers first: `value` (utf8); `movers`, `stayers` who saw it and
/// `movers_total`, `stayers_total` (int64); `coverage_percent` of the base, `mover_percent`, `stayer_percent`; `rate_with`, `rate_without` (percent who
/// moved of those who saw it, and of those who did not); `lift` (their ratio); `tgi` (100 × mover coverage ÷ stayer coverage)
/// with `tgi_low`, `tgi_high` (95 %, from the logarithm of the ratio of two independent shares); `last_touch` (movers for whom it was
/// the last value seen before the event that moved them) and `last_touch_percent` of all movers; `small` (fewer than
/// 30 movers saw it). Null where a denominator is zero; `tgi` also where no mover saw the value.
///
/// # Errors
/// A reversed range; an unknown stage, scope or field; what the source refuses.
#[allow(
    clippy::too_many_arguments,
    reason = "a transition has this many parts; the Python function names them"
)]
pub fn transition_drivers(
    source: &dyn Timelines,
    model: &StageModel,
    (start, end): (Day, Day),
    scope: &ScopeValue,
    (from, to): (&str, &[&str]),
    by: &str,
    params: &DriverParams,
    runtime: &Runtime<'_>,
) -> Result<Answer, AnalysisError> {
    check_range(start, end)?;
    if start == end {
        return Err(AnalysisError::parameter(
            "end",
            format!("{end} is also start; a transition needs two days"),
        ));
    }
    check_field(by, source.schema())?;
    let asked = Asked::new(source, model, Some(std::slice::from_ref(scope)))?;
    let label = |stage: &str| match stage {
        OUT => Ok(0),
        _ => model.stage_index(stage).map(|place| place as u8 + 1),
    };
    if from == OUT {
        return Err(AnalysisError::parameter(
            "from_stage",
            "who is out is not known one by one; name a stage",
        ));
    }
    let transition = Transition {
        days: (start.number(), end.number()),
        from: model.stage_index(from)? as u8 + 1,
        to: to.iter().map(|stage| label(stage)).collect::<Result<Vec<_>, _>>()?,
    };
    if transition.to.is_empty() || transition.to.contains(&transition.from) {
        return Err(AnalysisError::parameter(
            "to_stage",
            format!("name at least one stage, and not {from:?} itself"),
        ));
    }
    let mut fields: Vec<String> = asked.program.fields().into_iter().map(str::to_owned).collect();
    fields.extend((by != "behavior").then(|| by.to_owned()));
    fields.retain(|field| source.schema().column(field).is_some());
    // A log of what is left would answer without a word of what is gone.
    refuse_expired(source, &asked.question(start, end))?;
    let log = source.log(Some(&fields), None, runtime)?;
    let within = params.within.as_ref().map(|audience| Within::new(audience, &log)).transpose()?;
    let question = Question {
        places: true,
        ..asked.question(start, end)
    };
    let Folded { buckets, about } = fold(&log, &question, runtime, |bucket| {
        transition.tally(&bucket, &asked, &log, by, within.as_ref())
    })?;
    let mut sums = Sums::default();
    for bucket in buckets {
        sums.add(bucket?);
    }
    let nobody = |_: usize| sums.movers + sums.stayers == 0;
    let notes = asked.empty_scopes(&about.scopes, nobody, &format!("nobody is in {from} at the close of {start}"));
    let parameters = [
        ("start", json!(start.to_string())),
        ("end", json!(end.to_string())),
        ("from_stage", json!(from)),
        ("to_stage", json!(to)),
        ("by", json!(by)),
        ("within", json!(params.within.as_ref().map(Audience::made))),
        ("source_of_figures", json!("ours; association, not cause")),
    ];
    let mut tally = log.tally().clone();
    tally.rows_kept = about.tally.rows_kept;
    Ok(Answer {
        table: sums.table().map_err(arrow_fault)?,
        recipe: asked.recipe(
            "transition_drivers",
            "distinct consumers in from_stage at the close of start",
            &parameters,
        ),
        report: asked.report(tally, about.elapsed, Some(&about.universe), notes, runtime),
    })
}

fn check_field(by: &str, schema: &EventSchema) -> Result<(), AnalysisError> {
    // Every order and every event is a value of its own, which nobody else sees.
    const NOT_LABELS: [&str; 5] = ["consumer", "brand", "time", "order_id", "event_id"];
    let mut choices = vec!["behavior"];
    let mapped = schema.mapped().map(|(role, _)| role);
    choices.extend(mapped.filter(|role| *role != "behavior" && !NOT_LABELS.contains(role) && !MEASURE_FIELDS.contains(role)));
    if choices.contains(&by) {
        return Ok(());
    }
    let tail = hint(by, choices.iter().copied());
    Err(AnalysisError::parameter(
        "by",
        format!("{by:?} is not a mapped label field{tail}; choices: {}", choices.join(", ")),
    ))
}

struct Transition {
    days: (i32, i32),
    from: u8,
    to: Vec<u8>,
}

/// What movers and stayers saw, by value.
#[derive(Default)]
struct Sums {
    movers: i64,
    stayers: i64,
    values: BTreeMap<String, Seen>,
}

#[derive(Default, Clone, Copy)]
struct Seen {
    movers: i64,
    stayers: i64,
    last_touch: i64,
}

impl Transition {
    fn tally(
        &self,
        bucket: &Bucket<'_>,
        asked: &Asked<'_>,
        log: &EventLog,
        by: &str,
        within: Option<&Within>,
    ) -> Result<Sums, AnalysisError> {
        let (start, end) = self.days;
        let members = within.map(|within| within.members(bucket));
        let (texts, labels) = log.labels_of(bucket.number, by)?;
        let events = log.events_of(bucket.number);
        let layout = bucket.timelines.layout();
        let mut finder = IntervalFinder::new(&asked.program, bucket.masks, layout, start, end);
        let mut sums = Sums::default();
        bucket.timelines.for_each_history(|history| {
            if members.as_ref().is_some_and(|members| !members.contains(history.consumer)) {
                return;
            }
            let (mut first, mut last, mut reached) = (0, 0, None);
            finder.find(&history, |Interval { label, first: from, .. }| {
                if from <= start {
                    first = label;
                } else if reached.is_none() && self.to.contains(&label) {
                    reached = Some(from);
                }
                last = label;
            });
            if first != self.from {
                return;
            }
            let place = |at: usize| history.payloads[at * layout.width() + layout.place_at()] as usize;
            let mut touches: Vec<Touch<'_>> = (0..history.words.len())
                .map(|at| (at, place(at)))
                .filter(|(_, row)| events.days[*row] > start)
                .map(|(at, row)| Touch {
                    day: events.days[row],
                    instant: events.instants[row],
                    code: events.codes[row],
                    value: (labels[row] != NO_LABEL).then(|| texts.value(labels[row] as usize)),
                    at,
                })
                .collect();
            touches.sort_unstable();
            let mut values: Vec<&str> = touches.iter().filter_map(|touch| touch.value).collect();
            values.sort_unstable();
            values.dedup();
            let moved = self.to.contains(&last);
            for value in values {
                let seen = sums.values.entry(value.to_owned()).or_default();
                (seen.movers, seen.stayers) = (seen.movers + i64::from(moved), seen.stayers + i64::from(!moved));
            }
            (sums.movers, sums.stayers) = (sums.movers + i64::from(moved), sums.stayers + i64::from(!moved));
            if let (true, Some(day)) = (moved, reached) {
                let labeler = Labeler::new(&asked.program, bucket.masks, layout, day);
                let before = self.touches_before(&asked.program, labeler, &history, &touches, day);
                if let Some(value) = touches[..before].iter().rev().find_map(|touch| touch.value) {
                    sums.values.entry(value.to_owned()).or_default().last_touch += 1;
                }
            }
        });
        Ok(sums)
    }

    /// How many of the touches, which are in order, come before the event that moved the consumer on `day`. All up to the end of
    /// the day, if no event did: a window closed, or a state of a table began or ended.
    fn touches_before(&self, program: &Program, mut labeler: Labeler<'_>, history: &History<'_>, touches: &[Touch<'_>], day: i32) -> usize {
        let width = labeler.layout().width();
        let earlier: Vec<usize> = (0..history.words.len()).filter(|&at| day_of(history.words[at]) < day).collect();
        let mut words: Vec<u64> = earlier.iter().map(|&at| history.words[at]).collect();
        let payload = |at: usize| &history.payloads[at * width..(at + 1) * width];
        let mut payloads: Vec<u64> = earlier.iter().flat_map(|&at| payload(at).iter().copied()).collect();
        let mut toggles: Vec<(u32, Toggle)> = history.toggles.iter().filter(|(_, toggle)| toggle.day < day).copied().collect();
        let mut reached = |words: &[u64], payloads: &[u64], toggles: &[(u32, Toggle)]| {
            let so_far = History {
                words,
                payloads,
                toggles,
                ..*history
            };
            self.to.contains(&labeler.label(&so_far))
        };
        let first = touches.partition_point(|touch| touch.day < day);
        let end = touches.partition_point(|touch| touch.day <= day);
        if reached(&words, &payloads, &toggles) {
            return end;
        }
        let mut kinds = Vec::new();
        for (count, touch) in touches.iter().enumerate().take(end).skip(first) {
            let word = history.words[touch.at];
            words.push(word);
            payloads.extend_from_slice(payload(touch.at));
            let switch = program.toggles[usize::from(touch.code)];
            let switched = |toggle: &Toggle| {
                toggle.instant == touch.instant && switch.is_some_and(|switch| (switch.state, !switch.on) == (toggle.state, toggle.off))
            };
            if let Some(toggle) = history.toggles.iter().find(|(_, toggle)| switched(toggle)) {
                toggles.push(*toggle);
                toggles.sort_unstable();
            } else if program.counts_once() && kinds.contains(&word) {
                // Another event of a kind that the day has already changes nothing.
                continue;
            }
            kinds.push(word);
            if reached(&words, &payloads, &toggles) {
                return count;
            }
        }
        end
    }
}

/// An event that a consumer saw, in order of time; at one instant in order of behavior, then of value.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Touch<'a> {
    day: i32,
    instant: i64,
    code: BehaviorCode,
    value: Option<&'a str>,
    /// The place among the history's words.
    at: usize,
}

impl Seen {
    fn add(&mut self, other: Seen) {
        self.movers += other.movers;
        self.stayers += other.stayers;
        self.last_touch += other.last_touch;
    }
}

impl Sums {
    fn add(&mut self, other: Sums) {
        self.movers += other.movers;
        self.stayers += other.stayers;
        for (value, seen) in other.values {
            self.values.entry(value).or_default().add(seen);
        }
    }

    fn table(self) -> Result<RecordBatch, arrow::error::ArrowError> {
        let (movers, stayers) = (self.movers, self.stayers);
        let mut rows: Vec<(String, Seen)> = self.values.into_iter().collect();
        rows.sort_by(|left, right| right.1.movers.cmp(&left.1.movers).then_with(|| left.0.cmp(&right.0)));
        let float = |of: &dyn Fn(&Seen) -> Option<f64>| Arc::new(Float64Array::from_iter(rows.iter().map(|row| of(&row.1)))) as ArrayRef;
        let percent = |of: &dyn Fn(&Seen) -> (i64, i64)| {
            percents(rows.iter().map(|row| {
                let (count, base) = of(&row.1);
                (count, Some(base))
            }))
        };
        let count = |of: &dyn Fn(&Seen) -> i64| counts(rows.iter().map(|row| of(&row.1)));
        let same = |value: i64| Arc::new(Int64Array::from(vec![value; rows.len()])) as ArrayRef;
        let bounds = |seen: &Seen, sign: f64| index(seen, movers, stayers).map(|(tgi, error)| tgi * (sign * QUANTILE * error).exp());
        RecordBatch::try_from_iter_with_nullable([
            (
                "value",
                Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0.as_str()))) as ArrayRef,
                false,
            ),
            ("movers", count(&|seen| seen.movers), false),
            ("stayers", count(&|seen| seen.stayers), false),
            ("movers_total", same(movers), false),
            ("stayers_total", same(stayers), false),
            (
                "coverage_percent",
                percent(&|seen| (seen.movers + seen.stayers, movers + stayers)),
                true,
            ),
            ("mover_percent", percent(&|seen| (seen.movers, movers)), true),
            ("stayer_percent", percent(&|seen| (seen.stayers, stayers)), true),
            ("rate_with", percent(&|seen| (seen.movers, seen.movers + seen.stayers)), true),
            (
                "rate_without",
                percent(&|seen| (movers - seen.movers, movers - seen.movers + stayers - seen.stayers)),
                true,
            ),
            ("lift", float(&|seen| lift(seen, movers, stayers)), true),
            ("tgi", float(&|seen| index(seen, movers, stayers).map(|(tgi, _)| tgi)), true),
            ("tgi_low", float(&|seen| bounds(seen, -1.0)), true),
            ("tgi_high", float(&|seen| bounds(seen, 1.0)), true),
            ("last_touch", count(&|seen| seen.last_touch), false),
            ("last_touch_percent", percent(&|seen| (seen.last_touch, movers)), true),
            (
                "small",
                Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.1.movers < SMALL)))),
                false,
            ),
        ])
    }
}

/// The rate of those who saw it over the rate of those who did not.
fn lift(seen: &Seen, movers: i64, stayers: i64) -> Option<f64> {
    let rate = |movers: i64, all: i64| (all > 0).then(|| movers as f64 / all as f64);
    let with = rate(seen.movers, seen.movers + seen.stayers)?;
    let without = rate(movers - seen.movers, movers - seen.movers + stayers - seen.stayers)?;
    (without > 0.0).then(|| with / without)
}

/// TGI of movers against stayers, and the standard error of its logarithm; none where nobody of either saw it.
fn index(seen: &Seen, movers: i64, stayers: i64) -> Option<(f64, f64)> {
    if seen.movers == 0 || seen.stayers == 0 {
        return None;
    }
    let (x1, x0) = (seen.movers as f64, seen.stayers as f64);
    let (p1, p0) = (x1 / movers as f64, x0 / stayers as f64);
    Some((100.0 * p1 / p0, ((1.0 - p1) / x1 + (1.0 - p0) / x0).sqrt()))
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test says what it expects")]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_that_of_the_definitions() {
        // Definitions 6.1, against a base of 6,600 of 100,000.
        let rounded = |value: f64| (value * 10.0).round() / 10.0;
        for (movers, total, expected) in [(89, 1000, [134.8, 110.4, 164.6]), (9, 100, [136.4, 73.1, 254.4])] {
            let seen = Seen {
                movers,
                stayers: 6_600,
                last_touch: 0,
            };
            let (tgi, error) = index(&seen, total, 100_000).expect("an index");
            let found = [0.0, -1.0, 1.0].map(|sign: f64| rounded(tgi * (sign * QUANTILE * error).exp()));
            assert_eq!(found, expected);
        }
    }
}
