//! Faults that a review found, each kept from coming back.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

use std::fs::{self, File};
use std::sync::Arc;

use aipl_core::analyses::{Snapshot, SnapshotParams, snapshot, validate};
use aipl_core::event::EventSchema;
use aipl_core::model::StageModel;
use aipl_core::source::csv::CsvOptions;
use aipl_core::source::{Events, OnError};
use aipl_core::timeline::{Runtime, ScopeValue};
use arrow::array::{ArrayRef, DictionaryArray, Float64Array, Int32Array, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::{DataType, Int32Type};
use parquet::arrow::ArrowWriter;

fn text(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn rows(users: &[&str], brands: &[&str], actions: &[&str], days: &[&str]) -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("user", text(users)),
        ("brand", text(brands)),
        ("action", text(actions)),
        ("day", text(days)),
    ]
}

fn schema() -> EventSchema {
    EventSchema::new("user", "brand", "action", "day")
}

fn events(columns: Vec<(&'static str, ArrayRef)>, schema: EventSchema) -> Events {
    let batch = RecordBatch::try_from_iter(columns).expect("columns");
    Events::from_batches(batch.schema(), vec![batch], schema, "UTC").expect("events")
}

fn ask(events: &Events, model: &StageModel, params: &SnapshotParams) -> Snapshot {
    snapshot(
        events,
        model,
        "2024-06-30".parse().expect("day"),
        params,
        &Runtime::with_threads(2).expect("threads"),
    )
    .expect("answers")
}

fn databank() -> StageModel {
    StageModel::preset("databank").expect("preset")
}

fn model(rule: &str) -> StageModel {
    let stage = |code: &str, rule: &str| format!(r#"{{"code":"{code}","name":"{code}","any":[{rule}]}}"#);
    StageModel::from_json(&format!(
        r#"{{"id":"m","stage":[{},{}]}}"#,
        stage("S", rule),
        stage("T", r#"{"behaviors":["refund"]}"#)
    ))
    .expect("model")
}

#[test]
fn dictionaries_without_values_are_all_null_and_nothing_hangs() {
    let nothing: DictionaryArray<Int32Type> = DictionaryArray::new(Int32Array::new_null(3), text(&[]));
    let batch = RecordBatch::try_from_iter([
        ("user", text(&["a", "b", "c"])),
        ("brand", text(&["x", "x", "x"])),
        ("action", Arc::new(nothing) as ArrayRef),
        ("day", text(&["2024-06-30"; 3])),
    ])
    .expect("columns");
    let many = vec![batch.clone(); 40];
    let events = Events::from_batches(batch.schema(), many, schema(), "UTC").expect("events");
    assert_eq!(ask(&events, &databank(), &SnapshotParams::default()).report().rows().rejected, 120);
}

#[test]
fn files_that_disagree_about_any_column_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, columns: Vec<(&str, ArrayRef)>| {
        let batch = RecordBatch::try_from_iter(columns).expect("columns");
        let mut writer =
            ArrowWriter::try_new(File::create(folder.path().join(name)).expect("creates"), batch.schema(), None).expect("writer");
        writer.write(&batch).expect("writes");
        writer.close().expect("closes");
    };
    write("1.parquet", rows(&["a"], &["x"], &["view"], &["2024-06-30"]));
    let mut odd = rows(&["a"], &["x"], &["view"], &["2024-06-30"]);
    odd[2].1 = Arc::new(Float64Array::from(vec![1.0]));
    write("2.parquet", odd);
    let error = Events::scan_parquet(&[folder.path().display().to_string()], schema(), "UTC")
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("2.parquet: column \"action\" (mapped to behavior) is Float64"),
        "{error}"
    );
}

#[test]
fn a_hive_key_wins_over_a_column_of_the_same_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("day=2024-06-30");
    fs::create_dir(&inner).expect("a folder");
    // The file's own days are old; by its path all rows are of the asked day.
    let columns = rows(&["a", "b"], &["x", "x"], &["view", "view"], &["2020-01-01", "2020-01-02"]);
    let batch = RecordBatch::try_from_iter(columns).expect("columns");
    let mut writer = ArrowWriter::try_new(File::create(inner.join("1.parquet")).expect("creates"), batch.schema(), None).expect("writer");
    writer.write(&batch).expect("writes");
    writer.close().expect("closes");
    let events = Events::scan_parquet(&[folder.path().display().to_string()], schema(), "UTC").expect("events");
    assert_eq!(
        ask(&events, &databank(), &SnapshotParams::default())
            .label_count(None)
            .expect("counts"),
        2
    );
}

