//! Identity: many accounts, one person.
//!
//! Rows that show a value of a joining identifier type together belong to one person. An [`IdentityMap`] keeps every
//! row it was given, so that rows can be added and links taken back: persons are always what follows from the rows,
//! never a state that cannot be undone.

mod bucket;
mod crowd;
pub mod error;
pub mod file;
pub mod forest;
mod gathered;
mod id_set;
pub mod id_type;
pub mod intake;
pub mod link;
pub mod map;
pub mod normalize;
pub mod observations;
pub mod people;
pub mod reader;
pub mod table;
pub mod tables;

pub use error::IdentityError;
pub use forest::components;
pub use id_type::{Family, Hash, IdType};
pub use intake::{Intake, Reading};
pub use link::Refusal;
pub use map::{Guards, IdentityMap};
pub use normalize::{Normal, Normalizer};
pub use people::{IdTypeOf, Matched, People, Seen, Unknown};
