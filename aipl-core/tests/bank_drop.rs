//! A batch can be taken out, whatever is wrong with it, and nothing else goes with it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "bank/events.rs"]
mod events;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aipl_core::analyses::{SnapshotParams, snapshot};
use aipl_core::bank::{BankError, DataBank, LinkParams, LinkRules, Mode};
use aipl_core::base::Zone;
use aipl_core::error::Error;
use aipl_core::identity::{Guards, IdType, Reading, Unknown};
use aipl_core::source::memory::StreamSource;
use aipl_core::timeline::{Runtime, Timelines};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use events::{check_whole, counts, create, day, events, ingest, model};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

fn runtime() -> Runtime<'static> {
    Runtime::with_threads(2).expect("threads")
}

/// The counts of a log of some batches.
fn of_log(batches: &[u64]) -> String {
    counts(&events(batches).log(None, None, &Runtime::default()).expect("loads"), "2024-06-20")
}

fn take(bank: &DataBank, batches: &[u64]) {
    for batch in batches {
        ingest(bank, *batch).expect("takes the batch");
    }
}

fn only_file(bank: &DataBank, folder: &str, place: usize) -> PathBuf {
    bank.files(folder).expect("files").remove(place)
}

/// A bank has just these batches, and all else is whole.
fn check_left(bank: &DataBank, batches: &[u64]) {
    assert_eq!(bank.info()["batches"], batches.len());
    assert_eq!(
        bank.info()["rows"],
        batches.iter().map(|batch| events::rows_of(*batch)).sum::<u64>()
    );
    assert_eq!(counts(bank, "2024-06-20"), of_log(batches));
    bank.verify(&runtime()).expect("whole");
}

#[test]
fn a_batch_goes_and_comes_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank");
    let bank = create(&path);
    for batch in 1..=3 {
        ingest(&bank, batch).expect("takes the batch");
    }
    let consumers = bank.info()["consumers"].clone();
    bank.materialize(day("2024-06-02"), None, &runtime()).expect("keeps");
    bank.materialize(day("2024-06-20"), None, &runtime()).expect("keeps");
    let before = bank.commit_seq();
    let told = bank.drop_batch("00002", &runtime()).expect("goes");
    assert_eq!((told.rows, told.rewritten, told.lost_ids), (events::rows_of(2), 0, 0));
    // The batch is of June 3, so only later days knew it.
    assert_eq!(told.dropped_days, ["2024-06-20 (databank)"]);
    assert_eq!(bank.info()["consumers"], consumers);
    check_left(&bank, &[1, 3]);
    let then = bank.as_of_commit(before).expect("is there");
    assert_eq!(
        (counts(&then, "2024-06-20"), then.info()["batches"].as_u64()),
        (of_log(&[1, 2, 3]), Some(3))
    );
    drop(then);
    assert!(matches!(
        bank.drop_batch("00002", &runtime()),
        Err(BankError::Unknown { what: "batch", .. })
    ));
    assert!(matches!(bank.drop_batches(&[], &runtime()), Err(BankError::Parameter { .. })));
    let again = ingest(&bank, 2).expect("comes again");
    assert!(!again.replayed && again.batch.new_consumers == 0);
    check_left(&bank, &[1, 2, 3]);
    drop(bank);
    let bank = DataBank::open(&path, Mode::WRITE).expect("opens");
    assert!(ingest(&bank, 2).expect("is known").replayed);
    bank.drop_batch("00002", &runtime()).expect("goes once more");
    bank.vacuum().expect("cleans");
    assert!(matches!(bank.as_of_commit(before), Err(BankError::Vacuumed { .. })));
    let copy = folder.path().join("copy");
    bank.backup(&copy, &runtime()).expect("copies");
    check_left(&DataBank::open(&copy, Mode::Read).expect("opens"), &[1, 3]);
}

