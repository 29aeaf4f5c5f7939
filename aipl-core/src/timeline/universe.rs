//! The consumers of one answer: their external identifiers and dense numbers.

use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, Int64Array, LargeStringArray};
use rayon::prelude::*;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::base::id::{BUCKETS, bucket_of, int_key, is_lost_int, is_lost_text, text_key};
use crate::base::{ConsumerIdx, IdKind, IdValue, stop};
use crate::identity::Seen;

/// Every consumer that a scan kept, numbered by bucket and then by hash, so that numbers depend on the consumers alone.
///
/// A bank gives lasting numbers instead, in order of coming. Its persons have the number of one of their accounts each,
/// so there are numbers that stand for nobody, and a person is not in the bucket of its own key.
#[derive(Debug)]
pub struct Universe {
    id_kind: IdKind,
    buckets: Vec<IdStore>,
    len: usize,
    /// Consumers of a bank whose identifiers are lost with a damaged file. They keep their numbers, and no event is of them.
    lost: RoaringBitmap,
    fingerprint: u128,
    /// Where each person is, in order of identifier, if persons are not in the buckets of their keys. Made when one is
    /// first looked up.
    places: Option<OnceLock<Vec<(i64, u32)>>>,
    /// The accounts behind the consumers, where they are persons.
    people: Option<Arc<Seen>>,
    /// Dense numbers in order of external identifier, made when first asked for.
    ordered: OnceLock<Vec<u32>>,
}

/// Consumers before and after identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityCounts {
    /// Different accounts with an event that counts.
    pub accounts: u64,
    /// Of these, accounts that the map does not know; each is a person of its own.
    pub unknown_accounts: u64,
    /// Consumers of the answer.
    pub persons: u64,
}

impl IdentityCounts {
    /// The counts of an answer's consumers, if they are persons.
    #[must_use]
    pub fn of(universe: &Universe) -> Option<Self> {
        universe.people().map(|seen| IdentityCounts {
            accounts: seen.accounts(),
            unknown_accounts: seen.unknown_accounts(),
            persons: universe.len() as u64 - universe.lost().len(),
        })
    }
}

/// Stands at numbers of accounts that are not their person's; persons are numbered from 0 on.
pub(crate) const NOBODY: i64 = -1;

/// External identifiers of one bucket, by local number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdStore {
    ids: Ids,
    /// Whether the bucket is that of each identifier's key.
    keyed: bool,
    /// Local numbers in order of key and text, where numbers were given out in another order: by a bank, as consumers
    /// came. Made when a consumer is first looked up.
    by_key: Option<OnceLock<Vec<u32>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ids {
    Int(Vec<i64>),
    /// Texts, joined, with the end of each.
    Text {
        ends: Vec<u32>,
        bytes: Vec<u8>,
    },
}

impl IdStore {
    /// No identifiers.
    #[must_use]
    pub fn empty(id_kind: IdKind) -> Self {
        let ids = match id_kind {
            IdKind::Int64 => Ids::Int(Vec::new()),
            IdKind::Text => Ids::Text {
                ends: Vec::new(),
                bytes: Vec::new(),
            },
        };
        Self::of(ids)
    }

    fn of(ids: Ids) -> Self {
        IdStore {
            ids,
            keyed: true,
            by_key: None,
        }
    }

    /// Persons at the numbers of accounts, or [`NOBODY`].
    fn of_persons(persons: Vec<i64>) -> Self {
        IdStore {
            ids: Ids::Int(persons),
            keyed: false,
            by_key: Some(OnceLock::new()),
        }
    }

    /// Whether the bucket is that of each identifier's key, so that an identifier is looked for in one bucket alone.
    pub(crate) fn is_keyed(&self) -> bool {
        self.keyed
    }

    /// Whether a local number stands for a consumer.
    fn contains(&self, local: usize) -> bool {
        match &self.ids {
            Ids::Int(values) if !self.keyed => values.get(local).is_some_and(|&value| value != NOBODY),
            _ => local < self.len(),
        }
    }

