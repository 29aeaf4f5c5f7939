//! The catalog: SQLite holds the commits; this checks every one of them before a value is used.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

use crate::bank::error::BankError;
use crate::bank::files::{create_new, open_regular, sync_directory};
use crate::bank::record::Record;

/// The format version that this library writes.
pub(crate) const FORMAT_VERSION: i64 = 1;
const APPLICATION_ID: i64 = 0x4149_504c;
const CATALOG: &str = "catalog.sqlite";
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
}

/// One file's name and block hashes, to go in with a commit.
pub(crate) type NewBlocks<'a> = &'a [(&'a str, &'a [u8])];

/// Refusals of SQLite as those of a bank.
fn refused(bank: &Path, error: &rusqlite::Error) -> BankError {
    let path = bank.join(CATALOG);
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => BankError::Locked {
            path: bank.display().to_string(),
            holder: " (in the middle of a commit)".to_owned(),
        },
        Some(ErrorCode::DiskFull) => BankError::NoSpace {
            path: bank.display().to_string(),
            needed: 0,
            free: super::files::free_bytes(bank).unwrap_or(0),
        },
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::SystemIoFailure
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed,
        ) => BankError::Io {
            path: path.display().to_string(),
            problem: error.to_string(),
        },
        // The statements are always the same, so what else goes wrong lies in the file.
        _ => BankError::corrupt(CATALOG, error.to_string()),
    }
}

fn connect(bank: &Path, flags: OpenFlags) -> Result<Connection> {
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
    if fs::metadata(&path).map_or(true, |data| data.len() == 0) {
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
    if !bank.join(CATALOG).exists() {
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
fn chain(before: u128, seq: u64, record: &str) -> u128 {
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
        if record.batch.as_ref().map(|batch| batch.id.as_str()) != batch {
            return Err(damaged("its batch does not agree"));
        }
        self.commits.push(Commit { seq: expected, record });
        Ok(())
    }
}

/// Adds a commit after the one with this number and hash, and forgets the block hashes of some files. Gives the new hash.
pub(crate) fn append(bank: &Path, after: (u64, u128), record: &Record, blocks: NewBlocks<'_>, forget: &[String]) -> Result<u128> {
    let failed = |error: rusqlite::Error| refused(bank, &error);
    let mut connection = connect(bank, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let text = serde_json::to_string(record).map_err(|error| BankError::corrupt(CATALOG, error.to_string()))?;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    let newest: i64 = transaction
        .query_row("SELECT coalesce(max(seq), 0) FROM commits", [], |row| row.get(0))
        .map_err(failed)?;
    // The lock keeps other writers away; should it not be honored, nothing is lost all the same.
    if u64::try_from(newest) != Ok(after.0) {
        return Err(BankError::Locked {
            path: bank.display().to_string(),
            holder: format!(" (it has committed {newest} since this one read {})", after.0),
        });
    }
    let seq = after.0 + 1;
    let hash = chain(after.1, seq, &text);
    let batch = record.batch.as_ref().map(|batch| batch.id.as_str());
    let values = params![seq as i64, batch, text, hash.to_le_bytes()];
    transaction
        .execute("INSERT INTO commits (seq, batch, record, hash) VALUES (?1, ?2, ?3, ?4)", values)
        .map_err(failed)?;
    for (file, hashes) in blocks {
        transaction
            .execute("INSERT INTO blocks (file, hashes) VALUES (?1, ?2)", params![file, hashes])
            .map_err(failed)?;
    }
    for file in forget {
        transaction
            .execute("DELETE FROM blocks WHERE file = ?1", params![file])
            .map_err(failed)?;
    }
    transaction.commit().map_err(failed)?;
    Ok(hash)
}

/// The bytes of the catalog, of one state.
fn image(connection: &mut Connection) -> rusqlite::Result<Vec<u8>> {
    connection.execute_batch("BEGIN")?;
    // The first read takes the lock that keeps writers away.
    connection.query_row("SELECT count(*) FROM commits", [], |row| row.get::<_, i64>(0))?;
    Ok(connection.serialize("main")?.to_vec())
}

/// Copies the catalog as it is into another directory.
pub(crate) fn copy(bank: &Path, target: &Path) -> Result<()> {
    let mut connection = connect(bank, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let failed = |error: rusqlite::Error| refused(bank, &error);
    let bytes = image(&mut connection).map_err(failed)?;
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

/// Proves the catalog bit for bit from now on.
pub(crate) fn write_sum(bank: &Path, seq: u64) -> Result<()> {
    let mut connection = connect(bank, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let failed = |error: rusqlite::Error| refused(bank, &error);
    let bytes = image(&mut connection).map_err(failed)?;
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
