//! What is gone with a batch is said: identifiers that are lost are nobody's, and events that were copies are counted.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aipl_core::analyses::{SnapshotParams, snapshot};
use aipl_core::audience::Audience;
use aipl_core::bank::{BankError, CreateParams, DataBank, IngestParams, IngestReport, LinkParams, LinkRules, Mode};
use aipl_core::base::{Day, IdKind, IdValue, Zone};
use aipl_core::event::EventSchema;
use aipl_core::identity::{Guards, IdType, Reading, Unknown};
use aipl_core::model::StageModel;
use aipl_core::source::Events;
use aipl_core::source::memory::StreamSource;
use aipl_core::timeline::{Runtime, Universe};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

fn runtime() -> Runtime<'static> {
    Runtime::with_threads(2).expect("threads")
}

fn schema() -> EventSchema {
    EventSchema::new("user", "brand", "action", "at").with_field("event_id", "event")
}

fn create(path: &Path) -> DataBank {
    DataBank::create(path, schema(), "UTC", CreateParams::default()).expect("creates")
}

fn texts(values: &[&str]) -> Vec<IdValue> {
    values.iter().map(|value| IdValue::from(*value)).collect()
}

fn column(ids: &[IdValue]) -> ArrayRef {
    let int = |id: &IdValue| match id {
        IdValue::Int(value) => *value,
        IdValue::Text(_) => panic!("a text among integers"),
    };
    match ids.first() {
        Some(IdValue::Int(_)) => Arc::new(Int64Array::from_iter_values(ids.iter().map(int))),
        _ => Arc::new(StringArray::from_iter_values(ids.iter().map(IdValue::to_string))),
    }
}

/// One purchase of each consumer; the id of an event is that of its batch and place, if none are given.
fn ingest(bank: &DataBank, batch: &str, ids: &[IdValue], events: Option<&[&str]>) -> IngestReport {
    let own: Vec<String> = match events {
        Some(events) => events.iter().map(|event| (*event).to_owned()).collect(),
        None => (0..ids.len()).map(|place| format!("{batch} {place}")).collect(),
    };
    let same = |value: &'static str| Arc::new(StringArray::from(vec![value; ids.len()])) as ArrayRef;
    let rows = RecordBatch::try_from_iter([
        ("user", column(ids)),
        ("brand", same("x")),
        ("action", same("purchase")),
        ("at", same("2024-06-20 10:00:00")),
        ("event", Arc::new(StringArray::from(own)) as ArrayRef),
    ]);
    let rows = rows.expect("a batch");
    let events = Events::from_batches(rows.schema(), vec![rows], schema(), "UTC").expect("events");
    bank.ingest(&events, batch, &IngestParams::default(), &runtime())
        .expect("takes the batch")
}

fn all_of(bank: &DataBank) -> Result<Vec<IdValue>, String> {
    let day: Day = "2024-06-30".parse().expect("a day");
    let model = StageModel::preset("databank").expect("a model");
    let asked = snapshot(bank, &model, day, &SnapshotParams::default(), &runtime()).map_err(|error| error.to_string())?;
    let mut all = BTreeSet::new();
    for batch in asked.labels(None, &runtime()).map_err(|error| error.to_string())? {
        all.extend(ids_of(&batch.expect("labels"), "consumer"));
    }
    Ok(all.into_iter().collect())
}

fn ids_of(batch: &RecordBatch, name: &str) -> Vec<IdValue> {
    let column = batch.column_by_name(name).expect("a column");
    match column.as_primitive_opt::<Int64Type>() {
        Some(ints) => ints.values().iter().map(|value| IdValue::Int(*value)).collect(),
        None => column.as_string::<i32>().iter().flatten().map(IdValue::from).collect(),
    }
}

/// What stands in the files of consumers.
fn stored(bank: &DataBank) -> Vec<IdValue> {
    let mut all = Vec::new();
    for file in bank.files("ids").expect("files") {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).expect("opens")).expect("a reader");
        for batch in reader.build().expect("a reader") {
            all.extend(ids_of(&batch.expect("reads"), "consumer"));
        }
    }
    all
}

fn damage(file: &PathBuf) {
    fs::write(file, "x").expect("writes");
}

