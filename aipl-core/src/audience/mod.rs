//! Audiences: exact sets of consumers of one universe.

pub mod error;
pub mod portable;
pub mod set;

pub use error::AudienceError;
pub use set::Audience;
