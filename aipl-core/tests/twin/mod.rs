//! The naive twin: stages straight from the definitions, over plain lists of events, with no thought of speed.

use std::collections::{BTreeMap, BTreeSet};

use aipl_core::model::{Condition, Count, Leaf, Operand, Rule, ScopeKind, StageModel};

/// One event, as a person would write it down.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub consumer: String,
    pub brand: String,
    pub category: Option<String>,
    pub store: Option<String>,
    pub touchpoint: Option<String>,
    pub channel: Option<String>,
    pub behavior: String,
    /// Day number, and second of the day, on the wall.
    pub day: i32,
    pub second: i32,
    pub rating: Option<i64>,
    /// In hundredths.
    pub amount: Option<i64>,
    pub order: Option<String>,
    pub event_id: Option<String>,
}

/// One row of a state table.
#[derive(Debug, Clone)]
pub struct Period {
    pub consumer: String,
    pub brand: String,
    pub state: String,
    pub first: i32,
    pub last: Option<i32>,
}

type Labels = BTreeMap<(String, String), String>;

/// Labels of every (consumer, scope) in a stage at the close of `day`. Scopes are written as tables show them.
pub fn labels(model: &StageModel, events: &[Event], periods: &[Period], day: i32) -> Labels {
    let events: Vec<&Event> = drop_repeats(model, events).into_iter().filter(|event| event.day <= day).collect();
    let mut pairs: BTreeSet<(String, String)> = BTreeSet::new();
    pairs.extend(
        events
            .iter()
            .filter_map(|event| Some((event.consumer.clone(), scope(model, event)?))),
    );
    if model.scope == ScopeKind::Brand {
        pairs.extend(
            periods
                .iter()
                .filter(|period| period.first <= day)
                .map(|period| (period.consumer.clone(), period.brand.clone())),
        );
    }
    let mut labels = Labels::new();
    for (consumer, place) in pairs {
        let own: Vec<&Event> = events
            .iter()
            .copied()
            .filter(|event| event.consumer == consumer && scope(model, event).as_deref() == Some(&place))
            .collect();
        let states: Vec<&Period> = periods
            .iter()
            .filter(|period| period.consumer == consumer && period.brand == place)
            .collect();
        if let Some(stage) = model.stages.iter().rev().find(|stage| holds(&stage.rule, &own, &states, day)) {
            labels.insert((consumer, place), stage.code.clone());
        }
    }
    labels
}

/// One event per consumer, scope and event id: the first by day.
fn drop_repeats<'a>(model: &StageModel, events: &'a [Event]) -> Vec<&'a Event> {
    let mut ordered: Vec<&Event> = events.iter().collect();
    ordered.sort_by_key(|event| (scope(model, event).is_none(), scope(model, event), event.day));
    let mut seen = BTreeSet::new();
    ordered.retain(|event| {
        event
            .event_id
            .as_ref()
            .is_none_or(|id| seen.insert((event.consumer.clone(), scope(model, event), id.clone())))
    });
    ordered
}

fn scope(model: &StageModel, event: &Event) -> Option<String> {
    match model.scope {
        ScopeKind::Brand => Some(event.brand.clone()),
        ScopeKind::Store => event.store.clone(),
        ScopeKind::Category => {
            let brand_wide = event
                .touchpoint
                .as_ref()
                .is_some_and(|touchpoint| model.brand_wide().contains(touchpoint));
            let category = event.category.as_ref().filter(|_| !brand_wide)?;
            Some(format!("{}/{category}", event.brand))
        }
    }
}

fn holds(rule: &Rule, events: &[&Event], states: &[&Period], day: i32) -> bool {
    match rule {
        Rule::Any(rules) => rules.iter().any(|rule| holds(rule, events, states, day)),
        Rule::All(rules) => rules.iter().all(|rule| holds(rule, events, states, day)),
        Rule::Not(rule) => !holds(rule, events, states, day),
        Rule::State { name, .. } => state_is_on(name, events, states, day),
        Rule::Leaf(leaf) => leaf_holds(leaf, events, day),
    }
}

fn state_is_on(name: &str, events: &[&Event], states: &[&Period], day: i32) -> bool {
    let (join, leave) = match name {
        "member" => ("member_join", "member_leave"),
        "fan" => ("follow", "unfollow"),
        _ => ("", ""),
    };
    let last = events
        .iter()
        .filter(|event| event.behavior == join || event.behavior == leave)
        .max_by_key(|event| (event.day, event.second, event.behavior == leave));
    let by_table = states
        .iter()
        .any(|period| period.state == name && period.first <= day && period.last.is_none_or(|last| day <= last));
    by_table || last.is_some_and(|event| event.behavior == join)
}

fn leaf_holds(leaf: &Leaf, events: &[&Event], day: i32) -> bool {
    let matches = |event: &&&Event| {
        leaf.behaviors.contains(&event.behavior)
            && leaf.days.is_none_or(|days| event.day > day - days as i32)
            && leaf
                .conditions
                .iter()
                .all(|(column, condition)| condition_holds(column, condition, event))
    };
    let matching: Vec<&&Event> = events.iter().filter(matches).collect();
    // Hundredths, so that sums are whole numbers.
    let value = match &leaf.count {
        Count::Events => 100 * matching.len() as i64,
        Count::DistinctDays => 100 * matching.iter().map(|event| event.day).collect::<BTreeSet<_>>().len() as i64,
        Count::DistinctOrders => {
            100 * matching
                .iter()
                .filter_map(|event| event.order.as_ref())
                .collect::<BTreeSet<_>>()
                .len() as i64
        }
        Count::Sum(_) => matching.iter().filter_map(|event| event.amount).sum(),
    };
    let hundredths = |operand: &Operand| match operand {
        Operand::Int(value) => value * 100,
        Operand::Float(value) => (value * 100.0).round() as i64,
        other => panic!("{other} is no number"),
    };
    value >= hundredths(&leaf.min) && leaf.max.as_ref().is_none_or(|max| value <= hundredths(max))
}

fn condition_holds(column: &str, condition: &Condition, event: &Event) -> bool {
    if column == "rating" {
        let Some(rating) = event.rating else { return false };
        let compare = |operand: &Operand| match operand {
            Operand::Int(value) => rating.cmp(value),
            other => panic!("{other} is not compared with ratings here"),
        };
        return match condition {
            Condition::In(values) => values.iter().any(|value| compare(value).is_eq()),
            Condition::Bounds(bounds) => bounds.iter().all(|(word, bound)| match word {
                "ge" => compare(bound).is_ge(),
                "gt" => compare(bound).is_gt(),
                "le" => compare(bound).is_le(),
                "lt" => compare(bound).is_lt(),
                _ => compare(bound).is_ne(),
            }),
        };
    }
    let Some(channel) = event.channel.as_ref() else { return false };
    let equal = |operand: &Operand| *operand == Operand::Text(channel.clone());
    match condition {
        Condition::In(values) => values.iter().any(equal),
        Condition::Bounds(bounds) => bounds.iter().all(|(_, bound)| !equal(bound)),
    }
}
