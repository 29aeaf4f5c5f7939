//! Kernels: integers in, labels, intervals and orders out. One labels a history at a day, one finds its intervals over days, one
//! reads its orders.

pub mod intervals;
pub mod label;
pub mod orders;
pub mod states;

pub use intervals::{Interval, IntervalFinder};
pub use label::Labeler;
pub use orders::{Line, Order, OrderReader, Trade};
pub use states::states_on;