    /// Integers in order of key.
    pub(crate) fn of_ints(values: Vec<i64>) -> Self {
        Self::of(Ids::Int(values))
    }

    /// Texts in order of key, joined, with the end of each.
    pub(crate) fn of_texts(ends: Vec<u32>, bytes: Vec<u8>) -> Self {
        Self::of(Ids::Text { ends, bytes })
    }

    /// Appends an identifier of the store's kind; others are passed over.
    pub(crate) fn push(&mut self, id: &IdValue) {
        match id {
            IdValue::Int(value) => self.push_int(*value),
            IdValue::Text(text) => self.push_text(text),
        }
    }

    /// Appends an integer to a store of integers.
    pub(crate) fn push_int(&mut self, value: i64) {
        if let Ids::Int(values) = &mut self.ids {
            values.push(value);
        }
    }

    /// Appends a text to a store of texts.
    pub(crate) fn push_text(&mut self, text: &str) {
        if let Ids::Text { ends, bytes } = &mut self.ids {
            bytes.extend_from_slice(text.as_bytes());
            ends.push(bytes.len() as u32);
        }
    }

    /// Whether its texts are UTF-8, whoever has said so before.
    pub(crate) fn is_text(&self) -> bool {
        match &self.ids {
            Ids::Int(_) => true,
            Ids::Text { .. } => (0..self.len()).all(|local| std::str::from_utf8(self.text(local)).is_ok()),
        }
    }

    /// The identifiers as a column, by local number.
    pub(crate) fn to_array(&self) -> ArrayRef {
        match &self.ids {
            Ids::Int(values) => Arc::new(Int64Array::from(values.clone())),
            Ids::Text { .. } => {
                let texts = (0..self.len()).map(|local| std::str::from_utf8(self.text(local)).unwrap_or_default());
                Arc::new(LargeStringArray::from_iter_values(texts))
            }
        }
    }

    /// Makes identifiers findable whatever the order in which they were pushed.
    pub(crate) fn index(&mut self) {
        self.by_key = Some(OnceLock::new());
    }

    /// Local numbers in order of key and text.
    fn sorted(&self, locals: std::ops::Range<usize>) -> Vec<u32> {
        let mut order: Vec<(u64, u32)> = locals.map(|local| (self.key(local), local as u32)).collect();
        order.sort_unstable();
        let twins = order.chunk_by_mut(|left, right| left.0 == right.0).filter(|twins| twins.len() > 1);
        for twins in twins {
            twins.sort_unstable_by(|left, right| self.text(left.1 as usize).cmp(self.text(right.1 as usize)));
        }
        order.into_iter().map(|(_, local)| local).collect()
    }

    /// The numbers of a bucket whose identifiers are lost.
    fn lost(&self, bucket: usize) -> Vec<u32> {
        let locals = 0..self.len() as u32;
        let own: Vec<u32> = match &self.ids {
            Ids::Int(values) => locals
                .filter(|&local| is_lost_int(ConsumerIdx::new(bucket, local), values[local as usize]))
                .collect(),
            Ids::Text { .. } => locals
                .filter(|&local| is_lost_text(ConsumerIdx::new(bucket, local), self.text(local as usize)))
                .collect(),
        };
        own.into_iter().map(|local| ConsumerIdx::new(bucket, local).0).collect()
    }

    /// Appends identifiers to an indexed store.
    pub(crate) fn append(&mut self, ids: &[IdValue]) {
        let had = self.len();
        ids.iter().for_each(|id| self.push(id));
        let Some(old) = self.by_key.take().and_then(OnceLock::into_inner) else {
            return self.index();
        };
        let place = |local: u32| (self.key(local as usize), self.text(local as usize));
        let mut order = Vec::with_capacity(self.len());
        let mut new = self.sorted(had..self.len()).into_iter().peekable();
        let mut first = new.peek().map(|&local| place(local));
        for local in old {
            let own = place(local);
            while let Some(next) = new.next_if(|_| first < Some(own)) {
                order.push(next);
                first = new.peek().map(|&local| place(local));
            }
            order.push(local);
        }
        order.extend(new);
        self.by_key = Some(OnceLock::from(order));
    }

