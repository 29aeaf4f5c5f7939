//! The persons of a bank's accounts. A person has the number of its oldest account, its home; rows of its other accounts stay where they are
//! and count at home. So links rewrite no event, a merge moves the accounts of one of the two persons and nobody else, and numbers last from
//! one batch of links to the next.

use std::collections::BTreeSet;
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::bank::error::BankError;
use crate::bank::handle::{DataBank, locked};
use crate::bank::state::State;
use crate::base::ConsumerIdx;
use crate::base::id::BUCKETS;
use crate::event::columns::IdRef;
use crate::event::{IdColumn, Reason};
use crate::identity::People;
use crate::identity::people::Meeting;
use crate::source::SourceError;
use crate::timeline::ordered::Elsewhere;
use crate::timeline::read::each_bucket;
use crate::timeline::universe::NOBODY;
use crate::timeline::{Runtime, Universe};

type Result<T> = std::result::Result<T, BankError>;

/// By bucket, accounts that are not their person's home, in order of local number.
type Moved = Vec<Vec<(u32, Elsewhere)>>;

/// The persons of a bank.
#[derive(Debug)]
pub(crate) struct Persons {
    /// Persons, at the numbers of their homes.
    pub universe: Arc<Universe>,
    /// By bucket, accounts whose rows count elsewhere.
    pub moved: Moved,
    /// Homes of more than one account.
    hosts: RoaringBitmap,
}

/// What a handle knows of persons, by what they are of: a file of links, a state.
#[derive(Debug, Default)]
pub(super) struct KnownPersons {
    people: Option<(String, Arc<People>)>,
    persons: Option<(u128, Arc<Persons>)>,
}

/// The accounts of a bucket: whose each is, or why it is nobody's.
struct Owned {
    persons: Vec<(i64, u32)>,
    nobodys: Vec<(u32, Elsewhere)>,
}

impl Persons {
    /// The persons of accounts.
    fn of(accounts: &Universe, people: &People, state: &State, runtime: &Runtime<'_>) -> Result<Persons> {
        let meeting = Meeting::new(people);
        let owned = each_bucket((0..BUCKETS).collect(), runtime, |_, bucket| {
            Ok(Owned::of(bucket, accounts, people, &meeting))
        })?;
        let mut universe: Vec<Vec<i64>> = (0..BUCKETS).map(|bucket| vec![NOBODY; accounts.bucket(bucket).len()]).collect();
        let (mut moved, mut all): (Moved, Vec<(i64, u32)>) = (Vec::with_capacity(BUCKETS), Vec::new());
        for bucket in owned {
            all.extend(bucket.persons);
            moved.push(bucket.nobodys);
        }
        all.sort_unstable();
        let mut hosts = RoaringBitmap::new();
        for own in all.chunk_by(|left, right| left.0 == right.0) {
            let home = match own {
                [(_, only)] => ConsumerIdx(*only),
                several => oldest(several.iter().map(|(_, idx)| ConsumerIdx(*idx)), state),
            };
            universe[home.bucket()][home.local() as usize] = own[0].0;
            if own.len() > 1 {
                hosts.insert(home.0);
            }
            for idx in own.iter().map(|(_, idx)| ConsumerIdx(*idx)).filter(|idx| *idx != home) {
                moved[idx.bucket()].push((idx.local(), Elsewhere::At(home)));
            }
        }
        moved.iter_mut().for_each(|moved| moved.sort_unstable_by_key(|(local, _)| *local));
        let seen = meeting.end(people.clone()).map_err(SourceError::from)?;
        Ok(Persons {
            universe: Arc::new(
                Universe::of_homes(universe, state.lineage())
                    .with_lost(accounts.lost().clone())
                    .with_people(Some(seen)),
            ),
            moved,
            hosts,
        })
    }

    /// Where the rows of an account count.
    fn home(&self, account: ConsumerIdx) -> Option<ConsumerIdx> {
        let moved = &self.moved[account.bucket()];
        match moved.binary_search_by_key(&account.local(), |(local, _)| *local) {
            Err(_) => Some(account),
            Ok(place) => match moved[place].1 {
                Elsewhere::At(home) => Some(home),
                Elsewhere::Nowhere(_) => None,
            },
        }
    }

    /// Whether an account has its person for itself.
    pub fn is_single(&self, account: u32) -> bool {
        !self.hosts.contains(account) && self.home(ConsumerIdx(account)) == Some(ConsumerIdx(account))
    }

    /// The persons of accounts; of those that are nobody's there is none.
    pub fn of_accounts(&self, accounts: &RoaringBitmap) -> RoaringBitmap {
        let homes = accounts.iter().filter_map(|account| self.home(ConsumerIdx(account)));
        homes.map(|home| home.0).collect()
    }

    /// All accounts of persons.
    pub fn accounts(&self, persons: &RoaringBitmap) -> RoaringBitmap {
        let mut accounts = persons.clone();
        if persons.is_disjoint(&self.hosts) {
            return accounts;
        }
        for (bucket, moved) in self.moved.iter().enumerate() {
            let guest = |(local, to): &(u32, Elsewhere)| match to {
                Elsewhere::At(home) if persons.contains(home.0) => Some(ConsumerIdx::new(bucket, *local).0),
                _ => None,
            };
            accounts.extend(moved.iter().filter_map(guest));
        }
        accounts
    }

