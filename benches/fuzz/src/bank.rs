//! A bank whose newest commit says what the fuzzer says, under hashes that agree.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aipl_core::bank::{CreateParams, DataBank, IngestParams, Mode};
use aipl_core::source::Events;
use aipl_core::timeline::Runtime;
use rusqlite::{Connection, params};
use xxhash_rust::xxh3::Xxh3;

use crate::Outcome;

/// The bank and its newest commit.
struct Bank {
    path: PathBuf,
    seq: u64,
    before: Vec<u8>,
    record: String,
}

fn make(folder: &Path) -> Bank {
    let path = folder.join("bank");
    let runtime = Runtime::with_threads(1).expect("a runtime");
    let bank = DataBank::create(&path, crate::schema(), "UTC", CreateParams::default()).expect("creates");
    let rows = crate::seeds::rows();
    let events = Events::from_batches(rows.schema(), vec![rows], crate::schema(), "UTC").expect("rows");
    bank.ingest(&events, "b1", &IngestParams::default(), &runtime).expect("ingests");
    drop(bank);
    // The sum is over the bytes of the catalog; a bank without one is read.
    let _ = fs::remove_file(path.join("catalog.sum"));
    let catalog = Connection::open(path.join("catalog.sqlite")).expect("opens");
    let newest = "SELECT seq, record FROM commits ORDER BY seq DESC LIMIT 1";
    let (seq, record): (i64, String) = catalog
        .query_row(newest, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("a commit");
    let before = catalog.query_row("SELECT hash FROM commits WHERE seq = ?1", [seq - 1], |row| row.get(0));
    let (seq, before) = (seq as u64, before.expect("the commit that made it"));
    Bank { path, seq, before, record }
}

fn bank(folder: &Path) -> &'static Bank {
    static BANK: OnceLock<Bank> = OnceLock::new();
    BANK.get_or_init(|| make(folder))
}

/// The record of the newest commit.
pub fn record(folder: &Path) -> String {
    bank(folder).record.clone()
}

/// Puts the text in the place of the newest record and opens the bank, asks it and verifies it.
pub fn open_with_record(folder: &Path, bytes: &[u8]) -> Outcome {
    let text = std::str::from_utf8(bytes)?;
    let Bank { path, seq, before, .. } = bank(folder);
    let mut hasher = Xxh3::new();
    hasher.update(before);
    hasher.update(&seq.to_le_bytes());
    hasher.update(text.as_bytes());
    let hash = hasher.digest128().to_le_bytes();
    let catalog = Connection::open(path.join("catalog.sqlite")).expect("opens");
    catalog
        .execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;")
        .expect("sets");
    let write = "UPDATE commits SET record = ?1, hash = ?2 WHERE seq = ?3";
    catalog.execute(write, params![text, hash, *seq as i64]).expect("writes");
    drop(catalog);
    let bank = DataBank::open(path, Mode::Read)?;
    let _ = (bank.info(), bank.commits());
    bank.verify(&Runtime::with_threads(1)?)?;
    Ok(())
}
