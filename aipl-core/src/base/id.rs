//! External identifiers and the dense numbers that stand for them inside the library.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

/// The longest accepted external identifier in bytes.
pub const MAX_ID_BYTES: usize = 256;
/// The number of hash buckets; the unit of parallelism everywhere.
pub const BUCKETS: usize = 256;
/// The most consumers one bucket can number.
pub const MAX_LOCAL: u32 = 1 << 24;

/// What external identifiers of one column are: 64-bit integers or text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IdKind {
    /// Signed 64-bit integers (any narrower integer column is widened).
    Int64,
    /// UTF-8 text of 1 to 256 bytes.
    Text,
}

impl fmt::Display for IdKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IdKind::Int64 => "int64",
            IdKind::Text => "text",
        })
    }
}

/// One external identifier: of a consumer, a brand, a category or a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IdValue {
    /// An integer identifier.
    Int(i64),
    /// A text identifier.
    Text(String),
}

impl IdValue {
    /// The same identifier as a value of `kind`, where that loses nothing: `7` and `"7"` convert, `"07"` does not.
    #[must_use]
    pub fn to_type(&self, kind: IdKind) -> Option<IdValue> {
        match (self, kind) {
            (IdValue::Int(_), IdKind::Int64) | (IdValue::Text(_), IdKind::Text) => Some(self.clone()),
            (IdValue::Int(value), IdKind::Text) => Some(IdValue::Text(value.to_string())),
            (IdValue::Text(text), IdKind::Int64) => {
                let value: i64 = text.parse().ok()?;
                (value.to_string() == *text).then_some(IdValue::Int(value))
            }
        }
    }

    /// The hash that places a consumer in a bucket.
    #[must_use]
    pub fn key(&self) -> u64 {
        match self {
            IdValue::Int(value) => int_key(*value),
            IdValue::Text(text) => text_key(text.as_bytes()),
        }
    }
}

impl fmt::Display for IdValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdValue::Int(value) => write!(f, "{value}"),
            IdValue::Text(text) => f.write_str(text),
        }
    }
}

impl From<i64> for IdValue {
    fn from(value: i64) -> Self {
        IdValue::Int(value)
    }
}

impl From<&str> for IdValue {
    fn from(text: &str) -> Self {
        IdValue::Text(text.to_owned())
    }
}

/// What stands in files for a consumer whose identifier is lost. Its key is of another
/// bucket, and consumers stand in the buckets of their keys: so it is nobody's identifier, however it reads.
pub(crate) fn lost_id(idx: ConsumerIdx, id_kind: IdKind) -> IdValue {
    let number = idx.0;
    let form = |tries: u32| match id_kind {
        IdKind::Int64 => IdValue::Int(i64::MIN + i64::from(number) + (i64::from(tries) << 32)),
        IdKind::Text => IdValue::Text(format!("{LOST} {number:08x}{}", ".".repeat(tries as usize))),
    };
    let tries = (0..MAX_TRIES).find(|tries| bucket_of(form(*tries).key()) != idx.bucket());
    form(tries.unwrap_or(MAX_TRIES))
}

/// Whether an integer at this place stands for a lost identifier.
pub(crate) fn is_lost_int(idx: ConsumerIdx, value: i64) -> bool {
    value < i64::MIN + (i64::from(MAX_TRIES + 1) << 32) && lost_id(idx, IdKind::Int64) == IdValue::Int(value)
}

/// Whether a text at this place stands for a lost identifier.
pub(crate) fn is_lost_text(idx: ConsumerIdx, text: &[u8]) -> bool {
    text.starts_with(LOST.as_bytes()) && matches!(lost_id(idx, IdKind::Text), IdValue::Text(lost) if lost.as_bytes() == text)
}

/// How the text begins that stands for a lost identifier.
const LOST: &str = "lost consumer";
/// Of so many forms of a number one has a key of another bucket: one in 256 has not.
const MAX_TRIES: u32 = 16;

