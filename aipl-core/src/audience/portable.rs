//! Audiences as bytes: the portable Roaring format, then a trailer of 40 bytes that names the universe.
//!
//! | bytes | content |
//! |---|---|
//! | n | the set in the portable Roaring format (32 bit), readable by CRoaring, pyroaring and Java as it is |
//! | 16 | fingerprint of the universe, little-endian |
//! | 8 | n, little-endian |
//! | 8 | XXH3-64 of everything before, little-endian |
//! | 8 | `AIPLAUD1` |

use std::sync::Arc;

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64;

use crate::audience::error::AudienceError;
use crate::audience::set::{Audience, UniverseRef};
use crate::base::ConsumerIdx;
use crate::timeline::Universe;

const MAGIC: &[u8; 8] = b"AIPLAUD1";
const TRAILER_BYTES: usize = 40;

impl Audience {
    /// The set as bytes (see the module).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bits().serialized_size() + TRAILER_BYTES);
        // Writing to memory cannot fail.
        let _ = self.bits().serialize_into(&mut bytes);
        let length = bytes.len() as u64;
        bytes.extend_from_slice(&self.fingerprint().to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
        bytes.extend_from_slice(MAGIC);
        bytes
    }

    /// Reads what [`Audience::to_bytes`] wrote. With its universe the set knows its identifiers; without one it can be
    /// counted and combined, but not listed.
    ///
    /// # Errors
    /// [`AudienceError::Malformed`] for bytes that are no audience or damaged; [`AudienceError::UniverseMismatch`] for
    /// another universe's.
    pub fn from_bytes(bytes: &[u8], universe: Option<Arc<Universe>>) -> Result<Audience, AudienceError> {
        let (payload, fingerprint) = check_trailer(bytes)?;
        let bits = read_bits(payload)?;
        let universe = match universe {
            None => UniverseRef::Fingerprint(fingerprint),
            Some(universe) if universe.fingerprint() != fingerprint => {
                return Err(AudienceError::UniverseMismatch {
                    left: universe.fingerprint(),
                    right: fingerprint,
                });
            }
            Some(universe) => {
                // A few bytes can stand for four billion numbers; that many are looked up only where they can be right.
                if bits.len() > universe.len() as u64 || bits.iter().any(|idx| !universe.contains(ConsumerIdx(idx))) {
                    return Err(malformed("it names consumers that the universe does not have"));
                }
                UniverseRef::Known(universe)
            }
        };
        Ok(Audience::with_ref(bits, universe, "read from bytes"))
    }
}

fn malformed(problem: impl Into<String>) -> AudienceError {
    AudienceError::Malformed { problem: problem.into() }
}

fn check_trailer(bytes: &[u8]) -> Result<(&[u8], u128), AudienceError> {
    let Some(body) = bytes.strip_suffix(MAGIC) else {
        return Err(malformed(format!(
            "{} bytes that do not end in {:?}",
            bytes.len(),
            String::from_utf8_lossy(MAGIC)
        )));
    };
    let Some((checked, checksum)) = body.split_last_chunk::<8>() else {
        return Err(malformed("it is cut short"));
    };
    if xxh3_64(checked) != u64::from_le_bytes(*checksum) {
        return Err(malformed("its checksum does not agree; it is damaged"));
    }
    let Some((rest, length)) = checked.split_last_chunk::<8>() else {
        return Err(malformed("it is cut short"));
    };
    let Some((payload, fingerprint)) = rest.split_last_chunk::<16>() else {
        return Err(malformed("it is cut short"));
    };
    if payload.len() as u64 != u64::from_le_bytes(*length) {
        return Err(malformed("its length does not agree; it is damaged"));
    }
    Ok((payload, u128::from_le_bytes(*fingerprint)))
}

/// Reads a set and insists that it is whole and in its one canonical form.
fn read_bits(payload: &[u8]) -> Result<RoaringBitmap, AudienceError> {
    let mut rest = payload;
    let bits = RoaringBitmap::deserialize_from(&mut rest).map_err(|error| malformed(error.to_string()))?;
    let mut again = Vec::with_capacity(payload.len());
    let _ = bits.serialize_into(&mut again);
    if !rest.is_empty() || again != payload {
        return Err(malformed("its Roaring part is not in canonical form"));
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{IdKind, IdValue};

    fn example() -> Audience {
        let universe = Arc::new(Universe::of_ids(IdKind::Int64, (0..5000).map(IdValue::Int)));
        Audience::of_ids(&universe, (0..5000).step_by(3).map(IdValue::Int), "every third")
    }

    #[test]
    fn bytes_round_trip() {
        let audience = example();
        let bytes = audience.to_bytes();
        let universe = audience.universe().expect("known").clone();
        assert_eq!(Audience::from_bytes(&bytes, Some(universe)).as_ref(), Ok(&audience));
        let blind = Audience::from_bytes(&bytes, None).expect("reads");
        assert_eq!((blind.len(), blind.ids()), (audience.len(), Err(AudienceError::NoUniverse)));
        assert_eq!(blind.and(&audience).and_then(|both| both.ids()), audience.ids());
        let other = Arc::new(Universe::of_ids(IdKind::Int64, [IdValue::Int(1)]));
        assert!(matches!(
            Audience::from_bytes(&bytes, Some(other)),
            Err(AudienceError::UniverseMismatch { .. })
        ));
    }

    #[test]
    fn every_damaged_byte_and_every_cut_is_noticed() {
        let bytes = example().sample(40, 1).expect("samples").to_bytes();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(
                    matches!(Audience::from_bytes(&damaged, None), Err(AudienceError::Malformed { .. })),
                    "byte {at} bit {bit}"
                );
            }
            assert!(Audience::from_bytes(&bytes[..at], None).is_err());
        }
        let mut plain = Vec::new();
        example().bits().serialize_into(&mut plain).expect("writes");
        assert!(Audience::from_bytes(&plain, None).is_err());
        assert!(Audience::from_bytes(b"", None).is_err());
    }
}
