//! Ground floor: days and time zones, consumer identifiers, spelling suggestions, when to stop. Knows nothing else of
//! the house.

pub mod day;
pub mod decimal;
pub mod id;
pub mod memory;
pub mod private;
pub(crate) mod slot_key;
pub mod statistics;
pub mod stop;
pub mod suggest;
pub mod zone;

pub use day::{Day, DayError};
pub use decimal::Decimal6;
pub use id::{ConsumerIdx, IdKind, IdValue, ScopeId};
pub use zone::{Zone, ZoneError};
