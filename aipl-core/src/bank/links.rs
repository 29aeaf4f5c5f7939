//! Identity rows in a bank: taken in by batches like events. Events stay as accounts, and persons are known by their
//! accounts' numbers, so a merge or split of persons rewrites no event, and the answer is that of a bank built anew
//! with all links.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

use crate::bank::catalog::Commit;
use crate::bank::error::BankError;
use crate::bank::files::{CheckedFile, NewFile, Published, hex128};
use crate::bank::handle::DataBank;
use crate::bank::ingest::check_batch_id;
use crate::bank::persons::Persons;
use crate::bank::record::{BatchRecord, KeptRecord, LinksRecord, Record};
use crate::bank::segment::arrow_fault;
use crate::bank::state::State;
use crate::base::ConsumerIdx;
use crate::base::suggest::some_of;
use crate::event::Tally;
use crate::identity::{Guards, IdType, IdTypeOf, IdentityMap, People, Reading, Unknown};
use crate::source::{OnError, Source, SourceError};
use crate::timeline::scan::ScanError;
use crate::timeline::{Runtime, add_identities, read_identities, resolve_identities, write_identities};

type Result<T> = std::result::Result<T, BankError>;

/// How the first batch of links makes persons; later batches go by the same rules.
#[derive(Debug, Clone)]
pub struct LinkRules {
    /// The id types of the rows, the strongest first.
    pub types: Vec<IdType>,
    /// Guards against wrong merges.
    pub guards: Guards,
    /// The id type of the bank's consumers.
    pub id_type: String,
    /// What becomes of consumers that no link knows.
    pub unknown: Unknown,
}

/// Optional parameters of [`DataBank::ingest_links`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkParams {
    /// What happens to rows with identifiers that cannot be ones.
    pub on_error: OnError,
    /// Whether kept days are dropped that could not be made again, since their events are expired. If not, links that
    /// would drop one are refused.
    pub forget_expired: bool,
}

/// What became of a batch of links.
#[derive(Debug, Clone)]
pub struct LinkReport {
    /// The batch and its rows.
    pub batch: BatchRecord,
    /// The commit that holds it.
    pub commit: u64,
    /// Whether the bank had the batch already, with the same content.
    pub replayed: bool,
    /// Rows read and rejected identifiers, with examples.
    pub tally: Tally,
    /// Persons and identifiers afterwards.
    pub persons: u64,
    /// Identifiers afterwards.
    pub ids: u64,
    /// Accounts of the bank that are another person's than before, or nobody's any more, or somebody's again.
    pub accounts_moved: u64,
    /// Kept days that no longer hold, since accounts moved.
    pub dropped_days: Vec<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl LinkReport {
    /// The report as plain data.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "batch_id": self.batch.id,
            "replayed": self.replayed,
            "commit": self.commit,
            "rows_read": self.batch.rows_read,
            "rows_added": self.batch.rows_added,
            "rejected": self.tally.rejected_json(),
            "examples": Value::Array(self.tally.examples().map(crate::event::Example::to_json).collect()),
            "persons": self.persons,
            "ids": self.ids,
            "accounts_moved": self.accounts_moved,
            "dropped_days": self.dropped_days,
            "seconds": self.seconds,
        })
    }
}

