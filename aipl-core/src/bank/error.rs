//! Refusals of the bank floor.

use std::error::Error;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::base::Day;
use crate::source::SourceError;
use crate::timeline::scan::ScanError;

/// A bank that cannot do what is asked.
#[derive(Debug, thiserror::Error)]
pub enum BankError {
    /// There is no bank at the path.
    #[error("{path}: {problem}; DataBank.create makes a bank")]
    NotABank {
        /// The directory.
        path: String,
        /// What is there instead.
        problem: String,
    },
    /// There is something at the path already.
    #[error("{path}: there is something already; a bank is created in a directory that is new or empty")]
    Exists {
        /// The directory.
        path: String,
    },
    /// Another handle writes.
    #[error("{path}: another writer holds the bank{holder}; one at a time can write, any number can read (mode \"r\")")]
    Locked {
        /// The directory.
        path: String,
        /// Who, if known, ready to print.
        holder: String,
    },
    /// The handle can only read.
    #[error("{operation}: the bank was opened to read; open it with mode \"rw\"")]
    ReadOnly {
        /// What was asked.
        operation: &'static str,
    },
    /// A file is damaged, or files contradict each other.
    #[error("{file}: {problem}; {cure}")]
    Corrupt {
        /// The file, as named in the bank.
        file: String,
        /// What does not agree.
        problem: String,
        /// What helps, ready to print.
        cure: String,
    },
    /// The disk is full.
    #[error("{path}: no space left, {free} bytes are free{}; nothing was changed", of_needed(*needed))]
    NoSpace {
        /// The directory.
        path: String,
        /// Bytes needed; 0 where that is not known.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// A bank of a later format.
    #[error("{path}: the bank has format version {found}; this library reads up to {known}")]
    FormatVersion {
        /// The directory.
        path: String,
        /// Its version.
        found: i64,
        /// The latest known.
        known: i64,
    },
    /// The operating system refused.
    #[error("{path}: {problem}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        problem: String,
        /// Whether the disk itself failed, so that what it holds is not known any more: such a writer takes nothing
        /// more.
        failed: bool,
    },
    /// Whether a commit is in the bank is not known, or a sync has failed: this handle takes nothing more.
    #[error("{path}: an earlier write could not be completed ({problem}); open the bank again to see what it holds")]
    Poisoned {
        /// The directory.
        path: String,
        /// What failed.
        problem: String,
    },
    /// The handle was closed.
    #[error("the bank is closed; open it again")]
    Closed,
    /// The handle came along into a forked process.
    #[error("the bank was opened in process {opened} and this is process {here}: open it again after a fork")]
    Forked {
        /// The process that opened it.
        opened: u32,
        /// This process.
        here: u32,
    },
    /// A batch that the bank has with other content.
    #[error(
        "batch_id: the bank has batch {id:?} with other content ({}); give the new rows a batch id of their own",
        of_rows(*had, *has)
    )]
    BatchConflict {
        /// The batch.
        id: String,
        /// Rows in the bank.
        had: u64,
        /// Rows now.
        has: u64,
    },
    /// Batches that can only be taken out together.
    #[error("batch_id: {problem}; drop them together: {}", of_names(batches))]
    SharedBatches {
        /// Why.
        problem: String,
        /// All of them.
        batches: Vec<String>,
    },
    /// Text that is none was about to be written: a fault of this library.
    #[error("{column}: text that is not UTF-8 came as far as the bank; nothing was changed")]
    NotText {
        /// The column.
        column: String,
    },
    /// Events that do not fit the bank.
    #[error("{field}: {problem}")]
    Mismatch {
        /// The field.
        field: String,
        /// What does not fit, with what would.
        problem: String,
    },
    /// Events that the question needs were removed by `expire`.
    #[error(
        "events before {expired} are expired and the question needs them{from}; only days that were materialized before can still be answered"
    )]
    Expired {
        /// The first day that is there.
        expired: Day,
        /// The first day needed, ready to print.
        from: String,
    },
    /// An audience, day, batch or commit that the bank does not have.
    #[error("{what}: the bank has no {what} {name:?}{hint}")]
    Unknown {
        /// What kind of thing.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// "did you mean", ready to print.
        hint: String,
    },
    /// A commit whose files were removed by `vacuum`.
    #[error("commit {seq}: its files were removed by vacuum")]
    Vacuumed {
        /// The commit.
        seq: u64,
    },
    /// A parameter out of its range.
    #[error("{field}: {problem}")]
    Parameter {
        /// Which.
        field: &'static str,
        /// What is wrong, with the choices.
        problem: String,
    },
    /// The events cannot be read, or the bank's own cannot.
    #[error(transparent)]
    Scan(Box<ScanError>),
}