/// A bank whose second batch cannot be read, neither its consumers nor its events, with an audience of everybody.
fn damaged(path: &Path, ids: [&[IdValue]; 3]) -> DataBank {
    let bank = create(path);
    for (batch, ids) in ["1", "2", "3"].into_iter().zip(ids) {
        ingest(&bank, batch, ids, None);
    }
    let universe = bank.consumers(&runtime()).expect("reads");
    let everyone = Audience::of_ids(&universe, ids.concat(), "everyone");
    bank.save_audience("everyone", &everyone, "", &runtime()).expect("saves");
    let files: Vec<PathBuf> = ["ids", "segments"]
        .map(|folder| bank.files(folder).expect("files").remove(1))
        .to_vec();
    drop(bank);
    files.iter().for_each(damage);
    DataBank::open(path, Mode::WRITE).expect("opens")
}

/// The consumers of three batches, of which the second goes, and who is left.
fn people(id_kind: IdKind) -> ([Vec<IdValue>; 3], Vec<IdValue>) {
    match id_kind {
        IdKind::Text => (
            [texts(&["ann", "bob"]), texts(&["cat", "dan", "eve"]), texts(&["ann", "fay"])],
            texts(&["ann", "bob", "fay"]),
        ),
        IdKind::Int64 => {
            let ints = |values: &[i64]| values.iter().map(|value| IdValue::Int(*value)).collect::<Vec<_>>();
            ([ints(&[1, 2]), ints(&[3, 4, 5]), ints(&[1, 6])], ints(&[1, 2, 6]))
        }
    }
}

#[test]
fn lost_identifiers_are_nobodys_and_are_counted() {
    for id_kind in [IdKind::Text, IdKind::Int64] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bank");
        let ([first, second, third], left) = people(id_kind);
        let bank = damaged(&path, [&first, &second, &third]);
        let told = bank.drop_batch("2", &runtime()).expect("goes");
        assert_eq!(told.lost_ids, 3);
        let check = |bank: &DataBank| {
            let audience = bank.audience("everyone", None, &runtime()).expect("is kept");
            assert_eq!((audience.len(), audience.lost_ids(), audience.ids()), (6, Ok(3), Ok(left.clone())));
            assert_eq!(audience.sample(5, 1).expect("samples").ids(), Ok(left.clone()));
            let universe = audience.universe().expect("known");
            let again = Arc::new(Universe::from_bytes(&universe.to_bytes()).expect("reads"));
            let again = Audience::from_bytes(&audience.to_bytes(), Some(again)).expect("reads");
            assert_eq!((again.len(), again.lost_ids(), again.ids()), (6, Ok(3), Ok(left.clone())));
            bank.verify(&runtime()).expect("whole");
        };
        check(&bank);
        assert_eq!(all_of(&bank), Ok(left.clone()));

        // Whoever is really called as the file calls the lost is somebody else.
        let universe = bank.consumers(&runtime()).expect("reads");
        let odd: Vec<IdValue> = stored(&bank).into_iter().filter(|id| !left.contains(id)).collect();
        assert_eq!((odd.len(), universe.lost().len()), (3, 3));
        assert!(odd.iter().all(|id| universe.find(id).is_none()));
        let report = ingest(&bank, "4", &odd, None);
        assert_eq!(report.batch.new_consumers, 3);
        check(&bank);
        let mut all = [left.clone(), odd].concat();
        all.sort_unstable();
        assert_eq!(all_of(&bank), Ok(all.clone()));
        // So are the lost themselves, should they come again.
        assert_eq!(ingest(&bank, "2", &second, None).batch.new_consumers, 3);
        all.extend(second);
        all.sort_unstable();
        bank.compact(&runtime()).expect("merges");
        bank.vacuum().expect("cleans");
        drop(bank);
        let bank = DataBank::open(&path, Mode::WRITE).expect("opens");
        check(&bank);
        assert_eq!(all_of(&bank), Ok(all));
    }
}

#[test]
fn an_earlier_commit_is_not_answered_without_its_identifiers() {
    let folder = tempfile::tempdir().expect("a folder");
    let ([first, second, third], left) = people(IdKind::Text);
    let path = folder.path().join("bank");
    let bank = create(&path);
    ingest(&bank, "1", &first, None);
    ingest(&bank, "2", &second, None);
    ingest(&bank, "3", &third, None);
    let (before, ids) = (bank.commit_seq(), bank.files("ids").expect("files").remove(1));
    drop(bank);
    damage(&ids);
    let bank = DataBank::open(&path, Mode::WRITE).expect("opens");
    assert_eq!(bank.drop_batch("2", &runtime()).expect("goes").lost_ids, 3);
    assert_eq!(all_of(&bank), Ok(left));
    // Its segment is whole: only the identifiers are missing.
    let refused = all_of(&bank.as_of_commit(before).expect("is there")).expect_err("is refused");
    assert!(refused.contains("ids/"), "{refused}");
}

