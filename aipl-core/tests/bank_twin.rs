//! A bank answers as a log of the same events does, whatever happened to it: batches in any order, late ones, replays, merges, expiry,
//! reopening.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "twin/logs.rs"]
mod logs;
#[path = "twin/random.rs"]
mod random;
#[path = "twin/tables.rs"]
mod tables;
mod twin;

use std::collections::HashMap;
use std::path::Path;

use aipl_core::analyses::{FlowParams, SnapshotParams, TrendParams, flow, snapshot, timeline, trend};
use aipl_core::bank::{BankError, CreateParams, DataBank, IngestParams, Mode};
use aipl_core::base::IdValue;
use aipl_core::model::StageModel;
use aipl_core::source::Events;
use aipl_core::timeline::{EventLog, Runtime, Timelines};
use logs::{batch, engine, schema};
use proptest::prelude::*;
use random::{FIRST_DAY, LAST_DAY};
use tables::{day, rows as cells};
use twin::Event;

const ZONE: &str = "Asia/Shanghai";

fn events(rows: &[Event]) -> Events {
    let batches = rows.chunks(7).map(batch).collect();
    Events::from_batches(batch(&[]).schema(), batches, schema(), ZONE).expect("opens")
}

fn log(rows: &[Event]) -> EventLog {
    events(rows).log(None, None, &Runtime::default()).expect("loads")
}

/// Copies of an event agree in everything.
fn agreeing(mut rows: Vec<Event>) -> Vec<Event> {
    let mut firsts: HashMap<(String, String, String), Event> = HashMap::new();
    for row in &mut rows {
        if let Some(id) = &row.event_id {
            let key = (row.consumer.clone(), row.brand.clone(), id.clone());
            *row = firsts.entry(key).or_insert_with(|| row.clone()).clone();
        }
    }
    rows
}

/// What happens to a bank.
#[derive(Debug, Clone)]
enum Step {
    /// So many of the next rows come in.
    Ingest(usize),
    /// A batch that is there comes again.
    Replay(usize),
    Compact,
    Vacuum,
    Reopen,
    /// The stages of a day of the question are kept: its last, or so many days before.
    Keep(i32),
    /// Events before a day expire.
    Expire(i32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..40usize).prop_map(Step::Ingest),
        2 => any::<usize>().prop_map(Step::Replay),
        1 => Just(Step::Compact),
        1 => Just(Step::Vacuum),
        1 => Just(Step::Reopen),
        3 => prop_oneof![Just(0), Just(9), 0..12].prop_map(Step::Keep),
    ]
}

struct Machine {
    folder: tempfile::TempDir,
    bank: DataBank,
    batches: Vec<Vec<Event>>,
    waiting: Vec<Event>,
    model: StageModel,
    on: i32,
}

fn open(path: &Path) -> DataBank {
    DataBank::open(path, Mode::WRITE).expect("opens")
}

impl Machine {
    fn new(waiting: Vec<Event>, model: &StageModel, on: i32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bank");
        let bank = DataBank::create(&path, schema(), ZONE, CreateParams::default()).expect("creates");
        Machine {
            folder,
            bank,
            batches: Vec::new(),
            waiting,
            model: model.clone(),
            on,
        }
    }

    fn ingest(&self, number: usize, threads: usize) -> aipl_core::bank::IngestReport {
        let runtime = Runtime::with_threads(threads).expect("threads");
        self.bank
            .ingest(
                &events(&self.batches[number]),
                &format!("batch {number}"),
                &IngestParams::default(),
                &runtime,
            )
            .expect("takes the batch")
    }

    fn take(&mut self, step: &Step) {
        let runtime = Runtime::default();
        match step {
            Step::Ingest(count) => {
                let rest = self.waiting.split_off(self.waiting.len().saturating_sub(*count));
                self.batches.push(rest);
                let report = self.ingest(self.batches.len() - 1, 1 + count % 3);
                assert!(!report.replayed);
                let of_batch = self.batches.last().map_or(0, Vec::len) as u64;
                assert_eq!(
                    report.batch.rows_added + report.batch.rows_duplicate + report.batch.rows_expired,
                    of_batch
                );
            }
            Step::Replay(number) if !self.batches.is_empty() => {
                let before = self.bank.commit_seq();
                assert!(self.ingest(number % self.batches.len(), 2).replayed);
                assert_eq!(self.bank.commit_seq(), before);
            }
            Step::Replay(_) => {}
            Step::Compact => drop(self.bank.compact(&runtime).expect("merges")),
            Step::Vacuum => drop(self.bank.vacuum().expect("cleans")),
            Step::Reopen => {
                let path = self.folder.path().join("bank");
                let elsewhere = DataBank::create(&self.folder.path().join("other"), schema(), ZONE, CreateParams::default());
                self.bank = elsewhere.expect("creates");
                self.bank = open(&path);
                std::fs::remove_dir_all(self.folder.path().join("other")).expect("removes");
            }
            Step::Keep(before) => {
                let on = day((self.on - before).max(FIRST_DAY));
                self.bank.materialize(on, Some(&self.model), &runtime).expect("keeps");
            }
            Step::Expire(on) => drop(self.bank.expire(day(*on), &runtime).expect("expires")),
        }
    }