#[test]
fn merged_batches_go_alone_while_their_files_are_there_and_together_afterwards() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank");
    let bank = create(&path);
    for batch in 1..=4 {
        ingest(&bank, batch).expect("takes the batch");
    }
    bank.compact(&runtime()).expect("merges");
    // Damage of the merged segment changes nothing: the rows are taken from where they were before.
    fs::write(only_file(&bank, "segments", 0), "x").expect("writes");
    let told = bank.drop_batch("00003", &runtime()).expect("goes");
    assert_eq!(
        (told.rows, told.rewritten),
        (events::rows_of(3), [1, 2, 4].map(events::rows_of).iter().sum())
    );
    check_left(&bank, &[1, 2, 4]);
    ingest(&bank, 5).expect("takes the batch");
    bank.vacuum().expect("cleans");
    let refused = bank.drop_batch("00001", &runtime()).expect_err("cannot be told apart");
    let BankError::SharedBatches { batches, .. } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(batches, &["00001", "00002", "00004"]);
    assert!(
        refused.to_string().contains("drop them together: \"00001\", \"00002\", \"00004\""),
        "{refused}"
    );
    check_left(&bank, &[1, 2, 4, 5]);
    fs::remove_file(only_file(&bank, "segments", 0)).expect("removes");
    drop(bank);
    let bank = DataBank::open(&path, Mode::WRITE).expect("opens");
    let batches: Vec<&str> = batches.iter().map(String::as_str).collect();
    bank.drop_batches(&batches, &runtime()).expect("go together");
    check_left(&bank, &[5]);
}

#[test]
fn expired_events_do_not_come_back_with_a_batch_that_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let bank = create(&folder.path().join("bank"));
    for batch in [1, 12, 13] {
        ingest(&bank, batch).expect("takes the batch");
    }
    bank.compact(&runtime()).expect("merges");
    bank.expire(day("2024-06-10"), &runtime()).expect("expires");
    bank.drop_batch("00012", &runtime()).expect("goes");
    assert_eq!(bank.info()["rows"], events::rows_of(13));
    bank.verify(&runtime()).expect("whole");
}

/// What is done to a file, by name.
type Damage = (&'static str, fn(&Path));

/// Damages the newest segment in every way in which it can be.
#[test]
fn a_batch_that_cannot_be_read_goes() {
    let ways: [Damage; 4] = [
        ("missing", |file| fs::remove_file(file).expect("removes")),
        ("damaged", |file| {
            let mut bytes = fs::read(file).expect("reads");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(file, bytes).expect("writes");
        }),
        ("not UTF-8", |file| forge(file, &with_brand)),
        ("of another type", |file| {
            forge(file, &|batch| {
                let numbers = Arc::new(arrow::array::Float64Array::from(vec![1.0; batch.num_rows()])) as ArrayRef;
                replace(batch, "day", numbers)
            });
        }),
    ];
    for (what, damage) in ways {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bank");
        let bank = create(&path);
        take(&bank, &[1, 2]);
        let segment = only_file(&bank, "segments", 1);
        drop(bank);
        damage(&segment);
        let bank = DataBank::open(&path, Mode::WRITE).expect("opens");
        let named = format!("segments/{}", segment.file_name().expect("a name").to_string_lossy());
        let check = |error: BankError| match error {
            BankError::Corrupt { file, cure, .. } => {
                assert!(
                    file == named && cure.contains("batch \"00002\"") && cure.contains("drop_batch"),
                    "{what}: {file} {cure}"
                );
            }
            other => panic!("{what}: {other}"),
        };
        check(bank.verify(&runtime()).expect_err("is found"));
        check(bank.compact(&runtime()).expect_err("cannot be merged"));
        let asked = snapshot(&bank, &model(), day("2024-06-20"), &SnapshotParams::default(), &runtime());
        match Error::from(asked.map(drop).expect_err("cannot be read")) {
            Error::Bank(error) => check(error),
            other => panic!("{what}: {other}"),
        }
        bank.drop_batch("00002", &runtime()).expect("goes");
        check_left(&bank, &[1]);
        ingest(&bank, 2).expect("comes again");
        check_left(&bank, &[1, 2]);
    }
}

#[test]
fn consumers_whose_identifiers_are_lost_go_with_their_batch() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank");
    let bank = create(&path);
    take(&bank, &[1, 2]);
    let consumers = bank.info()["consumers"].clone();
    let lost = ingest(&bank, 3).expect("takes the batch").batch.new_consumers;
    let (first, last) = (only_file(&bank, "ids", 0), only_file(&bank, "ids", 2));
    drop(bank);
    let whole = fs::read(&first).expect("reads");
    fs::write(&last, "x").expect("writes");
    let bank = DataBank::open(&path, Mode::WRITE).expect("opens");
    let refused = bank.verify(&runtime()).expect_err("is found");
    assert!(refused.to_string().contains("batch \"00003\""), "{refused}");
    let told = bank.drop_batch("00003", &runtime()).expect("goes");
    assert_eq!(told.lost_ids, lost);
    check_left(&bank, &[1, 2]);
    // Numbers are never given again.
    let all = consumers.as_u64().unwrap_or(0) + lost;
    assert_eq!(bank.info()["consumers"], all);
    let again = ingest(&bank, 3).expect("comes again");
    assert_eq!(
        (again.batch.new_consumers, bank.info()["consumers"].as_u64()),
        (lost, Some(all + lost))
    );
    check_left(&bank, &[1, 2, 3]);
    drop(bank);

    // Where later batches have events of the consumers, these batches would be nobody's.
    let path = folder.path().join("other");
    let bank = create(&path);
    take(&bank, &[1, 2, 201]);
    let first = only_file(&bank, "ids", 0);
    let whole_too = fs::read(&first).expect("reads");
    drop(bank);
    assert!(!whole.is_empty());
    fs::write(&first, "x").expect("writes");
    let bank = DataBank::open(&path, Mode::WRITE).expect("opens");
    let refused = bank.drop_batch("00001", &runtime()).expect_err("is refused");
    assert!(
        matches!(&refused, BankError::SharedBatches { batches, .. } if batches.contains(&"00201".to_owned())),
        "{refused}"
    );
    fs::write(&first, whole_too).expect("writes");
    check_whole(&bank);
}

