//! Arrow IPC files whose buffers declare what they do not hold, or hold far more than their size: refused by name
//! before memory is taken.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

use std::sync::Arc;

use aipl_core::Error;
use aipl_core::analyses::validate;
use aipl_core::event::EventSchema;
use aipl_core::source::{Events, ReadOptions, SourceError};
use aipl_core::timeline::Runtime;
use arrow::array::{ArrayRef, DictionaryArray, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields, Int32Type};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};

fn rows(count: usize) -> RecordBatch {
    let text = |value: &str| Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, count))) as ArrayRef;
    let columns = [("user", "someone"), ("brand", "brand"), ("action", "view"), ("day", "2024-06-30")];
    RecordBatch::try_from_iter(columns.map(|(name, value)| (name, text(value)))).expect("columns")
}

fn written(batch: &RecordBatch, codec: Option<CompressionType>, as_file: bool) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(codec).expect("a codec");
    let mut bytes = Vec::new();
    if as_file {
        let mut writer = FileWriter::try_new_with_options(&mut bytes, &batch.schema(), options).expect("a writer");
        writer.write(batch).and_then(|()| writer.finish()).expect("writes");
    } else {
        let mut writer = StreamWriter::try_new_with_options(&mut bytes, &batch.schema(), options).expect("a writer");
        writer.write(batch).and_then(|()| writer.finish()).expect("writes");
    }
    bytes
}

fn ask(bytes: &[u8], options: ReadOptions) -> Result<u64, Error> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.arrow");
    std::fs::write(&path, bytes).expect("writes");
    let schema = EventSchema::new("user", "brand", "action", "day");
    let events = Events::scan_ipc_with(&[path.display().to_string()], schema, "UTC", options)?;
    let runtime = Runtime::with_threads(2).expect("threads");
    validate(&events, &runtime)
        .map(|report| report.tally.rows_kept)
        .map_err(Error::from)
}

const CODECS: [(CompressionType, &[u8]); 2] = [
    (CompressionType::ZSTD, &[0x28, 0xb5, 0x2f, 0xfd]),
    (CompressionType::LZ4_FRAME, &[0x04, 0x22, 0x4d, 0x18]),
];

#[test]
fn lengths_of_compressed_buffers_are_compared() {
    for (codec, magic) in CODECS {
        for as_file in [true, false] {
            let whole = written(&rows(5_000), Some(codec), as_file);
            assert_eq!(ask(&whole, ReadOptions::default()).expect("whole"), 5_000);
            let places: Vec<usize> = (8..whole.len() - 4).filter(|at| whole[*at..].starts_with(magic)).collect();
            assert!(places.len() >= 4, "{} compressed buffers", places.len());
            for at in places {
                for lie in [1 << 40, 1 << 62, i64::MAX, i64::MIN, -2, 1, 1 << 32] {
                    let mut damaged = whole.clone();
                    damaged[at - 8..at].copy_from_slice(&i64::to_le_bytes(lie));
                    match ask(&damaged, ReadOptions::default()) {
                        Err(Error::Source(SourceError::Malformed { .. } | SourceError::Limit { .. })) => {}
                        other => panic!("{codec:?}, {lie}: {other:?}"),
                    }
                }
            }
        }
    }
}