/// Mixes an integer identifier; a bijection, so equal keys mean equal identifiers.
#[must_use]
pub fn int_key(value: i64) -> u64 {
    let mut mixed = value as u64;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The identifier that [`int_key`] made this key of.
#[must_use]
pub fn int_of_key(key: u64) -> i64 {
    let mut mixed = key ^ (key >> 31) ^ (key >> 62);
    mixed = mixed.wrapping_mul(0x3196_42b2_d24d_8ec3);
    mixed = mixed ^ (mixed >> 27) ^ (mixed >> 54);
    mixed = mixed.wrapping_mul(0x96de_1b17_3f11_9089);
    (mixed ^ (mixed >> 30) ^ (mixed >> 60)) as i64
}

/// Hashes a text identifier (XXH3). Equal keys of different texts are told apart where keys are resolved.
#[must_use]
pub fn text_key(text: &[u8]) -> u64 {
    xxh3_64(text)
}

/// The bucket of a key.
#[must_use]
pub fn bucket_of(key: u64) -> usize {
    (key >> 56) as usize
}

/// A consumer's dense number: bucket (8 bits) then number within the bucket (24 bits). Never leaves the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerIdx(pub u32);

impl ConsumerIdx {
    /// Joins a bucket and a number within it.
    #[must_use]
    pub fn new(bucket: usize, local: u32) -> Self {
        ConsumerIdx((bucket as u32) << 24 | local)
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(self) -> usize {
        (self.0 >> 24) as usize
    }

    /// The number within the bucket.
    #[must_use]
    pub fn local(self) -> u32 {
        self.0 & (MAX_LOCAL - 1)
    }
}

/// The dense number of a scope (brand, brand × category, or store) within one answer, in the order of scope values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeId(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_keys_are_a_bijection() {
        for value in [0, 1, -1, 42, i64::MIN, i64::MAX, 1 << 40, -987_654_321] {
            assert_eq!(int_of_key(int_key(value)), value);
        }
    }

    #[test]
    fn conversions_lose_nothing() {
        assert_eq!(IdValue::from("7").to_type(IdKind::Int64), Some(IdValue::Int(7)));
        assert_eq!(IdValue::from("07").to_type(IdKind::Int64), None);
        assert_eq!(IdValue::from(7).to_type(IdKind::Text), Some(IdValue::from("7")));
    }

    #[test]
    fn dense_numbers_split_and_join() {
        let idx = ConsumerIdx::new(255, MAX_LOCAL - 1);
        assert_eq!((idx.bucket(), idx.local()), (255, MAX_LOCAL - 1));
    }

    #[test]
    fn what_stands_for_a_lost_identifier_is_nobodys() {
        let mut own_buckets = 0;
        for idx in (0..BUCKETS).flat_map(|bucket| (0..16).map(move |local| ConsumerIdx::new(bucket, local))) {
            let is_lost = |idx: ConsumerIdx, id: &IdValue| match id {
                IdValue::Int(value) => is_lost_int(idx, *value),
                IdValue::Text(text) => is_lost_text(idx, text.as_bytes()),
            };
            for id_kind in [IdKind::Int64, IdKind::Text] {
                let lost = lost_id(idx, id_kind);
                assert_ne!(bucket_of(lost.key()), idx.bucket(), "{idx:?} {id_kind}");
                assert!(is_lost(idx, &lost) && !is_lost(ConsumerIdx(idx.0 ^ 1), &lost), "{idx:?} {id_kind}");
            }
            // Who is really called so, and comes to stand at just this number, is not lost.
            let name = IdValue::Text(format!("lost consumer {:08x}", idx.0));
            if bucket_of(name.key()) == idx.bucket() {
                own_buckets += 1;
                assert!(!is_lost(idx, &name));
            }
        }
        assert!(own_buckets > 0);
    }
}