fn of_rows(had: u64, has: u64) -> String {
    if had == has {
        format!("{had} rows then and now, with other values")
    } else {
        format!("{had} rows then, {has} now")
    }
}

fn of_needed(needed: u64) -> String {
    if needed == 0 {
        String::new()
    } else {
        format!(" and about {needed} are needed")
    }
}

/// Names in quotes.
pub(crate) fn quoted(names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("{name:?}")).collect()
}

/// Names in quotes, all of them.
pub(crate) fn of_names(names: &[String]) -> String {
    quoted(names).join(", ")
}

/// What helps where nothing better is known.
pub(crate) const RESTORE: &str = "restore the bank from a backup";

/// What an error of writing or reading begins with: the system's own, however deep other libraries have wrapped it.
fn system_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        next = match error.downcast_ref::<io::Error>() {
            Some(io) => match io.get_ref() {
                Some(inner) => Some(inner as &(dyn Error + 'static)),
                None => return Some(io),
            },
            None => error.source(),
        };
    }
    None
}

/// Whether the system says that there is no room: on the disk, of the user's share, or in a file.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// The same of an error that other libraries have turned into text.
fn tells_of_full(text: &str) -> bool {
    let full = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG];
    full.iter().any(|errno| {
        let said = io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
        // The words, with the number or without it.
        said.split(" (os error").next().is_some_and(|words| text.contains(words))
    })
}

/// Whether an error says nothing of the disk, so that what is on it is known as before.
fn is_harmless(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidInput, IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    let kinds = [
        AlreadyExists,
        InvalidInput,
        IsADirectory,
        NotADirectory,
        NotFound,
        PermissionDenied,
        ReadOnlyFilesystem,
    ];
    let errnos = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::LOOP,
        Errno::NAMETOOLONG,
        Errno::NOMEM,
        Errno::NXIO,
    ];
    kinds.contains(&error.kind()) || errnos.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

impl BankError {
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        if is_full(error) {
            return Self::no_space(path);
        }
        BankError::Io {
            path: path.display().to_string(),
            problem: error.to_string(),
            failed: !is_harmless(error),
        }
    }

    /// What went wrong while something was written by way of other libraries.
    pub(crate) fn written(path: &Path, error: &(dyn Error + 'static)) -> Self {
        match system_error(error) {
            Some(io) => Self::io(path, io),
            None if tells_of_full(&error.to_string()) => Self::no_space(path),
            None => BankError::Io {
                path: path.display().to_string(),
                problem: error.to_string(),
                failed: true,
            },
        }
    }

    pub(crate) fn no_space(path: &Path) -> Self {
        BankError::NoSpace {
            path: path.display().to_string(),
            needed: 0,
            free: super::files::free_bytes(path).unwrap_or(0),
        }
    }

    /// Another writer is at work although this one holds the lock.
    pub(crate) fn overtaken(bank: &Path, what: &str) -> Self {
        BankError::Locked {
            path: bank.display().to_string(),
            holder: format!(" ({what})"),
        }
    }

    pub(crate) fn corrupt(file: impl Into<String>, problem: impl Into<String>) -> Self {
        BankError::Corrupt {
            file: file.into(),
            problem: problem.into(),
            cure: RESTORE.to_owned(),
        }
    }

    pub(crate) fn parameter(field: &'static str, problem: impl Into<String>) -> Self {
        BankError::Parameter {
            field,
            problem: problem.into(),
        }
    }

    pub(crate) fn mismatch(field: impl Into<String>, problem: impl Into<String>) -> Self {
        BankError::Mismatch {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

impl From<ScanError> for BankError {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Expired { expired, from } => BankError::Expired { expired, from },
            ScanError::Home(error) | ScanError::Source(SourceError::Home(error)) => match error.downcast::<BankError>() {
                Ok(own) => *own,
                Err(other) => BankError::Scan(Box::new(ScanError::Home(other))),
            },
            other => BankError::Scan(Box::new(other)),
        }
    }
}

impl From<BankError> for ScanError {
    fn from(error: BankError) -> Self {
        match error {
            BankError::Scan(error) => *error,
            BankError::Expired { expired, from } => ScanError::Expired { expired, from },
            own => ScanError::Home(Box::new(own)),
        }
    }
}

impl From<SourceError> for BankError {
    fn from(error: SourceError) -> Self {
        ScanError::from(error).into()
    }
}

/// The same for those who hand events out.
impl From<BankError> for SourceError {
    fn from(error: BankError) -> Self {
        match ScanError::from(error) {
            ScanError::Source(error) => error,
            ScanError::Home(error) => SourceError::Home(error),
            ScanError::Canceled => SourceError::Canceled,
            other => SourceError::Sink(other.to_string()),
        }
    }
}
