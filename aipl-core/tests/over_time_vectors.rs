//! The check vectors of the definitions, and the edges of ranges, months, weeks and days.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "twin/tables.rs"]
mod tables;

use std::sync::Arc;

use aipl_core::analyses::{
    Answer, Flow, FlowClass, FlowMode, FlowParams, Measure, Step, TrendParams, TriangleParams, flow, flow_triangle, history, timeline,
    trend,
};
use aipl_core::base::{Day, IdValue};
use aipl_core::event::EventSchema;
use aipl_core::model::StageModel;
use aipl_core::source::Events;
use aipl_core::timeline::{Runtime, ScopeValue, Timelines};
use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampSecondArray};
use arrow::datatypes::{DataType, TimeUnit};
use tables::{members, rows};

/// A consumer, a behavior, and when.
type Row<'a> = (&'a str, &'a str, &'a str);

fn with_times(rows: &[Row<'_>], times: ArrayRef, zone: &str) -> Events {
    let text = |value: &dyn Fn(&Row<'_>) -> String| Arc::new(StringArray::from_iter_values(rows.iter().map(value))) as ArrayRef;
    let batch = RecordBatch::try_from_iter([
        ("user", text(&|row| row.0.to_owned())),
        ("brand", text(&|_| "b".to_owned())),
        ("action", text(&|row| row.1.to_owned())),
        ("at", times),
    ])
    .expect("columns");
    let schema = EventSchema::new("user", "brand", "action", "at");
    Events::from_batches(batch.schema(), vec![batch], schema, zone).expect("events")
}

/// Events whose times are what clocks of the zone showed.
fn on_the_wall(rows: &[Row<'_>], zone: &str) -> Events {
    with_times(rows, Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2))), zone)
}

