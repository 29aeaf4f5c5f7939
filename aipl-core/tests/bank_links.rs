//! A bank under links answers as a log of its events does that is read through all links at once, whatever came when: events, links,
//! merges of segments, kept days, saved audiences, reopening.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "twin/logs.rs"]
mod logs;
#[path = "twin/random.rs"]
mod random;
#[path = "twin/tables.rs"]
mod tables;
mod twin;

use std::collections::BTreeSet;
use std::sync::Arc;

use aipl_core::analyses::{FlowParams, SnapshotParams, TrendParams, flow, history, snapshot, timeline, trend};
use aipl_core::audience::Audience;
use aipl_core::bank::{BankError, CreateParams, DataBank, IngestParams, LinkParams, LinkReport, LinkRules, Mode};
use aipl_core::base::{IdValue, Zone};
use aipl_core::identity::{Guards, IdType, People, Reading, Unknown};
use aipl_core::model::StageModel;
use aipl_core::source::Events;
use aipl_core::source::memory::StreamSource;
use aipl_core::timeline::{EventLog, Runtime, ScopeValue, Timelines};
use arrow::array::{RecordBatch, StringArray};
use logs::{batch, schema};
use proptest::prelude::*;
use random::{FIRST_DAY, LAST_DAY};
use tables::{day, members, rows as cells};
use twin::Event;

const ZONE: &str = "Asia/Shanghai";

/// A row of links: a card and an account.
type Link = (Option<u8>, Option<u8>);

#[derive(Debug, Clone)]
enum Step {
    Ingest(usize),
    Links(Vec<Link>),
    Keep(i32),
    Save,
    Compact,
    Reopen,
}

fn link() -> impl Strategy<Value = Link> {
    // Accounts u1 to u4 have events; u5 has none, and some accounts have no link.
    (prop::option::weighted(0.9, 0u8..4), prop::option::weighted(0.9, 1u8..6))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..60usize).prop_map(Step::Ingest),
        3 => prop::collection::vec(link(), 1..4).prop_map(Step::Links),
        2 => (0..8).prop_map(Step::Keep),
        2 => Just(Step::Save),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

fn events(rows: &[Event]) -> Events {
    let batches = rows.chunks(7).map(batch).collect();
    Events::from_batches(batch(&[]).schema(), batches, schema(), ZONE).expect("opens")
}

fn links(rows: &[Link]) -> StreamSource {
    let column = |value: &dyn Fn(&Link) -> Option<String>| Arc::new(rows.iter().map(value).collect::<StringArray>()) as _;
    let batch = RecordBatch::try_from_iter([
        ("card", column(&|row| row.0.map(|number| format!("p{number}")))),
        ("account", column(&|row| row.1.map(|number| format!("u{number}")))),
    ]);
    let batch = batch.expect("a batch");
    StreamSource::from_batches("links", batch.schema(), vec![batch])
}

/// An audience as it was saved: the accounts of its people, or those of its accounts.
struct Saved {
    name: String,
    accounts: BTreeSet<String>,
}

struct Machine {
    folder: tempfile::TempDir,
    bank: DataBank,
    rules: LinkRules,
    model: StageModel,
    on: i32,
    waiting: Vec<Event>,
    rows: Vec<Event>,
    linked: usize,
    saved: Vec<Saved>,
}

impl Machine {
    fn new(waiting: Vec<Event>, model: &StageModel, on: i32, rules: LinkRules) -> Machine {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bank");
        Machine {
            bank: DataBank::create(&path, schema(), ZONE, CreateParams::default()).expect("creates"),
            folder,
            rules,
            model: model.clone(),
            on,
            waiting,
            rows: Vec::new(),
            linked: 0,
            saved: Vec::new(),
        }
    }

    fn link(&mut self, rows: &[Link]) -> LinkReport {
        self.linked += 1;
        let reading = Reading {
            seen_at: None,
            source: None,
            zone: Arc::new(Zone::named(ZONE).expect("a zone")),
        };
        let (batch, rules) = (format!("links {}", self.linked), (self.linked == 1).then_some(&self.rules));
        self.bank
            .ingest_links(&links(rows), &batch, rules, &reading, &LinkParams::default(), &Runtime::default())
            .expect("takes links")
    }

