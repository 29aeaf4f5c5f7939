//! One consumer: the stages over time, and the events themselves.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, Date32Array, RecordBatch};
use serde_json::json;

use crate::analyses::asked::{AnalysisError, Asked, arrow_fault};
use crate::analyses::labels::{scope_array, stage_array};
use crate::analyses::outcome::{Answer, Report};
use crate::base::{Day, IdValue};
use crate::model::StageModel;
use crate::stage::{Interval, IntervalFinder};
use crate::timeline::{IdentityCounts, Question, Runtime, ScopeValue, Timelines};

/// The stages of one consumer: every maximal run of days in one stage.
///
/// # Shape
/// `scope`, `stage` (utf8 code), `first_day` and `last_day` (date32), in order of scope and day; days out of every stage are the gaps.
/// Later days are as they will be if nothing more happens; `last_day` is null where a stage then lasts to the end of time (2199-12-31). An unknown
/// consumer has no rows.
///
/// # Errors
/// A model that does not fit; what the source refuses.
pub fn history(
    source: &dyn Timelines,
    model: &StageModel,
    consumer: &IdValue,
    scopes: Option<&[ScopeValue]>,
    runtime: &Runtime<'_>,
) -> Result<Answer, AnalysisError> {
    let asked = Asked::new(source, model, scopes)?;
    let question = Question {
        consumer: Some(consumer),
        ..asked.question(Day::MIN, Day::MAX)
    };
    let runs: Mutex<Vec<(usize, Interval)>> = Mutex::new(Vec::new());
    let wanted = consumer.to_type(source.id_kind("consumer"));
    let about = source.visit(&question, runtime, &|bucket| {
        let mut finder = IntervalFinder::new(
            &asked.program,
            bucket.masks,
            bucket.timelines.layout(),
            Day::MIN.number(),
            Day::MAX.number(),
        );
        let own = wanted.as_ref().and_then(|wanted| bucket.ids.find(wanted));
        bucket.timelines.for_each_history(|history| {
            if own == Some(history.consumer as usize) {
                finder.find(&history, |run| {
                    if run.label != 0 {
                        runs.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push((history.scope as usize, run));
                    }
                });
            }
        });
    })?;
    let mut runs = runs.into_inner().unwrap_or_else(PoisonError::into_inner);
    runs.sort_by_key(|(scope, run)| (*scope, run.first));
    let last = |run: &Interval| (run.last < Day::MAX.number()).then_some(run.last);
    let table = RecordBatch::try_from_iter_with_nullable([
        (
            "scope",
            scope_array(&about.scopes, asked.scope_type(), runs.iter().map(|(scope, _)| *scope)),
            false,
        ),
        (
            "stage",
            stage_array(model, runs.iter().map(|(_, run)| usize::from(run.label) - 1)),
            false,
        ),
        (
            "first_day",
            Arc::new(Date32Array::from_iter_values(runs.iter().map(|(_, run)| run.first))) as ArrayRef,
            false,
        ),
        (
            "last_day",
            Arc::new(Date32Array::from_iter(runs.iter().map(|(_, run)| last(run)))),
            true,
        ),
    ])
    .map_err(arrow_fault)?;
    let nothing = |scope: usize| runs.iter().all(|(of, _)| *of != scope);
    let notes = asked.empty_scopes(&about.scopes, nothing, "the consumer is never in a stage");
    let unit = "maximal runs of days in one stage; last_day null: never ends unless something happens";
    Ok(Answer {
        table,
        recipe: asked.recipe("history", unit, &[]),
        report: asked.report(about.tally, about.elapsed, Some(&about.universe), notes, runtime),
    })
}

/// One consumer's events in order of time: `time` (timestamp in µs with the events' zone), `brand`, `behavior`, then every other
/// mapped field; of all brands or one. Also how many events there are of all brands.
///
/// An unknown consumer has no rows. Identifiers of people are not put into the recipe.
///
/// # Errors
/// What the source refuses.
pub fn timeline(
    source: &dyn Timelines,
    consumer: &IdValue,
    brand: Option<&IdValue>,
    runtime: &Runtime<'_>,
) -> Result<(Answer, usize), AnalysisError> {
    let log = source.log(None, Some(consumer), runtime)?;
    let (table, total) = log.timeline(consumer, brand).map_err(arrow_fault)?;
    let (elapsed, threads) = log.effort();
    let answer = Answer {
        table,
        report: Report {
            tally: log.tally().clone(),
            notes: source
                .expired()
                .map(|day| format!("events before {day} are expired"))
                .into_iter()
                .collect(),
            elapsed,
            threads,
            identity: IdentityCounts::of(log.universe()),
        },
        recipe: json!({
            "function": "timeline",
            "scope": brand.map(ToString::to_string),
            "schema": source.schema().to_json(),
            "tz": source.zone().name(),
            "source": source.fingerprint(),
            "unit": "events",
            "version": env!("CARGO_PKG_VERSION"),
        }),
    };
    Ok((answer, total))
}
