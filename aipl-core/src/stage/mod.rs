//! Stage kernels: integers in, labels out. One labels a history at a day, the other finds its intervals over days.

pub mod intervals;
pub mod label;

pub use intervals::{Interval, IntervalFinder};
pub use label::Labeler;
