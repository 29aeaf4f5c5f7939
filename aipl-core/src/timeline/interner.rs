//! The consumers of a bucket, numbered as they are met.

use hashbrown::HashTable;

use crate::base::id::{MAX_LOCAL, int_of_key};
use crate::base::{IdKind, IdValue};
use crate::timeline::bucket::TooManyConsumers;
use crate::timeline::universe::IdStore;

/// Consumers of a bucket, numbered as they are met.
pub(crate) struct Interner {
    table: HashTable<u32>,
    pub keys: Vec<u64>,
    /// Start and length of each consumer's text.
    texts: Vec<(u32, u16)>,
    arena: Vec<u8>,
}

/// The top byte of a key is its bucket, the same for all keys here; the table takes tags from the top, so it is shifted out.
#[inline]
fn table_hash(key: u64) -> u64 {
    key << 8 ^ key
}

impl Interner {
    pub fn new(capacity: usize) -> Self {
        Interner {
            table: HashTable::with_capacity(capacity),
            keys: Vec::with_capacity(capacity),
            texts: Vec::new(),
            arena: Vec::new(),
        }
    }

    fn text(&self, number: u32) -> &[u8] {
        let (start, length) = self.texts[number as usize];
        &self.arena[start as usize..start as usize + usize::from(length)]
    }

    /// The number of a consumer; integers have no text.
    #[inline]
    pub fn number(&mut self, key: u64, text: Option<&[u8]>) -> u32 {
        let found = match text {
            None => self.table.find(table_hash(key), |&number| self.keys[number as usize] == key),
            Some(text) => self.table.find(table_hash(key), |&number| {
                self.keys[number as usize] == key && self.text(number) == text
            }),
        };
        if let Some(number) = found {
            return *number;
        }
        let number = self.keys.len() as u32;
        self.keys.push(key);
        if let Some(text) = text {
            self.texts.push((self.arena.len() as u32, text.len() as u16));
            self.arena.extend_from_slice(text);
        }
        let keys = &self.keys;
        self.table
            .insert_unique(table_hash(key), number, |&number| table_hash(keys[number as usize]));
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
