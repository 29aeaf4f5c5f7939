//! Adding commits. A commit stands only if it follows the commit that its writer knows, and if every file that it needs
//! is in its place
//! while nobody else can commit. So nothing is lost where the lock of the writer is not honored: one of two writers is
//! refused.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, ffi, params};

use crate::bank::catalog::{CATALOG, chain, connect, refused};
use crate::bank::error::BankError;
use crate::bank::files::has_room;
use crate::bank::record::{FileRecord, Record};

type Result<T> = std::result::Result<T, BankError>;
/// A commit by its number and hash; zeros before the first.
pub(crate) type CommitKey = (u64, u128);

/// What a commit adds to the catalog.
#[derive(Default)]
pub(crate) struct Addition<'a> {
    /// Block hashes by file name.
    pub blocks: &'a [(&'a str, &'a [u8])],
    /// Files whose block hashes go.
    pub forget: &'a [String],
    /// Files of earlier commits that the bank goes on with, and that must be there.
    pub needed: &'a [&'a FileRecord],
}

/// Why a commit was not made.
enum Failure {
    Refused(BankError),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sqlite(error)
    }
}

impl From<BankError> for Failure {
    fn from(error: BankError) -> Self {
        Failure::Refused(error)
    }
}

/// Adds a commit after another one. Gives its hash.
pub(crate) fn append(bank: &Path, after: CommitKey, record: &Record, addition: &Addition<'_>) -> Result<u128> {
    let text = serde_json::to_string(record).map_err(|error| BankError::corrupt(CATALOG, error.to_string()))?;
    let hash = chain(after.1, after.0 + 1, &text);
    let mut connection = connect(bank, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let added = add(bank, &mut connection, after, record, (&text, hash), addition);
    // What is not committed is rolled back here.
    drop(connection);
    match added {
        Ok(()) => Ok(hash),
        Err(Failure::Refused(error)) => Err(error),
        Err(Failure::Sqlite(error)) => settle(bank, after, hash, &error),
    }
}

fn add(
    bank: &Path,
    connection: &mut Connection,
    after: CommitKey,
    record: &Record,
    (text, hash): (&str, u128),
    addition: &Addition<'_>,
) -> std::result::Result<(), Failure> {
    let transaction = begin(bank, connection, after)?;
    check_files(bank, &record.add, addition.needed)?;
    // A batch that is taken out gives its id back.
    for id in &record.dropped_batches {
        transaction.execute("UPDATE commits SET batch = NULL WHERE batch = ?1", params![id])?;
    }
    let batch = record.batch.as_ref().map(|batch| batch.id.as_str());
    let values = params![after.0 as i64 + 1, batch, text, hash.to_le_bytes()];
    transaction.execute("INSERT INTO commits (seq, batch, record, hash) VALUES (?1, ?2, ?3, ?4)", values)?;
    for (file, hashes) in addition.blocks {
        transaction.execute("INSERT INTO blocks (file, hashes) VALUES (?1, ?2)", params![file, hashes])?;
    }
    for file in addition.forget {
        transaction.execute("DELETE FROM blocks WHERE file = ?1", params![file])?;
    }
    Ok(transaction.commit()?)
}

/// Begins a transaction beside which nobody commits, and makes sure that the newest commit is the one that the writer
/// knows.
fn begin<'c>(bank: &Path, connection: &'c mut Connection, after: CommitKey) -> std::result::Result<Transaction<'c>, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let newest = newest(&transaction)?;
    if newest != after {
        let what = format!("it has committed {} since this one read {}", newest.0, after.0);
        return Err(BankError::overtaken(bank, &what).into());
    }
    Ok(transaction)
}

fn newest(connection: &Connection) -> rusqlite::Result<CommitKey> {
    let key = |row: &rusqlite::Row<'_>| {
        let (seq, hash): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        Ok((seq as u64, hash.first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes))))
    };
    let found = connection.query_row("SELECT seq, hash FROM commits ORDER BY seq DESC LIMIT 1", [], key);
    Ok(found.optional()?.unwrap_or_default())
}

/// Makes sure that files are where a commit says they are: its own, and those that the bank goes on with.
fn check_files(bank: &Path, own: &[FileRecord], needed: &[&FileRecord]) -> Result<()> {
    let there = |file: &FileRecord| {
        let found = fs::symlink_metadata(bank.join(&file.folder).join(&file.name));
        found.is_ok_and(|data| data.is_file() && data.len() == file.bytes)
    };
    let name = |file: &FileRecord| format!("{}/{}", file.folder, file.name);
    if let Some(gone) = own.iter().find(|file| !there(file)) {
        let what = format!("{} was removed before it was committed", name(gone));
        return Err(BankError::overtaken(bank, &what));
    }
    match needed.iter().find(|file| !there(file)) {
        Some(gone) => Err(BankError::corrupt(
            name(gone),
            "the file is missing, or no longer as it was written",
        )),
        None => Ok(()),
    }
}

/// What became of a commit that the disk did not take: it may stand all the same.
fn settle(bank: &Path, after: CommitKey, hash: u128, error: &rusqlite::Error) -> Result<u128> {
    let refusal = refused(bank, error);
    let extended = error.sqlite_error().map_or(0, |error| error.extended_code);
    let synced = ![ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC].contains(&extended);
    if error.sqlite_error_code() != Some(ErrorCode::SystemIoFailure) || !synced {
        return Err(refusal);
    }
    // Whoever opens the catalog next rolls back what was not committed.
    let found = connect(bank, OpenFlags::SQLITE_OPEN_READ_WRITE).and_then(|other| newest(&other).map_err(|error| refused(bank, &error)));
    match found {
        Ok(found) if found == (after.0 + 1, hash) => Ok(hash),
        // SQLite says "full" of a full disk, and of a full share or a limit only that it could not write.
        Ok(found) if found == after && !has_room(bank, catalog_length(bank)) => Err(BankError::no_space(bank)),
        _ => Err(refusal),
    }
}

fn catalog_length(bank: &Path) -> u64 {
    fs::symlink_metadata(bank.join(CATALOG)).map_or(0, |data| data.len())
}

/// Does something while nobody can commit, if the newest commit is the one that the writer knows.
pub(crate) fn exclusively<T>(bank: &Path, after: CommitKey, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut connection = connect(bank, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    match begin(bank, &mut connection, after) {
        Ok(_transaction) => work(),
        Err(Failure::Refused(error)) => Err(error),
        Err(Failure::Sqlite(error)) => Err(refused(bank, &error)),
    }
}

/// Whether somebody has committed since a commit; not if that cannot be told.
pub(crate) fn is_overtaken(bank: &Path, since: CommitKey) -> bool {
    let newest = connect(bank, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .ok()
        .and_then(|connection| newest(&connection).ok());
    newest.is_some_and(|newest| newest != since)
}
