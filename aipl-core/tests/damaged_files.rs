//! Damaged, truncated and foreign files give an answer or a typed error that names the file; never a panic.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

use std::fs;
use std::sync::Arc;

use aipl_core::analyses::{SnapshotParams, snapshot};
use aipl_core::event::EventSchema;
use aipl_core::model::StageModel;
use aipl_core::source::csv::CsvOptions;
use aipl_core::source::{Events, SourceError};
use aipl_core::timeline::Runtime;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::ipc::writer::FileWriter;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

fn rows() -> RecordBatch {
    let count = 300;
    let time = |row: i64| 1_719_700_000_000_000 - row * 3_600_000_000;
    let text = |value: &dyn Fn(i64) -> String| Arc::new(StringArray::from_iter_values((0..count).map(value))) as ArrayRef;
    RecordBatch::try_from_iter([
        (
            "user",
            Arc::new(Int64Array::from_iter_values((0..count).map(|row| row % 40))) as ArrayRef,
        ),
        ("brand", text(&|row| format!("b{}", row % 3))),
        ("action", text(&|row| ["view", "purchase", "favorite"][row as usize % 3].to_owned())),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from_iter_values((0..count).map(time))) as ArrayRef,
        ),
    ])
    .expect("columns")
}

fn schema() -> EventSchema {
    EventSchema::new("user", "brand", "action", "at")
}

fn parquet_bytes() -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(100))
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows().schema(), Some(properties)).expect("writer");
    writer.write(&rows()).expect("writes");
    writer.close().expect("closes");
    bytes
}

fn ipc_bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = FileWriter::try_new(&mut bytes, &rows().schema()).expect("writer");
    writer.write(&rows()).expect("writes");
    writer.finish().expect("finishes");
    drop(writer);
    bytes
}

/// Opens and asks; the number of labels, or the message.
fn ask(events: Result<Events, SourceError>, runtime: &Runtime<'_>) -> Result<i64, String> {
    let events = events.map_err(|error| error.to_string())?;
    let model = StageModel::preset("databank").expect("preset");
    let day = "2024-06-30".parse().expect("day");
    let snap = snapshot(&events, &model, day, &SnapshotParams::default(), runtime).map_err(|error| error.to_string())?;
    snap.label_count(None).map_err(|error| error.to_string())
}

type Open = fn(&[String]) -> Result<Events, SourceError>;

fn open_parquet(paths: &[String]) -> Result<Events, SourceError> {
    Events::scan_parquet(paths, schema(), "UTC")
}

fn open_ipc(paths: &[String]) -> Result<Events, SourceError> {
    Events::scan_ipc(paths, schema(), "UTC")
}

fn open_csv(paths: &[String]) -> Result<Events, SourceError> {
    Events::scan_csv(paths, schema(), "UTC", CsvOptions::default())
}

/// Every cut and one flipped bit in every `step`-th byte.
fn damage(name: &str, whole: &[u8], step: usize, open: Open) {
    // Decoders may panic inside; that is caught, and its print would drown the test's own output.
    std::panic::set_hook(Box::new(|_| ()));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    let runtime = Runtime::with_threads(2).expect("threads");
    let mut refused = 0;
    let mut check = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("writes");
        if let Err(message) = ask(open(&[path.display().to_string()]), &runtime) {
            assert!(message.contains(name), "{message}");
            refused += 1;
        }
    };
    for at in (0..whole.len()).step_by(step) {
        check(&whole[..at]);
        let mut flipped = whole.to_vec();
        flipped[at] ^= 1 << (at % 8);
        check(&flipped);
    }
    assert!(refused > whole.len() / step / 2, "only {refused} refusals");
    let _ = std::panic::take_hook();
}

#[test]
fn damaged_parquet() {
    damage("events.parquet", &parquet_bytes(), 13, open_parquet);
}

#[test]
fn damaged_ipc() {
    damage("events.arrow", &ipc_bytes(), 61, open_ipc);
}

#[test]
fn foreign_and_empty_files_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = Runtime::with_threads(1).expect("threads");
    let try_all = |name: &str, bytes: &[u8], open: Open| -> Result<i64, String> {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("writes");
        ask(open(&[path.display().to_string()]), &runtime)
    };
    assert!(
        try_all("a.parquet", b"", open_parquet)
            .expect_err("empty")
            .contains("a.parquet: not a readable Parquet file")
    );
    assert!(
        try_all("a.parquet", b"user,brand,action,at\n", open_parquet)
            .expect_err("CSV")
            .contains("not a readable Parquet file")
    );
    assert!(
        try_all("a.arrow", &parquet_bytes(), open_ipc)
            .expect_err("Parquet")
            .contains("a.arrow")
    );
    assert!(
        try_all("a.csv", b"", open_csv)
            .expect_err("empty")
            .contains("a.csv: not a readable CSV file: it is empty")
    );
    assert!(
        try_all("a.csv", &[0xff, 0xfe, b'u', 0], open_csv)
            .expect_err("UTF-16")
            .contains("UTF-16")
    );
    assert!(
        try_all("a.csv", b"user,brand,action,user\n", open_csv)
            .expect_err("twice")
            .contains("\"user\" twice")
    );
    assert!(
        try_all("a.csv", b"user,brand,action,att\n", open_csv)
            .expect_err("column")
            .contains("no column \"at\"")
    );
    assert_eq!(try_all("a.csv", b"user,brand,action,at\n", open_csv), Ok(0));
    assert!(
        ask(open_csv(&["nowhere/*.csv".to_owned()]), &runtime)
            .expect_err("nothing")
            .contains("nowhere/*.csv")
    );
}

#[test]
fn bad_lines_are_counted_and_the_rest_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.csv");
    let long = "x".repeat(2 << 20);
    let lines = [
        "\u{feff}user,brand,action,at",
        "u1,b,view,2024-06-30 10:00:00",
        "u2,b,view",
        "u3,\"b\",view,2024-06-30T10:00:00Z",
        "",
        "u4,b,veiw,2024-06-30",
        ",b,view,2024-06-30",
        "u5,b,view,June 30",
        "u6,b,view,1969-12-31",
        &format!("{long},b,view,2024-06-30"),
        &format!("{},b,view,2024-06-30", "y".repeat(300)),
        "u7,\"b\",purchase,\"2024-06-30\"",
    ];
    fs::write(&path, lines.join("\r\n")).expect("writes");
    let events = open_csv(&[path.display().to_string()]).expect("opens");
    let day = "2024-06-30".parse().expect("day");
    let snap = snapshot(
        &events,
        &StageModel::preset("databank").expect("preset"),
        day,
        &SnapshotParams::default(),
        &Runtime::default(),
    )
    .expect("answers");
    let found: Vec<(u64, &str, &str)> = snap
        .report()
        .examples()
        .map(|example| (example.row, example.reason.code(), example.column.as_str()))
        .collect();
    let expected = [
        (6, "unknown_behavior", "action"),
        (8, "unreadable_time", "at"),
        (9, "time_out_of_range", "at"),
        (7, "null_consumer", "user"),
        (11, "id_too_long", "user"),
        (3, "malformed_row", ""),
        (10, "malformed_row", ""),
    ];
    assert_eq!(found, expected);
    let rows = snap.report().rows();
    assert_eq!((rows.total, rows.rejected, rows.kept), (10, 7, 3));
    assert_eq!(snap.label_count(None).expect("counts"), 3);
}
