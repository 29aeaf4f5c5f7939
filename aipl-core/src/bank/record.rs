//! What a commit says. `FORMAT.md` has the keys; this is their form in memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a commit says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Record {
    /// The operation.
    pub kind: String,
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// Version of the library that wrote it.
    pub library: String,
    /// The bank itself, in its first commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bank: Option<BankRecord>,
    /// The bank's new id, in the first commit of a copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed: Option<String>,
    /// Files that begin to count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<FileRecord>,
    /// Files that no longer count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// The batch of an ingest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchRecord>,
    /// Types of columns that are settled or widened.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, String>,
    /// Consumers by bucket after it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub consumers: Vec<u32>,
    /// How consumers become persons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links: Option<LinksRecord>,
    /// The day before which events are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired: Option<String>,
    /// A kept day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptRecord>,
    /// Files of kept days that no longer hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// A saved audience.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<AudienceRecord>,
    /// An audience that is no longer listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped_audience: Option<String>,
    /// Batches that are taken out; their ids are free again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dropped_batches: Vec<String>,
    /// Whether consumers are accounts again, since the last batch of links is taken out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unlinked: bool,
}

/// What a bank is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankRecord {
    /// A random number, 32 hex digits.
    pub id: String,
    /// The mapping of the source's columns.
    pub schema: Value,
    /// The zone of calendar days.
    pub tz: String,
    /// XXH3-64 of the zone's rules, 16 hex digits.
    pub zones: String,
    /// The stage model that kept days are of, unless another is named.
    pub model: Option<Value>,
}

/// How consumers become persons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinksRecord {
    /// The file of the map.
    pub file: String,
    /// The id type of consumers.
    pub id_type: String,
    /// Whether events of consumers that no link knows are rejected.
    pub reject_unknown: bool,
}

/// A file of the bank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Its name.
    pub name: String,
    /// Its folder: `segments`, `ids`, `bitmaps` or `links`.
    pub folder: String,
    /// Its length.
    pub bytes: u64,
    /// Its rows, or sets.
    pub rows: u64,
    /// XXH3-128 of it, 32 hex digits.
    pub checksum: String,
    /// XXH3-64 of its block hashes, 16 hex digits.
    pub blocks: String,
    /// First and last day number of a segment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub days: Option<(i32, i32)>,
}

/// A batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchRecord {
    /// The id that the caller gave it.
    pub id: String,
    /// What it holds: 32 hex digits.
    pub content: String,
    /// Rows of the source.
    pub rows_read: u64,
    /// Rows that could not be events.
    pub rows_rejected: u64,
    /// Rows whose behavior is mapped to nothing.
    pub rows_ignored: u64,
    /// Rows that the bank, or the batch, had by their `event_id`.
    pub rows_duplicate: u64,
    /// Rows of days that are expired.
    pub rows_expired: u64,
    /// Rows that came in.
    pub rows_added: u64,
    /// Consumers seen for the first time.
    pub new_consumers: u64,
}

/// A kept day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptRecord {
    /// The day number.
    pub day: i32,
    /// XXH3-128 of the model's JSON, 32 hex digits.
    pub model: String,
    /// The model's id.
    pub model_id: String,
    /// The file of sets.
    pub file: String,
    /// The first day whose events can matter to the stages of the day.
    pub from: i32,
    /// Whether all earlier days were seen when it was made.
    pub whole: bool,
    /// How many commits had brought accounts by then; known from the commits themselves.
    #[serde(skip)]
    pub arrived: usize,
    /// The commit that keeps it; known from the commits themselves.
    #[serde(skip)]
    pub made: u64,
}

/// A version of an audience.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudienceRecord {
    /// Its name.
    pub name: String,
    /// 1, 2, 3 …
    pub version: u32,
    /// What the caller notes.
    pub note: String,
    /// How the set was made.
    pub made: String,
    /// Consumers in it.
    pub size: u64,
    /// The file of the set.
    pub file: String,
    /// The commit that it was made from.
    pub of: u64,
}

impl KeptRecord {
    /// The day and its model, in words.
    pub(crate) fn describe(&self) -> String {
        format!("{} ({})", super::day_text(self.day), self.model_id)
    }
}

impl Record {
    /// An empty record of now.
    pub(crate) fn new() -> Record {
        Record {
            at: super::now(),
            library: env!("CARGO_PKG_VERSION").to_owned(),
            ..Record::default()
        }
    }

    /// A record of an operation.
    pub(crate) fn of(kind: &str) -> Record {
        Record {
            kind: kind.to_owned(),
            ..Record::new()
        }
    }
}
