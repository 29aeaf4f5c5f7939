//! Checking every row of the events, whatever a question would look at.

use crate::analyses::outcome::Report;
use crate::base::Day;
use crate::model::{ModelError, compile, everything};
use crate::source::Events;
use crate::timeline::scan::ScanError;
use crate::timeline::{Question, Runtime, fold};

/// Checks every row: behavior, time, consumer, brand and measures. Nothing is kept but the account.
///
/// A question looks only at rows that can matter to it, so its report may count fewer rejected rows than this one.
///
/// # Errors
/// What the source refuses; a rejected row under `on_error = "raise"`; cancellation.
pub fn validate(events: &Events, runtime: &Runtime<'_>) -> Result<Report, ScanError> {
    let unreadable = |error: ModelError| ScanError::Source(crate::source::SourceError::Sink(error.to_string()));
    let program = compile(&everything(events.schema()), events.schema()).map_err(unreadable)?;
    let question = Question {
        keep: false,
        ..Question::new(&program, Day::MIN, Day::MAX)
    };
    let about = fold(events, &question, runtime, |_| ())?.about;
    Ok(Report {
        tally: about.tally,
        notes: Vec::new(),
        elapsed: about.elapsed,
        threads: runtime.threads(),
        identity: None,
    })
}