impl DataBank {
    /// Takes in a batch of identity rows; from the first one on every question counts persons. `rules` are those of the
    /// first batch.
    ///
    /// # Errors
    /// As [`DataBank::ingest`]; [`BankError::Parameter`] where the first batch comes without rules or a later one with
    /// other ones; what [`resolve_identities`] refuses; a kept day that would be lost for good.
    pub fn ingest_links(
        &self,
        rows: &dyn Source,
        batch_id: &str,
        rules: Option<&LinkRules>,
        reading: &Reading,
        params: &LinkParams,
        runtime: &Runtime<'_>,
    ) -> Result<LinkReport> {
        check_batch_id(batch_id)?;
        self.write("ingest_links", || {
            let (started, state) = (Instant::now(), self.state());
            let had = self.people_of(&state, runtime)?;
            let (types, guards, links) = settle_rules(&state, had.as_deref(), rules)?;
            let own = resolve_identities(rows, types, guards, reading, params.on_error, runtime)?;
            let batch = BatchRecord {
                id: batch_id.to_owned(),
                content: hex128(content(&own)?),
                rows_read: own.tally().rows_read,
                rows_added: own.rows() as u64,
                ..BatchRecord::default()
            };
            if let Some((commit, known)) = state.batches.get(batch_id) {
                check_kind(&self.records(), *commit, batch_id, "ingest_links")?;
                if known.content != batch.content {
                    return Err(BankError::BatchConflict {
                        id: batch_id.to_owned(),
                        had: known.rows_added,
                        has: batch.rows_added,
                    });
                }
                let map = had.as_ref().map_or(&own, |people| people.map());
                return Ok(report((known.clone(), own.tally().clone()), *commit, true, map, started));
            }
            let tally = own.tally().clone();
            let map = match &had {
                Some(people) => add_identities(people.map(), rows, reading, params.on_error, runtime)?,
                None => own,
            };
            // The rules are found wrong before anything is written.
            let people = People::new(map.clone(), IdTypeOf::Type(links.id_type.clone()), unknown_of(&links)).map_err(SourceError::from)?;
            let file = self.write_map(&map, runtime)?;
            let old = state.links.as_ref().map(|links| links.file.clone());
            let links = LinksRecord {
                file: file.record.name.clone(),
                ..links
            };
            let next = State {
                links: Some(links.clone()),
                ..(*state).clone()
            };
            let persons = self.persons_with(&next, &people, runtime)?;
            let moved = Persons::moved_since(self.persons_of(&state, runtime)?.as_deref(), &persons);
            let touched = touched_days(&state, &moved);
            if !params.forget_expired {
                check_history(&state, &touched, moved.len())?;
            }
            let dropped: Vec<String> = touched.iter().map(|kept| kept.file.clone()).collect();
            let dropped_days = touched.iter().map(|kept| kept.describe()).collect();
            let record = Record {
                batch: Some(batch.clone()),
                links: Some(links),
                remove: dropped.iter().cloned().chain(old).collect(),
                dropped,
                ..Record::of("ingest_links")
            };
            let name = file.record.name.clone();
            let commit = self.commit(record, &[file], &[])?;
            self.remember_people(name, Arc::new(people));
            self.remember_persons(next.persons_key(), Arc::new(persons));
            Ok(LinkReport {
                accounts_moved: moved.len() as u64,
                dropped_days,
                ..report((batch, tally), commit, false, &map, started)
            })
        })
    }

    /// The map of the bank's persons, if links were taken in.
    ///
    /// # Errors
    /// [`BankError::Corrupt`].
    pub fn identity(&self, runtime: &Runtime<'_>) -> Result<Option<Arc<People>>> {
        self.check_process()?;
        self.people_of(&self.state(), runtime)
    }

    pub(super) fn people_of(&self, state: &State, runtime: &Runtime<'_>) -> Result<Option<Arc<People>>> {
        let Some(links) = &state.links else { return Ok(None) };
        if let Some(known) = self.known_people(&links.file) {
            return Ok(Some(known));
        }
        let people = Arc::new(self.read_people(state, links, runtime)?);
        self.remember_people(links.file.clone(), people.clone());
        Ok(Some(people))
    }

    /// Reads the map of a state from its file.
    pub(super) fn read_people(&self, state: &State, links: &LinksRecord, runtime: &Runtime<'_>) -> Result<People> {
        let missing = || BankError::corrupt("catalog.sqlite", format!("{} is named and not listed", links.file));
        let record = state.file(&links.file).ok_or_else(missing)?;
        CheckedFile::open(self.path(), record, &self.blocks(record)?)?.verify(record)?;
        let damaged = |error: BankError| match error {
            BankError::Scan(error) if !matches!(*error, ScanError::Canceled | ScanError::Source(SourceError::Canceled)) => {
                BankError::corrupt(format!("links/{}", links.file), error.to_string())
            }
            other => other,
        };
        let map = read_identities(&self.path().join("links").join(&links.file), runtime).map_err(BankError::from);
        let map = map.map_err(damaged)?;
        let people = People::new(map, IdTypeOf::Type(links.id_type.clone()), unknown_of(links)).map_err(SourceError::from);
        people.map_err(BankError::from).map_err(damaged)
    }

