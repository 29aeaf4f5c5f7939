//! Files of sets: Roaring bitmaps in their portable format behind a directory. See `FORMAT.md`, "bitmaps".

use std::io::Write;
use std::path::Path;

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use crate::bank::error::BankError;
use crate::bank::files::{CheckedFile, NewFile, Published, check_space};
use crate::bank::record::FileRecord;
use crate::base::ConsumerIdx;
use crate::timeline::IdentityCounts;

type Result<T> = std::result::Result<T, BankError>;

const MAGIC: &[u8; 8] = b"AIPLSET1";
const HEAD_BYTES: usize = 16;
/// The longest directory that is read; a damaged length must not ask for all memory.
const MAX_DIRECTORY: u64 = 1 << 30;

/// Where a set is: offset from the end of the directory, length, cardinality, and the greatest number.
type Entry = (u64, u64, u64, Option<u32>);

/// What a file of sets begins with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Directory {
    pub sets: Vec<Entry>,
    /// Scopes of a kept day, each with its category if it has one; values are integers or texts.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub scopes: Vec<(ScopeText, Option<ScopeText>)>,
    /// Whether each scope is listed by a snapshot of the day.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub listed: Vec<bool>,
    /// Codes of the stages of a kept day.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub stages: Vec<String>,
    /// Accounts and persons when a day of persons was kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub identity: Option<IdentityCounts>,
}

/// A scope's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum ScopeText {
    Int(i64),
    Text(String),
}

/// Writes sets with what they are.
pub(crate) fn write(bank: &Path, mut directory: Directory, sets: &[RoaringBitmap]) -> Result<Published> {
    let mut body = Vec::new();
    for set in sets {
        let (start, mut optimal) = (body.len() as u64, set.clone());
        optimal.optimize();
        // Writing to memory cannot fail.
        let _ = optimal.serialize_into(&mut body);
        directory.sets.push((start, body.len() as u64 - start, set.len(), set.max()));
    }
    let text = serde_json::to_vec(&directory).map_err(|error| BankError::corrupt("bitmaps", error.to_string()))?;
    if std::str::from_utf8(&text).is_err() {
        return Err(BankError::NotText {
            column: "brand".to_owned(),
        });
    }
    check_space(bank, (HEAD_BYTES + text.len() + body.len()) as u64)?;
    let mut file = NewFile::create(bank, "rb")?;
    let written = file
        .write_all(MAGIC)
        .and_then(|()| file.write_all(&(text.len() as u64).to_le_bytes()))
        .and_then(|()| file.write_all(&text))
        .and_then(|()| file.write_all(&body));
    written.map_err(|error| BankError::io(bank, &error))?;
    file.publish(bank, "bitmaps", sets.len() as u64, None)
}

/// A file of sets that is open to read.
#[derive(Debug)]
pub(crate) struct SetFile {
    file: CheckedFile,
    body: u64,
    pub directory: Directory,
}

impl SetFile {
    /// Opens a file; only its directory is read.
    pub fn open(bank: &Path, record: &FileRecord, blocks: &[u8]) -> Result<Self> {
        let file = CheckedFile::open(bank, record, blocks)?;
        let damaged = |problem: &str| BankError::corrupt(&**file.name(), problem);
        let head = file.read(0, HEAD_BYTES)?;
        let length = head[8..].first_chunk::<8>().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
        if &head[..8] != MAGIC || length > MAX_DIRECTORY.min(record.bytes) {
            return Err(damaged("it is no file of sets"));
        }
        let text = file.read(HEAD_BYTES as u64, length as usize)?;
        let directory: Directory = serde_json::from_slice(&text).map_err(|error| damaged(&error.to_string()))?;
        if directory.sets.len() as u64 != record.rows {
            return Err(damaged("the number of its sets does not agree"));
        }
        Ok(SetFile {
            body: HEAD_BYTES as u64 + length,
            directory,
            file,
        })
    }

    /// Reads one set: whole, of the recorded size, and of consumers that the bank knows.
    pub fn set(&self, place: usize, counts: &[u32]) -> Result<RoaringBitmap> {
        let damaged = |problem: &str| BankError::corrupt(&**self.file.name(), format!("set {place}: {problem}"));
        let &(offset, length, cardinality, greatest) = self.directory.sets.get(place).ok_or_else(|| damaged("there is none"))?;
        let bytes = self.file.read(self.body.saturating_add(offset), length as usize)?;
        let mut rest = &bytes[..];
        let set = RoaringBitmap::deserialize_from(&mut rest).map_err(|error| damaged(&error.to_string()))?;
        if !rest.is_empty() || set.len() != cardinality || set.max() != greatest {
            return Err(damaged("it is not what the directory says"));
        }
        for (bucket, &count) in counts.iter().enumerate() {
            let (first, last) = (
                ConsumerIdx::new(bucket, 0).0,
                ConsumerIdx::new(bucket, crate::base::id::MAX_LOCAL - 1).0,
            );
            let given = set.range_cardinality(first..=last) == set.range_cardinality(first..first.saturating_add(count));
            if !given {
                return Err(damaged("it has a consumer that the bank does not know"));
            }
        }
        Ok(set)
    }

    /// Every set, for a check of all.
    pub fn verify(&self, counts: &[u32]) -> Result<()> {
        (0..self.directory.sets.len()).try_for_each(|place| self.set(place, counts).map(drop))
    }
}