/// Opening a file decodes its dictionaries, whatever is asked of it.
#[test]
fn lengths_of_dictionaries_are_compared_before_a_file_is_opened() {
    let count = 300;
    let mut columns = rows(count).columns().to_vec();
    let values: DictionaryArray<Int32Type> = (0..count).map(|row| Some(["brand", "other brand"][row % 2])).collect();
    columns[1] = Arc::new(values);
    let fields = [("user", 0), ("brand", 1), ("action", 2), ("day", 3)];
    let batch = RecordBatch::try_from_iter(fields.map(|(name, at)| (name, columns[at].clone()))).expect("columns");
    for (codec, _) in CODECS {
        for as_file in [true, false] {
            let whole = written(&batch, Some(codec), as_file);
            assert_eq!(ask(&whole, ReadOptions::default()).expect("whole"), count as u64);
            // Offsets of two values are 12 bytes, their texts 16; the same numbers stand elsewhere too.
            let sizes = [12i64, 16].map(i64::to_le_bytes);
            let places: Vec<usize> = (0..whole.len() - 8)
                .filter(|&at| sizes.iter().any(|size| whole[at..].starts_with(size)))
                .collect();
            assert!(places.len() > 1, "{codec:?}: {} places", places.len());
            for (at, lie) in places.iter().flat_map(|&at| [1 << 40, 1 << 62, -2].map(|lie| (at, lie))) {
                let mut damaged = whole.clone();
                damaged[at..at + 8].copy_from_slice(&i64::to_le_bytes(lie));
                match ask(&damaged, ReadOptions::default()) {
                    Ok(_) | Err(Error::Source(_)) => {}
                    Err(other) => panic!("{codec:?}, {lie}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn batches_that_decode_to_more_than_may_be_held_are_refused() {
    let count = 20_000;
    let long = Arc::new(StringArray::from_iter_values(std::iter::repeat_n("x".repeat(1_000), count))) as ArrayRef;
    let mut columns = rows(count).columns().to_vec();
    columns[1] = long;
    let batch = RecordBatch::try_new(rows(count).schema(), columns).expect("columns");
    for (codec, _) in CODECS {
        let bytes = written(&batch, Some(codec), true);
        let tight = ReadOptions {
            max_decoded_bytes: 1 << 20,
            ..ReadOptions::default()
        };
        let outcome = ask(&bytes, tight);
        let is_over = matches!(&outcome, Err(Error::Source(SourceError::Limit { option, .. })) if *option == "max_decoded_bytes");
        assert!(is_over, "{codec:?}: {outcome:?}");
        // Over 256 bytes a brand is no identifier, so no row is kept.
        assert_eq!(ask(&bytes, ReadOptions::default()).expect("within the default"), 0);
    }
}

#[test]
fn columns_that_are_not_asked_for_do_not_count() {
    let count = 200_000;
    let wide = Arc::new(StringArray::from_iter_values(std::iter::repeat_n("x".repeat(100), count))) as ArrayRef;
    let few = rows(count);
    let mut columns: Vec<(String, ArrayRef)> = few
        .schema()
        .fields()
        .iter()
        .zip(few.columns())
        .map(|(field, column)| (field.name().clone(), column.clone()))
        .collect();
    columns.insert(0, ("wide".to_owned(), wide));
    let batch = RecordBatch::try_from_iter(columns).expect("columns");
    let tight = ReadOptions {
        max_decoded_bytes: 16 << 20,
        ..ReadOptions::default()
    };
    assert_eq!(
        ask(&written(&batch, Some(CompressionType::ZSTD), true), tight).expect("an answer"),
        200_000
    );
}

#[test]
fn rows_without_bytes_are_bounded() {
    let nulls = RecordBatch::try_from_iter(
        ["user", "brand", "action", "day"].map(|name| (name, Arc::new(arrow::array::NullArray::new(1 << 28)) as ArrayRef)),
    )
    .expect("columns");
    match ask(&written(&nulls, None, true), ReadOptions::default()) {
        Err(Error::Source(SourceError::Limit { option: "max_rows", .. })) => {}
        other => panic!("not over the limit: {other:?}"),
    }
}

#[test]
fn columns_and_levels_are_bounded() {
    let deep = |depth: usize| {
        let mut array = Arc::new(Int64Array::from(vec![1])) as ArrayRef;
        for _ in 0..depth {
            let fields = Fields::from(vec![Field::new("x", array.data_type().clone(), true)]);
            array = Arc::new(StructArray::try_new(fields, vec![array], None).expect("a structure"));
        }
        array
    };
    let with = |name: &str, array: ArrayRef| {
        let one = rows(1);
        let mut columns: Vec<(String, ArrayRef)> = one
            .schema()
            .fields()
            .iter()
            .zip(one.columns())
            .map(|(field, column)| (field.name().clone(), column.clone()))
            .collect();
        columns.push((name.to_owned(), array));
        written(&RecordBatch::try_from_iter(columns).expect("columns"), None, true)
    };
    assert_eq!(ask(&with("deep", deep(20)), ReadOptions::default()).expect("read"), 1);
    let shallow = ReadOptions {
        max_depth: 10,
        ..ReadOptions::default()
    };
    assert!(matches!(
        ask(&with("deep", deep(20)), shallow),
        Err(Error::Source(SourceError::Limit { option: "max_depth", .. }))
    ));
    let wide: Fields = (0..10_000).map(|at| Field::new(format!("c{at}"), DataType::Null, true)).collect();
    let arrays = (0..10_000).map(|_| Arc::new(arrow::array::NullArray::new(1)) as ArrayRef).collect();
    let wide = Arc::new(StructArray::try_new(wide, arrays, None).expect("a structure"));
    assert!(matches!(
        ask(&with("wide", wide), ReadOptions::default()),
        Err(Error::Source(SourceError::Limit { option: "max_columns", .. }))
    ));
}
