//! Random questions, and the twin's answer for every day.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::{BTreeMap, BTreeSet};

use aipl_core::analyses::Answer;
use aipl_core::model::{ScopeKind, StageModel};
use aipl_core::source::Events;
use aipl_core::timeline::{EventLog, Runtime, ScopeValue, Timelines};
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::logs;
use super::random::{self, FIRST_DAY};
use super::twin::{self, Event, Period};

pub type Checked = Result<(), TestCaseError>;

/// A random question: the model, the rows, and the same rows as events and as a log.
pub struct World {
    pub model: StageModel,
    pub rows: Vec<Event>,
    pub periods: Vec<Period>,
    pub events: Events,
    pub log: EventLog,
}

impl World {
    pub fn new((model, rows, periods, rows_a_batch): Drawn) -> World {
        let periods = if model.scope == ScopeKind::Brand { periods } else { Vec::new() };
        let events = logs::open(&rows, &periods, rows_a_batch);
        let log = events.log(None, None, &Runtime::default()).expect("loads");
        World {
            model,
            rows,
            periods,
            events,
            log,
        }
    }

    /// The same question to events and log; both must say the same. Gives what they say.
    pub fn ask(&self, question: impl Fn(&dyn Timelines) -> Answer) -> Result<Answer, TestCaseError> {
        let (by_events, by_log) = (question(&self.events), question(&self.log));
        prop_assert_eq!(&by_events.table, &by_log.table);
        prop_assert_eq!(&by_events.recipe, &by_log.recipe);
        prop_assert_eq!(&by_events.report.notes, &by_log.report.notes);
        Ok(by_events)
    }

    pub fn codes(&self) -> Vec<String> {
        self.model.codes().map(str::to_owned).collect()
    }

    pub fn days(&self, last: i32) -> Days {
        let codes = self.codes();
        let place = |code: &String| 1 + codes.iter().position(|known| known == code).expect("a stage");
        let mut days = Vec::new();
        for day in FIRST_DAY..=last {
            let mut scopes: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
            for ((consumer, scope), code) in twin::labels(&self.model, &self.rows, &self.periods, day) {
                scopes.entry(scope).or_default().insert(consumer, place(&code));
            }
            days.push(scopes);
        }
        Days { codes, days }
    }
}

/// The twin's labels by scope and consumer, of every day since the first on which anything can have happened. Labels are places of
/// stages, counted from 1; 0 is out.
pub struct Days {
    pub codes: Vec<String>,
    pub days: Vec<BTreeMap<String, BTreeMap<String, usize>>>,
}

impl Days {
    /// The consumers in a stage of a scope, with their labels.
    pub fn scope(&self, day: i32, scope: &str) -> impl Iterator<Item = (&String, usize)> {
        let labels = usize::try_from(day - FIRST_DAY).ok().and_then(|place| self.days[place].get(scope));
        labels.into_iter().flatten().map(|(consumer, label)| (consumer, *label))
    }

    /// Everybody with a label.
    pub fn within(&self, day: i32, scope: &str, label: usize) -> BTreeSet<&String> {
        let wanted = self.scope(day, scope).filter(|(_, own)| *own == label);
        wanted.map(|(consumer, _)| consumer).collect()
    }

    pub fn label(&self, day: i32, consumer: &str, scope: &str) -> usize {
        self.scope(day, scope)
            .find(|(own, _)| *own == consumer)
            .map_or(0, |(_, label)| label)
    }

    /// All scopes in which anybody is in a stage on some day of a range.
    pub fn scopes(&self, mut days: impl Iterator<Item = i32>) -> BTreeSet<String> {
        let mut scopes = BTreeSet::new();
        let known = days.by_ref().filter_map(|day| usize::try_from(day - FIRST_DAY).ok());
        known.for_each(|place| scopes.extend(self.days[place].keys().cloned()));
        scopes
    }
}

pub type Drawn = (StageModel, Vec<Event>, Vec<Period>, usize);

pub fn drawn() -> impl Strategy<Value = Drawn> {
    (random::lively_model(), random::lively_events(), random::periods(), 1..70usize)
}

/// Places of scopes to name, or none to ask for all.
pub fn named() -> impl Strategy<Value = Option<Vec<usize>>> {
    proptest::option::weighted(0.3, subsequence(vec![0, 1, 2, 3], 1..=3))
}

/// Scopes to name, some of them of nobody, and not in order.
pub fn scopes(kind: ScopeKind, places: Option<&Vec<usize>>) -> Option<Vec<ScopeValue>> {
    let all = match kind {
        ScopeKind::Brand => ["b2", "b9", "b4", "b1"].map(ScopeValue::of),
        ScopeKind::Store => ["s2", "s1", "s9", "s3"].map(ScopeValue::of),
        ScopeKind::Category => {
            [("b3", "c1"), ("b1", "c2"), ("b9", "c1"), ("b1", "c1")].map(|(brand, category)| ScopeValue::pair(brand, category))
        }
    };
    places.map(|places| places.iter().map(|place| all[*place].clone()).collect())
}

/// The scopes of a table, which must be those named, or at least those that the twin knows.
pub fn listed(
    table: &[Vec<String>],
    column: usize,
    named: Option<&Vec<ScopeValue>>,
    known: &BTreeSet<String>,
) -> Result<Vec<String>, TestCaseError> {
    let listed: BTreeSet<String> = table.iter().map(|row| row[column].clone()).collect();
    match named {
        Some(named) => prop_assert_eq!(&listed, &named.iter().map(ToString::to_string).collect()),
        None => prop_assert!(known.is_subset(&listed), "{known:?} are in stages, {listed:?} are listed"),
    }
    Ok(listed.into_iter().collect())
}
