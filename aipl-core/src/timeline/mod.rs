//! Timelines: every consumer's events in order, by hash bucket; and the only place that spawns threads.
//!
//! A scan reads a source on all threads of a pool. Each worker spreads the rows that can matter over 256 buckets by the hash of
//! the consumer. Then each bucket is put in order - consumers by hash, a consumer's events by scope and day - and folded.
//! Nothing in an answer depends on which worker read which row.

pub mod attributes;
pub mod bucket;
pub mod identities;
mod interner;
mod judge;
pub(crate) mod labels;
pub mod log;
mod numbers;
pub(crate) mod ordered;
mod partition;
pub(crate) mod read;
pub mod rows;
pub mod runtime;
pub mod scan;
pub mod scopes;
mod spans;
pub mod timelines;
pub mod universe;

pub use attributes::Attributes;
pub use bucket::{BucketTimelines, History};
pub use identities::{add_identities, block_identity, read_identities, resolve_identities, unlink_identities, write_identities};
pub use log::EventLog;
pub use runtime::{Progress, Runtime};
pub use scan::ScanError;
pub use scopes::ScopeValue;
pub use timelines::{Bucket, Folded, KeptStages, Question, Timelines, Visited, fold};
pub use universe::{IdentityCounts, Universe};
