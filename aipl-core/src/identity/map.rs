//! The map from identifiers to persons.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::base::suggest::hint;
use crate::event::Tally;
use crate::identity::IdentityError;
use crate::identity::id_set::IdSet;
use crate::identity::id_type::{Hash, IdType, check};
use crate::identity::link::{Links, Partition, Refusal, Rules, each_asked, link, pair, stretches};
use crate::identity::normalize::{Normal, blank_words, built_in_ignores, hashed};
use crate::identity::observations::{Batch, NONE};
use crate::identity::table::IdTable;

/// How many people an identifier may be seen with before it links nobody (definitions §7.4).
pub const DEFAULT_MAX_PEOPLE: u32 = 10;

/// Which identifiers belong to one person: a function of all rows that were ever observed, less what was taken back.
///
/// Cheap to clone. A person's number is a 63-bit hash of its oldest identifier's type and value, so it is the same for the same
/// rows, and stays while rows are added, as long as that identifier stays the oldest of its person.
#[derive(Debug, Clone)]
pub struct IdentityMap {
    pub(super) inner: Arc<Inner>,
}

/// What guards against wrong persons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guards {
    /// An identifier that rows show with more than this many values of one type (devices not counted) links nothing.
    pub max_people_per_id: Option<u32>,
    /// A person has at most so many joining identifiers.
    pub max_component: Option<u32>,
}

