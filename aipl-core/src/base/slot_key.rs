//! Where entries stand in tables whose keys strangers can choose.
//!
//! The hashes that name buckets are public, since files and answers are in their order. So anyone can make identifiers
//! that share all the bits a table would look at. What slot such a hash gets is decided by a random key of this
//! process, and by nothing that an answer could show.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::OnceLock;

/// Turns public hashes into hashes for slots.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotKey {
    added: u64,
    factor: u64,
}

impl SlotKey {
    /// The key of this process.
    pub fn of_process() -> SlotKey {
        static KEY: OnceLock<SlotKey> = OnceLock::new();
        *KEY.get_or_init(|| {
            let mut bytes = [0; 16];
            if getrandom::fill(&mut bytes).is_err() {
                // A system without randomness at hand still has what the standard tables are keyed by.
                let [low, high] = [0u8, 1].map(|half| RandomState::new().hash_one(half).to_le_bytes());
                bytes[..8].copy_from_slice(&low);
                bytes[8..].copy_from_slice(&high);
            }
            SlotKey::new(u128::from_le_bytes(bytes))
        })
    }

    /// A key of random bits.
    pub fn new(random: u128) -> SlotKey {
        SlotKey {
            added: random as u64,
            // Even factors lose bits.
            factor: (random >> 64) as u64 | 1,
        }
    }

    /// Hashes a public hash: both halves of the product, since either alone depends on some of the bits only, and the
    /// upper bits over the lower, since hashes in equal steps would else stay in equal steps.
    #[inline]
    pub fn hash(self, public: u64) -> u64 {
        let product = u128::from(public ^ self.added) * u128::from(self.factor);
        let folded = product as u64 ^ (product >> 64) as u64;
        folded ^ folded >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_that_share_most_of_their_bits_spread_over_slots() {
        const SLOTS: usize = 1 << 12;
        for random in [0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834, 0x2545_f491_4f6c_dd1d_8533_3c5e_3edf_4a51] {
            let key = SlotKey::new(random);
            // Twelve bits differ, wherever they are.
            for shift in 0..=52 {
                let mut met = vec![0u32; SLOTS];
                (0..SLOTS as u64).for_each(|n| met[key.hash(0x5a00_0000_0000_0000 ^ (n << shift)) as usize % SLOTS] += 1);
                let most = met.into_iter().max();
                assert!(most <= Some(64), "{most:?} in one slot with bits {shift} and up");
            }
        }
    }

    #[test]
    fn a_process_has_one_key() {
        let (one, other) = (SlotKey::of_process(), SlotKey::of_process());
        assert_eq!(one.hash(7), other.hash(7));
        assert_ne!(SlotKey::new(1).hash(7), SlotKey::new(3 << 64).hash(7));
    }
}
