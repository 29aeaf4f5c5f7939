//! Stages from ordered histories: kernels that see integers only.

pub mod label;

pub use label::Labeler;
