//! Every identifier that was ever seen, numbered by age.
//!
//! Identifiers stand in 256 buckets by hash, where workers find or add them as *entries*; once a batch of rows is read, its new entries
//! get their lasting numbers: older batches first, then by the first time they were seen, then by hash. So the lesser of two
//! numbers is the older identifier, and numbers depend on what was seen alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use hashbrown::HashTable;
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::base::id::BUCKETS;
use crate::identity::IdentityError;

/// No identifier.
pub const NONE: u32 = u32::MAX;
/// Bits of an entry below its bucket.
const LOCAL_BITS: u32 = 24;

/// 63 bits of an identifier: the number of the person it founds.
#[inline]
pub(crate) fn key_of(seed: u64, text: &[u8]) -> u64 {
    xxh3_64_with_seed(text, seed) >> 1
}

/// The bucket of a key.
#[inline]
pub(crate) fn bucket_of(key: u64) -> usize {
    (key >> 55) as usize
}

/// The top byte is the bucket and the same for all keys here; the table takes tags from the top, so it is shifted out.
#[inline]
fn table_hash(key: u64) -> u64 {
    key << 9 ^ key
}

/// Identifiers of one bucket, in the order in which they were met.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bucket {
    table: HashTable<u32>,
    keys: Vec<u64>,
    kinds: Vec<u8>,
    ends: Vec<u32>,
    bytes: Vec<u8>,
    /// The lasting number of each entry; [`NONE`] while it has none.
    numbers: Vec<u32>,
}

impl Bucket {
    fn text(&self, local: u32) -> &[u8] {
        let start = if local == 0 { 0 } else { self.ends[local as usize - 1] as usize };
        &self.bytes[start..self.ends[local as usize] as usize]
    }

    #[inline]
    fn find(&self, key: u64, kind: u8, text: &[u8]) -> Option<u32> {
        let same = |&local: &u32| self.keys[local as usize] == key && self.kinds[local as usize] == kind && self.text(local) == text;
        self.table.find(table_hash(key), same).copied()
    }

    /// The entry of an identifier, made if need be; `None` once the bucket is full.
    #[inline]
    pub fn entry(&mut self, key: u64, kind: u8, text: &[u8]) -> Option<u32> {
        if let Some(local) = self.find(key, kind, text) {
            return Some(local);
        }
        let local = self.keys.len() as u32;
        let end = u32::try_from(self.bytes.len() + text.len()).ok()?;
        if local >= 1 << LOCAL_BITS {
            return None;
        }
        self.keys.push(key);
        self.kinds.push(kind);
        self.bytes.extend_from_slice(text);
        self.ends.push(end);
        self.numbers.push(NONE);
        let keys = &self.keys;
        self.table
            .insert_unique(table_hash(key), local, |&local| table_hash(keys[local as usize]));
        Some(local)
    }
}

/// An entry: its bucket and its place there.
#[inline]
pub(crate) fn entry_of(bucket: usize, local: u32) -> u32 {
    (bucket as u32) << LOCAL_BITS | local
}

/// Bucket and place of an entry.
#[inline]
pub(crate) fn split(entry: u32) -> (usize, u32) {
    ((entry >> LOCAL_BITS) as usize, entry & ((1 << LOCAL_BITS) - 1))
}

/// Identifiers while rows are read: every worker may add to every bucket.
#[derive(Debug)]
pub struct Interning {
    buckets: Vec<Mutex<Bucket>>,
    known: Known,
}

/// What lasting numbers stand for.
#[derive(Debug, Clone, Default)]
struct Known {
    /// The entry of each number.
    entries: Vec<u32>,
    /// The type of each number.
    kinds: Vec<u8>,
    /// Persons' numbers that are not their founder's key, since an older identifier has the same.
    moved: HashMap<u32, u64>,
}

