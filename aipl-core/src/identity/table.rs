//! Every identifier that was ever seen, numbered by age.
//!
//! Identifiers stand in 256 buckets by hash, where workers find or add them as *entries*; once a batch of rows is read, its new entries
//! get their lasting numbers: older batches first, then by the first time they were seen, then by hash. So the lesser of two
//! numbers is the older identifier, and numbers depend on what was seen alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use arrow::array::StringArray;
use arrow::buffer::OffsetBuffer;
use arrow::error::ArrowError;
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

/// What the table keeps of an entry, so that most others are told apart without looking at them.
#[derive(Debug, Clone, Copy)]
struct Slot {
    tag: u32,
    local: u32,
}

#[inline]
fn tag_of(key: u64) -> u32 {
    key as u32
}

/// Spreads a tag over the bits that the table looks at.
#[inline]
fn slot_hash(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// One identifier: everything that is looked at together stands together.
#[derive(Debug, Clone, Copy)]
struct Entry {
    key: u64,
    /// Where its text begins in the bucket's bytes.
    start: u32,
    /// Its lasting number; [`NONE`] while it has none.
    number: u32,
    length: u16,
    kind: u8,
}

/// Makes room for more by a quarter at a time: of hundreds of buckets, half would otherwise stand empty.
#[inline]
fn grow<T>(values: &mut Vec<T>, more: usize) {
    if values.capacity() - values.len() < more {
        values.reserve_exact((values.len() / 4).max(more));
    }
}

/// Identifiers of one bucket, in the order in which they were met.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bucket {
    table: HashTable<Slot>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    /// Entries whose key another one had before them.
    clashes: Vec<u32>,
}

impl Bucket {
    fn text(&self, local: u32) -> &[u8] {
        self.text_of(&self.entries[local as usize])
    }

    #[inline]
    fn text_of(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.start as usize..entry.start as usize + usize::from(entry.length)]
    }

    #[inline]
    fn find(&self, key: u64, kind: u8, text: &[u8]) -> Option<&Entry> {
        let tag = tag_of(key);
        let same = |slot: &Slot| {
            slot.tag == tag && {
                let entry = &self.entries[slot.local as usize];
                entry.key == key && entry.kind == kind && self.text_of(entry) == text
            }
        };
        self.table.find(slot_hash(tag), same).map(|slot| &self.entries[slot.local as usize])
    }

    /// The entry of an identifier, made if need be; `None` once the bucket is full.
    #[inline]
    pub fn entry(&mut self, key: u64, kind: u8, text: &[u8]) -> Option<u32> {
        let tag = tag_of(key);
        let mut clash = false;
        let same = |slot: &Slot| {
            slot.tag == tag && {
                let entry = &self.entries[slot.local as usize];
                let same = entry.key == key && entry.kind == kind && self.text_of(entry) == text;
                clash |= entry.key == key && !same;
                same
            }
        };
        if let Some(slot) = self.table.find(slot_hash(tag), same) {
            return Some(slot.local);
        }
        let local = self.entries.len() as u32;
        let start = u32::try_from(self.bytes.len()).ok()?;
        let length = u16::try_from(text.len()).ok()?;
        if local >= 1 << LOCAL_BITS {
            return None;
        }
        if clash {
            self.clashes.push(local);
        }
        grow(&mut self.entries, 1);
        grow(&mut self.bytes, text.len());
        self.entries.push(Entry {
            key,
            start,
            number: NONE,
            length,
            kind,
        });
        self.bytes.extend_from_slice(text);
        self.table
            .insert_unique(slot_hash(tag), Slot { tag, local }, |slot| slot_hash(slot.tag));
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

    /// Whether an identifier of a type has a number.
    pub(crate) fn has(&self, kind: u8) -> bool {
        self.known.kinds.contains(&kind)
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
                (0u32..)
                    .zip(&ids.entries)
                    .filter(|(_, entry)| entry.kind == kind && entry.number == NONE)
                    .map(|(local, entry)| (entry_of(bucket, local), String::from_utf8_lossy(ids.text_of(entry)).into_owned()))
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
        let orders: Vec<Vec<u32>> = buckets
            .par_iter_mut()
            .enumerate()
            .map(|(number, bucket)| {
                bucket.entries.shrink_to_fit();
                bucket.bytes.shrink_to_fit();
                bucket.unnumbered(&|local| dead(entry_of(number, local)))
            })
            .collect();
        let mut known = self.known;
        let before = known.entries.len();
        let ends: Vec<usize> = orders
            .iter()
            .scan(0, |end, order| {
                *end += order.len();
                Some(*end)
            })
            .collect();
        let count = ends.last().copied().unwrap_or(0);
        if before + count >= NONE as usize {
            return Err(IdentityError::TooManyIds);
        }
        let mut fresh: Vec<u32> = Vec::with_capacity(count);
        for (bucket, locals) in orders.into_iter().enumerate() {
            fresh.extend(locals.into_iter().map(|local| entry_of(bucket, local)));
        }
        if let Some(first_seen) = first_seen {
            let mut timed: Vec<(i64, u32, u32)> = (0..fresh.len() as u32)
                .into_par_iter()
                .map(|place| (first_seen(fresh[place as usize]), place, fresh[place as usize]))
                .collect();
            timed.par_sort_unstable();
            fresh = timed.into_iter().map(|(_, _, entry)| entry).collect();
            for (number, &entry) in (before as u32..).zip(&fresh) {
                let (bucket, local) = split(entry);
                buckets[bucket].entries[local as usize].number = number;
            }
        } else {
            // Each bucket's entries are one run of numbers.
            buckets.par_iter_mut().enumerate().for_each(|(own, bucket)| {
                let (start, end) = (if own == 0 { 0 } else { ends[own - 1] }, ends[own]);
                for (number, &entry) in ((before + start) as u32..).zip(&fresh[start..end]) {
                    bucket.entries[split(entry).1 as usize].number = number;
                }
            });
        }
        known.kinds.reserve_exact(count);
        let kind = |&entry: &u32| {
            let (bucket, local) = split(entry);
            buckets[bucket].entries[local as usize].kind
        };
        known.kinds.par_extend(fresh.par_iter().map(kind));
        known.entries.reserve_exact(count);
        known.entries.append(&mut fresh);
        let mut table = IdTable { buckets, known };
        table.move_clashes();
        Ok(table)
    }
}

