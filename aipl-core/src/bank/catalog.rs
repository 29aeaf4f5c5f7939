//! The catalog: SQLite holds the commits; this checks every one of them before a value is used.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

use crate::bank::error::BankError;
use crate::bank::files::{create_new, has_room, open_regular, sync_directory};
use crate::bank::places::{check_catalog, check_file};
use crate::bank::record::Record;

/// The format version that this library writes.
pub(crate) const FORMAT_VERSION: i64 = 1;
const APPLICATION_ID: i64 = 0x4149_504c;
pub(super) const CATALOG: &str = "catalog.sqlite";
const SUM: &str = "catalog.sum";
const SUM_MAGIC: &[u8; 8] = b"AIPLSUM1";
const SUM_BYTES: usize = 64;
/// How long to wait for another process in the middle of a commit.
const BUSY: Duration = Duration::from_secs(30);

const TABLES: &str = "
CREATE TABLE commits (
    seq INTEGER PRIMARY KEY,
    batch TEXT UNIQUE,
    record TEXT NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE TABLE blocks (
    file TEXT PRIMARY KEY,
    hashes BLOB NOT NULL
) STRICT;
CREATE VIEW batches AS
    SELECT seq, batch, record ->> '$.at' AS at, record ->> '$.batch.rows_added' AS rows_added FROM commits WHERE batch IS NOT NULL;
CREATE VIEW files AS
    SELECT seq, file.value ->> '$.folder' AS folder, file.value ->> '$.name' AS name, file.value ->> '$.rows' AS rows,
        file.value ->> '$.bytes' AS bytes FROM commits, json_each(record, '$.add') AS file;
";

type Result<T> = std::result::Result<T, BankError>;

/// A commit as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub seq: u64,
    pub record: Record,
}

/// Everything that the catalog says.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub commits: Vec<Commit>,
    /// Hash of the last commit.
    pub hash: u128,
    /// Block hashes by file name.
    pub blocks: Vec<(String, Vec<u8>)>,
    /// Batches that were not taken out, each with whether its row names it.
    named: HashMap<String, bool>,
}

/// Refusals of SQLite as those of a bank.
pub(super) fn refused(bank: &Path, error: &rusqlite::Error) -> BankError {
    let path = bank.join(CATALOG);
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => BankError::overtaken(bank, "in the middle of a commit"),
        Some(ErrorCode::DiskFull) => BankError::no_space(bank),
        // SQLite does not say why it could not make its journal.
        Some(ErrorCode::CannotOpen) if !has_room(bank, 0) => BankError::no_space(bank),
        Some(
            code @ (ErrorCode::CannotOpen
            | ErrorCode::SystemIoFailure
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed),
        ) => BankError::Io {
            path: path.display().to_string(),
            problem: error.to_string(),
            failed: code == ErrorCode::SystemIoFailure,
        },
        // The statements are always the same, so what else goes wrong lies in the file.
        _ => BankError::corrupt(CATALOG, error.to_string()),
    }
}

/// Opens the catalog. SQLite opens the files beside it by itself, so all are looked at first.
pub(super) fn connect(bank: &Path, flags: OpenFlags) -> Result<Connection> {
    check_catalog(bank)?;
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let path = fs::canonicalize(bank).map_err(|error| BankError::io(bank, &error))?.join(CATALOG);
    let connection = Connection::open_with_flags(path, flags).map_err(|error| refused(bank, &error))?;
    let settings = connection
        .busy_timeout(BUSY)
        .and_then(|()| connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; PRAGMA foreign_keys = ON;"));
    settings.map_err(|error| refused(bank, &error))?;
    Ok(connection)
}

/// Whether there is a catalog with a commit, or one that cannot be read.
pub(crate) fn has_commits(bank: &Path) -> bool {
    let path = bank.join(CATALOG);
    if fs::symlink_metadata(&path).map_or(true, |data| data.is_file() && data.len() == 0) {
        return false;
    }
    let count = |connection: Connection| {
        let made = connection.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'commits'", [], |row| {
            row.get::<_, i64>(0)
        })?;
        if made == 0 {
            return Ok(0);
        }
        connection.query_row("SELECT count(*) FROM commits", [], |row| row.get::<_, i64>(0))
    };
    connect(bank, OpenFlags::SQLITE_OPEN_READ_WRITE).map_or(true, |connection| count(connection).map_or(true, |count| count > 0))
}

/// Makes an empty catalog, in the place of one that an interrupted creation left without a commit.
pub(crate) fn create_anew(bank: &Path) -> Result<()> {
    let path = bank.join(CATALOG);
    for left in [path.clone(), bank.join(format!("{CATALOG}-journal"))] {
        match fs::remove_file(&left) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(BankError::io(&left, &error)),
            _ => {}
        }
    }
    // SQLite keeps the mode of a file that is there.
    create_new(&path).map_err(|error| BankError::io(&path, &error))?;
    let connection = connect(bank, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let make = format!(
        "PRAGMA journal_mode = DELETE; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT_VERSION}; BEGIN; {TABLES} COMMIT;"
    );
    connection.execute_batch(&make).map_err(|error| refused(bank, &error))
}