#[test]
fn lost_accounts_are_no_persons() {
    let folder = tempfile::tempdir().expect("a folder");
    let ([first, second, third], _) = people(IdKind::Text);
    let bank = damaged(&folder.path().join("bank"), [&first, &second, &third]);
    bank.drop_batch("2", &runtime()).expect("goes");
    let text = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
    let rows = RecordBatch::try_from_iter([("card", text(vec!["c", "c"])), ("account", text(vec!["ann", "fay"]))]).expect("a batch");
    let rules = LinkRules {
        types: vec![IdType::named("card"), IdType::named("account")],
        guards: Guards::default(),
        id_type: "account".to_owned(),
        unknown: Unknown::Keep,
    };
    let reading = Reading {
        seen_at: None,
        source: None,
        zone: Arc::new(Zone::named("UTC").expect("UTC")),
    };
    let rows = StreamSource::from_batches("links", rows.schema(), vec![rows]);
    bank.ingest_links(&rows, "links", Some(&rules), &reading, &LinkParams::default(), &runtime())
        .expect("takes links");
    let everyone = bank.audience("everyone", None, &runtime()).expect("is kept");
    // Ann and Fay are one, Bob is one, and three accounts are of nobody known.
    assert_eq!((everyone.len(), everyone.lost_ids()), (5, Ok(3)));
    assert_eq!(everyone.ids().map(|ids| ids.len()), Ok(2));
    assert_eq!(everyone.ids_of_type("account").expect("accounts"), ["ann", "bob", "fay"]);
    let universe = everyone.universe().expect("known");
    let again = Arc::new(Universe::from_bytes(&universe.to_bytes()).expect("reads"));
    let again = Audience::from_bytes(&everyone.to_bytes(), Some(again)).expect("reads");
    assert_eq!((again.lost_ids(), again.ids()), (Ok(3), everyone.ids()));
    bank.save_audience("again", &everyone, "", &runtime()).expect("saves");
    bank.verify(&runtime()).expect("whole");
}

#[test]
fn events_that_later_batches_had_too_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let bank = create(&folder.path().join("bank"));
    let (first, all) = (texts(&["ann", "bob"]), texts(&["ann", "bob", "cat"]));
    ingest(&bank, "0", &texts(&["zed", "zed"]), Some(&["0", "0"]));
    ingest(&bank, "A", &first, Some(&["1", "2"]));
    assert_eq!(ingest(&bank, "B", &all, Some(&["1", "2", "3"])).batch.rows_duplicate, 2);
    ingest(&bank, "C", &texts(&["dan"]), Some(&["4"]));
    // Batches with copies that came before, and later ones without, are not concerned.
    let told = bank.drop_batch("A", &runtime()).expect("goes");
    assert_eq!((told.later_copies, &told.later_batches[..]), (2, &["B".to_owned()][..]));
    assert!(ingest(&bank, "B", &all, Some(&["1", "2", "3"])).replayed);
    assert_eq!(all_of(&bank), Ok(texts(&["cat", "dan", "zed"])));
    // What the report says helps, and nothing is to be said then.
    let told = bank.drop_batch("B", &runtime()).expect("goes");
    assert_eq!((told.later_copies, told.later_batches.len()), (0, 0));
    assert_eq!(ingest(&bank, "B", &all, Some(&["1", "2", "3"])).batch.rows_added, 3);
    assert_eq!(all_of(&bank), Ok(texts(&["ann", "bob", "cat", "dan", "zed"])));
    // Batches that go together leave nothing behind to be counted.
    ingest(&bank, "D", &first, Some(&["1", "2"]));
    let told = bank.drop_batches(&["B", "D"], &runtime()).expect("go");
    assert_eq!(told.later_copies, 0);
    assert!(matches!(bank.drop_batch("D", &runtime()), Err(BankError::Unknown { .. })));
}

#[test]
fn days_that_cannot_be_kept_again_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = StageModel::preset("databank").expect("a model");
    let params = CreateParams { model: Some(model) };
    let bank = DataBank::create(&folder.path().join("bank"), schema(), "UTC", params).expect("creates");
    ingest(&bank, "1", &texts(&["ann"]), None);
    bank.materialize("2024-06-30".parse().expect("a day"), None, &runtime())
        .expect("keeps");
    bank.expire("2024-06-25".parse().expect("a day"), &runtime()).expect("expires");
    let told = bank.drop_batch("1", &runtime()).expect("goes");
    assert_eq!(told.dropped_days, ["2024-06-30 (databank)"]);
    assert_eq!(told.lost_days, told.dropped_days);
}
