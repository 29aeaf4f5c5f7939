//! Refusals of the source floor.

use crate::base::memory::OutOfMemory;
use crate::base::stop::Stopped;
use crate::event::SchemaError;
use crate::identity::IdentityError;
use crate::source::limits::OverLimit;

/// A source that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The schema does not fit the data.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// Identities cannot be resolved or used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A path or pattern names no file.
    #[error("{pattern}: no such file, and no {format} file matches it")]
    NoFiles {
        /// What was given.
        pattern: String,
        /// The format that was looked for.
        format: &'static str,
    },
    /// The operating system refused.
    #[error("{path}: {problem}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        problem: String,
    },
    /// A file is not what it claims to be.
    #[error("{path}: not a readable {format} file: {problem}")]
    Malformed {
        /// The file.
        path: String,
        /// The expected format.
        format: &'static str,
        /// What the decoder says.
        problem: String,
    },
    /// A file asks for more than [`ReadOptions`](crate::source::ReadOptions) allow.
    #[error("{path}: {found} {what}, over the limit of {limit}; ReadOptions.{option} raises it")]
    Limit {
        /// The file.
        path: String,
        /// What there is too much of.
        what: &'static str,
        /// How much of it.
        found: u64,
        /// The limit.
        limit: u64,
        /// The option that raises it.
        option: &'static str,
    },
    /// A file is not the one that was opened first, or changed while it was read.
    #[error("{path}: the file changed since it was opened; scan it again")]
    Changed {
        /// The file.
        path: String,
    },
    /// A decoder gave up in an unforeseen way.
    #[error("{path}: the {format} decoder failed on this file; it is damaged or not {format}")]
    DecoderPanicked {
        /// The file.
        path: String,
        /// The expected format.
        format: &'static str,
    },
    /// An Arrow stream reported an error.
    #[error("{place}: the Arrow stream failed: {problem}")]
    Stream {
        /// The name of the source.
        place: String,
        /// What the producer says.
        problem: String,
    },
    /// The caller asked to stop.
    #[error("canceled")]
    Canceled,
    /// The system refused memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// The home that events are kept in refused.
    #[error("{0}")]
    Home(Box<dyn std::error::Error + Send + Sync>),
    /// What the sink refused, to be passed on as it is.
    #[error("{0}")]
    Sink(String),
}

impl From<Stopped> for SourceError {
    fn from(_: Stopped) -> Self {
        SourceError::Canceled
    }
}

impl SourceError {
    pub(crate) fn over(path: &str, over: OverLimit) -> Self {
        SourceError::Limit {
            path: path.to_owned(),
            what: over.what,
            found: over.found,
            limit: over.limit,
            option: over.option,
        }
    }

    pub(crate) fn not_regular(path: &std::path::Path) -> Self {
        SourceError::Io {
            path: path.display().to_string(),
            problem: "it is no regular file".to_owned(),
        }
    }

    pub(crate) fn io(path: &std::path::Path, error: &std::io::Error) -> Self {
        SourceError::Io {
            path: path.display().to_string(),
            problem: error.to_string(),
        }
    }
}

/// Runs a decoder; a panic inside it becomes an error that names the file.
///
/// Public decoders are known to panic on damaged files, and a panic must not cross the library's boundary.
pub(crate) fn guard<T>(path: &str, format: &'static str, decode: impl FnOnce() -> Result<T, SourceError>) -> Result<T, SourceError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode)).unwrap_or_else(|_| {
        Err(SourceError::DecoderPanicked {
            path: path.to_owned(),
            format,
        })
    })
}
