//! A log in memory answers as the events do, whatever the threads and the order of rows, and gives the events back.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

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
use std::sync::Arc;

use aipl_core::analyses::{FlowParams, SnapshotParams, TrendParams, flow, snapshot, timeline, trend};
use aipl_core::audience::Audience;
use aipl_core::base::{Day, IdKind, IdValue};
use aipl_core::event::EventSchema;
use aipl_core::model::{StageModel, compile};
use aipl_core::source::Events;
use aipl_core::timeline::{EventLog, Runtime, ScopeValue, Timelines, Universe};
use arrow::array::{ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampSecondArray, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use logs::{engine, open};
use proptest::prelude::*;
use random::{FIRST_DAY, LAST_DAY};
use serde_json::json;
use tables::{columns, day, members, rows};
use twin::Event;
use world::{Checked, World, drawn};

fn load(events: &Events, threads: usize) -> EventLog {
    events
        .log(None, None, &Runtime::with_threads(threads).expect("threads"))
        .expect("loads")
}

fn check_snapshot(world: &World, on: i32) -> Checked {
    let by_events = engine(&world.model, &world.events, on, 2);
    let once = engine(&world.model, &world.log, on, 1);
    prop_assert_eq!(&once.labels, &twin::labels(&world.model, &world.rows, &world.periods, on));
    prop_assert_eq!(&once.labels, &by_events.labels);
    prop_assert_eq!(&once.shown, &by_events.shown);
    Ok(())
}

/// Logs of the same rows in other orders and batches, made and asked on other numbers of threads, are the same log.
fn check_order(world: &World, on: i32, seed: usize) -> Checked {
    let first = load(&world.events, 1);
    let (info, once) = (first.info(), engine(&world.model, &first, on, 1));
    let mut turned = world.rows.clone();
    turned.rotate_left(seed % world.rows.len().max(1));
    turned.reverse();
    let shuffled = open(&turned, &world.periods, 3 + seed % 11);
    for (made_on, asked_on) in [(2, 8), (8, 2)] {
        let log = load(&shuffled, made_on);
        prop_assert_eq!(&info, &log.info());
        prop_assert_eq!(&once, &engine(&world.model, &log, on, asked_on));
        for consumer in ["u1", "u2"].map(IdValue::from) {
            let [turned, straight] = [&log, &first].map(|log| log.timeline(&consumer, None).expect("a table"));
            prop_assert_eq!(turned, straight);
        }
    }
    Ok(())
}

/// What a timeline shows of an event, but for its time. Fields stand in order of name.
fn shown(event: &Event) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let amount = event.amount.map_or_else(String::new, |amount| {
        format!(
            "{}{}.{:02}0000",
            if amount < 0 { "-" } else { "" },
            amount.abs() / 100,
            amount.abs() % 100
        )
    });
    vec![
        event.brand.clone(),
        event.behavior.clone(),
        amount,
        text(&event.category),
        text(&event.channel),
        text(&event.event_id),
        text(&event.order),
        event.rating.map_or_else(String::new, |rating| rating.to_string()),
        text(&event.store),
        text(&event.touchpoint),
    ]
}

fn check_timeline(world: &World, consumer: &str, brand: Option<&str>) -> Checked {
    let named = brand.map(IdValue::from);
    let ask = |source: &dyn Timelines| timeline(source, &IdValue::from(consumer), named.as_ref(), &Runtime::default()).expect("answers");
    let ((by_events, total), (by_log, log_total)) = (ask(&world.events), ask(&world.log));
    prop_assert_eq!(&by_events.table, &by_log.table);
    prop_assert_eq!(&by_events.recipe, &by_log.recipe);
    let own: Vec<&Event> = world.rows.iter().filter(|event| event.consumer == consumer).collect();
    prop_assert_eq!((total, log_total), (own.len(), own.len()));
    // Clocks of Shanghai are 8 hours ahead of UTC in these years; midnight there is 16:00 of the day before.
    let instant = |event: &Event| i64::from(event.day) * 86_400 + i64::from(event.second) - 8 * 3600;
    let time = |event: &Event| jiff::Timestamp::from_second(instant(event)).expect("a time").to_string();
    let wanted = own.into_iter().filter(|event| brand.is_none_or(|brand| event.brand == brand));
    let mut expected: Vec<Vec<String>> = wanted.map(|event| [vec![time(event)], shown(event)].concat()).collect();
    let mut told = rows(&by_events.table);
    told.iter_mut().for_each(|row| row[0] += "Z");
    prop_assert!(told.is_sorted_by_key(|row| row[0].clone()), "in order of time");
    expected.sort();
    told.sort();
    prop_assert_eq!(told, expected);
    let names = [
        "time",
        "brand",
        "behavior",
        "amount",
        "category",
        "channel",
        "event_id",
        "order_id",
        "rating",
        "store",
        "touchpoint",
    ];
    prop_assert_eq!(columns(&by_events.table), names);
    Ok(())
}

