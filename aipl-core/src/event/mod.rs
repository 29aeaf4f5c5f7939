//! What an event is: the behavior vocabulary, the mapping of columns, checked views of columns, and the account of
//! rejected rows.

pub mod behavior;
pub mod bytes;
pub mod columns;
pub mod error;
pub mod measure;
pub mod report;
pub mod schema;
pub mod time;

pub use behavior::{BehaviorCodes, BehaviorDecoder, STANDARD_BEHAVIORS};
pub use columns::IdColumn;
pub use error::SchemaError;
pub use measure::Measures;
pub use report::{Example, Reason, Tally};
pub use schema::{EventSchema, TimeUnit};
pub use time::{TimeColumn, TimeKind};

/// The number of a behavior in the schema's vocabulary; one byte, so that a table of 256 entries needs no bounds check.
pub type BehaviorCode = u8;
