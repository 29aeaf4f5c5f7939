//! Universes as bytes: what pickles carry.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `A1 "PLUNIV" 02` |
//! | 1 | 0 for integers, 1 for texts; 2 is added where numbers are lasting, 4 for persons at the numbers of accounts, 8 where identifiers are lost |
//! | 16 | the lineage, where numbers are lasting |
//! | n | each identifier: its number (4 bytes) where that is not its place or identifiers are lost, then 8 bytes, or a length (2 bytes) and text |
//! | 16 | XXH3-128 of everything before |
//!
//! Where identifiers are lost, a bank's placeholders stand for them, and -1 for persons. All numbers are little-endian. The form before this one had neither the first nor the last part, and is still read.

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_128;

use crate::audience::error::AudienceError;
use crate::base::id::MAX_ID_BYTES;
use crate::base::{ConsumerIdx, IdKind, IdValue};
use crate::timeline::Universe;
use crate::timeline::universe::NOBODY;

/// No single flipped bit makes its first byte one that the form without a checksum begins with.
/// Numbers that are given out for each person at most, on average: those of its accounts.
const LOCALS_A_PERSON: u64 = 1024;
/// Numbers that a small universe may leave out.
const SPARE_LOCALS: u64 = 1 << 16;
const MAGIC: &[u8; 8] = b"\xa1PLUNIV\x02";
/// The mark of texts.
const TEXTS: u8 = 1;
/// The mark of a universe whose numbers are lasting.
const LASTING: u8 = 2;
/// The mark of persons at the numbers of accounts.
const NUMBERED: u8 = 4;
/// The mark of a universe some of whose consumers have lost their identifiers.
const LOSSES: u8 = 8;

impl Universe {
    /// The universe as bytes (see the module), with a checksum.
    ///
    /// ```
    /// use aipl_core::base::{IdKind, IdValue};
    /// use aipl_core::timeline::Universe;
    /// let universe = Universe::of_ids(IdKind::Int64, [IdValue::Int(7)]);
    /// let mut bytes = universe.to_bytes();
    /// assert_eq!(Universe::from_bytes(&bytes)?.fingerprint(), universe.fingerprint());
    /// bytes[10] ^= 1;
    /// assert!(Universe::from_bytes(&bytes).is_err());
    /// # Ok::<(), aipl_core::audience::AudienceError>(())
    /// ```
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let mut kind = if self.id_kind() == IdKind::Text { TEXTS } else { 0 };
        let lineage = self.lineage();
        kind |= if lineage.is_some() { LASTING } else { 0 };
        kind |= if self.is_keyed() { 0 } else { NUMBERED };
        kind |= if self.lost().is_empty() { 0 } else { LOSSES };
        bytes.push(kind);
        lineage.iter().for_each(|lineage| bytes.extend(lineage.to_le_bytes()));
        let mut numbers: Vec<ConsumerIdx> = self.numbers().chain(self.lost().iter().map(ConsumerIdx)).collect();
        numbers.sort_unstable();
        for idx in numbers {
            if kind & (NUMBERED | LOSSES) != 0 {
                bytes.extend(idx.0.to_le_bytes());
            }
            match self.id(idx) {
                IdValue::Int(value) => bytes.extend(value.to_le_bytes()),
                IdValue::Text(text) => {
                    bytes.extend((text.len() as u16).to_le_bytes());
                    bytes.extend(text.as_bytes());
                }
            }
        }
        let sum = xxh3_128(&bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    /// Reads what [`Universe::to_bytes`] wrote, in this form or in the one before it.
    ///
    /// # Errors
    /// [`AudienceError::Malformed`] for bytes that are no universe or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Universe, AudienceError> {
        let Some(checked) = bytes.strip_prefix(MAGIC) else {
            return read(bytes);
        };
        let (_, sum) = bytes.split_last_chunk::<16>().ok_or_else(|| damaged("is cut short"))?;
        let body = checked.split_last_chunk::<16>().ok_or_else(|| damaged("is cut short"))?.0;
        if xxh3_128(&bytes[..bytes.len() - sum.len()]) != u128::from_le_bytes(*sum) {
            return Err(damaged("has a checksum that does not agree; it is damaged"));
        }
        read(body)
    }
}

fn damaged(problem: &str) -> AudienceError {
    AudienceError::Malformed {
        problem: format!("its universe {problem}"),
    }
}

/// Takes so many bytes off the front.
fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], AudienceError> {
    let (front, back) = rest.split_at_checked(count).ok_or_else(|| damaged("is cut short"))?;
    *rest = back;
    Ok(front)
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], AudienceError> {
    take(rest, N)?.try_into().map_err(|_| damaged("is cut short"))
}

