//! The roof: every refusal of the library in one type, with the name of its kind. Nothing below imports it.

use crate::analyses::AnalysisError;
use crate::audience::AudienceError;
use crate::bank::BankError;
use crate::base::memory::OutOfMemory;
use crate::base::stop::Stopped;
use crate::base::{DayError, ZoneError};
use crate::event::SchemaError;
use crate::identity::IdentityError;
use crate::model::ModelError;
use crate::source::SourceError;
use crate::timeline::scan::ScanError;

/// Any refusal of the library.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A schema that is wrong or does not fit the data.
    #[error(transparent)]
    Schema(SchemaError),
    /// A parameter out of its range.
    #[error("{0}")]
    Parameter(String),
    /// A stage model that cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A source that cannot be read.
    #[error(transparent)]
    Source(SourceError),
    /// A row was rejected and the events say `on_error = "raise"`.
    #[error(transparent)]
    Rejected(ScanError),
    /// Audiences that do not belong together, or are damaged.
    #[error(transparent)]
    Audience(AudienceError),
    /// Identities cannot be resolved or used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A bank that cannot do what is asked.
    #[error(transparent)]
    Bank(BankError),
    /// The caller asked to stop.
    #[error("canceled")]
    Canceled,
    /// The system refused memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
}

impl From<AudienceError> for Error {
    fn from(error: AudienceError) -> Self {
        match error {
            AudienceError::Identity(error) => Error::Identity(error),
            other => Error::Audience(other),
        }
    }
}

impl From<SchemaError> for Error {
    fn from(error: SchemaError) -> Self {
        Error::Schema(error)
    }
}

impl From<SourceError> for Error {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Schema(error) => Error::Schema(error),
            SourceError::Identity(error) => Error::Identity(error),
            SourceError::Canceled => Error::Canceled,
            SourceError::Memory(error) => error.into(),
            SourceError::Home(home) => ScanError::Home(home).into(),
            other => Error::Source(other),
        }
    }
}

impl From<ScanError> for Error {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Source(error) => error.into(),
            ScanError::Canceled => Error::Canceled,
            home @ (ScanError::Home(_) | ScanError::Expired { .. }) => match BankError::from(home) {
                BankError::Scan(other) => Error::Parameter(other.to_string()),
                own => Error::Bank(own),
            },
            ScanError::TooManyConsumers(error) => Error::Parameter(error.to_string()),
            rejected @ ScanError::Rejected { .. } => Error::Rejected(rejected),
            other @ (ScanError::NotLoaded { .. } | ScanError::NotMapped { .. }) => Error::Parameter(other.to_string()),
        }
    }
}

impl From<AnalysisError> for Error {
    fn from(error: AnalysisError) -> Self {
        match error {
            AnalysisError::Model(error) => error.into(),
            AnalysisError::Scan(error) => error.into(),
            AnalysisError::Audience(error) => error.into(),
            other => Error::Parameter(other.to_string()),
        }
    }
}

impl From<BankError> for Error {
    fn from(error: BankError) -> Self {
        match error {
            BankError::Scan(error) => (*error).into(),
            own => Error::Bank(own),
        }
    }
}

impl From<Stopped> for Error {
    fn from(_: Stopped) -> Self {
        Error::Canceled
    }
}

impl From<DayError> for Error {
    fn from(error: DayError) -> Self {
        Error::Parameter(error.to_string())
    }
}

impl From<ZoneError> for Error {
    fn from(error: ZoneError) -> Self {
        Error::Parameter(error.to_string())
    }
}