    fn nbytes(&self) -> usize {
        let ids = match &self.ids {
            Ids::Int(values) => values.len() * 8,
            Ids::Text { ends, bytes } => ends.len() * 4 + bytes.len(),
        };
        ids + self.by_key.as_ref().and_then(OnceLock::get).map_or(0, |order| order.len() * 4)
    }

    /// How many local numbers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.ids {
            Ids::Int(values) => values.len(),
            Ids::Text { ends, .. } => ends.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The identifier at a local number.
    #[must_use]
    pub fn id(&self, local: usize) -> IdValue {
        match &self.ids {
            Ids::Int(values) => IdValue::Int(values[local]),
            Ids::Text { .. } => IdValue::Text(String::from_utf8_lossy(self.text(local)).into_owned()),
        }
    }

    fn text(&self, local: usize) -> &[u8] {
        match &self.ids {
            Ids::Int(_) => &[],
            Ids::Text { ends, bytes } => &bytes[if local == 0 { 0 } else { ends[local - 1] as usize }..ends[local] as usize],
        }
    }

    fn key(&self, local: usize) -> u64 {
        match &self.ids {
            Ids::Int(values) => int_key(values[local]),
            Ids::Text { .. } => text_key(self.text(local)),
        }
    }

    /// The local number at a place in the order of keys.
    fn at(&self, place: usize) -> usize {
        self.by_key
            .as_ref()
            .map_or(place, |order| order.get_or_init(|| self.sorted(0..self.len()))[place] as usize)
    }

    /// The local number of a consumer.
    #[must_use]
    pub fn find(&self, id: &IdValue) -> Option<usize> {
        let (key, text) = match (&self.ids, id) {
            (Ids::Int(_), IdValue::Int(_)) => (id.key(), &[][..]),
            (Ids::Text { .. }, IdValue::Text(text)) => (id.key(), text.as_bytes()),
            _ => return None,
        };
        // Texts are compared where keys agree alone, so that many texts of one key are no road to walk along.
        let place = |local: usize| self.key(local).cmp(&key).then_with(|| self.text(local).cmp(text));
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match place(self.at(middle)) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Some(self.at(middle)),
                Ordering::Greater => high = middle,
            }
        }
        None
    }
}

impl Universe {
    pub(crate) fn new(id_kind: IdKind, buckets: Vec<IdStore>) -> Self {
        let hashes: Vec<u128> = buckets.iter().map(hash_store).collect();
        let mut hasher = Xxh3::new();
        hasher.update(&[u8::from(id_kind == IdKind::Text)]);
        hashes.iter().for_each(|hash| hasher.update(&hash.to_le_bytes()));
        Self::lasting(id_kind, buckets, hasher.digest128())
    }

    /// Identifiers in order of their numbers, and the fingerprint of their numbering, as [`Universe::lineage`] gave it.
    #[must_use]
    pub fn of_numbered(id_kind: IdKind, ids: impl IntoIterator<Item = IdValue>, lineage: u128) -> Self {
        let mut buckets = vec![IdStore::empty(id_kind); BUCKETS];
        for id in ids.into_iter().filter_map(|id| id.to_type(id_kind)) {
            buckets[bucket_of(id.key())].push(&id);
        }
        buckets.iter_mut().for_each(IdStore::index);
        Self::lasting(id_kind, buckets, lineage)
    }

    /// What identifies the numbering, where that is lasting: numbers were given out by a bank as consumers came.
    #[must_use]
    pub fn lineage(&self) -> Option<u128> {
        self.buckets.iter().any(|store| store.by_key.is_some()).then_some(self.fingerprint)
    }