impl Bucket {
    /// Living entries without a number, by key and then by text.
    fn unnumbered(&self, dead: &impl Fn(u32) -> bool) -> Vec<u32> {
        let mut found: Vec<(u64, u32)> = (0u32..)
            .zip(&self.entries)
            .filter(|(local, entry)| entry.number == NONE && !dead(*local))
            .map(|(local, entry)| (entry.key, local))
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
        self.buckets[bucket].entries[local as usize].number
    }

    /// The number of an identifier.
    #[inline]
    pub(crate) fn find(&self, seed: u64, kind: u8, text: &str) -> Option<u32> {
        let key = key_of(seed, text.as_bytes());
        let entry = self.buckets[bucket_of(key)].find(key, kind, text.as_bytes())?;
        (entry.number != NONE).then_some(entry.number)
    }

    fn place(&self, number: u32) -> (&Bucket, &Entry) {
        let (bucket, local) = split(self.known.entries[number as usize]);
        let bucket = &self.buckets[bucket];
        (bucket, &bucket.entries[local as usize])
    }

    /// The identifier of a number.
    pub(crate) fn text(&self, number: u32) -> &str {
        // Only text goes in.
        std::str::from_utf8(self.bytes(number)).unwrap_or_default()
    }

    /// The text of a number, as bytes.
    #[inline]
    pub(crate) fn bytes(&self, number: u32) -> &[u8] {
        let (bucket, entry) = self.place(number);
        bucket.text_of(entry)
    }

    /// The texts of many numbers. Each step's loads are independent of each other, so memory is waited for once for many of them.
    pub(crate) fn texts(&self, numbers: &[u32]) -> Result<StringArray, ArrowError> {
        let entries: Vec<u32> = numbers.iter().map(|&number| self.known.entries[number as usize]).collect();
        let places = entries.iter().map(|&entry| {
            let (bucket, local) = split(entry);
            let entry = &self.buckets[bucket].entries[local as usize];
            (bucket as u32, entry.start, entry.length)
        });
        let places: Vec<(u32, u32, u16)> = places.collect();
        let lengths = places.iter().map(|(.., length)| usize::from(*length));
        let offsets = OffsetBuffer::from_lengths(lengths);
        let mut bytes = Vec::with_capacity(offsets.last().map_or(0, |end| *end as usize));
        for (bucket, start, length) in places {
            let start = start as usize;
            bytes.extend_from_slice(&self.buckets[bucket as usize].bytes[start..start + usize::from(length)]);
        }
        StringArray::try_new(offsets, bytes.into(), None)
    }

    /// 63 bits of hash of an identifier.
    #[inline]
    pub(crate) fn key(&self, number: u32) -> u64 {
        self.place(number).1.key
    }

    /// The person that an identifier founds.
    #[inline]
    pub(crate) fn person(&self, number: u32) -> i64 {
        let key = self.key(number);
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
        let founds = |slot: &Slot| {
            let entry = &bucket.entries[slot.local as usize];
            entry.key == key && entry.number != NONE && !self.known.moved.contains_key(&entry.number)
        };
        let slot = bucket.table.find(slot_hash(tag_of(key)), founds)?;
        Some(bucket.entries[slot.local as usize].number)
    }

    /// Of different identifiers with one key, the oldest keeps it; the others get the next number that is free.
    fn move_clashes(&mut self) {
        let mut clashes: Vec<u32> = Vec::new();
        for bucket in &mut self.buckets {
            for late in std::mem::take(&mut bucket.clashes) {
                // Which of them came first depends on threads, so all of one key are looked at in order of their numbers.
                let key = bucket.entries[late as usize].key;
                let all = bucket.entries.iter().filter(|entry| entry.key == key && entry.number != NONE);
                let mut numbers: Vec<u32> = all.map(|entry| entry.number).collect();
                numbers.sort_unstable();
                clashes.extend(numbers.into_iter().skip(1));
            }
        }
        clashes.sort_unstable();
        clashes.dedup();
        clashes.retain(|number| !self.known.moved.contains_key(number));
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
            let entries = bucket.entries.capacity() * size_of::<Entry>();
            entries + bucket.bytes.capacity() + bucket.table.allocation_size()
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
