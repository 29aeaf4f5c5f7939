//! Events seen through a map: consumers become persons.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::event::IdColumn;
use crate::event::Reason;
use crate::event::columns::IdRef;
use crate::identity::normalize::{Normal, hashed};
use crate::identity::observations::NONE;
use crate::identity::{Hash, IdentityError, IdentityMap};

/// Where the id type of an event's consumer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdTypeOf {
    /// All consumers are of one type.
    Type(String),
    /// A column names each row's type.
    Column(String),
}

/// What becomes of consumers that the map does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unknown {
    /// Each is a person of its own.
    #[default]
    Keep,
    /// Their events are rejected rows.
    Reject,
}

/// A map together with how events are to be read through it.
#[derive(Debug, Clone)]
pub struct People {
    map: IdentityMap,
    id_type: IdTypeOf,
    kind: Option<u8>,
    unknown: Unknown,
}

/// A consumer column seen through a map.
#[derive(Debug)]
pub struct Persons {
    /// The person of each row.
    pub column: IdColumn,
    /// The identifier's number in the map, or none: then the row's person is its own.
    accounts: Vec<u32>,
    kinds: Vec<u8>,
}

impl People {
    /// Reads events through a map.
    ///
    /// # Errors
    /// The map has no such type.
    pub fn new(map: IdentityMap, id_type: IdTypeOf, unknown: Unknown) -> Result<Self, IdentityError> {
        let kind = match &id_type {
            IdTypeOf::Type(name) => Some(map.kind("id_type", name)?),
            IdTypeOf::Column(_) => None,
        };
        Ok(People {
            map,
            id_type,
            kind,
            unknown,
        })
    }

    /// The map.
    #[must_use]
    pub fn map(&self) -> &IdentityMap {
        &self.map
    }

    /// Where the id type of consumers stands.
    #[must_use]
    pub fn id_type(&self) -> &IdTypeOf {
        &self.id_type
    }

    /// What becomes of unknown consumers.
    #[must_use]
    pub fn unknown(&self) -> Unknown {
        self.unknown
    }

    /// How consumers are seen, in words.
    #[must_use]
    pub fn recipe(&self) -> String {
        let by = match &self.id_type {
            IdTypeOf::Type(name) => format!("id type {name}"),
            IdTypeOf::Column(column) => format!("id types in column {column}"),
        };
        let unknown = match self.unknown {
            Unknown::Keep => "kept",
            Unknown::Reject => "rejected",
        };
        format!(
            "persons of an identity map ({} rows, {} ids) by {by}, unknown ones {unknown}",
            self.map.rows(),
            self.map.ids()
        )
    }

    /// The column that names each row's id type, if there is one.
    #[must_use]
    pub fn type_column(&self) -> Option<&str> {
        match &self.id_type {
            IdTypeOf::Type(_) => None,
            IdTypeOf::Column(column) => Some(column),
        }
    }

    /// The number of a person who is known by this value alone.
    fn stranger(&self, kind: u8, text: &str) -> i64 {
        let inner = &self.map.inner;
        inner.table.free_number(inner.table.key_of(kind, text)) as i64
    }

    /// Person and number of an identifier; `None` if it is no value of its type.
    fn person(&self, kind: u8, raw: &str) -> Option<(i64, u32)> {
        let text = self.map.canonical(kind, raw)?;
        let inner = &self.map.inner;
        let number = inner.table.find(kind, &text);
        Some(match number {
            Some(number) => match self.map.person_of(number) {
                Some(person) => (person, number),
                // An identifier that links nothing stands for itself, under the number it would found a person by.
                None => (inner.table.person(number), NONE),
            },
            None => (self.stranger(kind, &text), NONE),
        })
    }

    /// The person of an identifier of events' own type, known or not; or why it has none.
    ///
    /// # Errors
    /// The reason for which its row is rejected.
    pub fn person_of(&self, raw: &str) -> Result<i64, Reason> {
        let kind = self.kind.ok_or(Reason::UnknownIdType)?;
        self.admitted(kind, raw).map(|(person, _)| person)
    }

    /// Person and number of an identifier whose events are kept.
    fn admitted(&self, kind: u8, raw: &str) -> Result<(i64, u32), Reason> {
        match self.person(kind, raw) {
            Some((_, NONE)) if self.unknown == Unknown::Reject => Err(Reason::UnknownPerson),
            Some(found) => Ok(found),
            None if self.map.types()[usize::from(kind)].normalizer.normalize(raw) == Normal::Blank => Err(Reason::NullConsumer),
            None => Err(Reason::MalformedId),
        }
    }

