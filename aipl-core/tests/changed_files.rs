//! A file that is not the one that was scanned is refused by name: what was learned of the old one does not hold for
//! the new.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use aipl_core::Error;
use aipl_core::analyses::validate;
use aipl_core::event::EventSchema;
use aipl_core::source::csv::CsvOptions;
use aipl_core::source::{Events, SourceError};
use aipl_core::timeline::Runtime;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::ipc::writer::FileWriter;
use parquet::arrow::ArrowWriter;

fn rows(user: &str, swapped: bool) -> RecordBatch {
    let names = if swapped { ["brand", "user"] } else { ["user", "brand"] };
    let columns = [(names[0], user), (names[1], "acme"), ("action", "view"), ("day", "2024-06-30")];
    let text = |value: &str| Arc::new(StringArray::from(vec![value; 50])) as ArrayRef;
    RecordBatch::try_from_iter(columns.map(|(name, value)| (name, text(value)))).expect("columns")
}

fn write_parquet(path: &Path, batch: &RecordBatch) {
    let mut writer = ArrowWriter::try_new(fs::File::create(path).expect("creates"), batch.schema(), None).expect("a writer");
    writer.write(batch).expect("writes");
    writer.close().expect("closes");
}

fn write_ipc(path: &Path, batch: &RecordBatch) {
    let mut writer = FileWriter::try_new(fs::File::create(path).expect("creates"), &batch.schema()).expect("a writer");
    writer.write(batch).and_then(|()| writer.finish()).expect("writes");
}

fn write_csv(path: &Path, batch: &RecordBatch) {
    let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut text = names.join(",") + "\n";
    for _ in 0..batch.num_rows() {
        let values: Vec<&str> = batch
            .columns()
            .iter()
            .map(|column| arrow::array::AsArray::as_string::<i32>(column).value(0))
            .collect();
        text += &(values.join(",") + "\n");
    }
    fs::write(path, text).expect("writes");
}

fn scan(path: &Path) -> Result<Events, SourceError> {
    let (paths, schema) = ([path.display().to_string()], EventSchema::new("user", "brand", "action", "day"));
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("parquet") => Events::scan_parquet(&paths, schema, "UTC"),
        Some("arrow") => Events::scan_ipc(&paths, schema, "UTC"),
        _ => Events::scan_csv(&paths, schema, "UTC", CsvOptions::default()),
    }
}

type Write2 = fn(&Path, &RecordBatch);
const FORMATS: [(&str, Write2); 3] = [("a.parquet", write_parquet), ("a.arrow", write_ipc), ("a.csv", write_csv)];

fn is_changed(events: &Events) -> bool {
    let runtime = Runtime::with_threads(2).expect("threads");
    match validate(events, &runtime).map_err(Error::from) {
        Err(Error::Source(SourceError::Changed { .. })) => true,
        Ok(_) => false,
        other => panic!("neither an answer nor a change: {other:?}"),
    }
}

#[test]
fn a_file_that_changed_since_it_was_scanned_is_refused() {
    for (name, write) in FORMATS {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        let scanned = || {
            write(&path, &rows("ann", false));
            scan(&path).expect("scans")
        };
        let events = scanned();
        assert!(!is_changed(&events), "{name}: nothing changed");
        write(&path, &rows("bob", false));
        assert!(is_changed(&events), "{name}: another value of the same length");
        let events = scanned();
        write(&path, &rows("ann", true));
        assert!(is_changed(&events), "{name}: two columns in the other order");
        let events = scanned();
        fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .expect("opens")
            .write_all(b"x")
            .expect("appends");
        assert!(is_changed(&events), "{name}: a byte more");
        let events = scanned();
        fs::File::create(&path).expect("truncates");
        assert!(is_changed(&events), "{name}: nothing left");
        let events = scanned();
        let beside = folder.path().join("beside");
        write(&beside, &rows("ann", false));
        fs::rename(&beside, &path).expect("renames");
        assert!(is_changed(&events), "{name}: another file in its place");
    }
}

#[test]
fn a_change_within_the_same_moment_shows_at_the_ends_of_the_file() {
    for (name, write) in FORMATS {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        write(&path, &rows("ann", false));
        let moment = fs::metadata(&path).and_then(|meta| meta.modified()).expect("a time");
        let events = scan(&path).expect("scans");
        write(&path, &rows("bob", false));
        let file = fs::OpenOptions::new().write(true).open(&path).expect("opens");
        file.set_modified(moment).expect("sets the time");
        assert!(is_changed(&events), "{name}");
    }
}

#[test]
fn a_file_that_is_gone_is_named() {
    for (name, write) in FORMATS {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        write(&path, &rows("ann", false));
        let events = scan(&path).expect("scans");
        fs::remove_file(&path).expect("removes");
        let runtime = Runtime::with_threads(2).expect("threads");
        let error = validate(&events, &runtime).map_err(Error::from).expect_err("gone").to_string();
        assert!(error.contains(name), "{error}");
    }
}