fn check_info(world: &World) -> Checked {
    let info = world.log.info();
    let consumers: BTreeSet<&String> = world
        .rows
        .iter()
        .map(|event| &event.consumer)
        .chain(world.periods.iter().map(|period| &period.consumer))
        .collect();
    let brands: BTreeSet<&String> = world.rows.iter().map(|event| &event.brand).collect();
    let days = || world.rows.iter().map(|event| event.day);
    let text = |number: Option<i32>| json!(number.map(|number| day(number).to_string()));
    prop_assert_eq!(&info["rows"], &json!(world.rows.len()));
    prop_assert_eq!(&info["consumers"], &json!(consumers.len()));
    prop_assert_eq!(&info["brands"], &json!(brands.len()));
    prop_assert_eq!((&info["first_day"], &info["last_day"]), (&text(days().min()), &text(days().max())));
    let fields = [
        "amount",
        "category",
        "channel",
        "event_id",
        "order_id",
        "rating",
        "store",
        "touchpoint",
    ];
    prop_assert_eq!(&info["fields"], &json!(fields));
    prop_assert_eq!((&info["rows_rejected"], &info["rows_ignored"]), (&json!(0), &json!(0)));
    let by_column = info["bytes_by_column"].as_object().expect("an object");
    prop_assert_eq!(
        by_column.values().filter_map(serde_json::Value::as_u64).sum::<u64>(),
        info["bytes"].as_u64().expect("bytes")
    );
    Ok(())
}

/// A log of just the fields that a model looks at answers like a whole one; without any of them it refuses, and says which.
fn check_fields(world: &World, on: i32) -> Checked {
    let needed: Vec<String> = compile(&world.model, Timelines::schema(&world.events))
        .expect("compiles")
        .fields()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let load = |fields: &[String]| world.events.log(Some(fields), None, &Runtime::default()).expect("loads");
    let narrow = load(&needed);
    prop_assert_eq!(engine(&world.model, &world.log, on, 2), engine(&world.model, &narrow, on, 2));
    for missing in &needed {
        let others: Vec<String> = needed.iter().filter(|field| *field != missing).cloned().collect();
        let poor = load(&others);
        let error = trend(&poor, &world.model, day(on), day(on), &TrendParams::default(), &Runtime::default())
            .expect_err("refused")
            .to_string();
        prop_assert!(
            error.starts_with(&format!("{missing:?} was not loaded into the log; loaded: ")),
            "{}",
            error
        );
        for other in &others {
            prop_assert!(error.contains(other.as_str()), "{} does not name {}", error, other);
        }
    }
    Ok(())
}

