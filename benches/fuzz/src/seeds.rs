//! First inputs, made by the library itself. Each must be taken by its target, or the target would prove little.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use aipl_core::base::Zone;
use aipl_core::identity::{Guards, IdType, Reading};
use aipl_core::model::StageModel;
use aipl_core::source::OnError;
use aipl_core::source::memory::StreamSource;
use aipl_core::timeline::{Runtime, resolve_identities, write_identities};
use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

const CSV: &str = "user,brand,action,at\nu1,b,view,2024-06-30 10:00:00\n\
    \"u,2\",\"b\",purchase,2024-06-30T10:00:00Z\n,,,\n";

/// Twenty events.
pub fn rows() -> RecordBatch {
    let text = |of: &dyn Fn(usize) -> String| Arc::new(StringArray::from_iter_values((0..20).map(of))) as ArrayRef;
    let times = TimestampMicrosecondArray::from_iter_values((0..20).map(|row| 1_719_700_000_000_000 + row));
    RecordBatch::try_from_iter([
        ("user", text(&|row| format!("u{}", row % 7))),
        ("brand", text(&|row| format!("b{}", row % 2))),
        ("action", text(&|row| ["view", "purchase"][row % 2].to_owned())),
        ("at", Arc::new(times) as ArrayRef),
    ])
    .expect("columns")
}

fn parquet(compression: Compression) -> Vec<u8> {
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows().schema(), Some(properties)).expect("a writer");
    writer.write(&rows()).expect("writes");
    writer.close().expect("closes");
    bytes
}

fn ipc(compression: Option<CompressionType>, stream: bool) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(compression).expect("known");
    let mut bytes = Vec::new();
    if stream {
        let mut writer = StreamWriter::try_new_with_options(&mut bytes, &rows().schema(), options).expect("a writer");
        writer.write(&rows()).expect("writes");
        writer.finish().expect("ends");
    } else {
        let mut writer = FileWriter::try_new_with_options(&mut bytes, &rows().schema(), options).expect("a writer");
        writer.write(&rows()).expect("writes");
        writer.finish().expect("ends");
    }
    bytes
}

fn identity() -> Vec<u8> {
    let source = StreamSource::from_batches("rows", rows().schema(), vec![rows()]);
    let reading = Reading {
        seen_at: None,
        source: None,
        zone: Arc::new(Zone::named("UTC").expect("UTC")),
    };
    let (types, runtime) = (vec![IdType::named("user"), IdType::named("brand")], Runtime::default());
    let map = resolve_identities(&source, types, Guards::default(), &reading, OnError::Reject, &runtime);
    let map = map.expect("a map");
    let path = crate::folder().join("seed.parquet");
    write_identities(&map, &path, &runtime).expect("writes");
    fs::read(path).expect("reads")
}

fn of_target(target: &str) -> Vec<Vec<u8>> {
    match target {
        "csv" => vec![CSV.into(), CSV.replace('\n', "\r\n").into()],
        "parquet" => [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::ZSTD(ZstdLevel::default()),
        ]
        .map(parquet)
        .into(),
        "ipc" => vec![
            ipc(None, false),
            ipc(None, true),
            ipc(Some(CompressionType::ZSTD), false),
            ipc(Some(CompressionType::LZ4_FRAME), true),
        ],
        // The older one has no checksum over its rows.
        "identity" => vec![
            identity(),
            include_bytes!("../../../python/tests/golden/v0.1/people.parquet").to_vec(),
        ],
        "audience" => crate::forged::sets(),
        "universe" => crate::forged::universes(),
        "model" => StageModel::presets()
            .filter_map(|name| StageModel::preset(name).ok())
            .flat_map(|model| [model.to_json().into_bytes(), model.to_toml().into_bytes()])
            .collect(),
        "record" => vec![crate::bank::record(crate::folder()).into()],
        other => panic!("{other} is no target"),
    }
}

/// Writes the first inputs of a target.
pub fn write(folder: &Path, target: &str) {
    fs::create_dir_all(folder).expect("a folder");
    for (number, seed) in of_target(target).iter().enumerate() {
        crate::run(target, seed).expect("takes what the library wrote");
        fs::write(folder.join(format!("seed-{number}")), seed).expect("writes");
    }
}
