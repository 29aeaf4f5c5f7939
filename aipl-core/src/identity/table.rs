//! Every identifier that was ever seen, numbered by age.
//!
//! Identifiers stand in buckets by hash, where workers find or add them; once a batch of rows is read, its new
//! identifiers get their lasting numbers: older batches first, then by the first time they were seen, then by hash. So
//! the lesser of two numbers is the older identifier, and numbers depend on what was seen alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use arrow::array::StringArray;
use arrow::buffer::OffsetBuffer;
use arrow::error::ArrowError;
use rayon::prelude::*;

use crate::identity::IdentityError;
use crate::identity::bucket::{BUCKETS, Bucket, FRESH, Keys, Place, bucket_of, tag_of};
use crate::identity::crowd::Moved;
use crate::identity::id_set::IdSet;
use crate::identity::observations::NONE;

/// A new identifier: its bucket, and which of the new ones there it is.
pub(super) type Newcomer = (usize, u32);

/// Identifiers while rows are read: every worker may add to every bucket.
#[derive(Debug)]
pub struct Interning {
    buckets: Vec<Mutex<Bucket>>,
    known: Known,
}

/// What lasting numbers stand for.
#[derive(Debug, Clone, Default)]
struct Known {
    keys: Keys,
    /// Where the text of each number stands.
    places: Vec<Place>,
    /// The type of each number.
    kinds: Vec<u8>,
    /// Persons' numbers that are not their founder's key, since an older identifier has the same.
    moved: Moved,
}

/// The numbers that new identifiers got, by bucket.
#[derive(Debug)]
pub(super) struct Numbers(Vec<Vec<u32>>);

impl Numbers {
    /// The lasting number of an id of a bucket; [`NONE`] if it has none.
    #[inline]
    pub fn of(&self, bucket: usize, id: u32) -> u32 {
        match id {
            NONE => NONE,
            fresh if fresh >= FRESH => self.0[bucket][(fresh ^ FRESH) as usize],
            known => known,
        }
    }

    /// Lets new identifiers that have no number of their own stand for others.
    pub fn alias(&mut self, moved: &HashMap<Newcomer, Newcomer>) {
        for (&(bucket, local), &(other, its_local)) in moved {
            self.0[bucket][local as usize] = self.of(other, FRESH | its_local);
        }
    }
}

