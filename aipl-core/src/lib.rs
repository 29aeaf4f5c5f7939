//! aipl: AIPL consumer stages, audiences and flows over a brand's own event data.
//!
//! An embedded library: it reads your event files, or keeps them in a bank of its own, and answers. It is no
//! server, no query language and no tag manager; it sends nothing anywhere.
//!
//! | term | here |
//! |---|---|
//! | AIPL model (AIPL 模型), its rules and windows | [`model::StageModel`] |
//! | behavior table (行为表) | [`source::Events`] with an [`event::EventSchema`] |
//! | daily stage label (人群关系阶段) | [`analyses::snapshot()`] |
//! | brand, category or store (品牌 / 类目 / 店铺) | [`timeline::ScopeValue`] |
//! | audience (人群包), 交并差 | [`audience::Audience`] |
//! | Brand DataBank (品牌数据银行) | [`bank::DataBank`] |
//!
//! Floors, lowest first; each uses only those before it: [`base`], [`event`], [`model`], [`identity`], [`source`], [`timeline`], [`stage`],
//! [`audience`], [`bank`], [`analyses`]. `ARCHITECTURE.md` beside the sources tells how data flows through them.

pub mod analyses;
pub mod audience;
pub mod bank;
pub mod base;
pub mod error;
pub mod event;
pub mod identity;
pub mod model;
pub mod source;
pub mod stage;
pub mod timeline;

pub use error::Error;

/// The README's Rust program, compiled and run with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
