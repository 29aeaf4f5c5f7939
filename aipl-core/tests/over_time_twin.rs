//! Trend, flow, triangle and history equal the naive twin, which labels one day at a time; on events and on a log alike.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "twin/flows.rs"]
mod flows;
#[path = "twin/logs.rs"]
mod logs;
#[path = "twin/random.rs"]
mod random;
#[path = "twin/tables.rs"]
mod tables;
mod twin;
#[path = "twin/world.rs"]
mod world;

use std::collections::BTreeSet;

use aipl_core::analyses::{FlowMode, Measure, Step, TrendParams, history, trend};
use aipl_core::base::IdValue;
use aipl_core::timeline::{Runtime, ScopeValue, Timelines};
use flows::{check_flow, check_triangle, limit};

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use random::{FIRST_DAY, LAST_DAY};
use tables::{day, rows};
use world::{Checked, Days, World, drawn, listed, named, scopes};

const MEASURES: [Measure; 4] = [Measure::Stock, Measure::Entries, Measure::Exits, Measure::Union];

/// The last days of steps, by the calendar of another library.
fn step_days(step: Step, start: i32, end: i32) -> Vec<i32> {
    let ends = |number: i32| {
        let date: jiff::civil::Date = day(number).to_string().parse().expect("a date");
        match step {
            Step::Day => true,
            Step::Week => date.weekday() == jiff::civil::Weekday::Sunday,
            Step::Month => date == date.last_of_month(),
        }
    };
    (start..=end).filter(|&number| number == end || ends(number)).collect()
}

/// Consumers of one cell of a trend: `first` to `last` are the days of the step.
fn cell(days: &Days, measure: Measure, start: i32, (first, last): (i32, i32), scope: &str, label: usize) -> usize {
    let within = |day: i32| days.within(day, scope, label);
    match measure {
        Measure::Stock => within(last).len(),
        Measure::Entries => (first..=last).map(|day| within(day).difference(&within(day - 1)).count()).sum(),
        Measure::Exits => (first..=last).map(|day| within(day - 1).difference(&within(day)).count()).sum(),
        Measure::Union => (start..=last).flat_map(within).collect::<BTreeSet<_>>().len(),
    }
}

/// Asks a log for every measure, and the events for one as well.
fn check_trend(world: &World, (start, end): (i32, i32), step: Step, both: Measure, named: Option<Vec<ScopeValue>>) -> Checked {
    let days = world.days(end);
    let steps = step_days(step, start, end);
    let mut counted: Vec<Vec<i64>> = Vec::new();
    let mut scopes = Vec::new();
    for measure in MEASURES {
        let params = TrendParams {
            scopes: named.clone(),
            step,
            measure,
        };
        let question = |source: &dyn Timelines| trend(source, &world.model, day(start), day(end), &params, &Runtime::default());
        let answer = if measure == both {
            world.ask(|source| question(source).expect("answers"))?
        } else {
            question(&world.log).expect("answers")
        };
        let table = rows(&answer.table);
        let listed = listed(&table, 1, named.as_ref(), &days.scopes(start - 1..=end))?;
        prop_assert!(measure == MEASURES[0] || scopes == listed, "the scopes depend on the measure");
        scopes = listed;
        let mut expected = Vec::new();
        let mut first = start;
        for &last in &steps {
            for (scope, (code, label)) in scopes
                .iter()
                .flat_map(|scope| days.codes.iter().zip(1..).map(move |stage| (scope, stage)))
            {
                let consumers = cell(&days, measure, start, (first, last), scope, label);
                expected.push(vec![day(last).to_string(), scope.clone(), code.clone(), consumers.to_string()]);
            }
            first = last + 1;
        }
        counted.push(table.iter().map(|row| row[3].parse().expect("a count")).collect());
        prop_assert_eq!(table, expected, "{:?}", measure);
    }
    // What must hold of any trend, whatever the twin says.
    let width = scopes.len() * days.codes.len();
    let before = |place: usize| {
        let (scope, label) = (&scopes[place / days.codes.len()], 1 + place % days.codes.len());
        days.within(start - 1, scope, label).len() as i64
    };
    for row in 0..counted[0].len() {
        let stock_before = row.checked_sub(width).map_or_else(|| before(row), |row| counted[0][row]);
        prop_assert_eq!(counted[1][row] - counted[2][row], counted[0][row] - stock_before);
        prop_assert!(counted[3][row] >= counted[0][row]);
    }
    Ok(())
}

