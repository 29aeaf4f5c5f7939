//! The consumers of a bucket, numbered as they are met.

use std::collections::HashMap;

use hashbrown::HashTable;

use crate::base::id::{MAX_LOCAL, int_of_key};
use crate::base::slot_key::SlotKey;
use crate::base::{IdKind, IdValue};
use crate::timeline::bucket::TooManyConsumers;
use crate::timeline::universe::IdStore;

/// Consumers of a bucket, numbered as they are met.
pub(crate) struct Interner {
    table: HashTable<u32>,
    slots: SlotKey,
    pub keys: Vec<u64>,
    /// Start and length of each consumer's text.
    texts: Vec<(u32, u16)>,
    arena: Vec<u8>,
    /// Texts whose key another text had before. Whoever makes many of one key finds them in a table that asks for no
    /// key.
    twins: HashMap<Box<[u8]>, u32>,
}

impl Interner {
    pub fn new(capacity: usize) -> Self {
        Self::keyed(capacity, SlotKey::of_process())
    }

    fn keyed(capacity: usize, slots: SlotKey) -> Self {
        Interner {
            table: HashTable::with_capacity(capacity),
            slots,
            keys: Vec::with_capacity(capacity),
            texts: Vec::new(),
            arena: Vec::new(),
            twins: HashMap::new(),
        }
    }

    fn text(&self, number: u32) -> &[u8] {
        let (start, length) = self.texts[number as usize];
        &self.arena[start as usize..start as usize + usize::from(length)]
    }

    /// The number of a consumer; integers have no text.
    #[inline]
    pub fn number(&mut self, key: u64, text: Option<&[u8]>) -> u32 {
        let hash = self.slots.hash(key);
        if let Some(&number) = self.table.find(hash, |&number| self.keys[number as usize] == key) {
            return match text {
                Some(text) if self.text(number) != text => self.twin(key, text),
                _ => number,
            };
        }
        let number = self.push(key, text);
        let (keys, slots) = (&self.keys, self.slots);
        self.table.insert_unique(hash, number, |&number| slots.hash(keys[number as usize]));
        number
    }

    /// The number of a text whose key is another's.
    #[cold]
    fn twin(&mut self, key: u64, text: &[u8]) -> u32 {
        if let Some(number) = self.twins.get(text) {
            return *number;
        }
        let number = self.push(key, Some(text));
        self.twins.insert(text.into(), number);
        number
    }

    /// Gives the next number.
    fn push(&mut self, key: u64, text: Option<&[u8]>) -> u32 {
        let number = self.keys.len() as u32;
        self.keys.push(key);
        if let Some(text) = text {
            self.texts.push((self.arena.len() as u32, text.len() as u16));
            self.arena.extend_from_slice(text);
        }
        number
    }

    /// The number of a consumer by its identifier.
    pub fn number_of(&mut self, id: &IdValue) -> u32 {
        match id {
            IdValue::Int(_) => self.number(id.key(), None),
            IdValue::Text(text) => self.number(id.key(), Some(text.as_bytes())),
        }
    }

    /// Consumers in order of hash (and text, where hashes agree): the order of their final numbers.
    fn order(&self) -> Vec<u32> {
        let mut order: Vec<(u64, u32)> = self.keys.iter().copied().zip(0..).collect();
        order.sort_unstable();
        if !self.texts.is_empty() && order.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            order.sort_by(|left, right| left.0.cmp(&right.0).then_with(|| self.text(left.1).cmp(self.text(right.1))));
        }
        order.into_iter().map(|(_, number)| number).collect()
    }

    fn store(&self, order: &[u32], id_kind: IdKind) -> IdStore {
        match id_kind {
            IdKind::Int64 => IdStore::of_ints(order.iter().map(|&number| int_of_key(self.keys[number as usize])).collect()),
            IdKind::Text => {
                let mut bytes = Vec::with_capacity(self.arena.len());
                let mut end = |&number: &u32| {
                    bytes.extend_from_slice(self.text(number));
                    bytes.len() as u32
                };
                let ends = order.iter().map(&mut end).collect();
                IdStore::of_texts(ends, bytes)
            }
        }
    }
}