    fn people(&self) -> Option<Arc<People>> {
        self.bank.identity(&Runtime::default()).expect("reads")
    }

    /// The accounts in the bank of some consumers, and the consumer of each account.
    fn owner(&self, account: &str) -> Option<String> {
        match self.people() {
            Some(people) => people.person_of(account).ok().map(|person| person.to_string()),
            None => Some(account.to_owned()),
        }
    }

    fn accounts(&self) -> BTreeSet<String> {
        self.rows.iter().map(|row| row.consumer.clone()).collect()
    }

    fn take(&mut self, step: &Step) {
        let runtime = Runtime::default();
        match step {
            Step::Ingest(count) => {
                let rest = self.waiting.split_off(self.waiting.len().saturating_sub(*count));
                let batch = format!("batch {}", self.rows.len() + 1000 * self.waiting.len());
                self.bank
                    .ingest(&events(&rest), &batch, &IngestParams::default(), &runtime)
                    .expect("takes the batch");
                self.rows.extend(rest);
            }
            Step::Links(rows) => {
                let owners = |machine: &Machine| machine.accounts().iter().map(|account| machine.owner(account)).collect::<Vec<_>>();
                let (before, kept) = (owners(self), self.bank.kept_days());
                let told = self.link(rows);
                let left = kept.len() - told.dropped_days.len();
                assert_eq!(self.bank.kept_days().len(), left);
                if told.accounts_moved == 0 {
                    assert_eq!(self.bank.kept_days(), kept);
                    let groups = |owners: &[Option<String>]| {
                        let place = |owner: &Option<String>| {
                            owner
                                .as_ref()
                                .map(|owner| owners.iter().position(|other| other.as_ref() == Some(owner)))
                        };
                        owners.iter().map(place).collect::<Vec<_>>()
                    };
                    assert_eq!(groups(&before), groups(&owners(self)), "nobody moved, and yet persons are others");
                }
            }
            Step::Keep(before) => {
                let on = day((self.on - before).max(FIRST_DAY));
                self.bank.materialize(on, Some(&self.model), &runtime).expect("keeps");
            }
            Step::Save => self.save(),
            Step::Compact => {
                self.bank.compact(&runtime).expect("merges");
                self.bank.vacuum().expect("cleans");
            }
            Step::Reopen => {
                self.bank.close().expect("closes");
                self.bank = DataBank::open(&self.folder.path().join("bank"), Mode::WRITE).expect("opens");
            }
        }
    }

    fn save(&mut self) {
        let runtime = Runtime::default();
        let snap = snapshot(&self.bank, &self.model, day(self.on), &SnapshotParams::default(), &runtime).expect("answers");
        let code = self.model.codes().next().expect("a stage").to_owned();
        let Some(scope) = snap.scopes().first() else { return };
        let audience = snap.audience(scope, &code).expect("an audience");
        let saved = self.bank.save_audience("some", &audience, "", &runtime).expect("saves");
        assert_eq!(saved.size, audience.len());
        let ids: BTreeSet<String> = members(&audience).into_iter().collect();
        let own = |account: &String| self.owner(account).is_some_and(|owner| ids.contains(&owner));
        let accounts = self.accounts().into_iter().filter(own).collect();
        self.saved.push(Saved {
            name: "some".to_owned(),
            accounts,
        });
    }