/// Beyond this day nothing can change any more: every window of a random model is closed, every period has ended.
const HORIZON: i32 = LAST_DAY + 60;

/// Maximal runs of days with one label, by the twin; the last day is missing where a run reaches the horizon.
fn runs(days: &Days, consumer: &str) -> Vec<Vec<String>> {
    let mut runs: Vec<Vec<String>> = Vec::new();
    for scope in days.scopes(FIRST_DAY..=HORIZON) {
        let mut open = (0, FIRST_DAY);
        for number in FIRST_DAY..=HORIZON + 1 {
            let label = if number > HORIZON {
                0
            } else {
                days.label(number, consumer, &scope)
            };
            if label == open.0 && number <= HORIZON {
                continue;
            }
            if open.0 != 0 {
                let last = if number > HORIZON {
                    String::new()
                } else {
                    day(number - 1).to_string()
                };
                runs.push(vec![scope.clone(), days.codes[open.0 - 1].clone(), day(open.1).to_string(), last]);
            }
            open = (label, number);
        }
    }
    runs
}

fn check_history(world: &World, consumers: &[&str]) -> Checked {
    let days = world.days(HORIZON);
    for &consumer in consumers {
        let question = |source: &dyn Timelines, scopes: Option<&[ScopeValue]>| {
            history(source, &world.model, &IdValue::from(consumer), scopes, &Runtime::default()).expect("answers")
        };
        let expected = runs(&days, consumer);
        prop_assert_eq!(&rows(&world.ask(|source| question(source, None))?.table), &expected, "{}", consumer);
        let one = scopes(world.model.scope, Some(&vec![3]));
        let told = rows(&question(&world.log, one.as_deref()).table);
        let name = one.expect("named")[0].to_string();
        prop_assert_eq!(told, expected.into_iter().filter(|row| row[0] == name).collect::<Vec<_>>());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_trend_equals_the_twin_day_by_day(
        drawn in drawn(),
        start in prop_oneof![3 => FIRST_DAY - 5..=LAST_DAY, 1 => FIRST_DAY - 45..=LAST_DAY + 50],
        length in 0..40i32,
        step in prop_oneof![2 => Just(Step::Day), 2 => Just(Step::Week), 1 => Just(Step::Month)],
        both in select(&MEASURES[..]),
        named in named(),
    ) {
        let world = World::new(drawn);
        check_trend(&world, (start, start + length), step, both, scopes(world.model.scope, named.as_ref()))?;
    }

    #[test]
    fn a_flow_equals_the_twin_at_two_days(
        drawn in drawn(),
        start in prop_oneof![3 => FIRST_DAY + 3..=LAST_DAY, 1 => FIRST_DAY - 5..=LAST_DAY + 20],
        length in 1..25i32,
        mode in select(vec![FlowMode::Endpoint, FlowMode::Peak]),
        named in named(),
        limit in limit(),
    ) {
        let world = World::new(drawn);
        check_flow(&world, (start, start + length), mode, scopes(world.model.scope, named.as_ref()), &limit)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 70, ..ProptestConfig::default() })]

    #[test]
    fn a_triangle_is_the_flow_rates_of_every_pair(
        drawn in drawn(),
        days in proptest::collection::vec(FIRST_DAY - 5..=LAST_DAY + 45, 4),
        limit in limit(),
    ) {
        check_triangle(&World::new(drawn), days, &limit)?;
    }

    #[test]
    fn a_history_is_the_maximal_runs_of_the_twin(
        drawn in drawn(),
        consumers in subsequence(vec!["u1", "u2", "u3", "u4", "u5", "nobody"], 2),
    ) {
        check_history(&World::new(drawn), &consumers)?;
    }
}
