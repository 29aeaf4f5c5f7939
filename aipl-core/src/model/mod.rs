//! Stage models: rules as data, read with exact complaints, and compiled to bit programs.

pub mod compile;
pub mod data;
pub mod describe;
pub mod error;
pub mod everything;
pub mod filter;
mod limits;
pub mod parse;
pub mod presets;
pub mod program;
pub mod write;

pub use compile::compile;
pub use data::{Bounds, Condition, Count, Leaf, Operand, Rule, ScopeKind, Stage, StageModel};
pub use error::ModelError;
pub use everything::everything;
pub use program::Program;