    /// Whether every consumer is in the bucket of its key. The persons of a bank are not, but in that of one of their
    /// accounts.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        self.places.is_none()
    }

    /// The consumers of a bank, as far as it goes: numbers are lasting, so that audiences of any two of its states
    /// belong together.
    pub(crate) fn lasting(id_kind: IdKind, buckets: Vec<IdStore>, lineage: u128) -> Self {
        let stores = buckets.iter().enumerate().filter(|(_, store)| store.keyed);
        Universe {
            id_kind,
            len: buckets.iter().map(IdStore::len).sum(),
            lost: stores.flat_map(|(bucket, store)| store.lost(bucket)).collect(),
            buckets,
            fingerprint: lineage,
            places: None,
            people: None,
            ordered: OnceLock::new(),
        }
    }

    /// Persons at the numbers of accounts, by bucket and local number; [`NOBODY`] at the others.
    pub(crate) fn of_homes(buckets: Vec<Vec<i64>>, lineage: u128) -> Self {
        let persons = |bucket: &Vec<i64>| bucket.iter().filter(|person| **person != NOBODY).count();
        let len = buckets.iter().map(persons).sum();
        let buckets = buckets.into_iter().map(IdStore::of_persons).collect();
        Universe {
            len,
            places: Some(OnceLock::new()),
            ..Self::lasting(IdKind::Int64, buckets, lineage)
        }
    }

    /// Persons with their numbers, and the fingerprint of their numbering, as [`Universe::lineage`] gave it. Of two
    /// persons at one number the last stays.
    #[must_use]
    pub fn of_numbered_persons(persons: impl IntoIterator<Item = (ConsumerIdx, i64)>, lineage: u128) -> Self {
        let mut buckets = vec![Vec::new(); BUCKETS];
        for (idx, person) in persons {
            let (bucket, local): (&mut Vec<i64>, _) = (&mut buckets[idx.bucket()], idx.local() as usize);
            if bucket.len() <= local {
                bucket.resize(local + 1, NOBODY);
            }
            bucket[local] = person;
        }
        Self::of_homes(buckets, lineage)
    }

    /// Consumers at the numbers given, in order; those whose identifiers are lost have what stands for them.
    pub(crate) fn of_places(id_kind: IdKind, consumers: impl IntoIterator<Item = (ConsumerIdx, IdValue)>, lineage: u128) -> Option<Self> {
        let mut buckets = vec![IdStore::empty(id_kind); BUCKETS];
        for (idx, id) in consumers {
            let store = &mut buckets[idx.bucket()];
            if store.len() != idx.local() as usize {
                return None;
            }
            store.push(&id);
        }
        buckets.iter_mut().for_each(IdStore::index);
        Some(Self::lasting(id_kind, buckets, lineage))
    }

    /// The same persons and besides, at the numbers of accounts whose identifiers are lost, consumers who are nobody
    /// known.
    pub(crate) fn with_lost(mut self, lost: RoaringBitmap) -> Self {
        for idx in lost.iter().map(ConsumerIdx) {
            if let Ids::Int(values) = &mut self.buckets[idx.bucket()].ids
                && values.len() <= idx.local() as usize
            {
                values.resize(idx.local() as usize + 1, NOBODY);
            }
        }
        self.len += lost.len() as usize;
        self.lost |= lost;
        self
    }

    /// The consumers whose identifiers are lost with a damaged file: they have numbers, no identifier and no event.
    #[must_use]
    pub fn lost(&self) -> &RoaringBitmap {
        &self.lost
    }

    /// The same consumers as persons, with the accounts behind them.
    pub(crate) fn with_people(mut self, people: Option<Seen>) -> Self {
        self.people = people.map(Arc::new);
        self
    }

    /// The accounts behind the consumers, if these are persons of an identity map.
    #[must_use]
    pub fn people(&self) -> Option<&Arc<Seen>> {
        self.people.as_ref()
    }

    /// A universe of these consumers; used to bring identifiers from elsewhere.
    #[must_use]
    pub fn of_ids(id_kind: IdKind, ids: impl IntoIterator<Item = IdValue>) -> Self {
        let mut buckets: Vec<Vec<(u64, IdValue)>> = vec![Vec::new(); BUCKETS];
        for id in ids.into_iter().filter_map(|id| id.to_type(id_kind)) {
            buckets[bucket_of(id.key())].push((id.key(), id));
        }
        let store = |mut ids: Vec<(u64, IdValue)>| {
            if stop::requested() {
                // Whoever asked to stop does not use it.
                return IdStore::empty(id_kind);
            }
            ids.sort();
            ids.dedup();
            let mut store = IdStore::empty(id_kind);
            ids.iter().for_each(|(_, id)| store.push(id));
            store
        };
        Universe::new(id_kind, buckets.into_iter().map(store).collect())
    }

    /// The identifiers of a bucket.
    #[must_use]
    pub fn bucket(&self, number: usize) -> &IdStore {
        &self.buckets[number]
    }

    /// What external identifiers are.
    #[must_use]
    pub fn id_kind(&self) -> IdKind {
        self.id_kind
    }

    /// The number of consumers, those whose identifiers are lost among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The dense numbers of all consumers who have an identifier, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = ConsumerIdx> + '_ {
        self.buckets.iter().enumerate().flat_map(|(bucket, store)| {
            let own = (0..store.len()).filter(|local| store.contains(*local));
            let own = own.map(move |local| ConsumerIdx::new(bucket, local as u32));
            own.filter(|idx| !self.lost.contains(idx.0))
        })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A hash of the consumers: equal universes, and only those (up to a collision of 128 bits), have equal
    /// fingerprints.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        self.fingerprint
    }

    /// Bytes held.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let places = self.places.as_ref().and_then(OnceLock::get);
        let stores = self.buckets.iter().map(IdStore::nbytes).sum::<usize>();
        stores + self.ordered.get().map_or(0, |ordered| ordered.len() * 4) + places.map_or(0, |places| places.len() * 16)
    }

    /// The dense number of a consumer; an identifier that converts without loss is converted.
    #[must_use]
    pub fn find(&self, id: &IdValue) -> Option<ConsumerIdx> {
        let id = id.to_type(self.id_kind)?;
        if let (Some(places), IdValue::Int(person)) = (&self.places, &id) {
            let places = places.get_or_init(|| self.find_places());
            let place = places.binary_search_by_key(person, |(person, _)| *person).ok()?;
            return Some(ConsumerIdx(places[place].1));
        }
        let bucket = bucket_of(id.key());
        self.buckets[bucket].find(&id).map(|local| ConsumerIdx::new(bucket, local as u32))
    }

    /// The number of each person, in order of person.
    fn find_places(&self) -> Vec<(i64, u32)> {
        let mut places: Vec<(i64, u32)> = self.numbers().map(|idx| (self.int(idx), idx.0)).collect();
        places.sort_unstable();
        places
    }

    /// Whether a dense number stands for a consumer here.
    #[must_use]
    pub fn contains(&self, idx: ConsumerIdx) -> bool {
        self.buckets[idx.bucket()].contains(idx.local() as usize) || self.lost.contains(idx.0)
    }

    /// The integer identifier of a consumer (0 in a universe of texts).
    #[must_use]
    pub fn int(&self, idx: ConsumerIdx) -> i64 {
        match &self.buckets[idx.bucket()].ids {
            Ids::Int(values) => values[idx.local() as usize],
            Ids::Text { .. } => 0,
        }
    }

    /// The text identifier of a consumer (empty in a universe of integers).
    #[must_use]
    pub fn text(&self, idx: ConsumerIdx) -> &str {
        // Only checked text goes in; what is not UTF-8 cannot be here.
        std::str::from_utf8(self.buckets[idx.bucket()].text(idx.local() as usize)).unwrap_or_default()
    }

    /// The external identifier of a consumer; of one whose identifier is lost, no matter what.
    #[must_use]
    pub fn id(&self, idx: ConsumerIdx) -> IdValue {
        match self.id_kind {
            IdKind::Int64 => IdValue::Int(self.int(idx)),
            IdKind::Text => IdValue::Text(self.text(idx).to_owned()),
        }
    }

    /// All dense numbers of consumers who have an identifier, in order of it (integers by value, texts by bytes). Sorts
    /// on the current thread pool.
    pub(crate) fn ordered(&self) -> &[u32] {
        self.ordered.get_or_init(|| {
            let all: Vec<u32> = self.numbers().map(|idx| idx.0).collect();
            self.sorted(&[all], |idx| ConsumerIdx(*idx))
        })
    }

    /// Some dense numbers put in order of external identifier, without ordering the whole universe.
    #[must_use]
    pub fn order(&self, mut some: Vec<u32>) -> Vec<u32> {
        match self.id_kind {
            IdKind::Int64 => {
                // Beside their numbers identifiers are fetched once each, and not at every comparison.
                let mut pairs: Vec<(i64, u32)> = some.into_iter().map(|idx| (self.int(ConsumerIdx(idx)), idx)).collect();
                pairs.sort_unstable();
                some = pairs.into_iter().map(|(_, idx)| idx).collect();
            }
            IdKind::Text => some.sort_unstable_by(|&left, &right| self.text(ConsumerIdx(left)).cmp(self.text(ConsumerIdx(right)))),
        }
        some
    }

    /// Items of all parts put in order of their consumer's external identifier, those of one consumer as they stand.
    /// Sorts on the current thread pool.
    pub(crate) fn sorted<T: Copy>(&self, parts: &[Vec<T>], consumer: impl Fn(&T) -> ConsumerIdx) -> Vec<T> {
        fn sorted<K: Ord + Send, T: Copy>(parts: &[Vec<T>], key: impl Fn(&T) -> K) -> Vec<T> {
            let mut keyed: Vec<(K, u32, u32)> = Vec::with_capacity(parts.iter().map(Vec::len).sum());
            for (part, items) in (0..).zip(parts) {
                keyed.extend((0..).zip(items).map(|(place, item)| (key(item), part, place)));
            }
            keyed.par_sort_unstable();
            keyed
                .into_iter()
                .map(|(_, part, place)| parts[part as usize][place as usize])
                .collect()
        }
        match self.id_kind {
            IdKind::Int64 => sorted(parts, |item| self.int(consumer(item))),
            IdKind::Text => sorted(parts, |item| self.text(consumer(item))),
        }
    }
}