    fn log(&self) -> EventLog {
        let events = events(&self.rows);
        let events = match self.people() {
            Some(people) => events.with_identity((*people).clone()).expect("one type"),
            None => events,
        };
        events.log(None, None, &Runtime::default()).expect("loads")
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let (log, runtime) = (self.log(), Runtime::with_threads(2).expect("threads"));
        prop_assert_eq!(self.said(&self.bank), self.said(&log));
        prop_assert_eq!(self.labels(self.on), self.expected_labels(self.on));
        for kept in self.bank.kept_days() {
            let number = kept.day.number();
            prop_assert_eq!(self.labels(number), self.expected_labels(number));
        }
        let consumers = self.bank.consumers(&runtime).expect("reads");
        let known: BTreeSet<String> = consumers.numbers().map(|idx| consumers.id(idx).to_string()).collect();
        let owners: BTreeSet<String> = self.accounts().iter().filter_map(|account| self.owner(account)).collect();
        prop_assert_eq!(consumers.len(), owners.len());
        prop_assert_eq!(&known, &owners);
        for owner in &owners {
            let id = if self.linked == 0 {
                IdValue::from(owner.as_str())
            } else {
                IdValue::Int(owner.parse().expect("a number"))
            };
            let idx = consumers.find(&id).expect("is known");
            prop_assert!(consumers.contains(idx) && consumers.id(idx) == id);
        }
        for (saved, version) in self.saved.iter().zip(1..) {
            let kept = self.bank.audience(&saved.name, Some(version), &runtime).expect("is there");
            let expected: BTreeSet<String> = saved.accounts.iter().filter_map(|account| self.owner(account)).collect();
            prop_assert_eq!(members(&kept).into_iter().collect::<BTreeSet<_>>(), expected);
        }
        self.bank.verify(&runtime).expect("whole");
        Ok(())
    }

    /// Consumer, scope and stage, as the bank has them.
    fn labels(&self, on: i32) -> BTreeSet<Vec<String>> {
        let runtime = Runtime::default();
        let snap = snapshot(&self.bank, &self.model, day(on), &SnapshotParams::default(), &runtime).expect("answers");
        let batches = snap.labels(None, &runtime).expect("streams");
        batches
            .flat_map(|batch| cells(&batch.expect("a batch")))
            .map(|row| row[..3].to_vec())
            .collect()
    }

    /// The same of events whose accounts are replaced by hand.
    fn expected_labels(&self, on: i32) -> BTreeSet<Vec<String>> {
        let through = |row: &Event| {
            Some(Event {
                consumer: self.owner(&row.consumer)?,
                ..row.clone()
            })
        };
        let rows: Vec<Event> = self.rows.iter().filter_map(through).collect();
        let labels = twin::labels(&self.model, &rows, &[], on);
        labels
            .into_iter()
            .map(|((consumer, scope), stage)| vec![consumer, scope, stage])
            .collect()
    }

