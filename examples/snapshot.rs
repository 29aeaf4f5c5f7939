//! Stages of the largest brands of a folder of Parquet files, on one day.
//!
//! ```text
//! cargo run --release -p aipl-core --example snapshot -- FOLDER 2024-12-30 [PRESET]
//! ```
//!
//! The files have the columns of the event generator in `benches/`: user_id, brand, action, ts, rating. Without arguments a
//! few events made here are used.

#![allow(clippy::print_stdout, reason = "an example shows its answer")]

use std::sync::Arc;

use aipl_core::analyses::{Snapshot, SnapshotParams, snapshot};
use aipl_core::event::EventSchema;
use aipl_core::model::StageModel;
use aipl_core::source::Events;
use aipl_core::timeline::{Runtime, ScopeValue};
use arrow::array::{Float64Array, RecordBatch, StringArray};

type AnyError = Box<dyn std::error::Error>;

fn main() -> Result<(), AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let schema = EventSchema::new("user_id", "brand", "action", "ts").with_field("rating", "rating");
    let (events, day) = match arguments.as_slice() {
        [folder, day, ..] => (
            Events::scan_parquet(std::slice::from_ref(folder), schema, "Asia/Shanghai")?,
            day.as_str(),
        ),
        _ => {
            let batch = a_few_events()?;
            (
                Events::from_batches(batch.schema(), vec![batch], schema, "Asia/Shanghai")?,
                "2024-06-30",
            )
        }
    };
    let model = StageModel::preset(arguments.get(2).map_or("databank", String::as_str))?;
    let snap = snapshot(&events, &model, day.parse()?, &SnapshotParams::default(), &Runtime::default())?;
    print_largest(&snap)?;
    println!("{:#}", snap.report().to_json());
    Ok(())
}

fn print_largest(snap: &Snapshot) -> Result<(), AnyError> {
    let codes: Vec<&str> = snap.model().codes().collect();
    let mut rows: Vec<(i64, &ScopeValue)> = Vec::new();
    for scope in snap.scopes() {
        rows.push((snap.label_count(Some(scope))?, scope));
    }
    rows.sort_by_key(|(consumers, _)| -consumers);
    println!(
        "{:<12}{}",
        "scope",
        codes.iter().map(|code| format!("{code:>10}")).collect::<String>()
    );
    for (_, scope) in rows.iter().take(10) {
        let cells = codes
            .iter()
            .map(|code| snap.count(scope, code).map(|count| format!("{count:>10}")))
            .collect::<Result<String, _>>()?;
        println!("{:<12}{cells}", scope.to_string());
    }
    Ok(())
}

fn a_few_events() -> Result<RecordBatch, AnyError> {
    let text = |values: [&'static str; 5]| Arc::new(StringArray::from(values.to_vec())) as _;
    Ok(RecordBatch::try_from_iter([
        ("user_id", text(["u1", "u1", "u2", "u2", "u3"])),
        ("brand", text(["tea", "tea", "tea", "tea", "tea"])),
        ("action", text(["view", "purchase", "view", "view", "review"])),
        (
            "ts",
            text(["2024-06-01", "2024-06-02", "2024-06-20", "2024-06-23", "2024-06-30 09:00:00"]),
        ),
        ("rating", Arc::new(Float64Array::from(vec![None, None, None, None, Some(5.0)])) as _),
    ])?)
}
