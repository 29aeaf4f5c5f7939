//! Random models and logs.

#![allow(dead_code, reason = "each test uses a part")]

use aipl_core::model::{Bounds, Condition, Count, Leaf, Operand, Rule, ScopeKind, Stage, StageModel};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::twin::{Event, Period};

const BEHAVIORS: [&str; 8] = [
    "view",
    "impression",
    "add_to_cart",
    "purchase",
    "review",
    "follow",
    "member_join",
    "search",
];
/// Days run around a leap day.
pub const FIRST_DAY: i32 = 19_770;
pub const LAST_DAY: i32 = 19_800;

fn text(choices: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(choices).prop_map(str::to_owned)
}

pub fn events() -> impl Strategy<Value = Vec<Event>> {
    let who = (
        text(&["u1", "u2", "u3", "u4"]),
        text(&["b1", "b2", "b3"]),
        option::of(text(&["c1", "c2"])),
        option::of(text(&["s1", "s2"])),
    );
    let what = (
        text(&[
            "view",
            "impression",
            "add_to_cart",
            "purchase",
            "review",
            "follow",
            "unfollow",
            "member_join",
            "member_leave",
            "search",
            "refund",
        ]),
        FIRST_DAY..=LAST_DAY,
        prop_oneof![Just(0), Just(43_200), 0..86_400i32],
    );
    let more = (
        option::of(text(&["live", "banner"])),
        option::of(text(&["app", "web"])),
        option::of(1..=5i64),
        option::of(-500..=5000i64),
        option::of(text(&["o1", "o2", "o3"])),
    );
    let event = (who, what, more).prop_map(
        |((consumer, brand, category, store), (behavior, day, second), (touchpoint, channel, rating, amount, order))| Event {
            consumer,
            brand,
            category,
            store,
            touchpoint,
            channel,
            behavior,
            day,
            second,
            rating,
            amount,
            order,
            event_id: None,
        },
    );
    // A few events come twice, as a retry would send them.
    (vec(event, 0..60), vec((any::<prop::sample::Index>(), any::<bool>()), 0..6)).prop_map(|(mut events, repeats)| {
        for (number, (place, named)) in repeats.into_iter().enumerate() {
            let Some(event) = (!events.is_empty()).then(|| place.get_mut(&mut events)) else {
                continue;
            };
            if named && event.event_id.is_none() {
                event.event_id = Some(format!("e{number}"));
            }
            let copy = event.clone();
            events.push(copy);
        }
        events
    })
}

pub fn periods() -> impl Strategy<Value = Vec<Period>> {
    let period = (
        text(&["u1", "u2", "u5"]),
        text(&["b1", "b4"]),
        text(&["member", "fan", "vip"]),
        FIRST_DAY..=LAST_DAY,
        option::of(0..10i32),
    );
    vec(
        period.prop_map(|(consumer, brand, state, first, length)| Period {
            consumer,
            brand,
            state,
            first,
            last: length.map(|length| first + length),
        }),
        0..4,
    )
}

fn leaf() -> impl Strategy<Value = Rule> {
    let count = prop_oneof![
        4 => Just(Count::Events),
        4 => Just(Count::DistinctDays),
        1 => Just(Count::DistinctOrders),
        1 => Just(Count::Sum("amount".to_owned())),
    ];
    let days = option::of(prop_oneof![1..=3u32, 4..=40u32]);
    let rating = prop_oneof![
        (1..=5i64).prop_map(|value| Condition::Bounds(Bounds {
            ge: Some(Operand::Int(value)),
            ..Bounds::default()
        })),
        (1..=5i64, 1..=5i64).prop_map(|(gt, lt)| Condition::Bounds(Bounds {
            gt: Some(Operand::Int(gt)),
            lt: Some(Operand::Int(lt)),
            ..Bounds::default()
        })),
        vec((1..=5i64).prop_map(Operand::Int), 1..3).prop_map(Condition::In),
    ];
    let channel = prop_oneof![
        Just(Condition::In(vec![Operand::Text("app".to_owned())])),
        Just(Condition::Bounds(Bounds {
            ne: Some(Operand::Text("web".to_owned())),
            ..Bounds::default()
        })),
    ];
    let conditions = (option::weighted(0.15, rating), option::weighted(0.15, channel));
    let behaviors = subsequence(BEHAVIORS.to_vec(), 1..=4).prop_map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>());
    (behaviors, days, count, 0..=4i64, option::weighted(0.3, 0..=3i64), conditions).prop_map(
        |(behaviors, days, count, min, extra, (rating, channel))| {
            let sum = matches!(count, Count::Sum(_));
            let bound = |value: i64| {
                if sum {
                    Operand::Float(value as f64 * 7.25)
                } else {
                    Operand::Int(value)
                }
            };
            let named = [("channel", channel), ("rating", rating)];
            let conditions = named
                .into_iter()
                .filter_map(|(name, condition)| Some((name.to_owned(), condition?)))
                .collect();
            Rule::Leaf(Leaf {
                behaviors,
                days,
                count,
                min: bound(min),
                max: extra.map(|extra| bound(min + extra)),
                conditions,
                provenance: Default::default(),
            })
        },
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    let state = text(&["member", "fan", "vip"]).prop_map(|name| Rule::State {
        name,
        provenance: Default::default(),
    });
    prop_oneof![5 => leaf(), 1 => state].prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..4).prop_map(Rule::Any),
            vec(inner.clone(), 1..4).prop_map(Rule::All),
            inner.prop_map(|rule| Rule::Not(Box::new(rule))),
        ]
    })
}

