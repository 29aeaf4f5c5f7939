//! The engine equals the naive twin on random models and logs, whatever the threads, the batches and the order of rows.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "twin/logs.rs"]
mod logs;
#[path = "twin/random.rs"]
mod random;
#[path = "twin/tables.rs"]
mod tables;
mod twin;

use std::fs::File;
use std::path::Path;

use aipl_core::base::Day;
use aipl_core::model::{ScopeKind, StageModel};
use aipl_core::source::Events;
use aipl_core::source::csv::CsvOptions;
use arrow::ipc::writer::FileWriter;
use logs::{batch, engine, open, schema};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use twin::Event;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn labels_equal_the_twin(model in random::model(), events in random::events(), periods in random::periods(), day in random::FIRST_DAY - 2..=random::LAST_DAY + 45, rows_a_batch in 1..70usize) {
        let periods = if model.scope == ScopeKind::Brand { periods } else { Vec::new() };
        let said = engine(&model, &open(&events, &periods, rows_a_batch), day, 2);
        prop_assert_eq!(said.labels, twin::labels(&model, &events, &periods, day));
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
            prop_assert_eq!(&engine(&model, &source.expect("opens"), day, 2).labels, &expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn answers_do_not_depend_on_threads_or_order(model in random::model(), events in random::events(), day in random::FIRST_DAY..=random::LAST_DAY, seed in 0..1000usize) {
        let once = engine(&model, &open(&events, &[], 7), day, 1);
        let mut turned = events.clone();
        turned.rotate_left(seed % events.len().max(1));
        turned.reverse();
        for threads in [2, 8] {
            prop_assert_eq!(&once, &engine(&model, &open(&turned, &[], 3 + seed % 11), day, threads));
        }
    }

    #[test]
    fn models_survive_every_written_form(model in random::model()) {
        prop_assert_eq!(&StageModel::from_toml(&model.to_toml()).expect("reads its own TOML"), &model);
        prop_assert_eq!(&StageModel::from_json(&model.to_json()).expect("reads its own JSON"), &model);
        prop_assert!(!model.describe().is_empty());
    }
}
