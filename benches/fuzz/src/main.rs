//! Fuzz targets of every reader of foreign bytes; `AIPL_FUZZ_TARGET` says which one runs.
//!
//! What ends a run: a panic in the sources of the library, even where the library would turn it into an error; a panic
//! that leaves the library; a text of the library's own that it refuses; a crash; and more time or memory than the
//! command line allows. Decoders of others may panic inside the library, which tells that as an error.

#![no_main]

mod bank;
mod forged;
mod seeds;

use std::error::Error;
use std::fs;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aipl_core::event::EventSchema;
use aipl_core::model::StageModel;
use aipl_core::source::Events;
use aipl_core::source::csv::CsvOptions;
use aipl_core::timeline::{Runtime, Timelines as _, read_identities, write_identities};
use libfuzzer_sys::fuzz_target;

type Outcome = Result<(), Box<dyn Error>>;

/// Where the readers find their file: `AIPL_FUZZ_FOLDER`, or a folder of its own that stays behind.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let made = || tempfile::tempdir().expect("a folder").keep();
    FOLDER.get_or_init(|| std::env::var_os("AIPL_FUZZ_FOLDER").map_or_else(made, PathBuf::from))
}

fn file(bytes: &[u8], name: &str) -> PathBuf {
    let path = folder().join(name);
    fs::write(&path, bytes).expect("a file of the target");
    path
}

fn paths(bytes: &[u8], name: &str) -> [String; 1] {
    [file(bytes, name).display().to_string()]
}

fn schema() -> EventSchema {
    EventSchema::new("user", "brand", "action", "at")
}

/// Reads all rows, and refuses those that are none.
fn read(events: Events) -> Outcome {
    events.log(None, None, &Runtime::with_threads(1)?)?;
    Ok(())
}

/// What was read can be written, and means the same when it is read again.
fn model(bytes: &[u8]) -> Outcome {
    let text = std::str::from_utf8(bytes)?;
    let (toml, json) = (StageModel::from_toml(text), StageModel::from_json(text));
    for model in [&toml, &json].into_iter().flatten() {
        assert_eq!(&StageModel::from_json(&model.to_json()).expect("its own JSON"), model);
        assert_eq!(&StageModel::from_toml(&model.to_toml()).expect("its own TOML"), model);
    }
    toml.or(json)?;
    Ok(())
}

/// As models; the map is compared by its counts.
fn identity(bytes: &[u8]) -> Outcome {
    let runtime = Runtime::with_threads(1)?;
    let map = read_identities(&file(bytes, "map.parquet"), &runtime)?;
    let path = folder().join("again.parquet");
    write_identities(&map, &path, &runtime).expect("writes what it read");
    let again = read_identities(&path, &runtime).expect("its own file");
    assert_eq!(
        (map.len(), map.rows(), map.ids_by_type()),
        (again.len(), again.rows(), again.ids_by_type())
    );
    Ok(())
}

/// Gives the bytes to a target; an error is a refusal, and no finding.
fn run(target: &str, bytes: &[u8]) -> Outcome {
    match target {
        "csv" => read(Events::scan_csv(&paths(bytes, "e.csv"), schema(), "UTC", CsvOptions::default())?),
        "parquet" => read(Events::scan_parquet(&paths(bytes, "e.parquet"), schema(), "UTC")?),
        "ipc" => read(Events::scan_ipc(&paths(bytes, "e.arrow"), schema(), "UTC")?),
        "identity" => identity(bytes),
        "audience" => forged::audience(bytes),
        "universe" => forged::universe(bytes),
        "model" => model(bytes),
        "record" => bank::open_with_record(folder(), bytes),
        other => panic!("{other} is no target"),
    }
}

fn target() -> &'static str {
    static TARGET: OnceLock<String> = OnceLock::new();
    TARGET.get_or_init(|| std::env::var("AIPL_FUZZ_TARGET").unwrap_or_default())
}

fn end_at_own_panic(panic: &PanicHookInfo<'_>) {
    // Sources of others lie in cargo's registry or in the toolchain.
    let others = ["/registry/src/", "/rustc/"];
    if panic
        .location()
        .is_none_or(|at| !others.iter().any(|part| at.file().contains(part)))
    {
        eprintln!("{panic}");
        std::process::abort();
    }
}

fuzz_target!(init: {
    std::panic::set_hook(Box::new(end_at_own_panic));
    if let Some(folder) = std::env::var_os("AIPL_FUZZ_SEEDS") {
        seeds::write(Path::new(&folder), target());
        std::process::exit(0);
    }
}, |bytes: &[u8]| {
    let _ = run(target(), bytes);
});