    /// Accounts that count where they did not count before, in order.
    pub fn moved_since(before: Option<&Persons>, after: &Persons) -> Vec<ConsumerIdx> {
        let changed = |one: &[(u32, Elsewhere)], other: &[(u32, Elsewhere)]| -> Vec<u32> {
            let same = |(local, to): &&(u32, Elsewhere)| {
                let place = other.binary_search_by_key(local, |(local, _)| *local);
                place.is_ok_and(|place| other[place].1 == *to)
            };
            one.iter().filter(|moved| !same(moved)).map(|(local, _)| *local).collect()
        };
        let of_bucket = |bucket: usize| {
            let old = before.map_or(&[][..], |persons| &persons.moved[bucket]);
            let new = &after.moved[bucket][..];
            let locals: BTreeSet<u32> = changed(old, new).into_iter().chain(changed(new, old)).collect();
            locals.into_iter().map(move |local| ConsumerIdx::new(bucket, local))
        };
        (0..BUCKETS).flat_map(of_bucket).collect()
    }
}

/// The account that came first; of those that came at once, the one with the least number.
fn oldest(accounts: impl Iterator<Item = ConsumerIdx> + Clone, state: &State) -> ConsumerIdx {
    let first = accounts.clone().min_by_key(|idx| (state.arrival(*idx), *idx));
    first.unwrap_or(ConsumerIdx(0))
}

impl Owned {
    fn of(bucket: usize, accounts: &Universe, people: &People, meeting: &Meeting) -> Owned {
        let ids = accounts.bucket(bucket);
        let (mut persons, mut nobodys) = (Vec::with_capacity(ids.len()), Vec::new());
        if let Some(column) = IdColumn::new(&ids.to_array()) {
            let found = people.persons(&column, None);
            for (row, local) in (0..column.len()).zip(0..) {
                // Whose account it was nobody can tell; it stays where it is, as a consumer without an identifier.
                if accounts.lost().contains(ConsumerIdx::new(bucket, local).0) {
                    continue;
                }
                match found.column.get(row) {
                    IdRef::Int(person) => {
                        meeting.note(people, &found, row, column.get(row));
                        persons.push((person, ConsumerIdx::new(bucket, local).0));
                    }
                    IdRef::Bad(reason) => nobodys.push((local, Elsewhere::Nowhere(reason))),
                    IdRef::Null | IdRef::Text(_) => nobodys.push((local, Elsewhere::Nowhere(Reason::NullConsumer))),
                }
            }
        }
        Owned { persons, nobodys }
    }
}

impl DataBank {
    pub(super) fn known_people(&self, file: &str) -> Option<Arc<People>> {
        let known = locked(&self.shared.known);
        known
            .people
            .as_ref()
            .filter(|(known, _)| known == file)
            .map(|(_, people)| people.clone())
    }

    pub(super) fn remember_people(&self, file: String, people: Arc<People>) {
        locked(&self.shared.known).people = Some((file, people));
    }

    pub(super) fn known_persons(&self, key: u128) -> Option<Arc<Persons>> {
        let known = locked(&self.shared.known);
        known
            .persons
            .as_ref()
            .filter(|(known, _)| *known == key)
            .map(|(_, persons)| persons.clone())
    }

    pub(super) fn remember_persons(&self, key: u128, persons: Arc<Persons>) {
        locked(&self.shared.known).persons = Some((key, persons));
    }

    pub(super) fn forget_persons(&self) {
        locked(&self.shared.known).persons = None;
    }

    /// The persons of a state, if links were taken in.
    pub(super) fn persons_of(&self, state: &State, runtime: &Runtime<'_>) -> Result<Option<Arc<Persons>>> {
        let Some(people) = self.people_of(state, runtime)? else {
            return Ok(None);
        };
        let known = self.known_persons(state.persons_key());
        if let Some(known) = known.filter(|known| self.has_accounts(&known.universe)) {
            return Ok(Some(known));
        }
        let persons = Arc::new(self.persons_with(state, &people, runtime)?);
        if self.has_accounts(&persons.universe) {
            self.remember_persons(state.persons_key(), persons.clone());
        }
        Ok(Some(persons))
    }

    /// The persons of a state, whose links need not be committed yet.
    pub(super) fn persons_with(&self, state: &State, people: &People, runtime: &Runtime<'_>) -> Result<Persons> {
        let accounts = self.accounts_of(state, Some(runtime))?;
        Persons::of(&accounts, people, state, runtime)
    }

    /// The consumers of questions to a state: accounts, or persons once links were taken in.
    pub(super) fn consumers_of(&self, state: &State, runtime: &Runtime<'_>) -> Result<Arc<Universe>> {
        match self.persons_of(state, runtime)? {
            Some(persons) => Ok(persons.universe.clone()),
            None => self.accounts_of(state, Some(runtime)),
        }
    }
}
