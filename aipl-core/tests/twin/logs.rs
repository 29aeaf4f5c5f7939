//! Random logs as the engine takes them, and what it says of them.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::sync::Arc;

use aipl_core::analyses::{SnapshotParams, snapshot};
use aipl_core::base::{Day, Zone};
use aipl_core::event::EventSchema;
use aipl_core::model::StageModel;
use aipl_core::source::{Events, StateColumns, StateTable};
use aipl_core::timeline::{Runtime, Timelines};
use arrow::array::{ArrayRef, AsArray, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampSecondArray};

use super::tables::members;
use super::twin::{Event, Period};

pub fn batch(events: &[Event]) -> RecordBatch {
    let text = |value: fn(&Event) -> Option<&str>| Arc::new(StringArray::from_iter(events.iter().map(value))) as ArrayRef;
    let times = events.iter().map(|event| i64::from(event.day) * 86_400 + i64::from(event.second));
    let amounts = Decimal128Array::from_iter(events.iter().map(|event| event.amount.map(i128::from))).with_precision_and_scale(12, 2);
    RecordBatch::try_from_iter([
        ("consumer", text(|event| Some(&event.consumer))),
        ("brand", text(|event| Some(&event.brand))),
        ("category", text(|event| event.category.as_deref())),
        ("store", text(|event| event.store.as_deref())),
        ("touchpoint", text(|event| event.touchpoint.as_deref())),
        ("channel", text(|event| event.channel.as_deref())),
        ("behavior", text(|event| Some(&event.behavior))),
        ("time", Arc::new(TimestampSecondArray::from_iter_values(times)) as ArrayRef),
        (
            "rating",
            Arc::new(Int64Array::from_iter(events.iter().map(|event| event.rating))) as ArrayRef,
        ),
        ("amount", Arc::new(amounts.expect("fits")) as ArrayRef),
        ("order_id", text(|event| event.order.as_deref())),
        ("event_id", text(|event| event.event_id.as_deref())),
    ])
    .expect("columns of one length")
}

pub fn schema() -> EventSchema {
    let names = [
        "category",
        "store",
        "touchpoint",
        "channel",
        "rating",
        "amount",
        "order_id",
        "event_id",
    ];
    names
        .into_iter()
        .fold(EventSchema::new("consumer", "brand", "behavior", "time"), |schema, name| {
            schema.with_field(name, name)
        })
}

pub fn open(events: &[Event], periods: &[Period], rows_a_batch: usize) -> Events {
    let batches: Vec<RecordBatch> = events.chunks(rows_a_batch.max(1)).map(batch).collect();
    let opened = Events::from_batches(batch(&[]).schema(), batches, schema(), "Asia/Shanghai").expect("opens");
    let text = |value: fn(&Period) -> &str| Arc::new(StringArray::from_iter_values(periods.iter().map(value))) as ArrayRef;
    let table = RecordBatch::try_from_iter([
        ("consumer", text(|period| &period.consumer)),
        ("brand", text(|period| &period.brand)),
        ("state", text(|period| &period.state)),
        (
            "from",
            arrow::compute::cast(
                &Int32Array::from_iter_values(periods.iter().map(|period| period.first)),
                &arrow::datatypes::DataType::Date32,
            )
            .expect("days"),
        ),
        (
            "to",
            arrow::compute::cast(
                &Int32Array::from_iter(periods.iter().map(|period| period.last)),
                &arrow::datatypes::DataType::Date32,
            )
            .expect("days"),
        ),
    ])
    .expect("columns of one length");
    let columns = StateColumns {
        consumer: "consumer".into(),
        scope: vec!["brand".into()],
        state: "state".into(),
        from: "from".into(),
        to: "to".into(),
    };
    let zone = Zone::named("Asia/Shanghai").expect("zone");
    opened
        .with_states(StateTable::read(&[table], &columns, &zone).expect("reads"))
        .expect("one id type")
}

/// What a snapshot said.
#[derive(Debug, PartialEq)]
pub struct Said {
    /// Labels by consumer and scope.
    pub labels: BTreeMap<(String, String), String>,
    /// Every table of the answer, and the consumers of every audience, as texts.
    pub shown: String,
    /// Every audience.
    pub audiences: Vec<Vec<u8>>,
}

/// Asks for a snapshot, and for all that can be made of it.
pub fn engine(model: &StageModel, source: &dyn Timelines, day: i32, threads: usize) -> Said {
    let runtime = Runtime::with_threads(threads).expect("threads");
    let snap = snapshot(
        source,
        model,
        Day::from_number(i64::from(day)).expect("in range"),
        &SnapshotParams::default(),
        &runtime,
    )
    .expect("answers");
    let mut labels = BTreeMap::new();
    let mut shown = format!("{:?}", snap.counts());
    let mut audiences = Vec::new();
    for batch in snap.labels(None, &runtime).expect("streams") {
        let batch = batch.expect("a batch");
        let [consumers, scopes, stages] = [0, 1, 2].map(|column| batch.column(column).as_string::<i32>());
        for row in 0..batch.num_rows() {
            labels.insert(
                (consumers.value(row).to_owned(), scopes.value(row).to_owned()),
                stages.value(row).to_owned(),
            );
        }
        shown += &format!("{batch:?}");
    }
    for scope in snap.scopes() {
        for code in model.codes() {
            let audience = snap.audience(scope, code).expect("an audience");
            assert_eq!(audience.len() as i64, snap.count(scope, code).expect("a count"));
            let ids = members(&audience);
            let expected: Vec<String> = labels
                .iter()
                .filter(|((_, place), stage)| *place == scope.to_string() && *stage == code)
                .map(|((consumer, _), _)| consumer.clone())
                .collect();
            assert_eq!(ids, expected);
            shown += &format!("{ids:?}");
            audiences.push(audience.to_bytes());
        }
    }
    Said { labels, shown, audiences }
}
