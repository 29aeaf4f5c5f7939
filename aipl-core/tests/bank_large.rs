//! Batches that do not fit their memory limit are the same batches.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

use std::sync::Arc;

use aipl_core::analyses::{SnapshotParams, snapshot};
use aipl_core::bank::{BankError, CreateParams, DataBank, IngestParams, LEAST_MEMORY};
use aipl_core::base::ConsumerIdx;
use aipl_core::event::EventSchema;
use aipl_core::model::StageModel;
use aipl_core::source::Events;
use aipl_core::timeline::{Runtime, Timelines};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};

const ROWS: u64 = 60_000;

fn schema() -> EventSchema {
    EventSchema::new("user", "brand", "action", "at")
        .with_field("order_id", "order")
        .with_field("amount", "amount")
}

/// Rows of many consumers and orders, in no order, in batches.
fn events(rows: impl Iterator<Item = u64>) -> Events {
    const ACTIONS: [&str; 4] = ["impression", "view", "favorite", "purchase"];
    let mixed: Vec<u64> = rows.map(|row| row.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20).collect();
    let batch = |mixed: &[u64]| {
        let text = |of: &dyn Fn(u64) -> String| Arc::new(StringArray::from_iter_values(mixed.iter().map(|&value| of(value)))) as ArrayRef;
        let times = mixed
            .iter()
            .map(|value| 1_717_200_000_000_000 + (value % 2_000_000_000) as i64 * 1_001);
        RecordBatch::try_from_iter([
            (
                "user",
                Arc::new(Int64Array::from_iter_values(mixed.iter().map(|value| (value % 50_021) as i64))) as ArrayRef,
            ),
            ("brand", text(&|value| format!("b{}", value % 7))),
            ("action", text(&|value| ACTIONS[(value % 4) as usize].to_owned())),
            ("at", Arc::new(TimestampMicrosecondArray::from_iter_values(times)) as ArrayRef),
            ("order", text(&|value| format!("order {value:0200}"))),
            (
                "amount",
                Arc::new(Float64Array::from_iter(
                    mixed.iter().map(|value| (value % 3 == 0).then_some((value % 997) as f64 / 4.0)),
                )) as ArrayRef,
            ),
        ])
        .expect("columns of one length")
    };
    let batches: Vec<RecordBatch> = mixed.chunks(8192).map(batch).collect();
    Events::from_batches(batches[0].schema(), batches, schema(), "Asia/Shanghai").expect("opens")
}

fn create(folder: &tempfile::TempDir, name: &str) -> DataBank {
    DataBank::create(&folder.path().join(name), schema(), "Asia/Shanghai", CreateParams::default()).expect("creates")
}

#[test]
fn a_batch_that_is_sorted_in_parts_is_the_same_batch() {
    let folder = tempfile::tempdir().expect("a folder");
    let (roomy, narrow) = (create(&folder, "roomy"), create(&folder, "narrow"));
    let little = IngestParams {
        memory_limit: LEAST_MEMORY,
        ..IngestParams::default()
    };
    for (bank, params, threads) in [(&roomy, IngestParams::default(), 1), (&narrow, little, 2)] {
        let runtime = Runtime::with_threads(threads).expect("threads");
        bank.ingest(&events(0..1000), "first", &params, &runtime).expect("takes the batch");
        let report = bank
            .ingest(&events(500..ROWS), "large", &params, &runtime)
            .expect("takes the batch");
        assert_eq!(report.spilled > 0, params == little, "{} parts", report.spilled);
        assert_eq!(report.batch.rows_added, ROWS - 500);
        bank.verify(&runtime).expect("whole");
    }
    // The content is the same, so that each says of the other's way that it has the batch.
    let turned = events((500..ROWS).rev());
    let runtime = Runtime::default();
    assert!(roomy.ingest(&turned, "large", &little, &runtime).expect("takes it again").replayed);
    assert!(
        narrow
            .ingest(&turned, "large", &IngestParams::default(), &runtime)
            .expect("takes it again")
            .replayed
    );
    assert!(matches!(
        narrow.ingest(&events(501..ROWS), "large", &little, &runtime),
        Err(BankError::BatchConflict { .. })
    ));
    // Numbers do not depend on threads or parts.
    let (left, right) = (
        roomy.consumers(&runtime).expect("reads"),
        narrow.consumers(&runtime).expect("reads"),
    );
    assert_eq!(left.len(), right.len());
    for bucket in 0..256 {
        for local in 0..left.bucket(bucket).len() as u32 {
            let idx = ConsumerIdx::new(bucket, local);
            assert_eq!(left.id(idx), right.id(idx));
        }
    }
    let model = StageModel::preset("databank").expect("a preset");
    let on = "2024-06-20".parse().expect("a day");
    let counts = |source: &dyn Timelines| {
        let snap = snapshot(source, &model, on, &SnapshotParams::default(), &runtime).expect("answers");
        format!("{:?}", snap.counts())
    };
    assert_eq!(counts(&roomy), counts(&narrow));
    assert_eq!(counts(&roomy), counts(&roomy.log(None, None, &runtime).expect("loads")));
    let tmp = std::fs::read_dir(folder.path().join("narrow/tmp")).expect("a folder").count();
    assert_eq!(tmp, 0, "parts are gone");
}

#[test]
fn columns_widen_and_earlier_rows_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let bank = create(&folder, "bank");
    let runtime = Runtime::default();
    let with_amount = |name: &str, amount: ArrayRef| {
        let rows = amount.len();
        let text = |value: &str| Arc::new(StringArray::from(vec![value; rows])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([
            ("user", Arc::new(Int64Array::from_iter_values(0..rows as i64)) as ArrayRef),
            ("brand", text("b")),
            ("action", text("purchase")),
            ("at", text("2024-06-01 10:00:00")),
            ("order", text(name)),
            ("amount", amount),
        ])
        .expect("columns of one length");
        let events = Events::from_batches(batch.schema(), vec![batch], schema(), "Asia/Shanghai").expect("opens");
        bank.ingest(&events, name, &IngestParams::default(), &runtime)
    };
    with_amount("integers", Arc::new(Int64Array::from(vec![Some(3), None]))).expect("takes the batch");
    with_amount("floats", Arc::new(Float64Array::from(vec![0.5, 1.5]))).expect("takes the batch");
    with_amount("nothing", arrow::array::new_null_array(&arrow::datatypes::DataType::Null, 2)).expect("takes the batch");
    with_amount("integers again", Arc::new(Int64Array::from(vec![7]))).expect("takes the batch");
    // CSV writes numbers as texts.
    with_amount("texts", Arc::new(StringArray::from(vec!["8"]))).expect("takes the batch");
    let odd = with_amount("no number", Arc::new(StringArray::from(vec!["eight"]))).expect("takes the batch");
    assert_eq!((odd.batch.rows_rejected, odd.batch.rows_added), (1, 0));
    for _ in 0..2 {
        let log = bank.log(None, None, &runtime).expect("loads");
        let (told, _) = log.timeline(&0.into(), None).expect("a table");
        let amounts = format!("{:?}", told.column_by_name("amount").expect("there"));
        assert!(
            ["3.0", "0.5", "7.0", "8.0", "null"].iter().all(|value| amounts.contains(value)),
            "{amounts}"
        );
        bank.compact(&runtime).expect("merges");
    }
}
