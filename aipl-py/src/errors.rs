//! Refusals of the core as exceptions of the Python package, and panics as `InternalError`.

use std::any::Any;
use std::sync::{Mutex, PoisonError};

use aipl_core::Error;
use aipl_core::audience::AudienceError;
use aipl_core::bank::BankError;
use aipl_core::event::SchemaError;
use aipl_core::identity::IdentityError;
use aipl_core::model::ModelError;
use aipl_core::source::SourceError;
use pyo3::exceptions::{PyKeyboardInterrupt, PyMemoryError};
use pyo3::prelude::*;

/// Where the last panic of this library happened. Workers panic on other threads than the one that reports it.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Keeps panics silent: the core turns those of decoders into errors, and the rest become `InternalError`.
pub fn record_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }));
}

/// The longest message, in characters: names of columns and the like come from files, and a file may have very many of
/// them.
const LONGEST: usize = 4_000;

/// An exception of the Python package by the name of its class.
pub fn exception(py: Python<'_>, class: &str, message: &str) -> PyErr {
    let cut = message.char_indices().nth(LONGEST).map(|(end, _)| format!("{}…", &message[..end]));
    let message = cut.as_deref().unwrap_or(message);
    let made = py
        .import("aipl._errors")
        .and_then(|module| module.getattr(class))
        .and_then(|class| class.call1((message,)));
    match made {
        Ok(instance) => PyErr::from_value(instance),
        Err(error) => error,
    }
}

/// A refusal of the core.
pub fn refusal(py: Python<'_>, error: &Error) -> PyErr {
    if let Error::Source(SourceError::Stream { problem, .. }) = error {
        // Ctrl-C met the producer's own Python code; through Arrow only its traceback as text comes back.
        if problem.trim_end().ends_with("KeyboardInterrupt") {
            return PyKeyboardInterrupt::new_err(());
        }
    }
    let (class, message) = match error {
        // The zone is no field of the schema in Python.
        Error::Schema(SchemaError::Field { field, problem }) if field == "tz" => ("ParameterError", format!("tz: {problem}")),
        Error::Schema(SchemaError::ColumnNotFound { .. }) => ("ColumnNotFoundError", error.to_string()),
        Error::Schema(_) => ("SchemaError", error.to_string()),
        Error::Parameter(_) | Error::Model(ModelError::UnknownStage { .. }) => ("ParameterError", error.to_string()),
        Error::Model(_) => ("ModelError", error.to_string()),
        Error::Identity(IdentityError::Parameter { .. } | IdentityError::UnknownIdType { .. } | IdentityError::HashMismatch { .. }) => {
            ("ParameterError", error.to_string())
        }
        Error::Identity(IdentityError::NoIdColumns { .. }) => ("ColumnNotFoundError", error.to_string()),
        Error::Identity(IdentityError::ColumnType { .. }) => ("SchemaError", error.to_string()),
        Error::Identity(IdentityError::File { .. } | IdentityError::Malformed { .. }) => ("SourceError", error.to_string()),
        Error::Identity(_) => ("IdentityError", error.to_string()),
        Error::Source(SourceError::Limit { .. }) => ("LimitError", error.to_string()),
        Error::Source(_) => ("SourceError", error.to_string()),
        Error::Rejected(_) => ("RejectedRowsError", error.to_string()),
        Error::Audience(AudienceError::UniverseMismatch { .. }) => ("UniverseMismatchError", error.to_string()),
        Error::Audience(_) => ("AudienceError", error.to_string()),
        Error::Bank(error) => (bank_class(error), error.to_string()),
        Error::Memory(_) => ("MemoryLimitError", SHORT.to_owned()),
        Error::Canceled => ("InternalError", "stopped without a reason".to_owned()),
    };
    exception(py, class, &message)
}

/// The class of a bank's refusal.
fn bank_class(error: &BankError) -> &'static str {
    match error {
        BankError::Locked { .. } => "StoreLockedError",
        BankError::Corrupt { .. } => "CorruptStoreError",
        BankError::NoSpace { .. } => "NoSpaceError",
        BankError::FormatVersion { .. } => "FormatVersionError",
        BankError::Mismatch { .. } => "SchemaError",
        BankError::NotText { .. } => "InternalError",
        BankError::Parameter { .. } | BankError::Unknown { .. } => "ParameterError",
        _ => "StoreError",
    }
}

/// What is told where memory did not suffice.
const SHORT: &str = "the memory that this process may use did not suffice; nothing was changed, and the same works once there is more";

/// Work that the system refused memory for.
pub fn short_of_memory(py: Python<'_>) -> PyErr {
    exception(py, "MemoryLimitError", SHORT)
}

/// An error of work during which memory ran out is told as that: what it names is what the want of memory led to.
pub fn blamed_on_memory(py: Python<'_>, error: PyErr) -> PyErr {
    let ours = py.import("aipl._errors").and_then(|module| module.getattr("AiplError"));
    let follows = error.is_instance_of::<PyMemoryError>(py) || ours.is_ok_and(|ours| error.is_instance(py, &ours));
    if follows { short_of_memory(py) } else { error }
}

/// A panic that was caught.
pub fn internal(py: Python<'_>, panic: &(dyn Any + Send)) -> PyErr {
    let what = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    let place = LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner).clone();
    exception(
        py,
        "InternalError",
        &format!(
            "a fault in aipl itself, please report it: {what} (at {place}, version {})",
            env!("CARGO_PKG_VERSION")
        ),
    )
}