/// Reads the catalog as one state and proves it.
pub(crate) fn read(bank: &Path) -> Result<Contents> {
    if fs::symlink_metadata(bank.join(CATALOG)).is_err() {
        return Err(BankError::NotABank {
            path: bank.display().to_string(),
            problem: if bank.is_dir() {
                "no bank, there is no catalog.sqlite".to_owned()
            } else {
                "no such directory".to_owned()
            },
        });
    }
    // A writer that was killed leaves a journal, and whoever opens next rolls it back; that takes leave to write.
    let mut connection = match connect(bank, OpenFlags::SQLITE_OPEN_READ_WRITE) {
        Err(BankError::Io { .. }) => connect(bank, OpenFlags::SQLITE_OPEN_READ_ONLY)?,
        other => other?,
    };
    let contents = read_all(bank, &mut connection);
    contents.map_err(|error| match error {
        ReadError::Bank(error) => error,
        ReadError::Sqlite(error) => refused(bank, &error),
    })
}

enum ReadError {
    Bank(BankError),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        ReadError::Sqlite(error)
    }
}

impl From<BankError> for ReadError {
    fn from(error: BankError) -> Self {
        ReadError::Bank(error)
    }
}

fn read_all(bank: &Path, connection: &mut Connection) -> std::result::Result<Contents, ReadError> {
    // The sum is read first: a commit in between makes it old, which is no damage.
    let sum = read_sum(bank)?;
    connection.execute_batch("BEGIN")?;
    check_kind(bank, connection)?;
    let mut contents = Contents::default();
    {
        let mut rows = connection.prepare("SELECT seq, batch, record, hash FROM commits ORDER BY seq")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let (seq, batch): (i64, Option<String>) = (row.get(0)?, row.get(1)?);
            let (record, hash): (String, Vec<u8>) = (row.get(2)?, row.get(3)?);
            contents.add(seq, batch.as_deref(), &record, &hash)?;
        }
        let mut rows = connection.prepare("SELECT file, hashes FROM blocks")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            contents.blocks.push((row.get(0)?, row.get(1)?));
        }
    }
    if contents.commits.is_empty() {
        return Err(BankError::corrupt(CATALOG, "there is no commit").into());
    }
    if contents.named.values().any(|named| !named) {
        return Err(BankError::corrupt(CATALOG, "a batch does not agree with its commit").into());
    }
    if let Some(sum) = sum {
        // SQLite passes over what lies behind its last page.
        let length = fs::metadata(bank.join(CATALOG)).map_err(|error| BankError::io(bank, &error))?.len();
        check_sum(&sum, contents.commits.len() as u64, length, &connection.serialize("main")?)?;
    }
    Ok(contents)
}

fn check_kind(bank: &Path, connection: &Connection) -> std::result::Result<(), ReadError> {
    let number = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    if number("application_id")? != APPLICATION_ID {
        return Err(BankError::corrupt(CATALOG, "not the catalog of a bank").into());
    }
    match number("user_version")? {
        FORMAT_VERSION => Ok(()),
        found => Err(BankError::FormatVersion {
            path: bank.display().to_string(),
            found,
            known: FORMAT_VERSION,
        }
        .into()),
    }
}

/// The hash of a commit: of the one before, its number and its record.
pub(super) fn chain(before: u128, seq: u64, record: &str) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(&before.to_le_bytes());
    hasher.update(&seq.to_le_bytes());
    hasher.update(record.as_bytes());
    hasher.digest128()
}

impl Contents {
    fn add(&mut self, seq: i64, batch: Option<&str>, text: &str, hash: &[u8]) -> Result<()> {
        let expected = self.commits.len() as u64 + 1;
        let damaged = |problem: &str| BankError::corrupt(CATALOG, format!("commit {expected}: {problem}"));
        if u64::try_from(seq) != Ok(expected) {
            return Err(damaged(&format!("commit {seq} stands in its place")));
        }
        self.hash = chain(self.hash, expected, text);
        if hash != self.hash.to_le_bytes() {
            return Err(damaged("its hash does not agree"));
        }
        let record: Record = serde_json::from_str(text).map_err(|error| damaged(&error.to_string()))?;
        let own = record.batch.as_ref().map(|batch| batch.id.as_str());
        if batch.is_some() && own != batch {
            return Err(damaged("its batch does not agree"));
        }
        // Taking a batch out takes its name from its row, so that the name is free; rows are not covered by the chain,
        // records are.
        for id in &record.dropped_batches {
            if self.named.remove(id) != Some(false) {
                return Err(damaged("the batch that it takes out does not agree"));
            }
        }
        if let Some(id) = own
            && self.named.insert(id.to_owned(), batch.is_some()).is_some()
        {
            return Err(damaged("an earlier commit has its batch"));
        }
        self.commits.push(Commit { seq: expected, record });
        Ok(())
    }
}