fn link(bank: &DataBank, id: &str, pairs: &[(&str, &str)], first: bool) {
    let column = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
    let batch = RecordBatch::try_from_iter([
        ("card", column(pairs.iter().map(|pair| pair.0).collect())),
        ("account", column(pairs.iter().map(|pair| pair.1).collect())),
    ]);
    let batch = batch.expect("a batch");
    let rules = first.then(|| LinkRules {
        types: vec![IdType::named("card"), IdType::named("account")],
        guards: Guards::default(),
        id_type: "account".to_owned(),
        unknown: Unknown::Keep,
    });
    let reading = Reading {
        seen_at: None,
        source: None,
        zone: Arc::new(Zone::named("UTC").expect("UTC")),
    };
    let rows = StreamSource::from_batches("links", batch.schema(), vec![batch]);
    let told = bank.ingest_links(&rows, id, rules.as_ref(), &reading, &LinkParams::default(), &runtime());
    told.expect("takes links");
}

#[test]
fn links_go_from_the_newest_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank");
    let bank = create(&path);
    take(&bank, &[1, 2]);
    let of_accounts = counts(&bank, "2024-06-20");
    link(&bank, "first", &[("c1", "u13"), ("c1", "u18")], true);
    let of_first = counts(&bank, "2024-06-20");
    link(&bank, "second", &[("c1", "u23"), ("c1", "u28")], false);
    bank.materialize(day("2024-06-20"), None, &runtime()).expect("keeps");
    let refused = bank.drop_batch("first", &runtime()).expect_err("later ones go on from it");
    assert!(
        matches!(&refused, BankError::SharedBatches { batches, .. } if batches == &["first", "second"]),
        "{refused}"
    );
    // The newest map cannot be read; the one before is there.
    fs::write(only_file(&bank, "links", 0), "x").expect("writes");
    let told = bank.drop_batch("second", &runtime()).expect("goes");
    assert_eq!(told.dropped_days, ["2024-06-20 (databank)"]);
    assert_eq!(counts(&bank, "2024-06-20"), of_first);
    bank.verify(&runtime()).expect("whole");
    link(&bank, "second", &[("c1", "u23")], false);
    bank.drop_batches(&["first", "second"], &runtime()).expect("go together");
    assert_eq!(counts(&bank, "2024-06-20"), of_accounts);
    drop(bank);
    let bank = DataBank::open(&path, Mode::WRITE).expect("opens");
    check_left(&bank, &[1, 2]);
    link(&bank, "first", &[("c1", "u13"), ("c1", "u18")], true);
    assert_eq!(counts(&bank, "2024-06-20"), of_first);
}