#[test]
fn one_event_in_two_brands_counts_in_both() {
    let mut columns = rows(&["a", "a", "a"], &["x", "y", "y"], &["purchase"; 3], &["2024-06-30"; 3]);
    columns.push(("event", text(&["e1", "e1", "e1"])));
    let events = events(columns, schema().with_field("event_id", "event"));
    let twice = model(r#"{"behaviors":["purchase"],"min":1,"max":1}"#);
    for scopes in [None, Some(vec![ScopeValue::of("y")])] {
        let snap = ask(&events, &twice, &SnapshotParams { scopes });
        assert_eq!(snap.count(&ScopeValue::of("y"), "S").expect("counts"), 1);
    }
}

#[test]
fn summed_attributes_are_checked() {
    let mut columns = rows(&["a", "b"], &["x", "x"], &["purchase"; 2], &["2024-06-30"; 2]);
    columns.push(("paid", text(&["12 yuan", "5"])));
    let events = events(columns, schema().with_attribute("paid", "paid"));
    let snap = ask(
        &events,
        &model(r#"{"behaviors":["purchase"],"count":"sum","of":"paid"}"#),
        &SnapshotParams::default(),
    );
    let reasons: Vec<&str> = snap.report().examples().map(|example| example.reason.code()).collect();
    assert_eq!(
        (reasons, snap.count(&ScopeValue::of("x"), "S").expect("counts")),
        (vec!["unreadable_number"], 1)
    );
}

#[test]
fn conditions_on_what_rules_say_otherwise_are_refused() {
    let events = events(rows(&["a"], &["x"], &["view"], &["2024-06-30"]), schema());
    let model = model(r#"{"behaviors":["view"],"where":{"time":"2024-06-30"}}"#);
    let error = snapshot(
        &events,
        &model,
        "2024-06-30".parse().expect("day"),
        &SnapshotParams::default(),
        &Runtime::default(),
    )
    .expect_err("refused");
    assert!(
        error
            .to_string()
            .starts_with("stage[0].any[0].where.time: is no column for conditions"),
        "{error}"
    );
}

#[test]
fn a_model_made_by_hand_is_checked_like_a_written_one() {
    let events = events(rows(&["a"], &["x"], &["view"], &["2024-06-30"]), schema());
    let mut model = databank();
    model.stages.truncate(1);
    let error = snapshot(
        &events,
        &model,
        "2024-06-30".parse().expect("day"),
        &SnapshotParams::default(),
        &Runtime::default(),
    )
    .expect_err("refused");
    assert_eq!(error.to_string(), "stage: 1 stages; a model has 2 to 15");
}

#[test]
fn a_state_that_nothing_switches_is_noted() {
    let events = events(rows(&["a"], &["x"], &["view"], &["2024-06-30"]), schema());
    let snap = ask(&events, &model(r#"{"state":"membr"}"#), &SnapshotParams::default());
    assert_eq!(
        snap.report().notes,
        ["state \"membr\": no behavior and no state table switches it, so it is never on; did you mean \"member\"?"]
    );
}

#[test]
fn validate_looks_at_every_row_and_raise_names_the_first() {
    let columns = rows(&["a", "", "c"], &["x", "x", "x"], &["view", "view", "veiw"], &["1999-01-01"; 3]);
    let runtime = Runtime::with_threads(2).expect("threads");
    let report = validate(&events(columns.clone(), schema()), &runtime).expect("validates");
    let found: Vec<(u64, &str, &str)> = report
        .examples()
        .map(|example| (example.row, example.reason.code(), example.detail.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (
                2,
                "unknown_behavior",
                "\"veiw\" is not a known behavior value; did you mean \"view\"?"
            ),
            (1, "null_consumer", "")
        ]
    );
    let rows = report.rows();
    assert_eq!((rows.total, rows.kept, rows.rejected, rows.not_needed), (3, 1, 2, 0));
    let error = validate(&events(columns, schema()).with_on_error(OnError::Raise), &runtime)
        .expect_err("raises")
        .to_string();
    assert!(
        error.contains("row 1: null_consumer in column \"user\" (2 rows rejected in all)"),
        "{error}"
    );
}

#[test]
fn empty_and_null_columns_give_empty_answers() {
    let nothing = new_null_array(&DataType::Null, 0);
    let empty = ["user", "brand", "action", "day"].map(|name| (name, nothing.clone())).to_vec();
    let snap = ask(&events(empty, schema()), &databank(), &SnapshotParams::default());
    assert_eq!((snap.counts().num_rows(), snap.report().rows().total), (0, 0));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("epochs.csv");
    fs::write(&path, "user,brand,action,day\na,x,view,1719705600\nb,x,view,soon\n").expect("writes");
    let schema = schema().with_time_unit(aipl_core::event::TimeUnit::Second);
    let events = Events::scan_csv(&[path.display().to_string()], schema, "UTC", CsvOptions::default()).expect("events");
    let snap = ask(&events, &databank(), &SnapshotParams::default());
    assert_eq!((snap.label_count(None).expect("counts"), snap.report().rows().rejected), (1, 1));
}