/// Whether all of these files still have block hashes: once `vacuum` has said that they go, they have none.
pub(crate) fn has_blocks<'f>(bank: &Path, files: impl Iterator<Item = &'f str>) -> Result<bool> {
    let failed = |error: rusqlite::Error| refused(bank, &error);
    let mut connection = connect(bank, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let transaction = connection.transaction().map_err(failed)?;
    let mut look = transaction.prepare("SELECT 1 FROM blocks WHERE file = ?1").map_err(failed)?;
    for file in files {
        if !look.exists([file]).map_err(failed)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The bytes of the catalog, of one state, and the number of its newest commit.
fn image(connection: &mut Connection) -> rusqlite::Result<(Vec<u8>, i64)> {
    connection.execute_batch("BEGIN")?;
    // The first read takes the lock that keeps writers away.
    let newest = connection.query_row("SELECT coalesce(max(seq), 0) FROM commits", [], |row| row.get(0))?;
    Ok((connection.serialize("main")?.to_vec(), newest))
}

/// Copies the catalog as it is into another directory.
pub(crate) fn copy(bank: &Path, target: &Path) -> Result<()> {
    let mut connection = connect(bank, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let failed = |error: rusqlite::Error| refused(bank, &error);
    let (bytes, _) = image(&mut connection).map_err(failed)?;
    let path = target.join(CATALOG);
    let written = create_new(&path).and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| BankError::io(&path, &error))
}

/// What SQLite itself finds wrong.
pub(crate) fn integrity(bank: &Path) -> Result<()> {
    let connection = connect(bank, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let found: String = connection
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(|error| refused(bank, &error))?;
    if found == "ok" {
        Ok(())
    } else {
        Err(BankError::corrupt(CATALOG, found))
    }
}

/// Proves the catalog bit for bit from now on, whichever commit it has come to.
pub(crate) fn write_sum(bank: &Path) -> Result<()> {
    let mut connection = connect(bank, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let failed = |error: rusqlite::Error| refused(bank, &error);
    let (bytes, seq) = image(&mut connection).map_err(failed)?;
    let mut sum = Vec::with_capacity(SUM_BYTES);
    sum.extend_from_slice(SUM_MAGIC);
    sum.extend_from_slice(&seq.to_le_bytes());
    sum.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    sum.extend_from_slice(&xxh3_128(&bytes).to_le_bytes());
    sum.extend_from_slice(&[0; 16]);
    sum.extend_from_slice(&xxh3_64(&sum).to_le_bytes());
    let (path, beside) = (
        bank.join(SUM),
        bank.join("tmp").join(format!("{}.sum", super::files::random_name()?)),
    );
    let written = create_new(&beside)
        .and_then(|mut file| file.write_all(&sum).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, &path))
        .and_then(|()| sync_directory(bank));
    written.map_err(|error| {
        let _ = fs::remove_file(&beside);
        BankError::io(&path, &error)
    })
}

/// The commit, length and hash of a sum; nothing where there is none yet.
fn read_sum(bank: &Path) -> Result<Option<(u64, u64, u128)>> {
    let path = bank.join(SUM);
    let damaged = || BankError::corrupt(SUM, "it is damaged");
    check_file(bank, SUM)?;
    let mut file = match open_regular(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(BankError::io(&path, &error)),
        Ok(file) => file,
    };
    let mut sum = Vec::new();
    Read::by_ref(&mut file)
        .take(SUM_BYTES as u64 + 1)
        .read_to_end(&mut sum)
        .map_err(|error| BankError::io(&path, &error))?;
    let (body, check) = sum.split_last_chunk::<8>().ok_or_else(damaged)?;
    let good = sum.len() == SUM_BYTES && body.starts_with(SUM_MAGIC) && xxh3_64(body) == u64::from_le_bytes(*check);
    let field = |at: usize| body.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    match (good, field(8), field(16), field(24), field(32)) {
        (true, Some(seq), Some(length), Some(low), Some(high)) => Ok(Some((seq, length, u128::from(high) << 64 | u128::from(low)))),
        _ => Err(damaged()),
    }
}

fn check_sum(&(seq, length, hash): &(u64, u64, u128), newest: u64, found: u64, bytes: &[u8]) -> Result<()> {
    if seq > newest {
        return Err(BankError::corrupt(
            CATALOG,
            format!("it ends with commit {newest}, and commit {seq} was there: commits are lost"),
        ));
    }
    if seq == newest && (length != found || length != bytes.len() as u64 || hash != xxh3_128(bytes)) {
        return Err(BankError::corrupt(CATALOG, "its checksum does not agree"));
    }
    Ok(())
}
