//! Audiences and universes with checksums that agree, so that what lies behind the checksum is reached.

use std::sync::{Arc, OnceLock};

use aipl_core::audience::Audience;
use aipl_core::base::{IdKind, IdValue};
use aipl_core::timeline::Universe;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::Outcome;

const AUDIENCE: &[u8; 8] = b"AIPLAUD1";
const UNIVERSE: &[u8; 8] = b"\xa1PLUNIV\x02";
/// What `Audience::to_bytes` puts behind the set.
const TRAILER_BYTES: usize = 40;

/// The universe of all audiences here.
fn known() -> &'static Arc<Universe> {
    static KNOWN: OnceLock<Arc<Universe>> = OnceLock::new();
    KNOWN.get_or_init(|| Arc::new(Universe::of_ids(IdKind::Int64, (0..1000).map(IdValue::Int))))
}

/// The sets of some audiences, without trailers.
pub fn sets() -> Vec<Vec<u8>> {
    let set = |ids: &[i64]| {
        let mut bytes = Audience::of_ids(known(), ids.iter().copied().map(IdValue::Int), "a seed").to_bytes();
        bytes.truncate(bytes.len() - TRAILER_BYTES);
        bytes
    };
    let long: Vec<i64> = (10..900).collect();
    vec![set(&[]), set(&[1, 5, 999]), set(&long)]
}

/// Universes without mark and checksum.
pub fn universes() -> Vec<Vec<u8>> {
    let texts = Universe::of_ids(IdKind::Text, ["u1", "u2"].map(IdValue::from));
    let numbers = Universe::of_ids(IdKind::Int64, [3, -7].map(IdValue::Int));
    [texts, numbers]
        .map(|universe| universe.to_bytes())
        .map(|bytes| bytes[8..bytes.len() - 16].to_vec())
        .into()
}

fn trailed(set: &[u8]) -> Vec<u8> {
    let mut bytes = set.to_vec();
    bytes.extend(known().fingerprint().to_le_bytes());
    bytes.extend((set.len() as u64).to_le_bytes());
    bytes.extend(xxh3_64(&bytes).to_le_bytes());
    bytes.extend(AUDIENCE);
    bytes
}

/// An audience of the bytes as they are, and of the bytes as a set under a trailer that agrees.
pub fn audience(bytes: &[u8]) -> Outcome {
    let _ = Audience::from_bytes(bytes, None);
    let forged = trailed(bytes);
    let unknown = Audience::from_bytes(&forged, None)?;
    // Runs may come back shorter than they were written: the set is compared, not its bytes.
    let again = Audience::from_bytes(&unknown.to_bytes(), None).expect("its own bytes");
    assert!(again.bits() == unknown.bits(), "another set came back");
    let audience = Audience::from_bytes(&forged, Some(Arc::clone(known())))?;
    assert_eq!(audience.ids()?.len() as u64, audience.len());
    assert!(audience.minus(&audience)?.is_empty());
    Ok(())
}

/// A universe of the bytes in the form without a checksum, and with one that agrees.
pub fn universe(bytes: &[u8]) -> Outcome {
    let _ = Universe::from_bytes(bytes);
    let mut forged = [UNIVERSE, bytes].concat();
    forged.extend(xxh3_128(&forged).to_le_bytes());
    let universe = Universe::from_bytes(&forged)?;
    let again = Universe::from_bytes(&universe.to_bytes()).expect("its own bytes");
    assert_eq!(again.fingerprint(), universe.fingerprint());
    Ok(())
}