/// Events whose times are instants.
fn at_instants(rows: &[Row<'_>], zone: &str) -> Events {
    let seconds = rows
        .iter()
        .map(|row| row.2.parse::<jiff::Timestamp>().expect("an instant").as_second());
    let times = TimestampSecondArray::from_iter_values(seconds).with_timezone("UTC");
    with_times(rows, Arc::new(times), zone)
}

fn day(text: &str) -> Day {
    text.parse().expect("a day")
}

fn brand() -> ScopeValue {
    ScopeValue::of("b")
}

fn databank() -> StageModel {
    StageModel::preset("databank").expect("a preset")
}

/// In S on the day of a view, in T on the day of a purchase.
fn one_day() -> StageModel {
    let stage =
        |code: &str, behavior: &str| format!(r#"{{"code":"{code}","name":"{code}","any":[{{"behaviors":["{behavior}"],"days":1}}]}}"#);
    let text = format!(r#"{{"id":"one_day","stage":[{},{}]}}"#, stage("S", "view"), stage("T", "purchase"));
    StageModel::from_json(&text).expect("a model")
}

fn ask_flow(source: &dyn Timelines, model: &StageModel, (start, end): (Day, Day), mode: FlowMode) -> Flow {
    let params = FlowParams {
        mode,
        ..FlowParams::default()
    };
    flow(source, model, start, end, &params, &Runtime::default()).expect("answers")
}

fn ask_trend(source: &dyn Timelines, model: &StageModel, (start, end): (&str, &str), step: Step, measure: Measure) -> Answer {
    let params = TrendParams {
        scopes: None,
        step,
        measure,
    };
    trend(source, model, day(start), day(end), &params, &Runtime::default()).expect("answers")
}

/// Days and consumers of a stage in a trend, zeros left out.
fn counts(answer: &Answer, stage: &str) -> Vec<(String, i64)> {
    let table = rows(&answer.table).into_iter();
    let counted = table
        .filter(|row| row[2] == stage)
        .map(|row| (row[0].clone(), row[3].parse().expect("a count")));
    counted.filter(|(_, consumers)| *consumers != 0).collect()
}

fn expected(counts: &[(&str, i64)]) -> Vec<(String, i64)> {
    counts.iter().map(|(day, count)| ((*day).to_owned(), *count)).collect()
}

/// A history in words, the stage it gives, and its acts with their age in days.
type Vector = (&'static str, &'static str, &'static [(&'static str, i32)]);

#[test]
fn labels_of_the_definitions() {
    let as_of = day("2024-06-30");
    let vector: &[Vector] = &[
        ("impression 14 days before", "A", &[("impression", 14)]),
        ("impression 15 days before", "out", &[("impression", 15)]),
        ("two views on one day", "A", &[("view", 3), ("view", 3)]),
        ("two views 3 days apart", "I", &[("view", 4), ("view", 1)]),
        ("member for a year", "I", &[("member_join", 366)]),
        ("two orders on one day", "P", &[("purchase", 20), ("purchase", 20)]),
        ("two orders 364 days apart", "L", &[("purchase", 364), ("purchase", 0)]),
        ("two orders 365 days apart", "P", &[("purchase", 365), ("purchase", 0)]),
        ("one order 909 days before", "P", &[("purchase", 909)]),
        ("one order 910 days before", "out", &[("purchase", 910)]),
    ];
    let acts = vector.iter().flat_map(|(user, _, acts)| acts.iter().map(move |act| (*user, act)));
    let acts: Vec<(&str, &str, String)> = acts
        .map(|(user, (behavior, ago))| (user, *behavior, (as_of + -ago).to_string()))
        .collect();
    let acts: Vec<Row<'_>> = acts
        .iter()
        .map(|(user, behavior, time)| (*user, *behavior, time.as_str()))
        .collect();
    let events = on_the_wall(&acts, "Asia/Shanghai");
    let log = events.log(None, None, &Runtime::default()).expect("loads");
    let all = ["out", "A", "I", "P", "L"];
    for source in [&events as &dyn Timelines, &log] {
        let (before, after) = (
            ask_flow(source, &databank(), (as_of + -1, as_of), FlowMode::Endpoint),
            ask_flow(source, &databank(), (as_of, as_of + 1), FlowMode::Endpoint),
        );
        for stage in &all[1..] {
            let mut expected: Vec<&str> = vector.iter().filter(|row| row.1 == *stage).map(|row| row.0).collect();
            expected.sort_unstable();
            assert_eq!(
                members(&before.audience(&brand(), &all, &[stage]).expect("an audience")),
                expected,
                "to {stage}"
            );
            assert_eq!(
                members(&after.audience(&brand(), &[stage], &all).expect("an audience")),
                expected,
                "from {stage}"
            );
        }
    }
}

/// Consumers 1 to 12 of the check vector: in a stage on 2024-06-01 and 2024-06-20 as the definitions say.
const VECTOR: [Row<'static>; 20] = [
    ("01", "impression", "2024-06-01"),
    ("01", "impression", "2024-06-20"),
    ("02", "impression", "2024-06-01"),
    ("02", "add_to_cart", "2024-06-20"),
    ("03", "impression", "2024-06-01"),
    ("03", "purchase", "2024-06-15"),
    ("04", "impression", "2024-06-01"),
    ("05", "search", "2024-05-25"),
    ("05", "purchase", "2024-06-10"),
    ("06", "favorite", "2024-05-25"),
    ("06", "impression", "2024-06-10"),
    ("07", "member_join", "2023-01-01"),
    ("07", "member_leave", "2024-06-05"),
    ("08", "purchase", "2024-01-01"),
    ("08", "purchase", "2024-06-02"),
    ("09", "purchase", "2024-01-01"),
    ("10", "purchase", "2023-06-10"),
    ("10", "purchase", "2024-05-01"),
    ("11", "impression", "2024-06-18"),
    ("12", "share", "2024-06-19"),
];

fn vector_flow(mode: FlowMode) -> Flow {
    let events = on_the_wall(&VECTOR, "Asia/Shanghai");
    ask_flow(&events, &databank(), (day("2024-06-01"), day("2024-06-20")), mode)
}

fn line(text: &str) -> Vec<String> {
    text.split(' ').map(|word| word.trim_matches('_').to_owned()).collect()
}

#[test]
fn flow_of_the_definitions() {
    let moved = vector_flow(FlowMode::Endpoint);
    // scope, stage, consumers = kept + advanced + regressed + lost, new, returned
    let classes = [
        "b A 4 1 2 0 1 0 0",
        "b I 3 0 1 1 1 0 0",
        "b P 2 1 1 0 0 0 0",
        "b L 1 0 0 1 0 0 0",
        "b out 2 0 0 0 0 2 0",
    ];
    assert_eq!(rows(&moved.classes().expect("a table")), classes.map(line));
    for (from, to, who) in [
        ("A", "A", "01"),
        ("A", "I", "02"),
        ("A", "P", "03"),
        ("A", "out", "04"),
        ("I", "P", "05"),
        ("I", "A", "06"),
        ("I", "out", "07"),
        ("P", "L", "08"),
        ("P", "P", "09"),
        ("L", "P", "10"),
        ("out", "A", "11"),
        ("out", "I", "12"),
    ] {
        assert_eq!(members(&moved.audience(&brand(), &[from], &[to]).expect("an audience")), [who]);
    }
    // 40 % of all advance, or 4 of 9 if those who cannot are left out.
    let advanced = moved.class_audience(&brand(), FlowClass::Advanced, None).expect("an audience");
    let base = moved
        .audience(&brand(), &["A", "I", "P", "L"], &["A", "I", "P", "L", "out"])
        .expect("an audience");
    assert_eq!((advanced.len(), base.len()), (4, 10));
    let scenes: Vec<Vec<String>> = rows(&moved.scenes(None).expect("a table"))
        .into_iter()
        .map(|row| [&row[1..2], &row[3..8]].concat())
        .collect();
    let told = [
        "acquisition out A+I+P 2 _ _",
        "seeding A I 1 4 25.0",
        "direct_conversion out+A P 1 _ _",
        "seeded_conversion I P 1 3 33.333333333333336",
        "repurchase P L 1 2 50.0",
    ];
    assert_eq!(scenes, told.map(line));
}

#[test]
fn a_peak_is_the_highest_stage_after_the_first_day() {
    let moved = vector_flow(FlowMode::Peak);
    let classes = [
        "b A 4 2 2 0 0 0 0",
        "b I 3 2 1 0 0 0 0",
        "b P 2 1 1 0 0 0 0",
        "b L 1 1 0 0 0 0 0",
        "b out 2 0 0 0 0 2 0",
    ];
    assert_eq!(rows(&moved.classes().expect("a table")), classes.map(line));
    // The first day itself is not after the first day; the last is.
    let events = on_the_wall(
        &[
            ("u", "purchase", "2024-06-01"),
            ("u", "view", "2024-06-03"),
            ("w", "purchase", "2024-06-05"),
        ],
        "UTC",
    );
    let moved = ask_flow(&events, &one_day(), (day("2024-06-01"), day("2024-06-05")), FlowMode::Peak);
    assert_eq!(moved.count(&brand(), "T", "S").expect("a count"), 1);
    assert_eq!(moved.count(&brand(), "out", "T").expect("a count"), 1);
}

#[test]
fn who_comes_back_was_in_a_stage_on_an_earlier_day() {
    let mut acts = VECTOR.to_vec();
    // In a stage long ago, and on the day before the first alone; on the first day itself is no earlier day.
    acts.extend([
        ("11", "impression", "2020-02-29"),
        ("13", "view", "2024-05-17"),
        ("13", "view", "2024-06-20"),
    ]);
    let events = on_the_wall(&acts, "Asia/Shanghai");
    let moved = ask_flow(&events, &databank(), (day("2024-06-01"), day("2024-06-20")), FlowMode::Endpoint);
    let class = |class| members(&moved.class_audience(&brand(), class, None).expect("an audience"));
    assert_eq!(
        (class(FlowClass::New), class(FlowClass::Returned)),
        (vec!["12".to_owned()], vec!["11".to_owned(), "13".to_owned()])
    );
    assert_eq!(rows(&moved.classes().expect("a table"))[4], line("b out 3 0 0 0 0 1 2"));
}

#[test]
fn ranges_that_are_none_are_refused() {
    let events = on_the_wall(&VECTOR, "Asia/Shanghai");
    let log = events.log(None, None, &Runtime::default()).expect("loads");
    let (early, late, runtime) = (day("2024-06-01"), day("2024-06-02"), Runtime::default());
    for source in [&events as &dyn Timelines, &log] {
        let reversed = trend(source, &databank(), late, early, &TrendParams::default(), &runtime).expect_err("refused");
        assert_eq!(reversed.to_string(), "end: 2024-06-01 is before start 2024-06-02");
        let reversed = flow(source, &databank(), late, early, &FlowParams::default(), &runtime).expect_err("refused");
        assert_eq!(reversed.to_string(), "end: 2024-06-01 is before start 2024-06-02");
        let short = flow(source, &databank(), early, early, &FlowParams::default(), &runtime).expect_err("refused");
        assert_eq!(short.to_string(), "end: 2024-06-01 is also start; a flow needs two days");
        let short = flow_triangle(source, &databank(), &[late, late], &TriangleParams::default(), &runtime).expect_err("refused");
        assert_eq!(short.to_string(), "days: at least two different days are needed");
    }
}

#[test]
fn a_trend_of_one_day_knows_the_day_before() {
    let acts = [
        ("in", "view", "2024-06-10"),
        ("stays", "view", "2024-06-09"),
        ("stays", "view", "2024-06-10"),
        ("out", "view", "2024-06-09"),
    ];
    let events = on_the_wall(&acts, "Asia/Shanghai");
    let of = |measure| {
        counts(
            &ask_trend(&events, &one_day(), ("2024-06-10", "2024-06-10"), Step::Month, measure),
            "S",
        )
    };
    let said = [Measure::Stock, Measure::Entries, Measure::Exits, Measure::Union].map(of);
    assert_eq!(said, [2, 1, 1, 2].map(|count| expected(&[("2024-06-10", count)])));
}

#[test]
fn a_leap_day_is_a_day() {
    let events = on_the_wall(&[("u", "view", "2024-02-29"), ("w", "view", "2024-02-15")], "Asia/Shanghai");
    let range = ("2024-02-28", "2024-03-01");
    let of = |model: &StageModel, measure| ask_trend(&events, model, range, Step::Day, measure);
    assert_eq!(counts(&of(&one_day(), Measure::Stock), "S"), expected(&[("2024-02-29", 1)]));
    assert_eq!(counts(&of(&one_day(), Measure::Entries), "S"), expected(&[("2024-02-29", 1)]));
    assert_eq!(counts(&of(&one_day(), Measure::Exits), "S"), expected(&[("2024-03-01", 1)]));
    // 15 days from February 15 end with the leap day; 15 days from the leap day end with March 14.
    assert_eq!(
        counts(&of(&databank(), Measure::Stock), "A"),
        expected(&[("2024-02-28", 1), ("2024-02-29", 2), ("2024-03-01", 1)])
    );
    let told = history(&events, &databank(), &IdValue::from("u"), None, &Runtime::default()).expect("answers");
    assert_eq!(rows(&told.table), [line("b A 2024-02-29 2024-03-14")]);
    let by_month = ask_trend(&events, &databank(), ("2024-01-30", "2024-03-31"), Step::Month, Measure::Stock);
    assert_eq!(counts(&by_month, "A"), expected(&[("2024-02-29", 2)]));
}

#[test]
fn ranges_before_and_after_the_data() {
    let acts = [("u", "view", "2024-06-01"), ("w", "member_join", "2024-06-01")];
    let events = on_the_wall(&acts, "Asia/Shanghai");
    let log = events.log(None, None, &Runtime::default()).expect("loads");
    for source in [&events as &dyn Timelines, &log] {
        let before = ask_trend(source, &databank(), ("2024-05-01", "2024-05-31"), Step::Day, Measure::Union);
        assert_eq!(["A", "I", "P", "L"].map(|stage| counts(&before, stage)), [const { Vec::new() }; 4]);
        let after = ask_trend(source, &databank(), ("2024-06-16", "2024-06-30"), Step::Month, Measure::Stock);
        assert_eq!((counts(&after, "A"), counts(&after, "I")), (vec![], expected(&[("2024-06-30", 1)])));
        let gone = ask_trend(source, &databank(), ("2024-06-16", "2024-06-30"), Step::Week, Measure::Exits);
        assert_eq!(counts(&gone, "A"), expected(&[("2024-06-16", 1)]));
        // A named scope is there with its zeros, even if there is nobody.
        let params = TrendParams {
            scopes: Some(vec![brand()]),
            ..TrendParams::default()
        };
        let zeros = trend(
            source,
            &databank(),
            day("2024-05-01"),
            day("2024-05-02"),
            &params,
            &Runtime::default(),
        )
        .expect("answers");
        assert_eq!((zeros.table.num_rows(), counts(&zeros, "A")), (8, vec![]));
        let moved = ask_flow(source, &databank(), (day("2024-04-01"), day("2024-05-01")), FlowMode::Peak);
        assert!(rows(&moved.matrix().expect("a table")).iter().all(|row| row[3] == "0"));
        let moved = ask_flow(source, &databank(), (day("2030-01-01"), Day::MAX), FlowMode::Peak);
        assert_eq!(moved.count(&brand(), "I", "I").expect("a count"), 1);
    }
}

#[test]
fn the_first_and_the_last_day_of_all() {
    let events = on_the_wall(&[("u", "view", "1970-01-01"), ("w", "view", "2199-12-31")], "Asia/Shanghai");
    let log = events.log(None, None, &Runtime::default()).expect("loads");
    for source in [&events as &dyn Timelines, &log] {
        let of = |measure| ask_trend(source, &one_day(), ("1970-01-01", "2199-12-31"), Step::Day, measure);
        assert_eq!(counts(&of(Measure::Stock), "S"), expected(&[("1970-01-01", 1), ("2199-12-31", 1)]));
        assert_eq!(
            counts(&of(Measure::Entries), "S"),
            expected(&[("1970-01-01", 1), ("2199-12-31", 1)])
        );
        assert_eq!(counts(&of(Measure::Exits), "S"), expected(&[("1970-01-02", 1)]));
        let moved = ask_flow(source, &one_day(), (Day::MIN, Day::MAX), FlowMode::Endpoint);
        assert_eq!(moved.count(&brand(), "S", "out").expect("a count"), 1);
        assert_eq!(moved.count(&brand(), "out", "S").expect("a count"), 1);
        // Beyond the last day nothing is known, so the run of the last day has no end.
        let told = history(source, &one_day(), &IdValue::from("w"), None, &Runtime::default()).expect("answers");
        assert_eq!(rows(&told.table), [line("b S 2199-12-31 _")]);
    }
}

/// Entries into S: on events and log alike.
fn entries(events: &Events, range: (&str, &str), step: Step) -> Vec<(String, i64)> {
    let log = events.log(None, None, &Runtime::default()).expect("loads");
    let [by_events, by_log] = [events as &dyn Timelines, &log].map(|source| ask_trend(source, &one_day(), range, step, Measure::Entries));
    assert_eq!(by_events.table, by_log.table);
    counts(&by_events, "S")
}

#[test]
fn months_end_at_midnight_in_shanghai() {
    // 23:30 of the last day, 00:30 of the first; the last second of a leap day, and the next.
    let instants = [
        "2024-01-31T15:30:00Z",
        "2024-01-31T16:30:00Z",
        "2024-02-29T15:59:59Z",
        "2024-02-29T16:00:00Z",
    ];
    let acts: Vec<Row<'_>> = ["u1", "u2", "u3", "u4"]
        .into_iter()
        .zip(instants)
        .map(|(user, time)| (user, "view", time))
        .collect();
    let events = at_instants(&acts, "Asia/Shanghai");
    let by_month = entries(&events, ("2024-01-01", "2024-03-31"), Step::Month);
    assert_eq!(by_month, expected(&[("2024-01-31", 1), ("2024-02-29", 2), ("2024-03-31", 1)]));
    // The same on the wall: Sunday 23:30 is of the week that ends, Monday 00:30 of the next.
    let events = on_the_wall(
        &[("u1", "view", "2024-06-30 23:30:00"), ("u2", "view", "2024-07-01 00:30:00")],
        "Asia/Shanghai",
    );
    for step in [Step::Week, Step::Month] {
        let last = if step == Step::Week { "2024-07-07" } else { "2024-07-31" };
        assert_eq!(
            entries(&events, ("2024-06-24", "2024-07-31"), step),
            expected(&[("2024-06-30", 1), (last, 1)])
        );
    }
}

#[test]
fn months_and_weeks_end_at_midnight_in_new_york_in_summer_and_winter() {
    // Each pair: 23:30 of the last day of a month, and 00:30 of the next day.
    let instants = [
        "2024-03-01T04:30:00Z",
        "2024-03-01T05:30:00Z",
        "2024-04-01T03:30:00Z",
        "2024-04-01T04:30:00Z",
        "2024-12-01T04:30:00Z",
        "2024-12-01T05:30:00Z",
    ];
    let users = ["u1", "u2", "u3", "u4", "u5", "u6"];
    let acts: Vec<Row<'_>> = users.into_iter().zip(instants).map(|(user, time)| (user, "view", time)).collect();
    let by_month = entries(&at_instants(&acts, "America/New_York"), ("2024-02-01", "2024-12-31"), Step::Month);
    let months = ["2024-02-29", "2024-03-31", "2024-04-30", "2024-11-30", "2024-12-31"];
    assert_eq!(
        by_month,
        expected(&months.map(|month| (month, if month == "2024-03-31" { 2 } else { 1 })))
    );
}

#[test]
fn the_days_on_which_new_york_changes_its_clocks() {
    // The Sunday of 23 hours: Saturday 23:30, Sunday 00:30, 01:59:59, 03:00 and 23:30, Monday 00:30.
    let spring = [
        "2024-03-10T04:30:00Z",
        "2024-03-10T05:30:00Z",
        "2024-03-10T06:59:59Z",
        "2024-03-10T07:00:00Z",
        "2024-03-11T03:30:00Z",
        "2024-03-11T04:30:00Z",
    ];
    // The Sunday of 25 hours: Saturday 23:30, Sunday 00:30, 01:30, 01:30 again and 23:30, Monday 00:30.
    let autumn = [
        "2024-11-03T03:30:00Z",
        "2024-11-03T04:30:00Z",
        "2024-11-03T05:30:00Z",
        "2024-11-03T06:30:00Z",
        "2024-11-04T04:30:00Z",
        "2024-11-04T05:30:00Z",
    ];
    let users = ["u1", "u2", "u3", "u4", "u5", "u6"];
    for (instants, [saturday, sunday, monday, end]) in [
        (spring, ["2024-03-09", "2024-03-10", "2024-03-11", "2024-03-17"]),
        (autumn, ["2024-11-02", "2024-11-03", "2024-11-04", "2024-11-10"]),
    ] {
        let acts: Vec<Row<'_>> = users.into_iter().zip(instants).map(|(user, time)| (user, "view", time)).collect();
        let events = at_instants(&acts, "America/New_York");
        assert_eq!(
            entries(&events, (saturday, end), Step::Day),
            expected(&[(saturday, 1), (sunday, 4), (monday, 1)])
        );
        assert_eq!(entries(&events, (saturday, end), Step::Week), expected(&[(sunday, 5), (end, 1)]));
    }
    // A time that the change skips is read as an hour later; one that it repeats as the earlier. Both stay on their day.
    let acts = [
        ("u", "view", "2024-03-10 02:30:00"),
        ("u", "view", "2024-11-03 01:30:00"),
        ("u", "view", "2024-03-31 23:30:00"),
    ];
    let events = on_the_wall(&acts, "America/New_York");
    let days = expected(&[("2024-03-10", 1), ("2024-03-31", 1), ("2024-11-03", 1)]);
    assert_eq!(entries(&events, ("2024-03-01", "2024-11-30"), Step::Day), days);
    let (told, total) = timeline(&events, &IdValue::from("u"), None, &Runtime::default()).expect("answers");
    let times: Vec<String> = rows(&told.table).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(total, 3);
    // Shown in UTC here; the column itself is in the zone.
    assert_eq!(times, ["2024-03-10T07:30:00", "2024-04-01T03:30:00", "2024-11-03T05:30:00"]);
    let zone = DataType::Timestamp(TimeUnit::Microsecond, Some("America/New_York".into()));
    assert_eq!(told.table.schema().field(0).data_type(), &zone);
    // A window of 15 days is 15 days of the calendar, be they of 23, 24 or 25 hours.
    let events = on_the_wall(
        &[("u", "view", "2024-03-01 23:30:00"), ("w", "view", "2024-10-25 00:30:00")],
        "America/New_York",
    );
    let told = |user: &str| {
        rows(
            &history(&events, &databank(), &IdValue::from(user), None, &Runtime::default())
                .expect("answers")
                .table,
        )
    };
    assert_eq!(
        (told("u"), told("w")),
        (vec![line("b A 2024-03-01 2024-03-15")], vec![line("b A 2024-10-25 2024-11-08")])
    );
}
