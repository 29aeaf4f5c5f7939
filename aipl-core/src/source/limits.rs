//! What a file may ask for before it is refused.

/// Rows that a byte of a file may stand for, where a file has more rows than [`ReadOptions::max_rows`].
const ROWS_A_BYTE: u64 = 8;
/// Decoded bytes that a byte of a file may stand for, where one piece of it is larger than
/// [`ReadOptions::max_decoded_bytes`].
const EXPANSION: u64 = 64;

/// How far files are trusted. A file that asks for more is refused with
/// [`SourceError::Limit`](crate::source::SourceError::Limit) before memory is taken for it.
///
/// ```
/// use aipl_core::source::ReadOptions;
/// let options = ReadOptions { max_columns: 50_000, ..ReadOptions::default() };
/// assert_eq!(options.max_depth, 64);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    /// Columns of a file, each leaf of a nested column counted; 10,000 by default.
    pub max_columns: usize,
    /// Levels of nested columns; 64 by default.
    pub max_depth: usize,
    /// Bytes of a footer, schema or page header; 64 MiB by default.
    pub max_metadata_bytes: u64,
    /// Rows of a file; 1,048,576 by default. A larger file may have 8 rows for each of its bytes.
    pub max_rows: u64,
    /// Decoded bytes that one thread holds of a Parquet file at a time; 128 MiB by default. A batch of an Arrow IPC
    /// file, which is decoded whole, may have twice as many. Pieces that are larger on disk may have 64 times their
    /// size there.
    pub max_decoded_bytes: u64,
    /// Whether checksums that a Parquet file carries for its pages are compared; true by default.
    pub verify_checksums: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            max_columns: 10_000,
            max_depth: 64,
            max_metadata_bytes: 64 << 20,
            max_rows: 1 << 20,
            max_decoded_bytes: 128 << 20,
            verify_checksums: true,
        }
    }
}

impl ReadOptions {
    /// Rows that a file of this length may have.
    pub(crate) fn rows_of(&self, length: u64) -> u64 {
        self.max_rows.max(length.saturating_mul(ROWS_A_BYTE))
    }

    /// Decoded bytes that a piece of this many bytes may have.
    pub(crate) fn decoded_of(&self, encoded: u64) -> u64 {
        self.max_decoded_bytes.max(encoded.saturating_mul(EXPANSION))
    }
}

/// A limit that was passed; the file's name is not known where this is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{found} {what}, over the limit of {limit}")]
pub(crate) struct OverLimit {
    /// What there is too much of, in plural.
    pub what: &'static str,
    pub found: u64,
    pub limit: u64,
    /// The field of [`ReadOptions`] that raises the limit.
    pub option: &'static str,
}

/// Refuses a number over its limit.
pub(crate) fn within(what: &'static str, found: u64, limit: u64, option: &'static str) -> Result<(), OverLimit> {
    if found <= limit {
        return Ok(());
    }
    Err(OverLimit {
        what,
        found,
        limit,
        option,
    })
}