    /// What a source says of the days around the day in question.
    fn said(&self, source: &dyn Timelines) -> Vec<Vec<Vec<String>>> {
        let (model, runtime) = (&self.model, Runtime::with_threads(2).expect("threads"));
        let (start, end) = (day((self.on - 7).max(FIRST_DAY)), day(self.on.max(FIRST_DAY + 8)));
        let snap = snapshot(source, model, end, &SnapshotParams::default(), &runtime).expect("answers");
        let mut said: Vec<Vec<Vec<String>>> = snap
            .labels(None, &runtime)
            .expect("streams")
            .map(|batch| cells(&batch.expect("a batch")))
            .collect();
        said.push(cells(&snap.counts()));
        let trend = trend(source, model, start, end, &TrendParams::default(), &runtime).expect("answers");
        said.push(cells(&trend.table));
        let moves = flow(source, model, start, end, &FlowParams::default(), &runtime).expect("answers");
        said.push(cells(&moves.matrix().expect("a table")));
        said.push(cells(&moves.classes().expect("a table")));
        // One consumer's days, where an account of a person stands in another bucket than the person.
        for account in self.accounts() {
            let Some(owner) = self.owner(&account) else { continue };
            let id = if self.linked == 0 {
                IdValue::from(owner.as_str())
            } else {
                IdValue::Int(owner.parse().expect("a number"))
            };
            said.push(cells(&history(source, model, &id, None, &runtime).expect("answers").table));
            let mut own = cells(&timeline(source, &id, None, &runtime).expect("answers").0.table);
            // Events of one instant stand in the order of their coming.
            own.sort();
            said.push(own);
        }
        // The people of a stage, as a limit of another question, whichever home they are from.
        let Some(scope) = snap.scopes().first().cloned() else { return said };
        let code = model.codes().next().expect("a stage").to_owned();
        let audience = snap.audience(&scope, &code).expect("an audience");
        said.push(vec![members(&audience)]);
        for other in [&self.bank as &dyn Timelines, source] {
            let params = FlowParams {
                within: Some(audience.clone()),
                ..FlowParams::default()
            };
            let moves = flow(other, model, start, end, &params, &runtime).expect("answers");
            said.push(cells(&moves.matrix().expect("a table")));
        }
        said
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn a_bank_under_links_answers_as_a_log_of_persons(
        model in random::lively_model(),
        rows in random::lively_events(),
        steps in prop::collection::vec(step(), 2..12),
        reject in any::<bool>(),
        single in any::<bool>(),
        people in prop::option::of(1u32..3),
        on in FIRST_DAY..LAST_DAY,
    ) {
        let rows = rows.into_iter().map(|row| Event { event_id: None, ..row }).collect();
        let card = IdType { single, ..IdType::named("card") };
        let rules = LinkRules {
            types: vec![card, IdType::named("account")],
            guards: Guards { max_people_per_id: people, max_component: None },
            id_type: "account".to_owned(),
            unknown: if reject { Unknown::Reject } else { Unknown::Keep },
        };
        let mut machine = Machine::new(rows, &model, on, rules);
        for step in &steps {
            machine.take(step);
        }
        machine.check()?;
    }

    #[test]
    fn persons_keep_their_numbers_until_links_come(rows in random::lively_events(), first in prop::collection::vec(link(), 1..5), on in FIRST_DAY..LAST_DAY) {
        let model = StageModel::preset("databank").expect("a preset");
        let rules = LinkRules {
            types: vec![IdType::named("card"), IdType::named("account")],
            guards: Guards::default(),
            id_type: "account".to_owned(),
            unknown: Unknown::Keep,
        };
        let rows = rows.into_iter().map(|row| Event { event_id: None, ..row }).collect();
        let mut machine = Machine::new(rows, &model, on, rules);
        machine.take(&Step::Ingest(30));
        machine.link(&first);
        let runtime = Runtime::default();
        let everybody = |bank: &DataBank| {
            let consumers = bank.consumers(&runtime).expect("reads");
            let bits = consumers.numbers().map(|idx| idx.0).collect();
            Audience::new(bits, consumers, "everybody")
        };
        let before = everybody(&machine.bank);
        machine.take(&Step::Ingest(200));
        machine.take(&Step::Reopen);
        let after = everybody(&machine.bank);
        // Nobody who was there has gone, and the two are of one numbering.
        let both = before.and(&after).expect("one numbering");
        prop_assert_eq!(members(&both), members(&before));
        machine.link(&[(Some(3), Some(1)), (Some(3), Some(2))]);
        prop_assert!(before.and(&everybody(&machine.bank)).is_err());
        let refused = machine.bank.save_audience("old", &before, "", &runtime).expect_err("is of earlier persons");
        let of_parameter = matches!(refused, BankError::Parameter { .. });
        prop_assert!(of_parameter, "{refused}");
        let earlier = machine.bank.as_of_commit(machine.bank.commit_seq() - 1).expect("is there");
        prop_assert_eq!(members(&everybody(&earlier)), members(&after));
    }
}

/// A machine of a few purchases, one an account, and of rules by card alone.
fn small(guards: Guards) -> Machine {
    let rules = LinkRules {
        types: vec![IdType::named("card"), IdType::named("account")],
        guards,
        id_type: "account".to_owned(),
        unknown: Unknown::Keep,
    };
    Machine::new(Vec::new(), &StageModel::preset("databank").expect("a preset"), FIRST_DAY + 3, rules)
}

fn purchase(account: u8) -> Event {
    event(account, "purchase", 0)
}

fn event(account: u8, behavior: &str, second: i32) -> Event {
    Event {
        consumer: format!("u{account}"),
        brand: "b".to_owned(),
        behavior: behavior.to_owned(),
        day: FIRST_DAY,
        second,
        category: None,
        store: None,
        touchpoint: None,
        channel: None,
        rating: None,
        amount: None,
        order: None,
        event_id: None,
    }
}

impl Machine {
    fn ingest(&mut self, rows: Vec<Event>) {
        self.waiting = rows;
        self.take(&Step::Ingest(self.waiting.len()));
    }
}

#[test]
fn a_person_stays_at_its_oldest_account() {
    let mut probe = small(Guards::default());
    probe.ingest((1..=5).map(purchase).collect());
    let consumers = probe.bank.consumers(&Runtime::default()).expect("reads");
    let number = |account: &u8| consumers.find(&IdValue::from(format!("u{account}").as_str()));
    let last = (1..=5u8).max_by_key(number).expect("five accounts");
    let mut machine = small(Guards::default());
    machine.ingest(vec![purchase(last)]);
    machine.link(&(1..=5).map(|account| (Some(1), Some(account))).collect::<Vec<_>>());
    let home = |machine: &Machine| {
        let consumers = machine.bank.consumers(&Runtime::default()).expect("reads");
        consumers.numbers().collect::<Vec<_>>()
    };
    let before = home(&machine);
    machine.ingest((1..=5).filter(|account| *account != last).map(purchase).collect());
    assert_eq!((home(&machine), before.len()), (before, 1));
    machine.check().expect("as a log");
}

#[test]
fn an_audience_outlives_the_parting_of_its_people() {
    let mut machine = small(Guards {
        max_people_per_id: Some(2),
        max_component: None,
    });
    machine.ingest((1..=3).map(purchase).collect());
    machine.link(&[(Some(1), Some(1)), (Some(1), Some(2))]);
    let snap = snapshot(
        &machine.bank,
        &machine.model,
        day(machine.on),
        &SnapshotParams::default(),
        &Runtime::default(),
    )
    .expect("answers");
    let buyers = snap.audience(&ScopeValue::of("b"), "P").expect("an audience");
    assert_eq!(buyers.len(), 2);
    machine
        .bank
        .save_audience("buyers", &buyers, "", &Runtime::default())
        .expect("saves");
    machine.link(&[(Some(1), Some(4))]);
    let kept = machine.bank.audience("buyers", None, &Runtime::default()).expect("is there");
    assert_eq!(kept.len(), 3, "the card links nobody any more, and each account is a person again");
}

#[test]
fn states_switch_in_the_order_of_all_accounts() {
    let toml = r#"
id = "members"
version = 1
[[stage]]
code = "B"
name = "buyer"
any = [{ behaviors = ["purchase"], days = 10 }]
[[stage]]
code = "M"
name = "member"
any = [{ state = "member" }]
"#;
    let model = StageModel::from_toml(toml).expect("a model");
    for accounts in (1..=4u8)
        .flat_map(|joins| (1..=4u8).map(move |leaves| [joins, leaves]))
        .filter(|[joins, leaves]| joins != leaves)
    {
        for leaves_first in [true, false] {
            let mut machine = small(Guards::default());
            machine.model = model.clone();
            let [joins, leaves] = accounts;
            let (join, leave) = if leaves_first { (36_000, 32_400) } else { (32_400, 36_000) };
            machine.ingest(vec![event(joins, "member_join", join), event(leaves, "member_leave", leave)]);
            machine.link(&[(Some(1), Some(joins)), (Some(1), Some(leaves))]);
            machine.check().expect("as a log");
            let snap = snapshot(
                &machine.bank,
                &model,
                day(machine.on),
                &SnapshotParams::default(),
                &Runtime::default(),
            )
            .expect("answers");
            let count = snap.count(&ScopeValue::of("b"), "M").unwrap_or(0);
            assert_eq!(count, i64::from(leaves_first), "{joins} joins, {leaves} leaves");
        }
    }
}

/// Three accounts that buy; the days from the fourth on are kept.
fn kept(accounts: std::ops::RangeInclusive<u8>) -> Machine {
    let mut machine = small(Guards::default());
    machine.ingest(accounts.map(purchase).collect());
    machine.take(&Step::Keep(0));
    machine
}

fn asked(machine: &Machine) -> aipl_core::analyses::Snapshot {
    snapshot(
        &machine.bank,
        &machine.model,
        day(machine.on),
        &SnapshotParams::default(),
        &Runtime::default(),
    )
    .expect("answers")
}

#[test]
fn an_answer_of_a_kept_day_stays_what_it_was() {
    let mut machine = kept(1..=3);
    machine.link(&[(Some(1), Some(4))]);
    let said = |snap: &aipl_core::analyses::Snapshot| {
        let buyers = snap.audience(&ScopeValue::of("b"), "P").expect("an audience");
        (members(&buyers), buyers.fingerprint(), cells(&snap.counts()))
    };
    let (held, fresh) = (asked(&machine), asked(&machine));
    let before = said(&fresh);
    assert_eq!(before.0.len(), 3);
    let told = machine.link(&[(Some(2), Some(1)), (Some(2), Some(2))]);
    assert_eq!((told.accounts_moved, told.dropped_days.len()), (1, 1));
    assert_eq!(said(&held), before);
    let now = said(&asked(&machine));
    assert_eq!((now.0.len(), now.1 == before.1), (2, false));
    machine.take(&Step::Keep(0));
    let held = asked(&machine);
    machine.bank.close().expect("closes");
    assert_eq!(said(&held), now, "an answer that was given stays good");
}

#[test]
fn a_day_outlives_links_of_who_came_later() {
    let mut machine = kept(1..=2);
    machine.link(&[(Some(1), Some(1))]);
    machine.ingest(vec![Event {
        day: FIRST_DAY + 9,
        ..purchase(3)
    }]);
    let told = machine.link(&[(Some(1), Some(3))]);
    assert_eq!((told.accounts_moved, told.dropped_days.len()), (1, 0));
    assert_eq!(machine.bank.kept_days().len(), 1);
    machine.check().expect("as a log");
}

#[test]
fn links_do_not_take_history_away_unasked() {
    let mut machine = kept(1..=3);
    machine.link(&[(Some(1), Some(1))]);
    machine.bank.expire(day(FIRST_DAY + 1), &Runtime::default()).expect("expires");
    let rows = [(Some(1), Some(2))];
    let link = |machine: &Machine, forget_expired: bool| {
        let params = LinkParams {
            forget_expired,
            ..LinkParams::default()
        };
        let reading = Reading {
            seen_at: None,
            source: None,
            zone: Arc::new(Zone::named(ZONE).expect("a zone")),
        };
        machine
            .bank
            .ingest_links(&links(&rows), "more", None, &reading, &params, &Runtime::default())
    };
    let before = machine.bank.commit_seq();
    let refused = link(&machine, false).expect_err("would lose a day").to_string();
    assert!(refused.contains("forget_expired") && refused.contains("2024-02-20"), "{refused}");
    assert_eq!((machine.bank.commit_seq(), machine.bank.kept_days().len()), (before, 1));
    assert_eq!(link(&machine, true).expect("takes links").dropped_days.len(), 1);
}

#[test]
fn rules_are_settled_by_the_first_links() {
    let mut machine = small(Guards::default());
    machine.link(&[(Some(1), Some(1))]);
    machine.ingest(vec![purchase(1)]);
    let reading = Reading {
        seen_at: None,
        source: None,
        zone: Arc::new(Zone::named(ZONE).expect("a zone")),
    };
    let refused = |batch: &str, rules: Option<&LinkRules>| {
        let params = LinkParams::default();
        let told = machine
            .bank
            .ingest_links(&links(&[(Some(1), Some(2))]), batch, rules, &reading, &params, &Runtime::default());
        told.expect_err("is refused").to_string()
    };
    let other = LinkRules {
        guards: Guards {
            max_people_per_id: Some(3),
            max_component: None,
        },
        ..machine.rules.clone()
    };
    let told = refused("second", Some(&other));
    assert!(told.contains("max_people_per_id") && told.contains("10, and not 3"), "{told}");
    let told = refused("batch 0", None);
    assert!(told.contains("batch of events"), "{told}");
}
