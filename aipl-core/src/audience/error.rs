//! Refusals of the audience floor.

use crate::identity::IdentityError;

/// An operation on audiences that cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AudienceError {
    /// Two audiences number different consumers.
    #[error("audiences of different universes cannot be combined ({left:032x} and {right:032x}): take both from one snapshot, log or bank")]
    UniverseMismatch {
        /// Fingerprint of the left or expected universe.
        left: u128,
        /// Fingerprint of the other.
        right: u128,
    },
    /// The bytes are no audience, or damaged.
    #[error("not an audience: {problem}")]
    Malformed {
        /// What is wrong with them.
        problem: String,
    },
    /// Values of an id type were asked for, and consumers are not persons.
    #[error("the consumers of this universe are no persons of an identity map: take it from events.with_identity(...)")]
    NoIdentity,
    /// The identity map refuses.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Identifiers were asked of an audience that was read without its universe.
    #[error("this audience was read without its universe, so its identifiers are not known: pass universe= to from_bytes")]
    NoUniverse,
}