impl Default for Guards {
    fn default() -> Self {
        Guards {
            max_people_per_id: Some(DEFAULT_MAX_PEOPLE),
            max_component: None,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Inner {
    pub types: Vec<IdType>,
    /// How values of each type are hashed; settled by the first batch.
    pub hashes: Vec<Option<Hash>>,
    pub guards: Guards,
    /// Shared between maps that differ in links alone.
    pub table: Arc<IdTable>,
    pub batches: Vec<Arc<Batch>>,
    pub sources: Vec<String>,
    /// Identifiers on an ignore list.
    pub ignored: BTreeSet<u32>,
    pub blocked: BTreeSet<u32>,
    pub cuts: BTreeSet<(u32, u32)>,
    /// Blank values met, by type.
    pub blanks: Vec<u64>,
    pub tally: Tally,
    pub partition: Partition,
    pub members: OnceLock<Members>,
}

/// Identifiers by person.
#[derive(Debug, Clone)]
pub(super) struct Members {
    /// Persons in order.
    pub persons: Vec<i64>,
    /// Where the identifiers of each person begin; one more than there are persons.
    starts: Vec<u32>,
    ids: Vec<u32>,
}

impl Members {
    fn new(partition: &Partition, table: &IdTable) -> Self {
        let (all, kinds) = (&partition.roots, table.kinds());
        let is_root = |&id: &u32| all[id as usize] == id;
        let founded = (0..all.len() as u32)
            .into_par_iter()
            .filter(is_root)
            .map(|root| (table.person(root), root));
        let mut founded: Vec<(i64, u32)> = founded.collect();
        founded.par_sort_unstable();
        let mut places = vec![0u32; all.len()];
        (0u32..).zip(&founded).for_each(|(place, (_, root))| places[*root as usize] = place);
        let persons: Vec<i64> = founded.into_iter().map(|(person, _)| person).collect();
        // Counts stand two places ahead: once they are summed up, placing an identifier moves the beginning of the next person to where
        // it belongs.
        let mut starts = vec![0u32; persons.len() + 2];
        let somebody = || (0u32..).zip(all).filter(|(_, root)| **root != NONE);
        somebody().for_each(|(_, &root)| starts[places[root as usize] as usize + 2] += 1);
        for at in 2..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut ids = vec![0u32; starts[persons.len() + 1] as usize];
        let types = kinds.iter().copied().max().map_or(0, |kind| kind + 1);
        for kind in 0..types {
            for (id, &root) in somebody().filter(|(id, _)| kinds[*id as usize] == kind) {
                let next = &mut starts[places[root as usize] as usize + 1];
                ids[*next as usize] = id;
                *next += 1;
            }
        }
        starts.pop();
        Members { persons, starts, ids }
    }

    /// The identifiers of the person at a place, in order of priority and then of age.
    pub fn at(&self, place: usize) -> &[u32] {
        &self.ids[self.starts[place] as usize..self.starts[place + 1] as usize]
    }

    /// The identifiers of a person, if there is such a person.
    fn of(&self, person: i64) -> Option<&[u32]> {
        self.persons.binary_search(&person).ok().map(|place| self.at(place))
    }

    /// How many identifiers persons have.
    pub fn len(&self) -> usize {
        self.ids.len()
    }
}

impl IdentityMap {
    /// A map without rows.
    ///
    /// # Errors
    /// Types or guards that cannot be.
    pub fn new(types: Vec<IdType>, guards: Guards) -> Result<Self, IdentityError> {
        check(&types)?;
        let least = |field: &str, value: Option<u32>| match value {
            Some(0) => Err(IdentityError::Parameter {
                field: field.to_owned(),
                problem: "0 is not ≥ 1; None sets no limit".to_owned(),
            }),
            _ => Ok(()),
        };
        least("max_people_per_id", guards.max_people_per_id)?;
        least("max_component", guards.max_component)?;
        Ok(IdentityMap {
            inner: Arc::new(Inner {
                hashes: types.iter().map(|id_type| id_type.hash).collect(),
                blanks: vec![0; types.len()],
                table: Arc::new(IdTable::new(types.iter().map(IdType::seed).collect())),
                types,
                guards,
                batches: Vec::new(),
                sources: Vec::new(),
                ignored: BTreeSet::new(),
                blocked: BTreeSet::new(),
                cuts: BTreeSet::new(),
                tally: Tally::default(),
                partition: Partition::default(),
                members: OnceLock::new(),
            }),
        })
    }

    /// The identifier types, in order of priority.
    #[must_use]
    pub fn types(&self) -> &[IdType] {
        &self.inner.types
    }

    /// The guards.
    #[must_use]
    pub fn guards(&self) -> Guards {
        self.inner.guards
    }

    /// Rows observed, in all batches.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.inner.batches.iter().map(|batch| batch.rows()).sum()
    }

    /// Different identifiers, those that belong to nobody included.
    #[must_use]
    pub fn ids(&self) -> usize {
        self.inner.table.len()
    }

    /// Different identifiers of each type.
    #[must_use]
    pub fn ids_by_type(&self) -> Vec<(String, u64)> {
        let mut ids = vec![0u64; self.inner.types.len()];
        self.inner.table.kinds().iter().for_each(|&kind| ids[usize::from(kind)] += 1);
        self.inner.types.iter().map(|id_type| id_type.name.clone()).zip(ids).collect()
    }

    /// The number of persons.
    #[must_use]
    pub fn len(&self) -> usize {
        let roots = &self.inner.partition.roots;
        (0..roots.len() as u32)
            .into_par_iter()
            .filter(|&id| roots[id as usize] == id)
            .count()
    }

    /// Whether there is no person.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What became of rows and values that could not be used.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.inner.tally
    }

    /// Bytes held.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let inner = &self.inner;
        inner.table.nbytes() + inner.batches.iter().map(|batch| batch.nbytes()).sum::<usize>() + inner.partition.roots.len() * 4
    }

    /// The place of an identifier type by name.
    ///
    /// # Errors
    /// The map has no such type.
    pub fn kind(&self, field: &str, name: &str) -> Result<u8, IdentityError> {
        let types = &self.inner.types;
        types.iter().position(|known| known.name == name).map(|at| at as u8).ok_or_else(|| {
            let known: Vec<String> = types.iter().map(|known| known.name.clone()).collect();
            IdentityError::UnknownIdType {
                field: field.to_owned(),
                name: name.to_owned(),
                hint: hint(name, known.iter().map(String::as_str)),
                known,
            }
        })
    }

    /// How values of a type are hashed.
    pub(crate) fn hash_of(&self, kind: u8) -> Option<Hash> {
        self.inner.hashes[usize::from(kind)]
    }

