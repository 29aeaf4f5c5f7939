//! One bench per floor: decode, compile, scan with the label kernel, audiences. All events are generated.

#![allow(
    clippy::expect_used,
    missing_docs,
    reason = "a bench stops at the first surprise; criterion's macros make undocumented items"
)]

use std::hint::black_box;
use std::sync::Arc;

use aipl_benches::generate::EventGenerator;
use aipl_benches::params::GeneratorParams;
use aipl_core::analyses::{FlowParams, SnapshotParams, TrendParams, flow, snapshot, trend};
use aipl_core::audience::Audience;
use aipl_core::base::id::int_key;
use aipl_core::base::{IdKind, IdValue, Zone};
use aipl_core::event::{BehaviorDecoder, EventSchema, TimeColumn};
use aipl_core::identity::{Guards, IdType, Reading, components};
use aipl_core::model::{StageModel, compile};
use aipl_core::source::memory::StreamSource;
use aipl_core::source::{Events, OnError};
use aipl_core::timeline::{Runtime, Timelines, Universe, resolve_identities};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ROWS: usize = 1_000_000;
const AS_OF: &str = "2024-12-30";

fn events() -> RecordBatch {
    let params = GeneratorParams {
        rows: ROWS as u64,
        consumers: 100_000,
        brands: 500,
        ..GeneratorParams::default()
    };
    EventGenerator::new(&params).expect("parameters").batch(ROWS).expect("a batch")
}

fn schema() -> EventSchema {
    EventSchema::new("user_id", "brand", "action", "ts").with_field("rating", "rating")
}

fn event_floor(c: &mut Criterion) {
    let batch = events();
    let (actions, times) = (
        batch.column_by_name("action").expect("actions").clone(),
        batch.column_by_name("ts").expect("times").clone(),
    );
    let decoder = BehaviorDecoder::new(&schema());
    let zone = Zone::named("Asia/Shanghai").expect("zone");
    let mut group = c.benchmark_group("event");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("behavior codes", |b| {
        b.iter(|| {
            let mut codes = Vec::with_capacity(ROWS);
            decoder.decode(black_box(&actions), &mut codes);
            codes
        });
    });
    group.bench_function("days of wall-clock times", |b| {
        b.iter(|| {
            let column = TimeColumn::new(black_box(&times), None, &zone).expect("times");
            column
                .raw()
                .iter()
                .filter_map(|&raw| column.kind().resolve(raw, &zone))
                .map(|(_, day)| i64::from(day))
                .sum::<i64>()
        });
    });
    group.finish();
}

fn model_floor(c: &mut Criterion) {
    let schema = schema();
    c.bench_function("model/read and compile databank", |b| {
        b.iter(|| compile(&StageModel::preset(black_box("databank")).expect("preset"), &schema).expect("compiles"));
    });
}

fn timeline_and_stage_floors(c: &mut Criterion) {
    let batch = events();
    let events = Events::from_batches(batch.schema(), vec![batch], schema(), "Asia/Shanghai").expect("events");
    let mut group = c.benchmark_group("timeline and stage");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(20);
    for preset in ["databank", "uni_marketing"] {
        let model = StageModel::preset(preset).expect("preset");
        let runtime = Runtime::default();
        group.bench_function(format!("snapshot of 1 M events in memory, {preset}"), |b| {
            b.iter(|| snapshot(&events, &model, AS_OF.parse().expect("day"), &SnapshotParams::default(), &runtime).expect("answers"));
        });
    }
    group.finish();
}

fn logs(c: &mut Criterion) {
    let batch = events();
    let events = Events::from_batches(batch.schema(), vec![batch], schema(), "Asia/Shanghai").expect("events");
    let (model, runtime) = (StageModel::preset("databank").expect("preset"), Runtime::default());
    let day = |text: &str| text.parse().expect("day");
    let log = events.log(None, None, &runtime).expect("loads");
    let mut group = c.benchmark_group("log of 1 M events");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(20);
    group.bench_function("load", |b| b.iter(|| events.log(None, None, &runtime).expect("loads")));
    group.bench_function("snapshot", |b| {
        b.iter(|| snapshot(&log, &model, day(AS_OF), &SnapshotParams::default(), &runtime).expect("answers"));
    });
    group.bench_function("trend of 365 days", |b| {
        b.iter(|| trend(&log, &model, day("2024-01-01"), day(AS_OF), &TrendParams::default(), &runtime).expect("answers"));
    });
    group.bench_function("flow of 30 days", |b| {
        b.iter(|| flow(&log, &model, day("2024-11-30"), day(AS_OF), &FlowParams::default(), &runtime).expect("answers"));
    });
    group.finish();
}

/// Links drawn at random, each a phone and a device.
fn drawn(nodes: u64) -> (Vec<u32>, Vec<u32>) {
    let node = |n: u64| (int_key(n as i64) % nodes) as u32;
    (0..ROWS as u64).map(|n| (node(2 * n), node(2 * n + 1))).unzip()
}

fn identity_floor(c: &mut Criterion) {
    const NODES: u64 = 600_000;
    let (left, right) = drawn(NODES);
    let runtime = Runtime::default();
    let mut group = c.benchmark_group("identity");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(20);
    group.bench_function("components of 1 M links", |b| {
        b.iter(|| runtime.run(|| components(NODES as usize, &[(black_box(&left), &right)], &|| false)));
    });
    let texts =
        |prefix: &str, nodes: &[u32]| Arc::new(nodes.iter().map(|node| Some(format!("{prefix}{node:08}"))).collect::<StringArray>());
    let columns: [(&str, ArrayRef); 2] = [("phone", texts("139", &left)), ("device", texts("d", &right))];
    let rows = RecordBatch::try_from_iter(columns).expect("a batch");
    let source = StreamSource::from_batches("rows", rows.schema(), vec![rows]);
    let reading = Reading {
        seen_at: None,
        source: None,
        zone: Arc::new(Zone::named("UTC").expect("zone")),
    };
    let types = || ["phone", "device"].map(IdType::named).to_vec();
    group.bench_function("persons of 1 M rows of text", |b| {
        b.iter(|| resolve_identities(&source, types(), Guards::default(), &reading, OnError::Reject, &runtime).expect("resolves"));
    });
    group.finish();
}

fn audience_floor(c: &mut Criterion) {
    let universe = Arc::new(Universe::of_ids(IdKind::Int64, (0..1_000_000).map(IdValue::Int)));
    let every = |step: usize| Audience::of_ids(&universe, (0..1_000_000).step_by(step).map(IdValue::Int), "every");
    let (thirds, sevenths) = (every(3), every(7));
    let mut group = c.benchmark_group("audience");
    group.bench_function("intersection of 333 k and 143 k", |b| {
        b.iter(|| thirds.and(black_box(&sevenths)).expect("one universe"))
    });
    group.bench_function("overlap count", |b| {
        b.iter(|| thirds.overlap(black_box(&sevenths)).expect("one universe"))
    });
    group.bench_function("to and from bytes", |b| {
        b.iter(|| Audience::from_bytes(&thirds.to_bytes(), Some(universe.clone())).expect("reads"))
    });
    group.finish();
}

criterion_group!(
    floors,
    event_floor,
    model_floor,
    identity_floor,
    timeline_and_stage_floors,
    logs,
    audience_floor
);
criterion_main!(floors);
