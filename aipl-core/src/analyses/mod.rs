//! One file per analysis; they never import each other.

pub mod check;
pub mod labels;
pub mod outcome;
pub mod snapshot;

pub use check::validate;
pub use outcome::{Report, RowCounts};
pub use snapshot::{Snapshot, SnapshotError, SnapshotParams, snapshot};