    /// Sees a consumer column through the map. `types` names each row's id type, where rows mix them.
    #[must_use]
    pub fn persons(&self, consumers: &IdColumn, types: Option<&IdColumn>) -> Persons {
        let rows = consumers.len();
        let mut persons = vec![IdRef::Null; rows];
        let mut accounts = vec![NONE; rows];
        let mut kinds = vec![self.kind.unwrap_or_default(); rows];
        let mut named: HashMap<&str, Option<u8>> = HashMap::new();
        let mut digits = String::new();
        consumers.for_each(|row, id| {
            let kind = match (self.kind, types.map(|types| types.get(row))) {
                (Some(kind), _) => Some(kind),
                (None, Some(IdRef::Text(name))) => *named.entry(name).or_insert_with(|| self.map.kind("id_type_column", name).ok()),
                (None, Some(IdRef::Bad(reason))) => {
                    persons[row] = IdRef::Bad(reason);
                    return;
                }
                (None, _) => None,
            };
            let Some(kind) = kind else {
                persons[row] = IdRef::Bad(Reason::UnknownIdType);
                return;
            };
            let found = match id {
                IdRef::Null => return,
                IdRef::Bad(reason) => {
                    persons[row] = IdRef::Bad(reason);
                    return;
                }
                IdRef::Int(value) => {
                    digits.clear();
                    // Writing to a text cannot fail.
                    let _ = write!(digits, "{value}");
                    self.admitted(kind, &digits)
                }
                IdRef::Text(text) => self.admitted(kind, text),
            };
            kinds[row] = kind;
            persons[row] = match found {
                Err(reason) => IdRef::Bad(reason),
                Ok((person, number)) => {
                    accounts[row] = number;
                    IdRef::Int(person)
                }
            };
        });
        Persons {
            column: IdColumn::Resolved(persons),
            accounts,
            kinds,
        }
    }
}

/// Type and value of unknown accounts, by the number of their person.
type Shard = hashbrown::HashMap<i64, (u8, Box<str>)>;

/// Unknown accounts, as they were spread over locks.
#[derive(Debug)]
struct Strangers(Vec<Shard>);

impl Strangers {
    fn len(&self) -> usize {
        self.0.iter().map(Shard::len).sum()
    }

    fn get(&self, person: i64) -> Option<&(u8, Box<str>)> {
        self.0[shard_of(person)].get(&person)
    }

    fn iter(&self) -> impl Iterator<Item = (&i64, &(u8, Box<str>))> {
        self.0.iter().flatten()
    }
}

fn shard_of(person: i64) -> usize {
    person as usize % SHARDS
}

/// Accounts met while events are read; shared by all workers.
#[derive(Debug)]
pub struct Meeting {
    /// A bit for each identifier of the map.
    known: Vec<AtomicU64>,
    strangers: Vec<Mutex<Shard>>,
    clash: AtomicBool,
}

/// Locks that unknown accounts are spread over.
const SHARDS: usize = 64;

impl Meeting {
    /// Nobody met yet.
    #[must_use]
    pub fn new(people: &People) -> Self {
        Meeting {
            known: (0..people.map.ids().div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            strangers: (0..SHARDS).map(|_| Mutex::default()).collect(),
            clash: AtomicBool::new(false),
        }
    }

    /// Notes the account of a row whose event counts.
    pub fn note(&self, people: &People, persons: &Persons, row: usize, raw: IdRef<'_>) {
        let account = persons.accounts[row];
        if account != NONE {
            let (word, bit) = (&self.known[account as usize / 64], 1u64 << (account % 64));
            if word.load(Relaxed) & bit == 0 {
                word.fetch_or(bit, Relaxed);
            }
            return;
        }
        let IdRef::Int(person) = persons.column.get(row) else { return };
        match raw {
            IdRef::Text(text) => self.note_stranger(people, person, persons.kinds[row], text),
            IdRef::Int(value) => self.note_stranger(people, person, persons.kinds[row], &value.to_string()),
            IdRef::Null | IdRef::Bad(_) => {}
        }
    }

    /// Notes an account that has a state.
    pub fn note_state(&self, people: &People, raw: &str) {
        let Some(kind) = people.kind else { return };
        match people.admitted(kind, raw) {
            Ok((person, NONE)) => self.note_stranger(people, person, kind, raw),
            Ok((_, account)) => {
                self.known[account as usize / 64].fetch_or(1u64 << (account % 64), Relaxed);
            }
            Err(_) => {}
        }
    }

    fn note_stranger(&self, people: &People, person: i64, kind: u8, raw: &str) {
        let Some(text) = people.map.canonical(kind, raw) else { return };
        let mut shard = self.strangers[shard_of(person)].lock().unwrap_or_else(PoisonError::into_inner);
        let kept = shard.entry(person).or_insert_with(|| (kind, (&*text).into()));
        if kept.0 != kind || *kept.1 != *text {
            self.clash.store(true, Relaxed);
        }
    }

    /// Who was met.
    ///
    /// # Errors
    /// Two unknown accounts have one number.
    pub fn end(self, people: People) -> Result<Seen, IdentityError> {
        if self.clash.into_inner() {
            return Err(IdentityError::NumberClash);
        }
        let known = self.known.into_iter().map(|word| u64::from(word.into_inner().count_ones())).sum();
        let shard = |shard: Mutex<Shard>| shard.into_inner().unwrap_or_else(PoisonError::into_inner);
        let strangers = Strangers(self.strangers.into_iter().map(shard).collect());
        Ok(Seen { people, known, strangers })
    }
}

/// The accounts behind the persons of an answer.
#[derive(Debug)]
pub struct Seen {
    people: People,
    known: u64,
    strangers: Strangers,
}

/// What became of values that were looked up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matched {
    /// Values given, nulls included.
    pub values: u64,
    /// Of these, values that are nothing.
    pub blank: u64,
    /// Of these, values that have not the form of their type.
    pub malformed: u64,
    /// Different values of the right form.
    pub distinct: u64,
    /// Of the different values, those that belong to a person.
    pub matched: u64,
    /// Persons found.
    pub persons: Vec<i64>,
    /// Different values that belong to nobody, in order.
    pub unmatched: Vec<String>,
}

