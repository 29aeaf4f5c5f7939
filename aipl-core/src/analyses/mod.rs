//! One file per analysis; they never import each other.

pub mod asked;
pub mod check;
pub mod drivers;
pub mod flow;
pub mod flow_tables;
pub mod history;
pub mod labels;
pub mod outcome;
pub mod snapshot;
pub mod trend;
pub mod triangle;

pub use asked::AnalysisError;
pub use check::validate;
pub use drivers::{DriverParams, transition_drivers};
pub use flow::{Flow, FlowClass, FlowMode, FlowParams, flow};
pub use history::{history, timeline};
pub use outcome::{Answer, IdentityCounts, Report, RowCounts};
pub use snapshot::{Snapshot, SnapshotParams, snapshot};
pub use trend::{Measure, Step, TrendParams, trend};
pub use triangle::{TriangleParams, flow_triangle};
