//! Damage is found before a value is returned, and banks of every released format open.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "bank/events.rs"]
mod events;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aipl_core::analyses::{SnapshotParams, snapshot, timeline};
use aipl_core::bank::{BankError, DataBank, LinkParams, LinkRules, Mode};
use aipl_core::base::{IdValue, Zone};
use aipl_core::error::Error;
use aipl_core::identity::{Guards, IdType, Reading, Unknown};
use aipl_core::source::memory::StreamSource;
use aipl_core::timeline::{Runtime, ScopeValue};
use arrow::array::{RecordBatch, StringArray};
use events::{check_whole, create, day, ingest, model};

/// A bank with a file of every kind: two segments, consumers, a kept day, an audience.
fn filled(path: &Path) {
    let bank = create(path);
    let runtime = Runtime::default();
    ingest(&bank, 1).expect("takes the batch");
    ingest(&bank, 2).expect("takes the batch");
    bank.materialize(day("2024-06-20"), None, &runtime).expect("keeps");
    let snap = snapshot(&bank, &model(), day("2024-06-20"), &SnapshotParams::default(), &runtime).expect("answers");
    let audience = snap.audience(&ScopeValue::of("b1"), "A").expect("an audience");
    bank.save_audience("aware", &audience, "of June", &runtime).expect("saves");
}

/// Everything that a bank can be asked, as text; the first refusal ends it.
fn ask_all(path: &Path, runtime: &Runtime<'_>) -> Result<String, Error> {
    let bank = DataBank::open(path, Mode::Read)?;
    let mut told = format!("{:?} {}", bank.commits(), bank.info()["rows"]);
    for on in ["2024-06-19", "2024-06-20"] {
        let snap = snapshot(&bank, &model(), day(on), &SnapshotParams::default(), runtime)?;
        told += &format!("{:?}", snap.counts());
        for scope in snap.scopes() {
            told += &format!("{:?}", snap.audience(scope, "A")?.ids()?);
        }
    }
    told += &format!("{:?}", timeline(&bank, &IdValue::from("u5"), None, runtime)?.0.table);
    told += &format!("{:?}", bank.audience("aware", None, runtime)?.ids()?);
    Ok(told)
}

/// Makes persons of some of its accounts; a kept day and an audience are of persons then.
fn link(path: &Path) {
    let (bank, runtime) = (DataBank::open(path, Mode::WRITE).expect("opens"), Runtime::default());
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
    let told = bank
        .ingest_links(&rows, "links", Some(&rules), &reading, &LinkParams::default(), &runtime)
        .expect("takes links");
    assert_eq!(told.accounts_moved, 2);
    bank.materialize(day("2024-06-20"), None, &runtime).expect("keeps");
    bank.vacuum().expect("cleans");
}

fn files(path: &Path) -> Vec<PathBuf> {
    files_of(path, &["", "segments", "ids", "bitmaps"])
}

fn files_of(path: &Path, folders: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(path.join(folder)).expect("a folder") {
            let entry = entry.expect("an entry").path();
            // The lock says nothing of the bank.
            if entry.is_file() && !entry.ends_with("writer.lock") {
                files.push(entry);
            }
        }
    }
    files
}

/// Asks everything of a damaged bank: it refuses, and says that the bank is damaged.
fn check_found(path: &Path, what: &str, runtime: &Runtime<'_>) {
    match ask_all(path, runtime) {
        Ok(_) => panic!("{what} is not noticed"),
        Err(Error::Bank(BankError::Corrupt { .. } | BankError::FormatVersion { .. } | BankError::NotABank { .. })) => {}
        Err(other) => panic!("{what}: {other:?}"),
    }
}

#[test]
fn every_flipped_bit_is_found_before_a_value_is_returned() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank");
    filled(&path);
    let flips = flip(&path, &files(&path));
    assert!(flips > 500, "{flips} flips");
    link(&path);
    // What is of persons now: their map, and the day and the audience.
    assert!(flip(&path, &files_of(&path, &["links", "bitmaps"])) > 300);
}

/// Flips bits of files, and damages them otherwise; gives how many bits.
fn flip(path: &Path, files: &[PathBuf]) -> u64 {
    let runtime = Runtime::with_threads(1).expect("threads");
    let whole = ask_all(path, &runtime).expect("answers");
    let every = std::env::var("AIPL_TEST_EXHAUSTIVE").is_ok();
    let mut flips = 0u64;
    for file in files {
        let bytes = fs::read(file).expect("reads");
        let bits = bytes.len() * 8;
        // Every bit, or some of every region of the file.
        let step = if every { 1 } else { (bits / 150).max(1) | 1 };
        for bit in (0..bits).step_by(step) {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(file, &damaged).expect("writes");
            check_found(path, &format!("bit {bit} of {}", file.display()), &runtime);
            flips += 1;
        }
        fs::write(file, &bytes).expect("writes");
        for (what, damaged) in [
            ("cut short", bytes[..bytes.len() / 2].to_vec()),
            ("made longer", [&bytes[..], &[0; 7]].concat()),
            ("emptied", Vec::new()),
            ("zeroed", vec![0; bytes.len()]),
        ] {
            fs::write(file, &damaged).expect("writes");
            check_found(path, &format!("{} {what}", file.display()), &runtime);
        }
        fs::write(file, &bytes).expect("writes");
    }
    assert_eq!(ask_all(path, &runtime).expect("answers"), whole);
    flips
}