impl Interner {
    /// The identifiers in order of their final numbers, and the final number of each number given out.
    ///
    /// # Errors
    /// [`TooManyConsumers`].
    pub fn settle(self, id_kind: IdKind) -> Result<(IdStore, Vec<u32>), TooManyConsumers> {
        if self.keys.len() > MAX_LOCAL as usize {
            return Err(TooManyConsumers);
        }
        let order = self.order();
        let mut places = vec![0u32; order.len()];
        order.iter().zip(0..).for_each(|(&number, place)| places[number as usize] = place);
        Ok((self.store(&order, id_kind), places))
    }
}

/// Reads the length-prefixed texts that stand beside rows, in order.
pub(crate) struct Texts<'a> {
    pub bytes: &'a [u8],
}

impl<'a> Texts<'a> {
    #[inline]
    pub fn next(&mut self, id_kind: IdKind) -> Option<&'a [u8]> {
        if id_kind == IdKind::Int64 {
            return None;
        }
        let (length, rest) = self.bytes.split_at_checked(2)?;
        let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([length[0], length[1]])))?;
        self.bytes = rest;
        Some(text)
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test says what it expects")]
mod tests {
    use super::*;
    use crate::base::id::{int_key, text_key};
    use std::time::{Duration, Instant};

    /// Keys of one bucket that differ where a table would not look: their integers are chosen backwards from them.
    fn crafted(n: u64) -> u64 {
        0x5a << 56 | (n & 0xffff) << 32 | (n >> 16) << 48
    }

    #[test]
    fn answers_do_not_depend_on_the_key_of_the_process() {
        let settled = |random: u128| {
            let (mut ints, mut texts) = (Interner::keyed(0, SlotKey::new(random)), Interner::keyed(0, SlotKey::new(random)));
            let mut numbers = Vec::new();
            for n in (0..5000u64).map(|n| n * 7919 % 3000) {
                let text = format!("u{n}");
                // Every tenth text shares its key with nine others.
                let key = if n % 10 == 0 { 7 } else { text_key(text.as_bytes()) };
                numbers.push((ints.number(crafted(n), None), texts.number(key, Some(text.as_bytes()))));
            }
            let settled = (ints.settle(IdKind::Int64).expect("few"), texts.settle(IdKind::Text).expect("few"));
            (numbers, settled)
        };
        let one = settled(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834);
        assert_eq!(one, settled(0x0123_4567_89ab_cdef_fedc_ba98_7654_3210));
        assert_eq!(one.1.0.0.len(), 3000);
        assert_eq!(one.1.1.0.len(), 3000);
    }

    /// The least of some turns, since other work on the machine only ever adds.
    fn least(mut work: impl FnMut()) -> Duration {
        let turn = |_| {
            let started = Instant::now();
            work();
            started.elapsed()
        };
        (0..5).map(turn).min().expect("turns")
    }

    #[test]
    fn crafted_identifiers_cost_what_others_do() {
        const COUNT: u64 = 40_000;
        let number = |keys: &[u64]| {
            let mut interner = Interner::new(0);
            let numbers: u64 = keys.iter().map(|&key| u64::from(interner.number(key, None))).sum();
            assert_eq!(numbers, COUNT * (COUNT - 1) / 2);
            assert_eq!(interner.keys.len(), keys.len());
        };
        let bad: Vec<u64> = (0..COUNT).map(crafted).collect();
        let usual: Vec<u64> = (0..COUNT).map(|n| int_key(n as i64)).collect();
        let (bad, usual) = (least(|| number(&bad)), least(|| number(&usual)));
        // Without a key of the process it would be some hundred times as much.
        assert!(bad < usual * 10 + Duration::from_millis(200), "{bad:?} against {usual:?}");
        let texts: Vec<String> = (0..COUNT).map(|n| format!("consumer {n}")).collect();
        let number = |key: &dyn Fn(&str) -> u64| {
            let mut interner = Interner::new(0);
            for text in &texts {
                interner.number(key(text), Some(text.as_bytes()));
            }
            assert_eq!(interner.settle(IdKind::Text).expect("few").0.len(), texts.len());
        };
        let (bad, usual) = (least(|| number(&|_| 7)), least(|| number(&|text| text_key(text.as_bytes()))));
        assert!(bad < usual * 10 + Duration::from_millis(200), "{bad:?} against {usual:?}");
    }
}
