//! Audiences: exact sets of consumers of one universe.

pub mod accounts;
pub mod error;
pub mod portable;
pub mod set;
mod universe_bytes;

pub use accounts::Match;
pub use error::AudienceError;
pub use set::Audience;
