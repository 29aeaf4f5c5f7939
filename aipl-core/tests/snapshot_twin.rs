//! The engine equals the naive twin on random models and logs, whatever the threads, the batches and the order of rows.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "twin/random.rs"]
mod random;
mod twin;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use aipl_core::analyses::{SnapshotParams, snapshot};
use aipl_core::base::{Day, Zone};
use aipl_core::event::EventSchema;
use aipl_core::model::{ScopeKind, StageModel};
use aipl_core::source::csv::CsvOptions;
use aipl_core::source::{Events, StateColumns, StateTable};
use aipl_core::timeline::Runtime;
use arrow::array::{ArrayRef, AsArray, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampSecondArray};
use arrow::ipc::writer::FileWriter;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use twin::{Event, Period};

fn batch(events: &[Event]) -> RecordBatch {
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

fn schema() -> EventSchema {
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

fn open(events: &[Event], periods: &[Period], rows_a_batch: usize) -> Events {
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
    opened.with_states(StateTable::read(&[table], &columns, &zone).expect("reads"))
}

/// Labels by consumer and scope, and the bytes of the answer.
fn engine(model: &StageModel, events: &Events, day: i32, threads: usize) -> (BTreeMap<(String, String), String>, String) {
    let runtime = Runtime::with_threads(threads).expect("threads");
    let day = Day::from_number(i64::from(day)).expect("in range");
    let snap = snapshot(events, model, day, &SnapshotParams::default(), &runtime).expect("answers");
    let mut labels = BTreeMap::new();
    let mut bytes = format!("{:?}", snap.counts());
    for batch in snap.labels(None, &runtime).expect("streams") {
        let batch = batch.expect("a batch");
        let [consumers, scopes, stages] = [0, 1, 2].map(|column| batch.column(column).as_string::<i32>());
        for row in 0..batch.num_rows() {
            labels.insert(
                (consumers.value(row).to_owned(), scopes.value(row).to_owned()),
                stages.value(row).to_owned(),
            );
        }
        bytes += &format!("{batch:?}");
    }
    for scope in snap.scopes() {
        for code in model.codes() {
            let audience = snap.audience(scope, code).expect("an audience");
            assert_eq!(audience.len() as i64, snap.count(scope, code).expect("a count"));
            let ids: Vec<String> = audience.ids().expect("ids").iter().map(ToString::to_string).collect();
            let expected: Vec<String> = labels
                .iter()
                .filter(|((_, place), stage)| *place == scope.to_string() && *stage == code)
                .map(|((consumer, _), _)| consumer.clone())
                .collect();
            assert_eq!(ids, expected);
            bytes += &format!("{:?}", audience.to_bytes());
        }
    }
    (labels, bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn labels_equal_the_twin(model in random::model(), events in random::events(), periods in random::periods(), day in random::FIRST_DAY - 2..=random::LAST_DAY + 45, rows_a_batch in 1..70usize) {
        let periods = if model.scope == ScopeKind::Brand { periods } else { Vec::new() };
        let (labels, _) = engine(&model, &open(&events, &periods, rows_a_batch), day, 2);
        prop_assert_eq!(labels, twin::labels(&model, &events, &periods, day));
    }
}

/// The same rows as files of every format: Parquet with row groups of 8 rows and pages of 3, Arrow IPC, CSV.
fn write_files(folder: &Path, events: &[Event]) {
    let rows = batch(events);
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(8))
        .set_data_page_row_count_limit(3)
        .set_write_batch_size(1)
        .set_dictionary_enabled(events.len().is_multiple_of(2))
        .build();
    let create = |name: &str| File::create(folder.join(name)).expect("creates");
    let mut parquet = ArrowWriter::try_new(create("events.parquet"), rows.schema(), Some(properties)).expect("writer");
    parquet.write(&rows).expect("writes");
    parquet.close().expect("closes");
    let mut ipc = FileWriter::try_new(create("events.arrow"), &rows.schema()).expect("writer");
    ipc.write(&rows).expect("writes");
    ipc.finish().expect("finishes");
    let mut csv = "consumer,brand,category,store,touchpoint,channel,behavior,time,rating,amount,order_id,event_id\n".to_owned();
    for event in events {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let day = Day::from_number(i64::from(event.day)).expect("in range");
        let (hour, minute, second) = (event.second / 3600, event.second / 60 % 60, event.second % 60);
        let amount = event.amount.map_or_else(String::new, |amount| {
            format!(
                "{}{}.{:02}",
                if amount < 0 { "-" } else { "" },
                amount.abs() / 100,
                amount.abs() % 100
            )
        });
        let rating = event.rating.map_or_else(String::new, |rating| rating.to_string());
        csv += &format!(
            "{},\"{}\",{},{},{},{},{},{day} {hour:02}:{minute:02}:{second:02},{rating},{amount},{},{}\n",
            event.consumer,
            event.brand,
            text(&event.category),
            text(&event.store),
            text(&event.touchpoint),
            text(&event.channel),
            event.behavior,
            text(&event.order),
            text(&event.event_id)
        );
    }
    std::fs::write(folder.join("events.csv"), csv).expect("writes");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    #[test]
    fn files_of_every_format_equal_the_twin(model in random::model(), mut events in random::events(), day in random::FIRST_DAY..=random::LAST_DAY + 20, sorted in any::<bool>()) {
        if sorted {
            events.sort_by_key(|event| (event.day, event.second));
        }
        let folder = tempfile::tempdir().expect("a folder");
        write_files(folder.path(), &events);
        let expected = twin::labels(&model, &events, &[], day);
        let path = [folder.path().display().to_string()];
        let sources = [
            Events::scan_parquet(&path, schema(), "Asia/Shanghai"),
            Events::scan_ipc(&path, schema(), "Asia/Shanghai"),
            Events::scan_csv(&path, schema(), "Asia/Shanghai", CsvOptions::default()),
        ];
        for source in sources {
            prop_assert_eq!(&engine(&model, &source.expect("opens"), day, 2).0, &expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn answers_do_not_depend_on_threads_or_order(model in random::model(), events in random::events(), day in random::FIRST_DAY..=random::LAST_DAY, seed in 0..1000usize) {
        let (_, once) = engine(&model, &open(&events, &[], 7), day, 1);
        let mut turned = events.clone();
        turned.rotate_left(seed % events.len().max(1));
        turned.reverse();
        for threads in [2, 8] {
            prop_assert_eq!(&once, &engine(&model, &open(&turned, &[], 3 + seed % 11), day, threads).1);
        }
    }

    #[test]
    fn models_survive_every_written_form(model in random::model()) {
        prop_assert_eq!(&StageModel::from_toml(&model.to_toml()).expect("reads its own TOML"), &model);
        prop_assert_eq!(&StageModel::from_json(&model.to_json()).expect("reads its own JSON"), &model);
        prop_assert!(!model.describe().is_empty());
    }
}