    /// Writes a map into the bank.
    fn write_map(&self, map: &IdentityMap, runtime: &Runtime<'_>) -> Result<Published> {
        let unfinished = self.path().join("tmp").join(super::files::random_name()?);
        let refused = |error: ScanError| match BankError::written(self.path(), &error) {
            full @ BankError::NoSpace { .. } => full,
            _ => BankError::from(error),
        };
        let written = write_identities(map, &unfinished, runtime).map_err(refused).and_then(|()| {
            let mut file = NewFile::create(self.path(), "parquet")?;
            let copied = std::fs::File::open(&unfinished).and_then(|mut from| std::io::copy(&mut from, &mut file));
            copied
                .and_then(|_| file.flush())
                .map_err(|error| BankError::io(self.path(), &error))?;
            file.publish(self.path(), "links", map.rows() as u64, None)
        });
        let _ = std::fs::remove_file(&unfinished);
        written
    }
}

/// The rules that a batch goes by.
fn settle_rules(state: &State, had: Option<&People>, rules: Option<&LinkRules>) -> Result<(Vec<IdType>, Guards, LinksRecord)> {
    let Some((people, links)) = had.zip(state.links.clone()) else {
        let none = || {
            BankError::parameter(
                "id_types",
                "the first batch of links says which id types there are, and which one consumers are",
            )
        };
        let rules = rules.ok_or_else(none)?;
        let links = LinksRecord {
            file: String::new(),
            id_type: rules.id_type.clone(),
            reject_unknown: rules.unknown == Unknown::Reject,
        };
        return Ok((rules.types.clone(), rules.guards, links));
    };
    if let Some(rules) = rules {
        check_settled(rules, people, &links)?;
    }
    Ok((people.map().types().to_vec(), people.map().guards(), links))
}

/// Refuses rules that are not those of the first batch.
fn check_settled(rules: &LinkRules, people: &People, links: &LinksRecord) -> Result<()> {
    let (guards, own) = (people.map().guards(), &rules.guards);
    let limit = |limit: Option<u32>| limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
    let names = |types: &[IdType]| types.iter().map(|id_type| id_type.name.as_str()).collect::<Vec<_>>().join(", ");
    let differs = [
        (
            "id_types",
            rules.types != people.map().types(),
            names(people.map().types()),
            format!("{}, or one of them with other properties", names(&rules.types)),
        ),
        (
            "id_type",
            rules.id_type != links.id_type,
            links.id_type.clone(),
            rules.id_type.clone(),
        ),
        (
            "unknown",
            rules.unknown != unknown_of(links),
            format!("{:?}", unknown_of(links)),
            format!("{:?}", rules.unknown),
        ),
        (
            "max_people_per_id",
            own.max_people_per_id != guards.max_people_per_id,
            limit(guards.max_people_per_id),
            limit(own.max_people_per_id),
        ),
        (
            "max_component",
            own.max_component != guards.max_component,
            limit(guards.max_component),
            limit(own.max_component),
        ),
    ];
    match differs.into_iter().find(|(_, differs, ..)| *differs) {
        None => Ok(()),
        Some((parameter, _, settled, given)) => {
            let (settled, given) = (settled.to_lowercase(), given.to_lowercase());
            let problem = format!(
                "the first batch of links settled the rules of persons: {settled}, and not {given}; leave it out, or build a bank anew"
            );
            Err(BankError::parameter(parameter, problem))
        }
    }
}

fn unknown_of(links: &LinksRecord) -> Unknown {
    if links.reject_unknown { Unknown::Reject } else { Unknown::Keep }
}

/// Kept days whose sets have an account that moves. Days are sets of homes, a home is the oldest account of its person,
/// and accounts that came after a day was kept are not in its sets: so it holds as long as nobody moves who was there.
fn touched_days<'s>(state: &'s State, moved: &[ConsumerIdx]) -> Vec<&'s KeptRecord> {
    let first = moved.iter().map(|idx| state.arrival(*idx)).min();
    let touched = |kept: &&KeptRecord| first.is_some_and(|first| first < kept.arrived);
    state.kept.iter().filter(touched).collect()
}

