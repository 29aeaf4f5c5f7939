//! The largest brand of a folder of Parquet files over time: its stages by week, who moved between two days, and who advanced.
//!
//! ```text
//! cargo run --release -p aipl-core --example over_time -- FOLDER 2024-11-30 2024-12-30
//! ```
//!
//! The files have the columns of the event generator in `benches/`: user_id, brand, action, ts, rating. Without arguments a
//! few events made here are used.

#![allow(clippy::print_stdout, reason = "an example shows its answer")]

use std::collections::BTreeMap;
use std::sync::Arc;

use aipl_core::analyses::{Flow, FlowClass, FlowParams, Step, TrendParams, flow, trend};
use aipl_core::base::Day;
use aipl_core::event::EventSchema;
use aipl_core::model::StageModel;
use aipl_core::source::Events;
use aipl_core::timeline::{Runtime, ScopeValue, Timelines};
use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Date32Type, Int64Type};

type AnyError = Box<dyn std::error::Error>;

fn main() -> Result<(), AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let schema = EventSchema::new("user_id", "brand", "action", "ts");
    let (events, start, end): (Events, Day, Day) = match arguments.as_slice() {
        [folder, start, end, ..] => {
            let schema = schema.with_field("rating", "rating");
            let events = Events::scan_parquet(std::slice::from_ref(folder), schema, "Asia/Shanghai")?;
            (events, start.parse()?, end.parse()?)
        }
        _ => {
            let batch = a_few_events()?;
            let events = Events::from_batches(batch.schema(), vec![batch], schema, "Asia/Shanghai")?;
            (events, "2024-06-02".parse()?, "2024-06-30".parse()?)
        }
    };
    let (model, runtime) = (StageModel::preset("databank")?, Runtime::default());

    // Read once; both questions then go to the events in memory, and the audiences of all answers combine.
    let log = events.log(None, None, &runtime)?;
    println!("{} events of {} consumers", log.rows(), log.universe().len());

    let weekly = TrendParams {
        step: Step::Week,
        ..TrendParams::default()
    };
    let largest = print_largest(&trend(&log, &model, start, end, &weekly, &runtime)?.table)?;

    let one = FlowParams {
        scopes: Some(vec![ScopeValue::of(largest.as_str())]),
        ..FlowParams::default()
    };
    let moved = flow(&log, &model, start, end, &one, &runtime)?;
    print_classes(&moved)?;

    let advanced = moved.class_audience(&moved.scopes()[0], FlowClass::Advanced, None)?;
    let some: Vec<String> = advanced.sample(5, 0)?.ids()?.iter().map(ToString::to_string).collect();
    println!("\n{} advanced, such as {}", advanced.len(), some.join(", "));
    Ok(())
}

/// The weeks of the brand with the most consumers in a stage on the last day, and its name.
fn print_largest(table: &RecordBatch) -> Result<String, AnyError> {
    let days = table.column(0).as_primitive::<Date32Type>();
    let (scopes, stages) = (table.column(1).as_string::<i32>(), table.column(2).as_string::<i32>());
    let consumers = table.column(3).as_primitive::<Int64Type>();
    let last = days.values().last().copied();
    let mut sizes: BTreeMap<&str, i64> = BTreeMap::new();
    for row in (0..table.num_rows()).filter(|&row| Some(days.value(row)) == last) {
        *sizes.entry(scopes.value(row)).or_default() += consumers.value(row);
    }
    let Some((&largest, _)) = sizes.iter().max_by_key(|(_, size)| **size) else {
        return Err("no brand has an event that counts".into());
    };
    println!("\n{largest}, consumers in a stage at the end of each week");
    for row in (0..table.num_rows()).filter(|&row| scopes.value(row) == largest) {
        if stages.value(row) == "A" {
            print!("{}", Day::from_number(days.value(row).into())?);
        }
        print!("{:>4} {:>8}", stages.value(row), consumers.value(row));
        if stages.value(row) == "L" {
            println!();
        }
    }
    Ok(largest.to_owned())
}

/// What became of the consumers of each stage, and who came.
fn print_classes(moved: &Flow) -> Result<(), AnyError> {
    let (start, end) = moved.days();
    println!("\n{} from {start} to {end}", moved.scopes()[0]);
    let table = moved.classes()?;
    // The first column is the scope, of which there is one.
    let schema = table.schema();
    let names: String = schema
        .fields()
        .iter()
        .skip(1)
        .map(|field| format!("{:>12}", field.name()))
        .collect();
    println!("{names}");
    for row in 0..table.num_rows() {
        print!("{:>12}", table.column(1).as_string::<i32>().value(row));
        for column in &table.columns()[2..] {
            print!("{:>12}", column.as_primitive::<Int64Type>().value(row));
        }
        println!();
    }
    Ok(())
}

fn a_few_events() -> Result<RecordBatch, AnyError> {
    let text = |values: [&'static str; 8]| Arc::new(StringArray::from(values.to_vec())) as _;
    Ok(RecordBatch::try_from_iter([
        ("user_id", text(["u1", "u1", "u2", "u2", "u3", "u4", "u4", "u5"])),
        ("brand", text(["tea"; 8])),
        (
            "action",
            text(["view", "purchase", "view", "favorite", "view", "purchase", "purchase", "view"]),
        ),
        (
            "ts",
            text([
                "2024-05-30",
                "2024-06-02 21:00:00",
                "2024-06-01",
                "2024-06-20",
                "2024-06-01",
                "2024-03-08",
                "2024-06-11",
                "2024-06-29",
            ]),
        ),
    ])?)
}