#[test]
fn files_in_each_others_place_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank");
    filled(&path);
    let runtime = Runtime::with_threads(1).expect("threads");
    let of_folder = |name: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(path.join(name)).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    let [one, two] = &of_folder("segments")[..] else {
        panic!("two segments")
    };
    let (first, second) = (fs::read(one).expect("reads"), fs::read(two).expect("reads"));
    fs::write(one, &second).expect("writes");
    check_found(&path, "a segment in the place of another", &runtime);
    fs::write(one, &first).expect("writes");
    fs::remove_file(two).expect("removes");
    check_found(&path, "a missing segment", &runtime);
    std::os::unix::fs::symlink(one, two).expect("links");
    check_found(&path, "a link", &runtime);
    fs::remove_file(two).expect("removes");
    fs::create_dir(two).expect("a folder");
    check_found(&path, "a folder", &runtime);
}

#[test]
fn an_older_catalog_in_the_place_of_the_newest_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank");
    let bank = create(&path);
    ingest(&bank, 1).expect("takes the batch");
    let older = fs::read(path.join("catalog.sqlite")).expect("reads");
    ingest(&bank, 2).expect("takes the batch");
    drop(bank);
    fs::write(path.join("catalog.sqlite"), older).expect("writes");
    let refused = DataBank::open(&path, Mode::Read).expect_err("is refused");
    assert!(refused.to_string().contains("commits are lost"), "{refused}");
}

#[test]
fn a_bank_of_a_later_format_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bank");
    drop(create(&path));
    let catalog = rusqlite::Connection::open(path.join("catalog.sqlite")).expect("opens");
    catalog.pragma_update(None, "user_version", 2).expect("writes");
    drop(catalog);
    let refused = DataBank::open(&path, Mode::Read).expect_err("is refused");
    assert!(matches!(refused, BankError::FormatVersion { found: 2, known: 1, .. }), "{refused}");
    let nowhere = DataBank::open(&folder.path().join("nowhere"), Mode::WRITE).expect_err("is refused");
    assert!(matches!(nowhere, BankError::NotABank { .. }), "{nowhere}");
    let taken = DataBank::create(&path, events::schema(), events::ZONE, Default::default()).expect_err("is refused");
    assert!(matches!(taken, BankError::Exists { .. }), "{taken}");
}

fn golden(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/bank-v{version}"))
}

fn copy(from: &Path, to: &Path) {
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

/// Writes the golden bank of the current format, once: `cargo test -p aipl-core --test bank_damage write_golden -- --ignored`.
#[test]
#[ignore = "writes the golden bank of a new format"]
fn write_golden() {
    let path = golden(1);
    assert!(!path.exists(), "golden banks are never written twice");
    filled(&path);
    let answers = ask_all(&path, &Runtime::default()).expect("answers");
    fs::write(path.join("answers.txt"), answers).expect("writes");
    fs::remove_file(path.join("writer.lock")).expect("removes");
}

#[test]
fn banks_of_every_format_open_and_answer_as_they_did() {
    for version in 1..=1 {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bank");
        copy(&golden(version), &path);
        let runtime = Runtime::default();
        let answers = fs::read_to_string(path.join("answers.txt")).expect("reads");
        assert_eq!(ask_all(&path, &runtime).expect("answers"), answers);
        let bank = DataBank::open(&path, Mode::WRITE).expect("opens to write");
        assert!(ingest(&bank, 1).expect("takes it again").replayed);
        ingest(&bank, 3).expect("takes the batch");
        bank.compact(&runtime).expect("merges");
        check_whole(&bank);
    }
}

#[test]
fn a_backup_that_fails_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = (folder.path().join("bank"), folder.path().join("copy"));
    filled(&path);
    let runtime = Runtime::default();
    let segment = files(&path)
        .into_iter()
        .find(|file| file.starts_with(path.join("segments")))
        .expect("a segment");
    let whole = fs::read(&segment).expect("reads");
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&segment, damaged).expect("writes");
    let bank = DataBank::open(&path, Mode::Read).expect("opens");
    let refused = bank.backup(&copy, &runtime).expect_err("is damaged");
    assert!(matches!(refused, BankError::Corrupt { .. }), "{refused}");
    assert_eq!(fs::read_dir(&copy).expect("reads").count(), 0);
    fs::write(&segment, whole).expect("writes");
    assert!(bank.backup(&copy, &runtime).expect("copies") > 0);
    assert!(matches!(bank.backup(&copy, &runtime), Err(BankError::Exists { .. })));
    ask_all(&copy, &runtime).expect("answers");
}