    /// Every value of a type that belongs to a person.
    pub(crate) fn values_of(&self, kind: u8) -> impl Iterator<Item = (i64, &str)> {
        let kinds = self.inner.table.kinds();
        let own = (0u32..).zip(kinds).filter(move |(_, own)| **own == kind).map(|(id, _)| id);
        own.filter_map(|id| self.person_of(id).map(|person| (person, self.inner.table.text(id))))
    }

    /// A raw value as it stands in the map; `None` if it is blank or malformed.
    pub(crate) fn canonical<'r>(&self, kind: u8, raw: &'r str) -> Option<Cow<'r, str>> {
        let (id_type, hash) = (&self.inner.types[usize::from(kind)], self.inner.hashes[usize::from(kind)]);
        match (id_type.normalizer.normalize(raw), hash) {
            (Normal::Plain(text), None) | (Normal::Hashed(_, text), _) => Some(text),
            (Normal::Plain(text), Some(hash)) => Some(Cow::Owned(hashed(hash, &text))),
            (Normal::Blank | Normal::Malformed, _) => None,
        }
    }

    /// The number of a raw value; `None` if it was never seen.
    pub(crate) fn number(&self, kind: u8, raw: &str) -> Option<u32> {
        let text = self.canonical(kind, raw)?;
        self.inner.table.find(kind, &text)
    }

    fn known_number(&self, id_type: &str, raw: &str) -> Result<u32, IdentityError> {
        let kind = self.kind("id_type", id_type)?;
        self.number(kind, raw).ok_or_else(|| IdentityError::UnknownId {
            id_type: id_type.to_owned(),
        })
    }

    /// The place of an identifier in the order of age; `None` if it was never seen.
    ///
    /// # Errors
    /// The map has no such type.
    pub fn age(&self, id_type: &str, id: &str) -> Result<Option<u32>, IdentityError> {
        Ok(self.number(self.kind("id_type", id_type)?, id))
    }

    /// The person of an identifier; `None` if it was never seen or belongs to nobody.
    ///
    /// # Errors
    /// The map has no such type.
    pub fn lookup(&self, id_type: &str, id: &str) -> Result<Option<i64>, IdentityError> {
        let kind = self.kind("id_type", id_type)?;
        Ok(self.number(kind, id).and_then(|number| self.person_of(number)))
    }

    /// The person of a number.
    #[inline]
    pub(crate) fn person_of(&self, number: u32) -> Option<i64> {
        let root = self.inner.partition.roots[number as usize];
        (root != NONE).then(|| self.inner.table.person(root))
    }

    /// Type and value of every identifier of a person, in order of priority and then of age.
    ///
    /// # Errors
    /// There is no such person.
    pub fn person(&self, person: i64) -> Result<Vec<(&str, &str)>, IdentityError> {
        let members = self.members().of(person).ok_or(IdentityError::UnknownPerson { person })?;
        let named = |&id: &u32| {
            let (kind, text) = self.described(id);
            (self.inner.types[usize::from(kind)].name.as_str(), text)
        };
        Ok(members.iter().map(named).collect())
    }

    /// The root of a person.
    pub(super) fn root(&self, person: i64) -> Option<u32> {
        let founder = self.inner.table.founder(person)?;
        (self.inner.partition.roots[founder as usize] == founder).then_some(founder)
    }

    /// Type and value of a number.
    pub(super) fn described(&self, number: u32) -> (u8, &str) {
        (self.inner.table.kinds()[number as usize], self.inner.table.text(number))
    }

    pub(super) fn members(&self) -> &Members {
        self.inner
            .members
            .get_or_init(|| Members::new(&self.inner.partition, &self.inner.table))
    }

    /// Values of one type that a person has, in order.
    pub(crate) fn values(&self, person: i64, kind: u8) -> Option<Vec<&str>> {
        let of_kind = |&id: &u32| Some(self.described(id)).filter(|(own, _)| *own == kind).map(|(_, text)| text);
        let mut values: Vec<&str> = self.members().of(person)?.iter().filter_map(of_kind).collect();
        values.sort_unstable();
        Some(values)
    }

    /// The same map without the link between two identifiers that rows show together: as if no row had ever linked them.
    ///
    /// # Errors
    /// An identifier that is not known; two that no row links directly.
    pub fn unlink(&self, left: (&str, &str), right: (&str, &str), stop: &(dyn Fn() -> bool + Sync)) -> Result<Self, IdentityError> {
        let cut = pair(self.known_number(left.0, left.1)?, self.known_number(right.0, right.1)?);
        if !self.is_linked(cut) {
            return Err(IdentityError::NoLink {
                left: left.0.to_owned(),
                right: right.0.to_owned(),
            });
        }
        Ok(self.changed(stop, |inner| {
            inner.cuts.insert(cut);
        }))
    }

    /// The same map with an identifier that links nothing and belongs to nobody any more.
    ///
    /// # Errors
    /// An identifier that is not known.
    pub fn block(&self, id_type: &str, id: &str, stop: &(dyn Fn() -> bool + Sync)) -> Result<Self, IdentityError> {
        let number = self.known_number(id_type, id)?;
        Ok(self.changed(stop, |inner| {
            inner.blocked.insert(number);
        }))
    }

    /// Whether some row has one of the two as its anchor and the other as well.
    fn is_linked(&self, (low, high): (u32, u32)) -> bool {
        let is_out = self.is_out();
        let links = Links::new(&self.inner.types, self.inner.table.kinds(), &is_out);
        stretches(self.inner.batches.iter().map(|batch| &**batch))
            .par_iter()
            .any(|stretch| {
                stretch.part.rows(stretch.width).any(|row| {
                    let mut found = false;
                    each_asked(row, &self.inner.partition, &links, &self.inner.cuts, |hub, id, _| {
                        found |= pair(hub, id) == (low, high)
                    });
                    found
                })
            })
    }

    /// Identifiers that link nothing.
    pub(super) fn is_out(&self) -> IdSet {
        IdSet::new(self.inner.table.len(), self.inner.partition.out.keys().copied())
    }

    fn changed(&self, stop: &(dyn Fn() -> bool + Sync), change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = (*self.inner).clone();
        change(&mut inner);
        inner.link(stop);
        IdentityMap { inner: Arc::new(inner) }
    }
}

