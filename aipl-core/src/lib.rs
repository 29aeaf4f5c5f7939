//! aipl core.
pub mod base;
pub mod event;