/// All audiences of one log are of its universe, by whatever they were made.
fn check_audiences(world: &World, on: i32, length: i32) -> Checked {
    let (log, runtime) = (&world.log, Runtime::default());
    let snap = snapshot(log, &world.model, day(on), &SnapshotParams::default(), &runtime).expect("answers");
    let moved = flow(log, &world.model, day(on), day(on + length), &FlowParams::default(), &runtime).expect("answers");
    let code = world.model.stages[0].code.as_str();
    let labeled = snap.scopes().iter().map(|scope| snap.audience(scope, code).expect("an audience"));
    let lost = moved
        .scopes()
        .iter()
        .map(|scope| moved.audience(scope, &[code], &["out"]).expect("an audience"));
    let all: Vec<Audience> = labeled.chain(lost).collect();
    for (left, right) in all.iter().flat_map(|left| all.iter().map(move |right| (left, right))) {
        prop_assert_eq!(left.fingerprint(), log.universe().fingerprint());
        let (own, other): (BTreeSet<String>, BTreeSet<String>) =
            (members(left).into_iter().collect(), members(right).into_iter().collect());
        let told = [left.or(right), left.and(right), left.minus(right)].map(|audience| members(&audience.expect("combines")));
        let expected = [&own | &other, &own & &other, &own - &other].map(|ids| ids.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(told, expected);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_snapshot_of_a_log_is_that_of_the_events(drawn in drawn(), on in FIRST_DAY - 2..=LAST_DAY + 45) {
        check_snapshot(&World::new(drawn), on)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_log_does_not_depend_on_threads_or_order(drawn in drawn(), on in FIRST_DAY..=LAST_DAY, seed in 0..1000usize) {
        check_order(&World::new(drawn), on, seed)?;
    }

    #[test]
    fn a_timeline_gives_the_events_back(drawn in drawn()) {
        let world = World::new(drawn);
        for (consumer, brand) in [("u1", None), ("u1", Some("b2")), ("u5", None), ("nobody", None), ("u2", Some("nothing"))] {
            check_timeline(&world, consumer, brand)?;
        }
        check_info(&world)?;
    }

    #[test]
    fn a_log_of_some_fields_answers_what_they_are_enough_for(drawn in drawn(), on in FIRST_DAY..=LAST_DAY) {
        check_fields(&World::new(drawn), on)?;
    }

    #[test]
    fn audiences_of_one_log_combine(drawn in drawn(), on in FIRST_DAY..=LAST_DAY, length in 1..30i32) {
        check_audiences(&World::new(drawn), on, length)?;
    }
}

fn text(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// Purchases of three consumers with two brands on two days of June 2024, and more columns.
fn events(more: &[(&str, ArrayRef)], schema: EventSchema) -> Events {
    let mut columns = vec![
        ("user", text(&["1", "2", "3", "1"])),
        ("brand", text(&["b", "b", "b", "c"])),
        ("action", text(&["purchase"; 4])),
        ("at", text(&["2024-06-10", "2024-06-10", "2024-06-10", "2024-06-20"])),
    ];
    columns.retain(|(name, _)| more.iter().all(|(other, _)| name != other));
    columns.extend(more.iter().cloned());
    let batch = RecordBatch::try_from_iter(columns).expect("columns");
    Events::from_batches(batch.schema(), vec![batch], schema, "UTC").expect("events")
}

fn schema() -> EventSchema {
    EventSchema::new("user", "brand", "action", "at")
}

/// In S by a rule of one line; T is of nobody.
fn model(rule: &str) -> StageModel {
    let stage = |code: &str, rule: &str| format!(r#"{{"code":"{code}","name":"{code}","any":[{rule}]}}"#);
    let (first, second) = (stage("S", rule), stage("T", r#"{"behaviors":["refund"]}"#));
    StageModel::from_json(&format!(r#"{{"id":"m","stage":[{first},{second}]}}"#)).expect("a model")
}

fn as_of() -> Day {
    "2024-06-15".parse().expect("a day")
}

/// Counts of a snapshot.
fn counts(source: &dyn Timelines, model: &StageModel) -> Vec<Vec<String>> {
    rows(
        &snapshot(source, model, as_of(), &SnapshotParams::default(), &Runtime::default())
            .expect("answers")
            .counts(),
    )
}

#[test]
fn fields_that_are_not_mapped_are_refused_with_the_nearest() {
    let mapped = schema().with_field("rating", "stars").with_attribute("paid", "stars");
    let events = events(&[("stars", Arc::new(Int64Array::from(vec![1, 2, 3, 4])))], mapped);
    let runtime = Runtime::default();
    let ask = |source: &dyn Timelines, field: &str| source.log(Some(&[field.to_owned()]), None, &runtime).map(|log| log.loaded());
    let refused = |source: &dyn Timelines, field: &str| ask(source, field).expect_err("refused").to_string();
    let message = |field: &str, hint: &str| format!("columns: the EventSchema maps no {field:?}{hint}; mapped: rating, paid");
    assert_eq!(refused(&events, "ratng"), message("ratng", "; did you mean \"rating\"?"));
    assert_eq!(refused(&events, "pid"), message("pid", "; did you mean \"paid\"?"));
    assert_eq!(refused(&events, "xyzzy"), message("xyzzy", ""));
    // Required fields are there anyway, and may be named.
    assert_eq!(ask(&events, "brand").expect("loads"), Vec::<String>::new());
    // Two fields of one column come together.
    assert_eq!(ask(&events, "paid").expect("loads"), ["rating", "paid"]);
    let log = load(&events, 1);
    assert_eq!(refused(&log, "ratng"), message("ratng", "; did you mean \"rating\"?"));
    let narrow = events.log(Some(&[]), None, &runtime).expect("loads");
    assert!(refused(&narrow, "rating").starts_with("\"rating\" was not loaded into the log; loaded: "));
}

#[test]
fn scopes_do_not_depend_on_how_brands_are_kept() {
    // Brand "c" has nothing by the day, so nothing of it can count.
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let brands = text(&["b", "b", "b", "c"]);
    let plain = events(&[], schema());
    let coded = events(&[("brand", cast(&brands, &dictionary).expect("casts"))], schema());
    let (one, expected) = (model(r#"{"behaviors":["purchase"]}"#), [["b", "S", "3"], ["b", "T", "0"]]);
    assert_eq!(counts(&plain, &one), expected, "texts");
    assert_eq!(counts(&coded, &one), expected, "a dictionary");
    assert_eq!(counts(&load(&plain, 1), &one), expected, "a log");
}

#[test]
fn values_at_the_edge_of_their_type_count_alike() {
    let ids: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX, 7, 7, 7]));
    let huge = Decimal128Array::from(vec![10i128.pow(30), 5, 5, 5])
        .with_precision_and_scale(38, 0)
        .expect("fits");
    let odd: ArrayRef = Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(0.5), None, Some(1e300)]));
    let cases: Vec<(&str, ArrayRef, EventSchema, &str)> = vec![
        (
            "an order beyond int64",
            ids.clone(),
            schema().with_field("order_id", "x"),
            r#"{"behaviors":["purchase"],"count":"distinct_orders","min":0}"#,
        ),
        (
            "an event beyond int64",
            ids.clone(),
            schema().with_field("event_id", "x"),
            r#"{"behaviors":["purchase"]}"#,
        ),
        (
            "an own number beyond int64",
            ids,
            schema().with_attribute("paid", "x"),
            r#"{"behaviors":["purchase"],"where":{"paid":{"gt":7}}}"#,
        ),
        (
            "a sum beyond int64",
            Arc::new(huge),
            schema().with_attribute("paid", "x"),
            r#"{"behaviors":["purchase"],"count":"sum","of":"paid","min":0}"#,
        ),
        (
            "no number in a sum",
            odd.clone(),
            schema().with_attribute("paid", "x"),
            r#"{"behaviors":["purchase"],"count":"sum","of":"paid","min":0}"#,
        ),
        (
            "no number in a condition",
            odd.clone(),
            schema().with_attribute("paid", "x"),
            r#"{"behaviors":["purchase"],"where":{"paid":{"ne":2}}}"#,
        ),
        (
            "no number in a rating",
            odd,
            schema().with_field("rating", "x"),
            r#"{"behaviors":["purchase"],"where":{"rating":{"ne":2}}}"#,
        ),
        (
            "numbers as texts",
            text(&["1.50", "soon", "", "2"]),
            schema().with_field("rating", "x"),
            r#"{"behaviors":["purchase"],"where":{"rating":{"ne":"1.5"}}}"#,
        ),
    ];
    let mut unlike = Vec::new();
    for (name, column, schema, rule) in cases {
        let events = events(&[("x", column)], schema);
        let (by_events, by_log) = (counts(&events, &model(rule)), counts(&load(&events, 1), &model(rule)));
        if by_events != by_log {
            unlike.push(format!("{name}: events {by_events:?}, log {by_log:?}"));
        }
    }
    assert!(unlike.is_empty(), "{}", unlike.join("\n"));
}

#[test]
fn consumers_who_are_integers_are_the_same_as_texts() {
    let users: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 1]));
    let (events, one) = (events(&[("user", users)], schema()), model(r#"{"behaviors":["purchase"]}"#));
    let log = load(&events, 2);
    let strangers: Arc<Universe> = Universe::of_ids(IdKind::Text, ["1", "03", "3", "x"].map(IdValue::from)).into();
    let params = FlowParams {
        within: Some(Audience::of_ids(&strangers, ["1", "03", "x"].map(IdValue::from), "texts")),
        ..FlowParams::default()
    };
    for source in [&events as &dyn Timelines, &log] {
        let moved = flow(source, &one, as_of(), as_of() + 7, &params, &Runtime::default()).expect("answers");
        let kept = |brand: &str| members(&moved.audience(&ScopeValue::of(brand), &["S", "out"], &["S"]).expect("an audience"));
        assert_eq!((kept("b"), kept("c")), (vec!["1".to_owned()], vec!["1".to_owned()]));
        let (table, total) = timeline(source, &IdValue::from("1"), None, &Runtime::default()).expect("answers");
        assert_eq!((table.table.num_rows(), total), (2, 2));
    }
    // An audience that does not know its consumers limits nothing.
    let bytes = params.within.expect("an audience").to_bytes();
    let unknown = FlowParams {
        within: Some(Audience::from_bytes(&bytes, None).expect("reads")),
        ..FlowParams::default()
    };
    assert!(flow(&log, &one, as_of(), as_of() + 7, &unknown, &Runtime::default()).is_err());
}

/// 50,000 events as a shop has them: few purchases and reviews, so few amounts and ratings.
fn shop() -> Events {
    let mut state = 7u64;
    let mut draw = |choices: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % choices
    };
    let (mut users, mut brands, mut actions, mut times, mut ratings, mut amounts) = (vec![], vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..50_000 {
        users.push(draw(5_000) as i64);
        brands.push(format!("brand {}", draw(500)));
        let action = match draw(100) {
            0..60 => "impression",
            60..90 => "view",
            90..95 => "add_to_cart",
            95..98 => "purchase",
            _ => "review",
        };
        actions.push(action);
        times.push(1_704_067_200 + draw(365 * 86_400) as i64);
        let (stars, price) = (1.0 + draw(5) as f64, draw(100_000) as f64 / 100.0);
        ratings.push((action == "review").then_some(stars));
        amounts.push((action == "purchase").then_some(price));
    }
    let batch = RecordBatch::try_from_iter([
        ("user", Arc::new(Int64Array::from(users)) as ArrayRef),
        ("brand", Arc::new(StringArray::from(brands))),
        ("action", Arc::new(StringArray::from(actions))),
        ("at", Arc::new(TimestampSecondArray::from(times))),
        ("rating", Arc::new(Float64Array::from(ratings))),
        ("amount", Arc::new(Float64Array::from(amounts))),
    ])
    .expect("columns");
    let schema = schema().with_field("rating", "rating").with_field("amount", "amount");
    Events::from_batches(batch.schema(), vec![batch], schema, "Asia/Shanghai").expect("events")
}

#[test]
fn an_event_takes_at_most_28_bytes() {
    let events = shop();
    let info = load(&events, 2).info();
    assert_eq!(
        (&info["rows"], &info["brands"], &info["fields"]),
        (&json!(50_000), &json!(500), &json!(["amount", "rating"]))
    );
    let bytes = info["bytes_per_event"].as_f64().expect("a number");
    assert!(
        (14.0..=28.0).contains(&bytes),
        "{bytes} bytes an event: {}",
        info["bytes_by_column"]
    );
}