/// Refuses to drop days that could not be made again.
fn check_history(state: &State, touched: &[&KeptRecord], moved: usize) -> Result<()> {
    let Some(expired) = state.expired else { return Ok(()) };
    let lost: Vec<String> = touched
        .iter()
        .filter(|kept| kept.from < expired.number())
        .map(|kept| kept.describe())
        .collect();
    if lost.is_empty() {
        return Ok(());
    }
    let problem = format!(
        "these links move {moved} accounts, and so drop kept days whose events are expired, which could not be made again: {}; \
         drop them by name first, or set forget_expired",
        some_of(&lost)
    );
    Err(BankError::parameter("forget_expired", problem))
}

/// Refuses an id that is of a batch of the other kind.
pub(super) fn check_kind(commits: &[Commit], seq: u64, id: &str, kind: &str) -> Result<()> {
    let had = commits
        .iter()
        .find(|commit| commit.seq == seq)
        .map(|commit| commit.record.kind.as_str());
    if had.is_none_or(|had| had == kind) {
        return Ok(());
    }
    let [is, wanted] = [had == Some("ingest"), kind == "ingest"].map(|events| if events { "events" } else { "links" });
    let problem = format!("{id:?} is the id of a batch of {is} in commit {seq}, and this is one of {wanted}");
    Err(BankError::parameter("batch_id", problem))
}

fn report((batch, tally): (BatchRecord, Tally), commit: u64, replayed: bool, map: &IdentityMap, started: Instant) -> LinkReport {
    LinkReport {
        batch,
        tally,
        commit,
        replayed,
        persons: map.len() as u64,
        ids: map.ids() as u64,
        accounts_moved: 0,
        dropped_days: Vec::new(),
        seconds: started.elapsed().as_secs_f64(),
    }
}

/// What rows say, whatever their order: the wrapping sum over rows of the XXH3-128 of their identifiers in order, time
/// and source, to that of the word `links`.
fn content(map: &IdentityMap) -> Result<u128> {
    let (_, observations) = map.observations().map_err(SourceError::from)?;
    let (mut content, mut row, mut ids) = (xxh3_128(b"links"), None, Vec::new());
    let mut end = |ids: &mut Vec<String>| {
        ids.sort_unstable();
        content = content.wrapping_add(xxh3_128(ids.join("\u{1f}").as_bytes()));
        ids.clear();
    };
    for batch in observations {
        let batch = batch.map_err(arrow_fault)?;
        for (number, text) in texts(&batch)? {
            if row.is_some_and(|row| row != number) {
                end(&mut ids);
            }
            row = Some(number);
            ids.push(text);
        }
    }
    if !ids.is_empty() {
        end(&mut ids);
    }
    Ok(content)
}

/// The row of each identifier, and the identifier with its type, time and source.
fn texts(batch: &RecordBatch) -> Result<Vec<(i64, String)>> {
    let column = |name: &str| {
        let missing = || BankError::from(SourceError::Sink(format!("a map has no column {name:?}")));
        batch.column_by_name(name).ok_or_else(missing)
    };
    let rows = cast(column("row")?, &DataType::Int64).map_err(arrow_fault)?;
    let text = |name: &str| -> Result<ArrayRef> {
        let column = column(name)?;
        if let DataType::Timestamp(unit, Some(_)) = column.data_type() {
            // Arrow writes times of a zone only where it knows zones; in UTC they are those without one, with a Z.
            let bare = cast(column, &DataType::Timestamp(*unit, None)).and_then(|bare| cast(&bare, &DataType::Utf8));
            let zulu = |time: Option<&str>| time.map(|time| format!("{time}Z"));
            let times = bare
                .map_err(arrow_fault)?
                .as_string::<i32>()
                .iter()
                .map(zulu)
                .collect::<StringArray>();
            return Ok(Arc::new(times));
        }
        cast(column, &DataType::Utf8).map_err(arrow_fault)
    };
    let fields = ["id_type", "id", "seen_at", "source"].map(text);
    let fields = fields.into_iter().collect::<Result<Vec<_>>>()?;
    let text = |row: usize| {
        let parts = fields.iter().map(|field| {
            if field.is_null(row) {
                ""
            } else {
                field.as_string::<i32>().value(row)
            }
        });
        parts.collect::<Vec<_>>().join("\u{1e}")
    };
    let rows = rows.as_primitive::<Int64Type>();
    Ok((0..batch.num_rows()).map(|row| (rows.value(row), text(row))).collect())
}