impl Inner {
    /// Finds new identifiers that are on an ignore list.
    pub fn find_ignored(&mut self, first: u32) {
        for (kind, (id_type, hash)) in (0u8..).zip(self.types.iter().zip(&self.hashes)) {
            let found = ignores(id_type, *hash).into_iter().filter_map(|text| self.table.find(kind, &text));
            self.ignored.extend(found.filter(|id| *id >= first));
        }
    }

    /// Works out the persons from all rows.
    pub fn link(&mut self, stop: &(dyn Fn() -> bool + Sync)) {
        let ignored = self.ignored.iter().map(|&id| (id, Refusal::Ignored));
        let out: BTreeMap<u32, Refusal> = self.blocked.iter().map(|&id| (id, Refusal::Blocked)).chain(ignored).collect();
        let rules = Rules {
            types: &self.types,
            table: &self.table,
            max_people: self.guards.max_people_per_id,
            max_component: self.guards.max_component,
            cuts: &self.cuts,
            stop,
        };
        self.partition = link(&stretches(self.batches.iter().map(|batch| &**batch)), out, rules);
        self.members = OnceLock::new();
    }
}

/// Values of a type that identify nobody, in every form in which they can stand in the map.
fn ignores(id_type: &IdType, hash: Option<Hash>) -> HashSet<String> {
    let own = id_type.ignore.iter().filter_map(|raw| match id_type.normalizer.normalize(raw) {
        Normal::Plain(text) | Normal::Hashed(_, text) => Some(text.into_owned()),
        Normal::Blank | Normal::Malformed => None,
    });
    let mut listed: HashSet<String> = own.chain(built_in_ignores(id_type.normalizer)).collect();
    if hash.is_some() {
        let words = listed.iter().cloned().chain(blank_words().map(str::to_owned));
        let words: Vec<String> = words.collect();
        for kind in [Hash::Md5, Hash::Sha256] {
            listed.extend(words.iter().map(|word| hashed(kind, word)));
        }
    }
    listed
}