    fn rows(&self) -> Vec<Event> {
        self.batches.iter().flatten().cloned().collect()
    }

    fn compare(&self, model: &StageModel, on: i32, rows: &[Event]) -> Result<(), TestCaseError> {
        let log = log(rows);
        let (banked, logged) = (engine(model, &self.bank, on, 2), engine(model, &log, on, 1));
        prop_assert_eq!(&banked.labels, &twin::labels(model, rows, &[], on));
        prop_assert_eq!(banked.labels, logged.labels);
        prop_assert_eq!(banked.shown, logged.shown);
        let runtime = Runtime::default();
        let first = day((on - 9).max(FIRST_DAY));
        let (start, end) = (first, day(on.max(FIRST_DAY + 1)).max(first + 1));
        let by = |source: &dyn Timelines| {
            let trend = trend(source, model, start, end, &TrendParams::default(), &runtime).expect("answers");
            let flow = flow(source, model, start, end, &FlowParams::default(), &runtime).expect("answers");
            let person = timeline(source, &IdValue::from("u1"), None, &runtime).expect("answers").0;
            let mut person = cells(&person.table);
            // Events of one instant stand in the order of their coming, which a bank and a log see differently.
            person.sort();
            person.dedup();
            (
                cells(&trend.table),
                cells(&flow.matrix().expect("a table")),
                cells(&flow.classes().expect("a table")),
                person,
            )
        };
        prop_assert_eq!(by(&self.bank), by(&log));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_bank_answers_as_a_log_of_its_events(
        model in random::lively_model(),
        rows in random::lively_events().prop_map(agreeing),
        steps in proptest::collection::vec(step(), 1..12),
        on in FIRST_DAY..LAST_DAY,
    ) {
        let mut machine = Machine::new(rows, &model, on);
        let mut states = Vec::new();
        for step in &steps {
            machine.take(step);
            states.push((machine.bank.commit_seq(), machine.rows()));
        }
        machine.compare(&model, on, &machine.rows())?;
        // Earlier commits answer as they did, unless their files are gone.
        if let Some((seq, rows)) = states.first() {
            match machine.bank.as_of_commit(*seq) {
                Ok(earlier) => {
                    let log = log(rows);
                    prop_assert_eq!(engine(&model, &earlier, on, 2).labels, engine(&model, &log, on, 1).labels);
                }
                Err(error) => prop_assert!(matches!(error, BankError::Vacuumed { .. }), "{error}"),
            }
        }
        let reader = DataBank::open(&machine.folder.path().join("bank"), Mode::Read).expect("opens beside the writer");
        prop_assert_eq!(reader.consumers(&Runtime::default()).expect("reads").len(), machine.bank.consumers(&Runtime::default()).expect("reads").len());
    }

    #[test]
    fn what_expired_is_gone_and_the_rest_answers(
        rows in random::lively_events().prop_map(agreeing),
        before in FIRST_DAY..LAST_DAY,
        on in FIRST_DAY..LAST_DAY,
    ) {
        let model = StageModel::preset("databank").expect("a preset");
        let mut machine = Machine::new(rows, &model, on);
        for step in [Step::Ingest(25), Step::Ingest(60), Step::Expire(before), Step::Ingest(30), Step::Compact] {
            machine.take(&step);
        }
        // Switches of states stay: who joined and did not leave is a member still.
        const SWITCHES: [&str; 4] = ["member_join", "member_leave", "follow", "unfollow"];
        let switch = |name: &str| SWITCHES.contains(&name);
        let gone = |row: &Event| row.day < before && !switch(&row.behavior);
        let all = machine.rows();
        let left: Vec<Event> = all.iter().filter(|row| !gone(row)).cloned().collect();
        let program = aipl_core::model::compile(&model, &schema()).expect("compiles");
        let first_days = program.first_days(on).into_iter().zip(schema().vocabulary());
        let needed = first_days.filter(|(_, name)| !switch(name)).map(|(first, _)| first).min().expect("behaviors");
        // An expiry that removes nothing takes nothing away from questions either.
        let needed = if machine.bank.info()["expired_before"].is_null() { before } else { needed };
        let asked = snapshot(&machine.bank, &model, day(on), &SnapshotParams::default(), &Runtime::default());
        if needed < before {
            prop_assert!(asked.is_err(), "days from {needed} on are needed, and those before {before} are gone");
        } else {
            let log = log(&left);
            prop_assert_eq!(engine(&model, &machine.bank, on, 2).labels, engine(&model, &log, on, 1).labels);
        }
        let told = timeline(&machine.bank, &IdValue::from("u1"), None, &Runtime::default()).expect("answers").0;
        let own: Vec<&Event> = left.iter().filter(|row| row.consumer == "u1").collect();
        let mut ids = std::collections::HashSet::new();
        let distinct = own.iter().filter(|row| row.event_id.as_ref().is_none_or(|id| ids.insert((row.brand.clone(), id.clone())))).count();
        prop_assert_eq!(told.table.num_rows(), distinct);
    }

    #[test]
    fn kept_days_answer_as_events_do_and_outlive_them(
        model in random::lively_model(),
        rows in random::lively_events().prop_map(agreeing),
        on in FIRST_DAY + 12..LAST_DAY,
    ) {
        let mut machine = Machine::new(rows, &model, on);
        machine.take(&Step::Ingest(70));
        machine.take(&Step::Ingest(70));
        for before in (0..11).rev() {
            machine.take(&Step::Keep(before));
        }
        machine.compare(&model, on, &machine.rows())?;
        let log = log(&machine.rows());
        let before = engine(&model, &log, on, 1).labels;
        machine.take(&Step::Expire(LAST_DAY));
        for step in [Step::Compact, Step::Vacuum, Step::Reopen] {
            machine.take(&step);
            prop_assert_eq!(&engine(&model, &machine.bank, on, 2).labels, &before);
            let [banked, logged]: [&dyn Timelines; 2] = [&machine.bank, &log];
            let moved = |source| flow(source, &model, day(on - 7), day(on), &FlowParams::default(), &Runtime::default()).expect("answers");
            prop_assert_eq!(cells(&moved(banked).classes().expect("a table")), cells(&moved(logged).classes().expect("a table")));
        }
        let late: Vec<Event> = machine.rows().into_iter().filter(|row| row.day < on).take(1).collect();
        if let [row] = &late[..] {
            machine.waiting = vec![Event { day: LAST_DAY, event_id: None, ..row.clone() }];
            machine.take(&Step::Ingest(1));
            prop_assert_eq!(&engine(&model, &machine.bank, on, 2).labels, &before, "a later event changes no earlier day");
        }
    }

    #[test]
    fn saved_audiences_come_back(rows in random::lively_events().prop_map(agreeing), on in FIRST_DAY..LAST_DAY) {
        let model = StageModel::preset("databank").expect("a preset");
        let mut machine = Machine::new(rows, &model, on);
        machine.take(&Step::Ingest(50));
        let runtime = Runtime::default();
        let taken = |bank: &DataBank| snapshot(bank, &model, day(on), &SnapshotParams::default(), &runtime).expect("answers");
        let first = taken(&machine.bank);
        let scopes = first.scopes().to_vec();
        for (scope, code) in scopes.iter().flat_map(|scope| model.codes().map(move |code| (scope, code))) {
            let audience = first.audience(scope, code).expect("an audience");
            let saved = machine.bank.save_audience(&format!("{scope} {code}"), &audience, "as it was", &runtime).expect("saves");
            prop_assert_eq!((saved.version, saved.size), (1, audience.len()));
        }
        for step in [Step::Ingest(100), Step::Compact, Step::Vacuum, Step::Reopen] {
            machine.take(&step);
        }
        let second = taken(&machine.bank);
        for (scope, code) in scopes.iter().flat_map(|scope| model.codes().map(move |code| (scope, code))) {
            let was = first.audience(scope, code).expect("an audience");
            let kept = machine.bank.audience(&format!("{scope} {code}"), None, &runtime).expect("is there");
            prop_assert_eq!(kept.ids().expect("ids"), was.ids().expect("ids"));
            // Audiences of different states of a bank combine.
            if let Ok(now) = second.audience(scope, code) {
                let both = kept.and(&now).expect("one bank");
                let own: std::collections::BTreeSet<_> = was.ids().expect("ids").into_iter().collect();
                let expected: Vec<_> = now.ids().expect("ids").into_iter().filter(|id| own.contains(id)).collect();
                prop_assert_eq!(both.ids().expect("ids"), expected);
            }
        }
        machine.bank.verify(&runtime).expect("whole");
        let copy = machine.folder.path().join("copy");
        machine.bank.backup(&copy, &runtime).expect("copies");
        let copied = DataBank::open(&copy, Mode::Read).expect("opens");
        copied.verify(&runtime).expect("whole");
        prop_assert_eq!(engine(&model, &copied, on, 2).shown, engine(&model, &machine.bank, on, 1).shown);
    }
}
