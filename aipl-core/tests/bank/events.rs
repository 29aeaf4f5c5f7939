//! Batches whose rows are known, for tests of a bank's survival.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use aipl_core::analyses::{SnapshotParams, snapshot};
use aipl_core::bank::{BankError, CreateParams, DataBank, IngestParams, IngestReport, Mode};
use aipl_core::base::Day;
use aipl_core::event::EventSchema;
use aipl_core::model::StageModel;
use aipl_core::source::Events;
use aipl_core::timeline::{Runtime, Timelines};
use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampSecondArray};

pub const ZONE: &str = "Asia/Shanghai";
/// 2024-06-01.
const FIRST_DAY: i64 = 19_875;

pub fn schema() -> EventSchema {
    EventSchema::new("consumer", "brand", "behavior", "time")
}

pub fn model() -> StageModel {
    StageModel::preset("databank").expect("a preset")
}

pub fn day(text: &str) -> Day {
    text.parse().expect("a day")
}

/// How many rows a batch has: different from batch to batch, so that a total tells which are there.
pub fn rows_of(batch: u64) -> u64 {
    20 + batch * 7 % 31
}

/// The events of some batches.
pub fn events(batches: &[u64]) -> Events {
    const BEHAVIORS: [&str; 4] = ["impression", "view", "favorite", "purchase"];
    let rows: Vec<(u64, u64)> = batches
        .iter()
        .flat_map(|&batch| (0..rows_of(batch)).map(move |row| (batch, row)))
        .collect();
    let text = |of: &dyn Fn(u64, u64) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(|&(batch, row)| of(batch, row))))
    };
    let times = rows
        .iter()
        .map(|&(batch, row)| (FIRST_DAY + (batch % 30) as i64) * 86_400 + (row * 977 % 86_400) as i64);
    let columns = [
        ("consumer", text(&|batch, row| format!("u{}", (batch * 13 + row * 5) % 200))),
        ("brand", text(&|batch, row| format!("b{}", (batch + row) % 3))),
        (
            "behavior",
            text(&|batch, row| BEHAVIORS[((batch + row * row) % 4) as usize].to_owned()),
        ),
        ("time", Arc::new(TimestampSecondArray::from_iter_values(times)) as ArrayRef),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    Events::from_batches(batch.schema(), vec![batch], schema(), ZONE).expect("opens")
}

pub fn create(path: &Path) -> DataBank {
    let params = CreateParams { model: Some(model()) };
    DataBank::create(path, schema(), ZONE, params).expect("creates")
}

pub fn writer(path: &Path) -> DataBank {
    DataBank::open(
        path,
        Mode::Write {
            timeout: std::time::Duration::from_secs(30),
        },
    )
    .expect("opens")
}

pub fn ingest(bank: &DataBank, batch: u64) -> Result<IngestReport, BankError> {
    let runtime = Runtime::with_threads(2).expect("threads");
    bank.ingest(&events(&[batch]), &format!("{batch:05}"), &IngestParams::default(), &runtime)
}

/// The batches of a bank, each with its rows.
pub fn batches(bank: &DataBank) -> BTreeMap<u64, u64> {
    let commits = bank.commits();
    let own = commits
        .iter()
        .filter_map(|commit| Some((commit["batch_id"].as_str()?, commit["rows_added"].as_u64()?)));
    own.map(|(id, rows)| (id.parse().expect("a number"), rows)).collect()
}

/// Counts of a day, as text.
pub fn counts(source: &dyn Timelines, on: &str) -> String {
    let runtime = Runtime::with_threads(2).expect("threads");
    let snap = snapshot(source, &model(), day(on), &SnapshotParams::default(), &runtime).expect("answers");
    format!("{:?}", snap.counts())
}

/// A bank is what its commits say: every batch whole, none twice, and the same answers as a log of them.
pub fn check_whole(bank: &DataBank) {
    let held = batches(bank);
    held.iter()
        .for_each(|(batch, rows)| assert_eq!(*rows, rows_of(*batch), "batch {batch}"));
    assert_eq!(bank.info()["rows"], held.values().sum::<u64>());
    let numbers: Vec<u64> = held.into_keys().collect();
    let log = events(&numbers).log(None, None, &Runtime::default()).expect("loads");
    assert_eq!(counts(bank, "2024-06-20"), counts(&log, "2024-06-20"));
    bank.verify(&Runtime::default()).expect("whole");
}

/// Makes every file of a bank old: `vacuum` leaves young ones that no commit names to whoever may be about to commit
/// them.
pub fn age(path: &Path) {
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    for folder in ["segments", "ids", "bitmaps", "links", "tmp"] {
        for entry in std::fs::read_dir(path.join(folder)).expect("a folder") {
            let file = std::fs::File::open(entry.expect("an entry").path()).expect("opens");
            file.set_modified(long_ago).expect("makes it old");
        }
    }
}
