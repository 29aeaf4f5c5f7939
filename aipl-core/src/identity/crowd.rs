//! What keeps identifiers that were made to share a hash from costing more than others.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::{BuildHasher, Hasher};

/// Persons' numbers have 63 bits.
const MASK: u64 = u64::MAX >> 1;

/// Tags of a bucket that nobody can foretell, and which identifiers are the oldest of their public keys: with such
/// tags, a key does not show where to look.
#[derive(Debug, Clone, Default)]
pub(super) struct Secret {
    hasher: RandomState,
    oldest: HashMap<u64, u32>,
    /// Numbers below are settled.
    known: u32,
}

impl Secret {
    pub fn new() -> Self {
        Self::default()
    }

    /// The tag of an identifier.
    pub fn tag(&self, kind: u8, text: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(text);
        hasher.write_u8(kind);
        hasher.finish() as u32
    }

    /// The first number that is not settled.
    pub fn known(&self) -> u32 {
        self.known
    }

    /// Settles identifiers by number and key. Tells those whose key an older one has.
    pub fn settle(&mut self, mut newcomers: Vec<(u32, u64)>) -> Vec<u32> {
        newcomers.sort_unstable();
        let mut clashes = Vec::new();
        for (number, key) in newcomers {
            self.known = number + 1;
            match self.oldest.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(number);
                }
                Entry::Occupied(_) => clashes.push(number),
            }
        }
        clashes
    }

    /// The oldest identifier of a key.
    pub fn oldest(&self, key: u64) -> Option<u32> {
        self.oldest.get(&key).copied()
    }

    /// Bytes held, about.
    pub fn nbytes(&self) -> usize {
        self.oldest.capacity() * size_of::<(u64, u32)>()
    }
}

/// Persons' numbers that had to move, since another person has the number of their founder's key.
#[derive(Debug, Clone, Default)]
pub(super) struct Moved {
    to: HashMap<u32, u64>,
    from: HashMap<u64, u32>,
    /// Of numbers that are taken: one further on, up to which all are taken.
    next: HashMap<u64, u64>,
}

impl Moved {
    pub fn is_empty(&self) -> bool {
        self.to.is_empty()
    }

    /// The person's number of an identifier that had to move.
    pub fn to(&self, id: u32) -> Option<u64> {
        self.to.get(&id).copied()
    }

    /// The identifier that moved to a person's number.
    pub fn from(&self, person: u64) -> Option<u32> {
        self.from.get(&person).copied()
    }

    /// The first number from a key on that is free, and the taken ones that were looked at on the way.
    fn free(&self, key: u64, is_taken: impl Fn(u64) -> bool) -> (u64, Vec<u64>) {
        let (mut at, mut passed) = (key, Vec::new());
        loop {
            let next = match self.next.get(&at) {
                Some(next) => *next,
                None if self.from.contains_key(&at) || is_taken(at) => (at + 1) & MASK,
                None => return (at, passed),
            };
            passed.push(at);
            at = next;
        }
    }

    /// The first number from a key on that is free.
    pub fn free_from(&self, key: u64, is_taken: impl Fn(u64) -> bool) -> u64 {
        self.free(key, is_taken).0
    }

    /// Moves identifiers, each with its key, to the next numbers that are free.
    pub fn extend(&mut self, clashes: impl Iterator<Item = (u32, u64)>, is_taken: impl Fn(u64) -> bool) {
        let before = self.to.len();
        clashes.for_each(|(id, key)| self.push(id, key, &is_taken));
        if self.to.len() == before {
            return;
        }
        // Whoever looks for a free number later walks few steps, wherever he begins.
        let mut taken: Vec<u64> = self.next.keys().copied().collect();
        taken.sort_unstable_by(|one, other| other.cmp(one));
        for number in taken {
            let next = self.next[&number];
            let next = self.next.get(&next).copied().unwrap_or(next);
            self.next.insert(number, next);
        }
    }

    fn push(&mut self, id: u32, key: u64, is_taken: impl Fn(u64) -> bool) {
        let (at, passed) = self.free(key, is_taken);
        // Numbers stay taken, so what was walked once is not walked again.
        passed.into_iter().for_each(|number| {
            self.next.insert(number, at);
        });
        self.to.insert(id, at);
        self.from.insert(at, id);
    }

    /// Bytes held, about.
    pub fn nbytes(&self) -> usize {
        (self.to.capacity() + self.from.capacity() + self.next.capacity()) * size_of::<(u64, u64)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_that_moves_gets_the_next_number_that_is_free() {
        let mut moved = Moved::default();
        let own = [5u64, 6, 8, MASK];
        let is_taken = |number: u64| own.contains(&number);
        for (id, (key, expected)) in (0..).zip([(5, 7), (5, 9), (8, 10), (6, 11), (MASK, 0), (MASK, 1), (5, 12)]) {
            moved.extend(std::iter::once((id, key)), is_taken);
            assert_eq!((moved.to(id), moved.from(expected)), (Some(expected), Some(id)));
        }
        assert_eq!([4, 5, 9, 12, MASK].map(|key| moved.free_from(key, is_taken)), [4, 13, 13, 13, 2]);
    }
}