impl Interning {
    /// Works on a bucket alone.
    pub(crate) fn with_bucket<R>(&self, bucket: usize, work: impl FnOnce(&mut Bucket) -> R) -> R {
        work(&mut self.buckets[bucket].lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many identifiers have a number.
    pub(crate) fn known(&self) -> usize {
        self.known.entries.len()
    }

    /// The entry of an identifier, made if need be.
    pub(crate) fn entry(&self, seed: u64, kind: u8, text: &str) -> Option<u32> {
        let key = key_of(seed, text.as_bytes());
        let bucket = bucket_of(key);
        self.with_bucket(bucket, |ids| ids.entry(key, kind, text.as_bytes()))
            .map(|local| entry_of(bucket, local))
    }

    /// Entries of a type that have no number yet, with their texts.
    pub(crate) fn fresh(&self, kind: u8) -> Vec<(u32, String)> {
        let of_bucket = |bucket: usize| {
            self.with_bucket(bucket, |ids| {
                (0..ids.keys.len() as u32)
                    .filter(|&local| ids.kinds[local as usize] == kind && ids.numbers[local as usize] == NONE)
                    .map(|local| (entry_of(bucket, local), String::from_utf8_lossy(ids.text(local)).into_owned()))
                    .collect::<Vec<_>>()
            })
        };
        (0..BUCKETS).into_par_iter().flat_map_iter(of_bucket).collect()
    }

    /// Gives new entries their numbers; those for which `dead` holds get none. `first_seen` tells when an entry was first
    /// seen, if rows say so.
    pub(crate) fn settle(
        self,
        dead: &(impl Fn(u32) -> bool + Sync),
        first_seen: Option<&(dyn Fn(u32) -> i64 + Sync)>,
    ) -> Result<IdTable, IdentityError> {
        let mut buckets: Vec<Bucket> = self
            .buckets
            .into_iter()
            .map(|bucket| bucket.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect();
        let mut fresh: Vec<u32> = buckets
            .par_iter_mut()
            .enumerate()
            .flat_map_iter(|(number, bucket)| {
                bucket.shrink();
                bucket
                    .unnumbered(dead)
                    .into_iter()
                    .map(move |local| entry_of(number, local))
                    .collect::<Vec<_>>()
            })
            .collect();
        if let Some(first_seen) = first_seen {
            let mut timed: Vec<(i64, u32, u32)> = (0..fresh.len() as u32)
                .into_par_iter()
                .map(|place| (first_seen(fresh[place as usize]), place, fresh[place as usize]))
                .collect();
            timed.par_sort_unstable();
            fresh = timed.into_iter().map(|(_, _, entry)| entry).collect();
        }
        let mut known = self.known;
        let before = known.entries.len();
        if before + fresh.len() >= NONE as usize {
            return Err(IdentityError::TooManyIds);
        }
        for (number, &entry) in (before as u32..).zip(&fresh) {
            let (bucket, local) = split(entry);
            buckets[bucket].numbers[local as usize] = number;
            known.kinds.push(buckets[bucket].kinds[local as usize]);
        }
        known.entries.append(&mut fresh);
        let mut table = IdTable { buckets, known };
        table.move_clashes(before as u32);
        Ok(table)
    }
}

impl Bucket {
    fn shrink(&mut self) {
        self.keys.shrink_to_fit();
        self.kinds.shrink_to_fit();
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.numbers.shrink_to_fit();
    }

    /// Living entries without a number, by key and then by text.
    fn unnumbered(&self, dead: &impl Fn(u32) -> bool) -> Vec<u32> {
        let Some(first) = self.keys.first() else { return Vec::new() };
        let number = bucket_of(*first);
        let mut found: Vec<(u64, u32)> = (0..self.keys.len() as u32)
            .filter(|&local| self.numbers[local as usize] == NONE && !dead(entry_of(number, local)))
            .map(|local| (self.keys[local as usize], local))
            .collect();
        found.sort_unstable();
        if found.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            found.sort_by(|left, right| left.0.cmp(&right.0).then_with(|| self.text(left.1).cmp(self.text(right.1))));
        }
        found.into_iter().map(|(_, local)| local).collect()
    }
}

/// Identifiers with their numbers.
#[derive(Debug, Clone)]
pub struct IdTable {
    buckets: Vec<Bucket>,
    known: Known,
}

impl Default for IdTable {
    fn default() -> Self {
        IdTable {
            buckets: vec![Bucket::default(); BUCKETS],
            known: Known::default(),
        }
    }
}

impl IdTable {
    /// Opens the table to new identifiers.
    pub(crate) fn open(self) -> Interning {
        Interning {
            buckets: self.buckets.into_iter().map(Mutex::new).collect(),
            known: self.known,
        }
    }

    /// How many identifiers have a number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of each number.
    pub(crate) fn kinds(&self) -> &[u8] {
        &self.known.kinds
    }

    /// The lasting number of an entry; [`NONE`] if it has none.
    #[inline]
    pub(crate) fn number(&self, entry: u32) -> u32 {
        let (bucket, local) = split(entry);
        self.buckets[bucket].numbers[local as usize]
    }

    /// The number of an identifier.
    #[inline]
    pub(crate) fn find(&self, seed: u64, kind: u8, text: &str) -> Option<u32> {
        let key = key_of(seed, text.as_bytes());
        let bucket = &self.buckets[bucket_of(key)];
        let number = bucket.numbers[bucket.find(key, kind, text.as_bytes())? as usize];
        (number != NONE).then_some(number)
    }

    fn place(&self, number: u32) -> (&Bucket, u32) {
        let (bucket, local) = split(self.known.entries[number as usize]);
        (&self.buckets[bucket], local)
    }

    /// The identifier of a number.
    pub(crate) fn text(&self, number: u32) -> &str {
        let (bucket, local) = self.place(number);
        // Only text goes in.
        std::str::from_utf8(bucket.text(local)).unwrap_or_default()
    }

    /// 63 bits of hash of an identifier.
    #[inline]
    pub(crate) fn key(&self, number: u32) -> u64 {
        let (bucket, local) = self.place(number);
        bucket.keys[local as usize]
    }

    /// The person that an identifier founds.
    #[inline]
    pub(crate) fn person(&self, number: u32) -> i64 {
        let (bucket, local) = self.place(number);
        let key = bucket.keys[local as usize];
        let moved = if self.known.moved.is_empty() {
            None
        } else {
            self.known.moved.get(&number)
        };
        moved.copied().unwrap_or(key) as i64
    }

    /// The identifier that founds a person of this number, if there is one.
    pub(crate) fn founder(&self, person: i64) -> Option<u32> {
        let key = u64::try_from(person).ok()?;
        if let Some((number, _)) = self.known.moved.iter().find(|(_, moved)| **moved == key) {
            return Some(*number);
        }
        let bucket = &self.buckets[bucket_of(key)];
        let founds = |&local: &u32| {
            let number = bucket.numbers[local as usize];
            bucket.keys[local as usize] == key && number != NONE && !self.known.moved.contains_key(&number)
        };
        bucket
            .table
            .find(table_hash(key), founds)
            .map(|&local| bucket.numbers[local as usize])
    }

    /// Of different identifiers with one key, the oldest keeps it; the others get the next number that is free.
    fn move_clashes(&mut self, first: u32) {
        let clashes: Vec<u32> = (first..self.len() as u32)
            .into_par_iter()
            .filter(|&number| {
                let (bucket, local) = self.place(number);
                let key = bucket.keys[local as usize];
                let older = |&other: &u32| bucket.keys[other as usize] == key && bucket.numbers[other as usize] < number;
                bucket.table.find(table_hash(key), older).is_some()
            })
            .collect();
        for number in clashes {
            let mut key = self.person(number) as u64;
            while self.founder(key as i64).is_some() {
                key = (key + 1) & (u64::MAX >> 1);
            }
            self.known.moved.insert(number, key);
        }
    }

    /// Bytes held.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let of_bucket = |bucket: &Bucket| {
            bucket.keys.capacity() * 8
                + bucket.kinds.capacity()
                + (bucket.ends.capacity() + bucket.numbers.capacity()) * 4
                + bucket.bytes.capacity()
                + bucket.table.allocation_size()
        };
        self.buckets.iter().map(of_bucket).sum::<usize>() + self.len() * 5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(interning: Interning) -> IdTable {
        interning.settle(&|_| false, None).expect("few")
    }

    #[test]
    fn numbers_depend_on_the_identifiers_alone_and_last() {
        let of = |texts: &[&str]| {
            let interning = IdTable::default().open();
            texts.iter().for_each(|text| {
                interning.entry(7, 0, text);
            });
            settled(interning)
        };
        let (one, other) = (of(&["a", "b", "c", "a"]), of(&["c", "b", "a"]));
        assert_eq!((one.len(), other.len()), (3, 3));
        for text in ["a", "b", "c"] {
            assert_eq!(one.find(7, 0, text), other.find(7, 0, text));
            let number = one.find(7, 0, text).expect("there");
            assert_eq!((one.text(number), one.founder(one.person(number))), (text, Some(number)));
        }
        let more = one.clone().open();
        more.entry(7, 0, "d");
        let more = settled(more);
        assert!(["a", "b", "c"].iter().all(|text| more.find(7, 0, text) == one.find(7, 0, text)));
        assert_eq!(more.find(7, 0, "d"), Some(3));
        assert_eq!((more.find(7, 1, "d"), more.find(8, 0, "d")), (None, None));
    }

    #[test]
    fn two_identifiers_with_one_key_found_two_persons() {
        let interning = IdTable::default().open();
        for text in ["x", "y", "z"] {
            interning.with_bucket(3, |bucket| bucket.entry(3 << 55, 0, text.as_bytes()));
        }
        interning.with_bucket(3, |bucket| bucket.entry(3 << 55 | 1, 0, b"next"));
        let table = settled(interning);
        let mut persons: Vec<i64> = (0..4).map(|number| table.person(number)).collect();
        assert!((0..4).all(|number| table.founder(table.person(number)) == Some(number)));
        persons.sort_unstable();
        persons.dedup();
        assert_eq!(persons.len(), 4);
    }
}
