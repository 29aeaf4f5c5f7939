//! Takes daily files into a new bank and asks it: `bank DIRECTORY_OF_PARQUET BANK AS_OF`. For measurement and profiles.

use std::path::Path;
use std::time::Instant;

use aipl_core::analyses::{SnapshotParams, snapshot};
use aipl_core::bank::{CreateParams, DataBank, IngestParams, Mode};
use aipl_core::event::EventSchema;
use aipl_core::model::StageModel;
use aipl_core::source::Events;
use aipl_core::timeline::{Runtime, Timelines};

#[allow(clippy::print_stdout, reason = "a program that tells what it measured")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, path, as_of] = &arguments[..] else {
        return Err("usage: bank DIRECTORY_OF_PARQUET BANK AS_OF".into());
    };
    let runtime = Runtime::default();
    let model = StageModel::preset("databank")?;
    let schema = EventSchema::new("user_id", "brand", "action", "ts")
        .with_field("rating", "rating")
        .with_field("amount", "amount");
    let params = CreateParams {
        model: Some(model.clone()),
    };
    let bank = DataBank::create(Path::new(path), schema.clone(), "Asia/Shanghai", params)?;
    let mut files: Vec<_> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    for file in files {
        let events = Events::scan_parquet(&[file.display().to_string()], schema.clone(), "Asia/Shanghai")?;
        let report = bank.ingest(&events, &file.display().to_string(), &IngestParams::default(), &runtime)?;
        let (seconds, merging) = (report.elapsed.as_secs_f64(), report.compaction.as_secs_f64());
        println!("{} rows in {seconds:.2} s, merging {merging:.2} s", report.batch.rows_added);
    }
    drop(bank);
    let timed = |what: &str, source: &dyn Timelines| -> Result<(), Box<dyn std::error::Error>> {
        let started = Instant::now();
        let snap = snapshot(source, &model, as_of.parse()?, &SnapshotParams::default(), &runtime)?;
        println!("{what}: {} scopes in {:.3} s", snap.scopes().len(), started.elapsed().as_secs_f64());
        Ok(())
    };
    for _ in 0..3 {
        let started = Instant::now();
        let bank = DataBank::open(Path::new(path), Mode::Read)?;
        println!("open: {:.4} s", started.elapsed().as_secs_f64());
        timed("snapshot of the reopened bank", &bank)?;
        timed("snapshot again", &bank)?;
    }
    let bank = DataBank::open(Path::new(path), Mode::Read)?;
    let log = bank.log(None, None, &runtime)?;
    timed("snapshot of a log", &log)?;
    timed("snapshot of a log", &log)?;
    Ok(())
}