fn hash_store(store: &IdStore) -> u128 {
    let mut hasher = Xxh3::new();
    match &store.ids {
        Ids::Int(values) => values.chunks(1024).for_each(|chunk| {
            let bytes: Vec<u8> = chunk.iter().flat_map(|value| value.to_le_bytes()).collect();
            hasher.update(&bytes);
        }),
        Ids::Text { ends, bytes } => {
            ends.iter().for_each(|end| hasher.update(&end.to_le_bytes()));
            hasher.update(bytes);
        }
    }
    hasher.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_and_ordered() {
        let texts = Universe::of_ids(IdKind::Text, ["b", "a", "10", "9"].map(IdValue::from));
        let ordered: Vec<&str> = texts.ordered().iter().map(|&idx| texts.text(ConsumerIdx(idx))).collect();
        assert_eq!(ordered, ["10", "9", "a", "b"]);
        assert_eq!(texts.find(&IdValue::Int(9)).map(|idx| texts.id(idx)), Some(IdValue::from("9")));
        assert_eq!(texts.find(&IdValue::from("c")), None);
        let numbers = Universe::of_ids(IdKind::Int64, (0..10_000).map(IdValue::Int));
        assert_eq!(numbers.len(), 10_000);
        assert!((0..10_000).all(|value| { numbers.find(&IdValue::Int(value)).is_some_and(|idx| numbers.int(idx) == value) }));
        assert_eq!(numbers.find(&IdValue::Int(10_000)), None);
    }

    #[test]
    fn fingerprints_tell_universes_apart() {
        let of = |ids: &[&str]| Universe::of_ids(IdKind::Text, ids.iter().map(|id| IdValue::from(*id))).fingerprint();
        assert_eq!(of(&["a", "b"]), of(&["b", "a", "a"]));
        assert_ne!(of(&["a", "b"]), of(&["a", "c"]));
        assert_ne!(of(&["1"]), Universe::of_ids(IdKind::Int64, [IdValue::Int(1)]).fingerprint());
    }
}