fn read(bytes: &[u8]) -> Result<Universe, AudienceError> {
    let (&kind, mut rest) = bytes.split_first().ok_or_else(|| damaged("is empty"))?;
    if kind & !(TEXTS | LASTING | NUMBERED | LOSSES) != 0 {
        return Err(damaged("is of no known form"));
    }
    let lineage = match kind & LASTING {
        0 => None,
        _ => Some(u128::from_le_bytes(take_array(&mut rest)?)),
    };
    let (mut numbers, mut ids) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        if kind & (NUMBERED | LOSSES) != 0 {
            let idx = ConsumerIdx(u32::from_le_bytes(take_array(&mut rest)?));
            if numbers.last().is_some_and(|last| *last >= idx) {
                return Err(damaged("is not in order"));
            }
            numbers.push(idx);
        }
        ids.push(if kind & TEXTS == 0 {
            IdValue::Int(i64::from_le_bytes(take_array(&mut rest)?))
        } else {
            let length = usize::from(u16::from_le_bytes(take_array(&mut rest)?));
            let text = std::str::from_utf8(take(&mut rest, length)?).ok();
            let text = text.filter(|text| (1..=MAX_ID_BYTES).contains(&text.len()));
            IdValue::Text(text.ok_or_else(|| damaged("holds what is no identifier"))?.to_owned())
        });
    }
    let id_kind = if kind & TEXTS == 0 { IdKind::Int64 } else { IdKind::Text };
    let person = |id| match id {
        IdValue::Int(person) if person >= 0 => Ok(person),
        _ => Err(damaged("holds what is no person")),
    };
    if kind & NUMBERED != 0 && reach(&numbers) > LOCALS_A_PERSON * numbers.len() as u64 + SPARE_LOCALS {
        return Err(damaged("has numbers too far apart"));
    }
    Ok(match lineage {
        Some(lineage) if kind & NUMBERED != 0 => {
            let mut lost = RoaringBitmap::new();
            let mut persons = Vec::with_capacity(ids.len());
            for (idx, id) in numbers.into_iter().zip(ids) {
                match id {
                    IdValue::Int(NOBODY) if kind & LOSSES != 0 => drop(lost.insert(idx.0)),
                    id => persons.push((idx, person(id)?)),
                }
            }
            Universe::of_numbered_persons(persons, lineage).with_lost(lost)
        }
        Some(lineage) if kind & LOSSES != 0 => {
            let universe = Universe::of_places(id_kind, numbers.into_iter().zip(ids), lineage);
            universe.ok_or_else(|| damaged("has a number out of place"))?
        }
        Some(lineage) => Universe::of_numbered(id_kind, ids, lineage),
        None => Universe::of_ids(id_kind, ids),
    })
}

/// How many numbers the buckets have up to the greatest of each; a universe has room for all of them.
fn reach(numbers: &[ConsumerIdx]) -> u64 {
    let buckets = numbers.chunk_by(|one, next| one.bucket() == next.bucket());
    let greatest = buckets.filter_map(|bucket| bucket.last());
    greatest.map(|idx| u64::from(idx.local()) + 1).sum()
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test says what it expects")]
mod tests {
    use super::*;
    use crate::base::id::lost_id;

    fn universes() -> Vec<Universe> {
        let texts = || ["ann", "bob", "浏览", "d"].map(IdValue::from);
        vec![
            Universe::of_ids(IdKind::Text, texts()),
            Universe::of_ids(IdKind::Int64, (0..6).map(IdValue::Int)),
            Universe::of_numbered(IdKind::Text, texts(), 7),
            Universe::of_numbered_persons([(ConsumerIdx(3), 5), (ConsumerIdx(1 << 24), 9)], 8),
            Universe::of_ids(IdKind::Text, []),
            Universe::of_places(IdKind::Text, with_lost(IdKind::Text), 9).expect("places"),
            Universe::of_places(IdKind::Int64, with_lost(IdKind::Int64), 9).expect("places"),
            Universe::of_numbered_persons([(ConsumerIdx(3), 5)], 8).with_lost(RoaringBitmap::from([1, 4])),
        ]
    }

    #[test]
    fn numbers_far_apart_take_no_memory() {
        let sparse = |local: u32| Universe::of_numbered_persons([(ConsumerIdx::new(5, local), 7)], 8);
        let near = sparse(1 << 16).to_bytes();
        assert_eq!(Universe::from_bytes(&near).expect("reads").len(), 1);
        let error = Universe::from_bytes(&sparse((1 << 24) - 2).to_bytes()).expect_err("too far apart");
        assert!(error.to_string().contains("too far apart"), "{error}");
    }

    fn with_lost(id_kind: IdKind) -> Vec<(ConsumerIdx, IdValue)> {
        (0..3)
            .map(|local| ConsumerIdx::new(7, local))
            .map(|idx| (idx, lost_id(idx, id_kind)))
            .collect()
    }

    fn all(universe: &Universe) -> (u128, Vec<u32>, Vec<(ConsumerIdx, IdValue)>) {
        assert_eq!(universe.len() as u64, universe.numbers().count() as u64 + universe.lost().len());
        (
            universe.fingerprint(),
            universe.lost().iter().collect(),
            universe.numbers().map(|idx| (idx, universe.id(idx))).collect(),
        )
    }

    #[test]
    fn universes_come_back_from_this_form_and_the_one_before() {
        for universe in universes() {
            let bytes = universe.to_bytes();
            assert_eq!(all(&Universe::from_bytes(&bytes).expect("reads")), all(&universe));
            let before = &bytes[MAGIC.len()..bytes.len() - 16];
            assert_eq!(all(&Universe::from_bytes(before).expect("reads")), all(&universe));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        for bytes in universes().iter().map(Universe::to_bytes) {
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut flipped = bytes.clone();
                    flipped[at] ^= 1 << bit;
                    assert!(Universe::from_bytes(&flipped).is_err(), "byte {at} bit {bit}");
                }
                assert!(Universe::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
            }
        }
    }
}