fn replace(batch: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let schema = batch.schema();
    let fields = schema.fields().iter().map(|field| {
        let data_type = if field.name() == name {
            column.data_type()
        } else {
            field.data_type()
        };
        Field::new(field.name(), data_type.clone(), field.is_nullable())
    });
    let columns = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, own)| if field.name() == name { column.clone() } else { own.clone() });
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns.collect()).expect("a batch")
}

/// A brand whose bytes are exchanged for others once the file is written.
const STAND_IN: &str = "QQQQ";

fn with_brand(batch: &RecordBatch) -> RecordBatch {
    replace(batch, "brand", Arc::new(StringArray::from(vec![STAND_IN; batch.num_rows()])))
}

/// Writes a segment anew with other columns, and the catalog so that every checksum agrees.
fn forge(file: &Path, change: &dyn Fn(&RecordBatch) -> RecordBatch) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(fs::read(file).expect("reads"))).expect("a reader");
    let buckets = reader.metadata().file_metadata().key_value_metadata().expect("metadata");
    let buckets = buckets
        .iter()
        .find(|entry| entry.key == "aipl.buckets")
        .expect("buckets")
        .value
        .clone();
    let batches: Vec<RecordBatch> = reader
        .build()
        .expect("a reader")
        .map(|batch| change(&batch.expect("reads")))
        .collect();
    let plain = |batch: &RecordBatch| match batch.column_by_name("behavior") {
        Some(behavior) => replace(batch, "behavior", cast(behavior, &DataType::Utf8).expect("casts")),
        None => batch.clone(),
    };
    let batches: Vec<RecordBatch> = batches.iter().map(plain).collect();
    let properties = WriterProperties::builder().set_key_value_metadata(Some(vec![KeyValue::new("aipl.buckets".to_owned(), buckets)]));
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batches[0].schema(), Some(properties.build())).expect("a writer");
    batches.iter().for_each(|batch| writer.write(batch).expect("writes"));
    writer.close().expect("closes");
    let places: Vec<usize> = (0..bytes.len() - 4)
        .filter(|&at| bytes[at..].starts_with(STAND_IN.as_bytes()))
        .collect();
    // A word in GBK, marked as UTF-8.
    places
        .iter()
        .for_each(|&at| bytes[at..at + 4].copy_from_slice(&[0xe4, 0xaf, 0xc0, 0xc0]));
    fs::write(file, &bytes).expect("writes");
    let blocks: Vec<u8> = bytes.chunks(256 << 10).flat_map(|block| xxh3_64(block).to_le_bytes()).collect();
    let (bank, name) = (
        file.ancestors().nth(2).expect("a bank"),
        file.file_name().expect("a name").to_string_lossy().into_owned(),
    );
    let catalog = rusqlite::Connection::open(bank.join("catalog.sqlite")).expect("opens");
    let records: Vec<(i64, String)> = {
        let mut rows = catalog.prepare("SELECT seq, record FROM commits ORDER BY seq").expect("reads");
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("reads");
        rows.map(|row| row.expect("reads")).collect()
    };
    let mut hash = 0u128;
    for (seq, record) in records {
        let mut record: serde_json::Value = serde_json::from_str(&record).expect("is JSON");
        for added in record
            .get_mut("add")
            .and_then(serde_json::Value::as_array_mut)
            .into_iter()
            .flatten()
            .filter(|added| added["name"] == *name)
        {
            added["bytes"] = bytes.len().into();
            added["checksum"] = format!("{:032x}", xxh3_128(&bytes)).into();
            added["blocks"] = format!("{:016x}", xxh3_64(&blocks)).into();
        }
        let record = record.to_string();
        let mut hasher = Xxh3::new();
        hasher.update(&hash.to_le_bytes());
        hasher.update(&(seq as u64).to_le_bytes());
        hasher.update(record.as_bytes());
        hash = hasher.digest128();
        let values = rusqlite::params![seq, record, hash.to_le_bytes()];
        catalog
            .execute("UPDATE commits SET record = ?2, hash = ?3 WHERE seq = ?1", values)
            .expect("writes");
    }
    catalog
        .execute("UPDATE blocks SET hashes = ?2 WHERE file = ?1", rusqlite::params![name, blocks])
        .expect("writes");
    fs::remove_file(bank.join("catalog.sum")).expect("removes");
}
