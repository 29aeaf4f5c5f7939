//! Benchmarks of aipl, and the seeded generator that makes the event files they run on.
//!
//! All data that comes out of this crate is generated; nothing in it describes a real consumer or brand.

pub mod args;
pub mod generate;
pub mod params;
