//! What a child process does to a bank while the system fails under it, and what a bank tells of itself.

#![allow(dead_code, reason = "each test uses a part")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aipl_core::analyses::{SnapshotParams, snapshot};
use aipl_core::bank::{BankError, DataBank, LinkParams, LinkRules, Mode};
use aipl_core::base::Zone;
use aipl_core::identity::{Guards, IdType, Reading, Unknown};
use aipl_core::source::memory::StreamSource;
use aipl_core::timeline::{Runtime, ScopeValue};
use arrow::array::{RecordBatch, StringArray};

use crate::events::{counts, create, day, ingest, model};

/// Everything that writes. `open` is opening and cleaning, after a writer that was killed in the middle of a commit.
pub const DEEDS: [&str; 11] = [
    "ingest",
    "compact",
    "materialize",
    "save_audience",
    "drop_audience",
    "expire",
    "vacuum",
    "links",
    "drop_batch",
    "backup",
    "open",
];
/// The batch that a child takes in.
pub const NEXT: u64 = 3;

fn runtime() -> Runtime<'static> {
    Runtime::with_threads(1).expect("threads")
}

/// A bank with a file of every kind, and files that no commit names any more.
pub fn template(path: &Path) {
    let bank = create(path);
    let runtime = runtime();
    ingest(&bank, 1).expect("takes the batch");
    ingest(&bank, 2).expect("takes the batch");
    bank.materialize(day("2024-06-10"), None, &runtime).expect("keeps");
    save(&bank, "aware").expect("saves");
    save(&bank, "dropped").expect("saves");
    bank.drop_audience("dropped").expect("drops");
}

fn save(bank: &DataBank, name: &str) -> Result<(), BankError> {
    let runtime = runtime();
    let snap = snapshot(bank, &model(), day("2024-06-10"), &SnapshotParams::default(), &runtime).expect("answers");
    let audience = snap.audience(&ScopeValue::of("b1"), "A").expect("an audience");
    bank.save_audience(name, &audience, "of June", &runtime).map(drop)
}

fn link(bank: &DataBank) -> Result<(), BankError> {
    let column = |values: [&str; 4]| Arc::new(StringArray::from_iter_values(values)) as _;
    let batch = RecordBatch::try_from_iter([
        ("card", column(["c1", "c1", "c1", "c2"])),
        ("account", column(["u13", "u18", "u23", "u28"])),
    ]);
    let batch = batch.expect("a batch");
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
    let rows = StreamSource::from_batches("links", batch.schema(), vec![batch]);
    bank.ingest_links(&rows, "links", Some(&rules), &reading, &LinkParams::default(), &runtime())
        .map(drop)
}

/// Where `backup` copies to.
pub fn backup_of(path: &Path) -> PathBuf {
    path.with_extension("backup")
}

/// Does one thing; a deed that was done is not done again.
pub fn act(bank: &DataBank, deed: &str) -> Result<(), BankError> {
    let runtime = runtime();
    match deed {
        "ingest" => ingest(bank, NEXT).map(drop),
        "compact" => bank.compact(&runtime).map(drop),
        "materialize" => bank.materialize(day("2024-06-25"), None, &runtime).map(drop),
        "save_audience" if bank.audience("more", None, &runtime).is_ok() => Ok(()),
        "save_audience" => save(bank, "more"),
        "drop_audience" => match bank.drop_audience("aware") {
            Ok(_) | Err(BankError::Unknown { .. }) => Ok(()),
            Err(error) => Err(error),
        },
        "drop_batch" => match bank.drop_batch("00002", &runtime) {
            Ok(_) | Err(BankError::Unknown { .. }) => Ok(()),
            Err(error) => Err(error),
        },
        "expire" => bank.expire(day("2024-06-03"), &runtime).map(drop),
        "vacuum" | "open" => bank.vacuum().map(drop),
        "links" => link(bank),
        "backup" => bank.backup(&backup_of(bank.path()), &runtime).map(drop),
        other => panic!("{other} is no deed"),
    }
}

/// The kind of a refusal in a word, and its message.
pub fn kind(error: &BankError) -> String {
    let text = format!("{error:?}");
    let kind = text.split([' ', '(', '{']).next().unwrap_or_default();
    format!("{kind}: {error}").replace('\n', " ")
}

/// One line to the parent.
pub fn say(line: &str) {
    let _ = std::io::stdout().write_all(format!("\n{line}\n").as_bytes());
    let _ = std::io::stdout().flush();
}

/// Everything that a bank tells: equal before and after means that nothing happened, or that all of it did.
pub fn told(bank: &DataBank) -> String {
    let (runtime, info) = (runtime(), bank.info());
    let batches: Vec<String> = bank
        .commits()
        .iter()
        .filter_map(|commit| Some(format!("{}={}", commit["batch_id"].as_str()?, commit["rows_added"])))
        .collect();
    let mut told = format!("{batches:?} rows {} kept {}", info["rows"], info["kept_days"]);
    for audience in bank.audiences() {
        let read = bank.audience(&audience.name, Some(audience.version), &runtime);
        told += &format!(" {}.{}={}", audience.name, audience.version, read.expect("is there").len());
    }
    told += &format!(" identity {} expired {} ", info["identity"], info["expired_before"]);
    (told + &counts(bank, "2024-06-10")).replace('\n', " ")
}

/// Makes every file look an hour old: young files of nobody are left alone by `vacuum`, which may not know their
/// writer.
pub fn age(folder: &Path) {
    let then = SystemTime::now() - Duration::from_secs(3600);
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            age(&path);
        } else {
            File::open(&path).expect("opens").set_modified(then).expect("ages");
        }
    }
}

/// Copies a bank as it lies.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copies");
        }
    }
}

/// Names of files below a folder of a bank.
pub fn names(path: &Path, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(path.join(folder)).expect("a folder");
    entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect()
}

/// Opens to write, quickly and without repair.
pub fn reopen(path: &Path, what: &str) -> DataBank {
    let started = std::time::Instant::now();
    let bank = DataBank::open(path, Mode::WRITE).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{what}: open took {:?}",
        started.elapsed()
    );
    bank
}

/// A bank that can be opened again, cleaned, verified and written to, and in which nothing is left over.
pub fn check_goes_on(path: &Path, what: &str) {
    let bank = reopen(path, what);
    ingest(&bank, 90).unwrap_or_else(|error| panic!("{what}: the next batch: {error}"));
    drop(bank);
    age(path);
    let bank = reopen(path, what);
    bank.vacuum().unwrap_or_else(|error| panic!("{what}: vacuum: {error}"));
    let report = bank.verify(&runtime()).unwrap_or_else(|error| panic!("{what}: verify: {error}"));
    assert_eq!(report.orphans, 0, "{what}: files are left over");
    assert!(told(&bank).contains("00090="), "{what}: the next batch is not there");
    // A handle leaves word of itself while it lives.
    drop(bank);
    for folder in ["tmp", "readers"] {
        let left = names(path, folder);
        assert!(left.is_empty(), "{what}: left in {folder}: {left:?}");
    }
}