pub fn model() -> impl Strategy<Value = StageModel> {
    let scope = prop_oneof![3 => Just(ScopeKind::Brand), 1 => Just(ScopeKind::Category), 1 => Just(ScopeKind::Store)];
    (vec(rule(), 2..5), scope).prop_map(|(rules, scope)| StageModel {
        id: "random".to_owned(),
        version: 1,
        title: None,
        title_zh: None,
        notes: None,
        scope,
        brand_wide_touchpoints: None,
        verified: Default::default(),
        stages: rules
            .into_iter()
            .enumerate()
            .map(|(place, rule)| Stage {
                code: format!("S{place}"),
                name: format!("stage {place}"),
                name_zh: None,
                rule: wrap(rule),
                provenance: Default::default(),
            })
            .collect(),
    })
}

/// A stage's own rule is a combination.
fn wrap(rule: Rule) -> Rule {
    match rule {
        Rule::Leaf(_) | Rule::State { .. } => Rule::Any(vec![rule]),
        combination => combination,
    }
}

/// A random model, most often one whose stages come and go: its rules ask for something, most of them for a short time.
pub fn lively_model() -> impl Strategy<Value = StageModel> {
    let lively = |plain: bool| {
        move |mut model: StageModel| {
            for stage in &mut model.stages {
                liven(&mut stage.rule, plain);
                stage.rule = wrap(stage.rule.clone());
            }
            model
        }
    };
    prop_oneof![1 => model(), 4 => model().prop_map(lively(false)), 2 => model().prop_map(lively(true))]
}

/// Shortens windows, and asks for at least something. What is not the case is mostly so for ever, so `not` stays only beside
/// something that must be the case. Plain rules ask for one event, or for events on two days, and no more.
fn liven(rule: &mut Rule, plain: bool) {
    match rule {
        Rule::All(rules) => {
            let unlike = |rule: Rule| match rule {
                Rule::State { .. } | Rule::Not(_) => Rule::Not(Box::new(rule)),
                _ => rule,
            };
            rules.iter_mut().for_each(|rule| liven(rule, plain));
            let beside: Vec<Rule> = rules.split_off(1).into_iter().map(unlike).collect();
            rules.extend(beside);
        }
        Rule::Any(rules) => rules.iter_mut().for_each(|rule| liven(rule, plain)),
        Rule::Not(inner) => {
            liven(inner, plain);
            *rule = std::mem::replace(inner, Rule::Any(Vec::new()));
        }
        Rule::State { .. } => {}
        Rule::Leaf(leaf) => liven_leaf(leaf, plain),
    }
}

fn liven_leaf(leaf: &mut Leaf, plain: bool) {
    for common in &BEHAVIORS[leaf.behaviors.len()..4] {
        if !leaf.behaviors.iter().any(|name| name == common) {
            leaf.behaviors.push((*common).to_owned());
        }
    }
    // Short ones are drawn most often.
    let longer = |days: u32| days * 5 % 14 + 2;
    let nothing = |operand: &Operand| *operand == Operand::Int(0) || *operand == Operand::Float(0.0);
    if plain {
        (leaf.count, leaf.min, leaf.max) = match leaf.count {
            Count::DistinctDays if !nothing(&leaf.min) => (Count::DistinctDays, Operand::Int(2), None),
            _ => (Count::Events, Operand::Int(1), None),
        };
        leaf.days = leaf.days.map(longer);
        return;
    }
    leaf.days = Some(longer(leaf.days.unwrap_or(4)));
    let least = if matches!(leaf.count, Count::Sum(_)) {
        Operand::Float(7.25)
    } else {
        Operand::Int(1)
    };
    if nothing(&leaf.min) || leaf.max.is_none() {
        leaf.min = least.clone();
    }
    leaf.max = leaf.max.take().map(|max| if nothing(&max) { least } else { max });
}

/// Random events, more of them and mostly of few consumers with few brands, so that more becomes of each.
pub fn lively_events() -> impl Strategy<Value = Vec<Event>> {
    let join = |(mut events, more, few): (Vec<Event>, Vec<Event>, bool)| {
        // What has the same identity must be the same event.
        let renamed = |event: Event| Event {
            event_id: event.event_id.map(|id| format!("more {id}")),
            ..event
        };
        events.extend(more.into_iter().map(renamed));
        for event in events.iter_mut().filter(|_| few) {
            event.consumer = event.consumer.replace('4', "1").replace('3', "2");
            event.brand = event.brand.replace('3', "1");
        }
        events
    };
    (events(), events(), prop::bool::weighted(0.6)).prop_map(join)
}