impl Seen {
    /// The map and how events are read through it.
    #[must_use]
    pub fn people(&self) -> &People {
        &self.people
    }

    /// Different accounts whose events count.
    #[must_use]
    pub fn accounts(&self) -> u64 {
        self.known + self.strangers.len() as u64
    }

    /// Of these, accounts that the map does not know.
    #[must_use]
    pub fn unknown_accounts(&self) -> u64 {
        self.strangers.len() as u64
    }

    /// Values of one type that these persons have, in order, each once.
    ///
    /// # Errors
    /// The map has no such type.
    pub fn values(&self, persons: impl IntoIterator<Item = i64>, id_type: &str) -> Result<Vec<String>, IdentityError> {
        let kind = self.people.map.kind("id_type", id_type)?;
        let mut values = Vec::new();
        for person in persons {
            match self.people.map.values(person, kind) {
                Some(known) => values.extend(known.into_iter().map(str::to_owned)),
                None => values.extend(
                    self.strangers
                        .get(person)
                        .filter(|(own, _)| *own == kind)
                        .map(|(_, text)| text.to_string()),
                ),
            }
        }
        values.sort_unstable();
        values.dedup();
        Ok(values)
    }

    /// Persons by the hashed forms of their plain values, as far as these are wanted (in order).
    fn hashed_persons(&self, kind: u8, hashes: &[Hash], wanted: &[String]) -> HashMap<String, i64> {
        let known = self.people.map.values_of(kind).chain(
            self.strangers
                .iter()
                .filter(|(_, (own, _))| *own == kind)
                .map(|(person, (_, text))| (*person, &**text)),
        );
        let mut found = HashMap::new();
        if hashes.is_empty() {
            return found;
        }
        for (person, text) in known {
            let forms = hashes.iter().map(|hash| hashed(*hash, text));
            found.extend(forms.filter(|form| wanted.binary_search(form).is_ok()).map(|form| (form, person)));
        }
        found
    }

    /// Looks values of one type up; hashed ones also where the map holds plain ones.
    ///
    /// # Errors
    /// The map has no such type.
    pub fn find<'v>(&self, id_type: &str, values: impl IntoIterator<Item = Option<&'v str>>) -> Result<Matched, IdentityError> {
        let kind = self.people.map.kind("id_type", id_type)?;
        let normalizer = self.people.map.types()[usize::from(kind)].normalizer;
        let (mut found, mut texts) = (Matched::default(), Vec::new());
        let mut hashes = Vec::new();
        for value in values {
            found.values += 1;
            match value.map_or(Normal::Blank, |value| normalizer.normalize(value)) {
                Normal::Blank => found.blank += 1,
                Normal::Malformed => found.malformed += 1,
                Normal::Plain(text) => texts.extend(self.people.map.canonical(kind, &text).map(Cow::into_owned)),
                Normal::Hashed(hash, text) => {
                    hashes.push(hash);
                    texts.push(text.into_owned());
                }
            }
        }
        texts.sort_unstable();
        texts.dedup();
        hashes.sort_unstable();
        hashes.dedup();
        found.distinct = texts.len() as u64;
        let plain = if self.people.map.hash_of(kind).is_none() {
            self.hashed_persons(kind, &hashes, &texts)
        } else {
            HashMap::new()
        };
        for text in texts {
            let person = match self.people.person(kind, &text) {
                Some((person, number)) if number != NONE || self.strangers.get(person).is_some() => Some(person),
                _ => plain.get(text.as_str()).copied(),
            };
            match person {
                Some(person) => {
                    found.matched += 1;
                    found.persons.push(person);
                }
                None => found.unmatched.push(text),
            }
        }
        found.persons.sort_unstable();
        found.persons.dedup();
        Ok(found)
    }
}
