//! Text that arrives as plain bytes: what is UTF-8 is read, what is not is a rejected row, and nothing is guessed.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

use std::sync::Arc;

use aipl_core::analyses::{Snapshot, SnapshotParams, snapshot, validate};
use aipl_core::bank::{CreateParams, DataBank, IngestParams};
use aipl_core::event::{EventSchema, Tally};
use aipl_core::model::StageModel;
use aipl_core::source::Events;
use aipl_core::timeline::{Runtime, ScopeValue, Timelines};
use arrow::array::{ArrayRef, BinaryArray, BinaryViewArray, DictionaryArray, Int32Array, LargeBinaryArray, RecordBatch};
use arrow::datatypes::Int32Type;

/// Chinese text as GBK, the everyday case.
const GBK: &[u8] = b"\xe4\xaf\xc0\xc0";
const COLUMNS: [&str; 7] = ["user", "brand", "action", "day", "shelf", "paid", "place"];
const GOOD: [&str; 7] = ["ann", "acme", "purchase", "2024-06-28", "tea", "12.5", "app"];

fn schema() -> EventSchema {
    EventSchema::new("user", "brand", "action", "day")
        .with_field("category", "shelf")
        .with_field("amount", "paid")
        .with_field("touchpoint", "place")
}

fn runtime() -> Runtime<'static> {
    Runtime::with_threads(2).expect("threads")
}

/// Makes a column of values.
type Form<'a> = &'a dyn Fn(&[&[u8]]) -> ArrayRef;

/// A good row, and one for each column in which just that column is no text, in each form of bytes.
fn sources() -> Vec<Events> {
    let mut columns: Vec<Vec<&[u8]>> = GOOD.iter().map(|good| vec![good.as_bytes(); COLUMNS.len() + 1]).collect();
    (0..COLUMNS.len()).for_each(|bad| columns[bad][bad + 1] = GBK);
    let dictionary = |values: &[&[u8]]| {
        let distinct: ArrayRef = Arc::new(BinaryArray::from_vec(values.to_vec()));
        let keys = Int32Array::from_iter_values(0..values.len() as i32);
        Arc::new(DictionaryArray::<Int32Type>::try_new(keys, distinct).expect("keys")) as ArrayRef
    };
    let forms: [Form<'_>; 4] = [
        &|values| Arc::new(BinaryArray::from_vec(values.to_vec())),
        &|values| Arc::new(LargeBinaryArray::from_vec(values.to_vec())),
        &|values| Arc::new(BinaryViewArray::from_iter_values(values.iter())),
        &dictionary,
    ];
    let events = |form: Form<'_>| {
        let arrays = COLUMNS.iter().zip(&columns).map(|(name, values)| (*name, form(values)));
        let batch = RecordBatch::try_from_iter(arrays).expect("columns");
        Events::from_batches(batch.schema(), vec![batch], schema(), "UTC").expect("events")
    };
    forms.iter().map(|form| events(form)).collect()
}

/// The columns with rejected rows, in order of row; all for the same reason.
fn rejected(tally: &Tally) -> Vec<String> {
    let mut examples: Vec<_> = tally.examples().collect();
    assert!(examples.iter().all(|example| example.reason.code() == "not_utf8"), "{examples:?}");
    examples.sort_by_key(|example| example.row);
    assert_eq!(examples.len().min(5), tally.rows_rejected().min(5) as usize);
    examples.iter().map(|example| example.column.clone()).collect()
}

fn model(rule: &str) -> StageModel {
    let stage = |code: &str, rule: &str| format!(r#"{{"code":"{code}","name":"{code}","any":[{rule}]}}"#);
    let rare = r#"{"behaviors":["refund"]}"#;
    StageModel::from_json(&format!(r#"{{"id":"m","stage":[{},{}]}}"#, stage("S", rule), stage("T", rare))).expect("model")
}

fn ask(home: &dyn Timelines, rule: &str) -> Snapshot {
    let day = "2024-06-30".parse().expect("day");
    snapshot(home, &model(rule), day, &SnapshotParams::default(), &runtime()).expect("answers")
}

fn of_acme(snap: &Snapshot) -> (i64, Vec<String>) {
    let people = snap.count(&ScopeValue::of("acme"), "S").expect("counts");
    (people, rejected(&snap.report().tally))
}

#[test]
fn rows_are_rejected_by_the_column_that_is_no_text() {
    let all = COLUMNS.map(str::to_owned).to_vec();
    for events in sources() {
        let report = validate(&events, &runtime()).expect("validates");
        // Only five examples of a reason are kept; the counts are whole.
        assert_eq!((report.tally.rows_rejected(), rejected(&report.tally)), (7, all[..5].to_vec()));
        // Amounts are always checked, optional texts only where the question looks at them.
        let required = ["user", "brand", "action", "day", "paid"];
        assert_eq!(
            of_acme(&ask(&events, r#"{"behaviors":["purchase"]}"#)),
            (1, required.map(str::to_owned).to_vec())
        );
        let condition = ask(&events, r#"{"behaviors":["purchase"],"where":{"touchpoint":{"ne":"store"}}}"#);
        assert_eq!((of_acme(&condition).0, condition.report().tally.rows_rejected()), (1, 6));
        let sum = ask(&events, r#"{"behaviors":["purchase"],"count":"sum","of":"amount","min":12}"#);
        assert_eq!((of_acme(&sum).0, sum.report().tally.rows_rejected()), (1, 5));
    }
}

#[test]
fn homes_take_in_no_bytes_that_are_no_text() {
    let folder = tempfile::tempdir().expect("a folder");
    for (number, events) in sources().into_iter().enumerate() {
        let log = events.log(None, None, &runtime()).expect("loads");
        assert_eq!(log.tally().rows_rejected(), 7);
        let bank = folder.path().join(number.to_string());
        let bank = DataBank::create(&bank, schema(), "UTC", CreateParams::default()).expect("creates");
        let taken = bank.ingest(&events, "one", &IngestParams::default(), &runtime()).expect("ingests");
        assert_eq!((taken.batch.rows_rejected, taken.batch.rows_added), (7, 1));
        for home in [&log as &dyn Timelines, &bank] {
            let snap = ask(home, r#"{"behaviors":["purchase"],"where":{"touchpoint":"app"}}"#);
            assert_eq!(snap.count(&ScopeValue::of("acme"), "S").expect("counts"), 1);
        }
    }
}
