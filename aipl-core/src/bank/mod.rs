//! The durable bank: a directory of Parquet segments and bitmaps under a SQLite catalog.
//!
//! `FORMAT.md` has every file and table. Nothing that a commit names changes; the state is what the newest commit says.
//! One handle writes, any number read, in any process, and each reads the state that it opened.

mod answer;
mod append;
mod care;
mod catalog;
mod columns;
mod compact;
mod consumers;
mod drop;
mod error;
mod files;
mod handle;
mod ingest;
mod kept;
mod links;
mod lock;
mod mend;
mod merge;
mod origins;
mod persons;
mod places;
mod record;
mod rows;
mod saved;
mod segment;
mod sets;
mod source;
mod state;
mod text;
mod vacuum;
mod verify;
mod writing;

pub use compact::{CompactReport, ExpireReport};
pub use drop::DropReport;
pub use error::BankError;
pub use handle::{CreateParams, DataBank, Mode};
pub use ingest::{IngestParams, IngestReport, LEAST_MEMORY};
pub use kept::{KeptDay, MaterializeReport};
pub use links::{LinkParams, LinkReport, LinkRules};
pub use record::{AudienceRecord, BatchRecord};
pub use vacuum::VacuumReport;
pub use verify::VerifyReport;

use crate::base::Day;

/// The time of now, RFC 3339 in UTC to the second.
pub(crate) fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// A day number as a day is written.
pub(crate) fn day_text(number: i32) -> String {
    Day::from_number(i64::from(number)).map_or_else(|_| number.to_string(), |day| day.to_string())
}