impl Interning {
    /// Works on a bucket alone.
    pub(super) fn with_bucket<R>(&self, bucket: usize, work: impl FnOnce(&mut Bucket) -> R) -> R {
        work(&mut self.buckets[bucket].lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What identifiers are found by.
    pub(super) fn keys(&self) -> &Keys {
        &self.known.keys
    }

    /// Whether an identifier of a type has a number.
    pub(super) fn has(&self, kind: u8) -> bool {
        self.known.kinds.contains(&kind)
    }

    /// How many identifiers have a number.
    pub(super) fn known(&self) -> usize {
        self.known.places.len()
    }

    /// How many identifiers of each bucket have none.
    pub(super) fn fresh(&self) -> Vec<u32> {
        (0..BUCKETS).map(|bucket| self.with_bucket(bucket, |ids| ids.fresh())).collect()
    }

    /// Bucket and id of an identifier that was met some times, made if need be; `None` once there is no room.
    pub(super) fn id(&self, kind: u8, text: &str, times: u8) -> Option<(u8, u32)> {
        let key = self.known.keys.of(kind, text.as_bytes());
        let bucket = bucket_of(key);
        let id = self.with_bucket(bucket, |ids| ids.id(tag_of(key), kind, text.as_bytes(), times))?;
        Some((bucket as u8, id))
    }

    /// Lets new identifiers of a type stand for others: those that `other` tells of their text. Gives old and new ones.
    pub(super) fn replace(
        &self,
        kind: u8,
        other: impl Fn(&str) -> Option<String> + Sync,
    ) -> Result<HashMap<Newcomer, Newcomer>, IdentityError> {
        let of = |own: u8, text: &[u8]| std::str::from_utf8(text).ok().filter(|_| own == kind).and_then(&other);
        let retired = |bucket: usize| {
            let all = self.with_bucket(bucket, |ids| ids.retire(of));
            all.into_iter().map(move |(local, text, times)| ((bucket, local), text, times))
        };
        let retired: Vec<_> = (0..BUCKETS).into_par_iter().flat_map_iter(retired).collect();
        let mut replaced = HashMap::with_capacity(retired.len());
        for (old, text, times) in retired {
            let (bucket, id) = self.id(kind, &text, times).ok_or(IdentityError::TooManyIds)?;
            replaced.insert(old, (usize::from(bucket), id ^ FRESH));
        }
        Ok(replaced)
    }

    /// Gives new identifiers their numbers. `first_seen` tells when one was first seen, if rows say so.
    pub(super) fn settle(self, first_seen: Option<&(dyn Fn(Newcomer) -> i64 + Sync)>) -> Result<(IdTable, Numbers), IdentityError> {
        let unlocked = self.buckets.into_iter().map(|bucket| bucket.into_inner());
        let mut buckets: Vec<Bucket> = unlocked.map(|bucket| bucket.unwrap_or_else(PoisonError::into_inner)).collect();
        let mut known = self.known;
        let keys = &known.keys;
        let newcomers: Vec<Vec<u32>> = buckets.par_iter().map(|bucket| bucket.newcomers(keys)).collect();
        let (before, count) = (known.places.len(), newcomers.iter().map(Vec::len).sum::<usize>());
        if before + count >= FRESH as usize {
            return Err(IdentityError::TooManyIds);
        }
        let ranks = first_seen.map(|first_seen| by_age(&buckets, &newcomers, first_seen));
        known.places.reserve_exact(count);
        known.places.par_extend((0..count).into_par_iter().map(|_| Place::default()));
        let mut rest = &mut known.places[before..];
        let mut first = 0;
        let shares: Vec<_> = newcomers
            .iter()
            .map(|own| {
                let (places, after) = std::mem::take(&mut rest).split_at_mut(own.len());
                (rest, first) = (after, first + own.len());
                (first - own.len(), places)
            })
            .collect();
        let numbered = buckets.par_iter_mut().zip(&newcomers).zip(shares).enumerate();
        let numbers = numbered.map(|(place, ((bucket, newcomers), (first, places)))| {
            let number_of = |rank: usize| {
                let rank = first + rank;
                before as u32 + ranks.as_ref().map_or(rank as u32, |ranks| ranks[rank])
            };
            bucket.number(newcomers, number_of, place as u8, places)
        });
        let numbers = Numbers(numbers.collect());
        if let Some(ranks) = ranks {
            let by_key = known.places[before..].to_vec();
            by_key
                .into_iter()
                .zip(ranks)
                .for_each(|(place, rank)| known.places[before + rank as usize] = place);
        }
        known.kinds.reserve_exact(count);
        known.kinds.par_extend(known.places[before..].par_iter().map(|place| place.kind));
        let mut table = IdTable { buckets, known };
        table.move_clashes(before as u32);
        Ok((table, numbers))
    }
}

/// The rank by age of every newcomer, bucket by bucket; those of one age by key.
fn by_age(buckets: &[Bucket], newcomers: &[Vec<u32>], first_seen: &(dyn Fn(Newcomer) -> i64 + Sync)) -> Vec<u32> {
    let own = |(place, (bucket, newcomers)): (usize, (&Bucket, &Vec<u32>))| {
        let seen = |&at: &u32| first_seen((place, bucket.local(at)));
        newcomers.iter().map(seen).collect::<Vec<i64>>()
    };
    let seen = buckets.par_iter().zip(newcomers).enumerate().flat_map_iter(own);
    let mut order: Vec<(i64, u32)> = seen.collect::<Vec<i64>>().into_iter().zip(0..).collect();
    order.par_sort_unstable();
    let mut ranks = vec![0; order.len()];
    (0u32..).zip(order).for_each(|(rank, (_, place))| ranks[place as usize] = rank);
    ranks
}

/// Identifiers with their numbers.
#[derive(Debug, Clone, Default)]
pub struct IdTable {
    buckets: Vec<Bucket>,
    known: Known,
}

impl IdTable {
    /// No identifiers yet, of types with these seeds.
    pub(super) fn new(seeds: Vec<u64>) -> Self {
        let keys = Keys::new(seeds);
        IdTable {
            buckets: vec![Bucket::default(); BUCKETS],
            known: Known { keys, ..Known::default() },
        }
    }

    /// Opens the table to new identifiers.
    pub(super) fn open(self) -> Interning {
        Interning {
            buckets: self.buckets.into_iter().map(Mutex::new).collect(),
            known: self.known,
        }
    }

    /// How many identifiers have a number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.places.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of each number.
    pub(super) fn kinds(&self) -> &[u8] {
        &self.known.kinds
    }

    /// Numbers of the identifiers that were met at least so often. Of more than 255 times, at least 255 times are
    /// taken.
    pub(super) fn met(&self, least: u32) -> IdSet {
        let least = least.min(u32::from(u8::MAX)) as u8;
        let often: Vec<u32> = self.buckets.par_iter().flat_map_iter(|bucket| bucket.met(least)).collect();
        IdSet::new(self.len(), often)
    }

    /// The key of an identifier, known or not.
    #[inline]
    pub(super) fn key_of(&self, kind: u8, text: &str) -> u64 {
        self.known.keys.of(kind, text.as_bytes())
    }

    /// The number of an identifier.
    #[inline]
    pub(super) fn find(&self, kind: u8, text: &str) -> Option<u32> {
        let key = self.key_of(kind, text);
        self.buckets[bucket_of(key)].find(tag_of(key), kind, text.as_bytes())
    }

    /// The identifier of a number.
    pub(super) fn text(&self, number: u32) -> &str {
        // Only text goes in.
        std::str::from_utf8(self.bytes(number)).unwrap_or_default()
    }

    /// The text of a number, as bytes.
    #[inline]
    fn bytes(&self, number: u32) -> &[u8] {
        let place = self.known.places[number as usize];
        self.buckets[usize::from(place.bucket)].text(place)
    }

    /// The texts of many numbers. Each step's loads are independent of each other, so memory is waited for once for
    /// many of them.
    pub(super) fn texts(&self, numbers: &[u32]) -> Result<StringArray, ArrowError> {
        let places: Vec<Place> = numbers.iter().map(|&number| self.known.places[number as usize]).collect();
        let offsets = OffsetBuffer::from_lengths(places.iter().map(|place| usize::from(place.length)));
        let mut bytes = Vec::with_capacity(offsets.last().map_or(0, |end| *end as usize));
        for place in places {
            bytes.extend_from_slice(self.buckets[usize::from(place.bucket)].text(place));
        }
        StringArray::try_new(offsets, bytes.into(), None)
    }

    /// 63 bits of hash of an identifier.
    #[inline]
    pub(super) fn key(&self, number: u32) -> u64 {
        self.known.keys.of(self.known.kinds[number as usize], self.bytes(number))
    }

    /// The person that an identifier founds.
    #[inline]
    pub(super) fn person(&self, number: u32) -> i64 {
        let moved = if self.known.moved.is_empty() {
            None
        } else {
            self.known.moved.to(number)
        };
        moved.unwrap_or_else(|| self.key(number)) as i64
    }

    /// The identifier that founds a person of this number, if there is one.
    pub(super) fn founder(&self, person: i64) -> Option<u32> {
        let key = u64::try_from(person).ok()?;
        if let Some(number) = self.known.moved.from(key) {
            return Some(number);
        }
        let oldest = self.buckets[bucket_of(key)].oldest_of_key(key, &self.known.keys);
        oldest.filter(|&number| self.known.moved.to(number).is_none())
    }

    /// Of different identifiers with one key, the oldest keeps it, unless a person has that number already; the others
    /// get the next number that is free. Those before `first` are settled.
    fn move_clashes(&mut self, first: u32) {
        let keys = &self.known.keys;
        let mut clashes: Vec<u32> = self
            .buckets
            .par_iter_mut()
            .flat_map_iter(|bucket| bucket.take_clashes(keys))
            .collect();
        if !self.known.moved.is_empty() {
            let numbers = first..self.len() as u32;
            clashes.par_extend(
                numbers
                    .into_par_iter()
                    .filter(|&number| self.known.moved.from(self.key(number)).is_some()),
            );
        }
        clashes.sort_unstable();
        clashes.dedup();
        clashes.retain(|&number| self.known.moved.to(number).is_none());
        let mut moved = std::mem::take(&mut self.known.moved);
        let keyed = clashes.into_iter().map(|number| (number, self.key(number)));
        moved.extend(keyed, |key| self.is_key(key));
        self.known.moved = moved;
    }

    /// Whether some identifier has this key.
    fn is_key(&self, key: u64) -> bool {
        self.buckets[bucket_of(key)].oldest_of_key(key, &self.known.keys).is_some()
    }

    /// The first number from a key on that no person could have.
    pub(super) fn free_number(&self, key: u64) -> u64 {
        self.known.moved.free_from(key, |key| self.is_key(key))
    }

    /// Bytes held.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let known = self.len() * (size_of::<Place>() + 1);
        self.buckets.iter().map(Bucket::nbytes).sum::<usize>() + known + self.known.moved.nbytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn settled(interning: Interning) -> IdTable {
        interning.settle(None).expect("few").0
    }

    #[test]
    fn numbers_depend_on_the_identifiers_alone_and_last() {
        let of = |texts: &[&str]| {
            let interning = IdTable::new(vec![7, 8]).open();
            texts.iter().for_each(|text| {
                interning.id(0, text, 1);
            });
            settled(interning)
        };
        let (one, other) = (of(&["a", "b", "c", "a"]), of(&["c", "b", "a"]));
        assert_eq!((one.len(), other.len()), (3, 3));
        for text in ["a", "b", "c"] {
            assert_eq!(one.find(0, text), other.find(0, text));
            let number = one.find(0, text).expect("there");
            assert_eq!((one.text(number), one.founder(one.person(number))), (text, Some(number)));
        }
        let more = one.clone().open();
        more.id(0, "d", 1);
        let more = settled(more);
        assert!(["a", "b", "c"].iter().all(|text| more.find(0, text) == one.find(0, text)));
        assert_eq!((more.find(0, "d"), more.find(1, "d"), more.find(0, "e")), (Some(3), None, None));
    }

    /// How long it takes to add and settle identifiers whose keys have so many bits, in two batches.
    fn time_with_bits(count: u32, bits: u32) -> std::time::Duration {
        let turn = |_| {
            let mut table = IdTable::new(vec![1]);
            table.known.keys.unused = u64::MAX.checked_shr(bits).unwrap_or(0);
            let started = std::time::Instant::now();
            for half in 0..2 {
                let interning = table.open();
                let own = half * count / 2..(half + 1) * count / 2;
                own.for_each(|n| assert!(interning.id(0, &format!("{n}"), 1).is_some()));
                table = settled(interning);
            }
            for number in (0..count).step_by(7) {
                assert_eq!(table.founder(table.person(number)), Some(number));
                assert_eq!(table.find(0, table.text(number)), Some(number));
                assert!(table.founder(table.free_number(table.key(number)) as i64).is_none());
            }
            started.elapsed()
        };
        (0..2).map(turn).min().expect("turns")
    }

    #[test]
    fn identifiers_of_one_key_or_one_bucket_cost_what_others_do() {
        for count in [40_000, 200_000] {
            let usual = time_with_bits(count, 64);
            for bits in [0, 7, 20] {
                let bad = time_with_bits(count, bits);
                // Numbers that move have a price, which grows as their count does; its square would be minutes.
                let limit = usual * 3 + std::time::Duration::from_secs(5);
                assert!(bad < limit, "{count} with {bits} bits: {bad:?} against {usual:?}");
            }
        }
    }

    #[test]
    fn a_number_that_a_person_moved_to_is_nobody_elses() {
        let mut table = IdTable::new(vec![1]);
        // Keys of one bucket differ in their lowest bits at most, so those that move come to where later ones belong.
        table.known.keys.unused = (u64::MAX >> 7) & !0xfe;
        for batch in 0..4u32 {
            let interning = table.open();
            (0..1500).for_each(|n| assert!(interning.id(0, &format!("{}", batch * 1500 + n), 1).is_some()));
            table = settled(interning);
            let persons: BTreeSet<i64> = (0..table.len() as u32).map(|number| table.person(number)).collect();
            assert_eq!(persons.len(), table.len());
        }
    }

    /// Keys of so few bits that most identifiers share theirs: the bucket, and some of the tag or none.
    #[test]
    fn identifiers_with_one_key_are_told_apart_and_found_different_persons() {
        for bits in [1, 7, 9, 14, 40, 63] {
            let mut table = IdTable::new(vec![1, 2, 3]);
            table.known.keys.unused = u64::MAX >> bits;
            let mut known: BTreeMap<(u8, String), u32> = BTreeMap::new();
            for batch in 0..4u32 {
                let interning = table.open();
                let mut met = Vec::new();
                for n in 0..700u32 {
                    let (kind, text) = ((n % 3) as u8, format!("{:x}", n.wrapping_mul(batch * 2 + 1) % 900));
                    let (bucket, id) = interning.id(kind, &text, 1).expect("room");
                    met.push(((kind, text), usize::from(bucket), id));
                }
                let (settled, numbers) = interning.settle(None).expect("few");
                for (own, bucket, id) in met {
                    let number = numbers.of(bucket, id);
                    assert_eq!(settled.find(own.0, &own.1), Some(number));
                    assert_eq!(*known.entry(own).or_insert(number), number);
                }
                table = settled;
            }
            assert_eq!(table.len(), known.len());
            let persons: BTreeSet<i64> = (0..table.len() as u32).map(|number| table.person(number)).collect();
            assert_eq!(persons.len(), known.len());
            for ((kind, text), number) in known {
                assert_eq!((table.kinds()[number as usize], table.text(number)), (kind, text.as_str()));
                assert_eq!(table.founder(table.person(number)), Some(number));
            }
        }
    }
}
