//! Stored identity maps: a flipped bit is an error or changes nothing, and what a file declares costs nothing by
//! itself.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aipl_core::base::Zone;
use aipl_core::identity::{Guards, IdType, IdentityMap, Reading};
use aipl_core::source::OnError;
use aipl_core::source::memory::StreamSource;
use aipl_core::timeline::{Runtime, read_identities, resolve_identities, write_identities};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Schema;

/// The key of the rules, and that of the checksum.
const KEYS: [&str; 2] = ["aipl.identity", "aipl.identity.xxh3"];

fn map() -> IdentityMap {
    let column = |values: [&'static str; 3]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let rows = RecordBatch::try_from_iter([("member", column(["a", "b", "a"])), ("card", column(["c", "d", "e"]))]).expect("rows");
    let reading = Reading {
        seen_at: None,
        source: None,
        zone: Arc::new(Zone::named("UTC").expect("UTC")),
    };
    let types = vec![IdType::named("member"), IdType::named("card")];
    let source = StreamSource::from_batches("rows", rows.schema(), vec![rows]);
    resolve_identities(&source, types, Guards::default(), &reading, OnError::Reject, &Runtime::default()).expect("a map")
}

fn stored(map: &IdentityMap) -> Vec<RecordBatch> {
    map.observations().expect("rows").1.map(|batch| batch.expect("rows")).collect()
}

fn read(schema: &Schema, batches: &[RecordBatch]) -> Result<IdentityMap, String> {
    let batches = batches.iter().cloned().map(Ok);
    IdentityMap::from_observations(schema, batches, &|| false).map_err(|error| error.to_string())
}

/// A stored map with other rules, without the checksum: as it was stored before there was one.
fn with_rules(change: impl FnOnce(&mut serde_json::Value)) -> (Schema, Vec<RecordBatch>) {
    let batches = stored(&map());
    let mut metadata = batches[0].schema().metadata().clone();
    assert!(metadata.remove(KEYS[1]).is_some_and(|sum| sum.len() == 32));
    let mut rules: serde_json::Value = serde_json::from_str(&metadata[KEYS[0]]).expect("rules");
    change(&mut rules);
    metadata.insert(KEYS[0].to_owned(), rules.to_string());
    (batches[0].schema().as_ref().clone().with_metadata(metadata), batches)
}

#[test]
fn every_flipped_bit_of_a_file_is_an_error_or_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, runtime) = (folder.path().join("map.parquet"), Runtime::with_threads(1).expect("threads"));
    let map = map();
    write_identities(&map, &path, &runtime).expect("writes");
    let (bytes, whole) = (fs::read(&path).expect("reads"), stored(&map));
    let (mut refused, mut same) = (0, 0);
    // One bit in five by default, each of a byte in turn; all of them on demand.
    let step = if std::env::var_os("AIPL_TEST_EXHAUSTIVE").is_some() { 1 } else { 5 };
    for bit in (0..bytes.len() * 8).step_by(step) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &flipped).expect("writes");
        match read_identities(&path, &runtime) {
            Err(_) => refused += 1,
            Ok(back) => {
                let rows = stored(&back);
                assert_eq!((rows[0].columns(), rows.len()), (whole[0].columns(), whole.len()), "bit {bit}");
                same += 1;
            }
        }
    }
    assert!(refused > same, "{refused} refused, {same} the same");
}

#[test]
fn rows_and_rules_are_those_of_the_checksum() {
    let batches = stored(&map());
    let schema = batches[0].schema();
    assert_eq!(read(&schema, &batches).expect("reads").len(), 2);
    let rules = schema.metadata()[KEYS[0]].replace("\"batches\":1", "\"batches\":2");
    let sum = schema.metadata()[KEYS[1]].chars().rev().collect::<String>();
    for (key, other) in KEYS.into_iter().zip([rules, sum]) {
        let mut metadata = schema.metadata().clone();
        assert_ne!(metadata.insert(key.to_owned(), other.clone()), Some(other));
        let refused = read(&schema.as_ref().clone().with_metadata(metadata), &batches).expect_err(key);
        assert!(refused.contains("its checksum does not agree"), "{refused}");
    }
    let place = schema.index_of("row").expect("rows");
    let mut columns = batches[0].columns().to_vec();
    columns[place] = Arc::new(Int64Array::from_iter_values((0..).take(columns[0].len())));
    let moved = RecordBatch::try_new(schema.clone(), columns).expect("rows");
    let refused = read(&schema, &[moved]).expect_err("other rows");
    assert!(refused.contains("its checksum does not agree"), "{refused}");
}

#[test]
fn maps_without_a_checksum_are_read_as_they_are() {
    let (schema, batches) = with_rules(|_| {});
    let back = read(&schema, &batches).expect("reads");
    assert_eq!(stored(&back), stored(&map()));
}

#[test]
fn what_rules_declare_is_limited() {
    let started = Instant::now();
    let declared = |change: fn(&mut serde_json::Value)| {
        let (schema, batches) = with_rules(change);
        read(&schema, &batches)
    };
    for batches in [1_000_000u64, 100_000_000, 1 << 60] {
        let (schema, rows) = with_rules(|rules| rules["batches"] = batches.into());
        let refused = read(&schema, &rows).expect_err("too many");
        assert!(refused.contains("batches without a row; at most"), "{refused}");
    }
    assert_eq!(declared(|rules| rules["batches"] = 60_000.into()).expect("some are empty").len(), 2);
    let refused = declared(|rules| rules["blanks"] = vec![u64::MAX; 2].into()).expect_err("too many");
    assert!(refused.contains("blank values"), "{refused}");
    let refused = declared(|rules| rules["sources"] = vec!["s"; (1 << 20) + 1].into()).expect_err("too many");
    assert!(refused.contains("sources; at most 1048576"), "{refused}");
    assert!(declared(|rules| rules["max_component"] = 0.into()).is_err());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn a_row_holds_no_more_identifiers_than_there_are_types() {
    let (schema, batches) = with_rules(|_| {});
    let rows = 200usize;
    let text = |value: &str| Arc::new(StringArray::from(vec![value; rows])) as ArrayRef;
    let one = |name: &str| -> ArrayRef {
        match name {
            "batch" | "row" => Arc::new(Int64Array::from(vec![0; rows])),
            "id_type" => text("card"),
            "id" => Arc::new(StringArray::from_iter_values((0..rows).map(|n| format!("c{n}")))),
            other => arrow::array::new_null_array(batches[0].column_by_name(other).expect("a column").data_type(), rows),
        }
    };
    let columns = schema.fields().iter().map(|field| one(field.name())).collect();
    let wide = RecordBatch::try_new(Arc::new(schema.clone()), columns).expect("rows");
    let refused = read(&schema, &[wide]).expect_err("too wide");
    assert!(refused.contains("51 identifiers in one row; at most 50"), "{refused}");
}
