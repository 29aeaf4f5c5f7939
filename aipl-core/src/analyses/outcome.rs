//! What every result carries besides its answer: the account of rows, and how to ask again.

use std::time::Duration;

use arrow::array::RecordBatch;
use serde_json::{Value, json};

use crate::event::{Example, Tally};
use crate::timeline::IdentityCounts;

/// The account of one question: rows, rejects, rules that could not match, time and bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Counts of rows and rejected examples.
    pub tally: Tally,
    /// Rules of the model that can never match this schema, and scopes that were named but not met, in words.
    pub notes: Vec<String>,
    /// How long the question took.
    pub elapsed: Duration,
    /// Threads it ran on.
    pub threads: usize,
    /// Accounts and persons, where consumers are persons.
    pub identity: Option<IdentityCounts>,
}

/// Counts before and after identity, as plain data.
fn identity_json(counts: &IdentityCounts) -> Value {
    let each = if counts.persons == 0 {
        Value::Null
    } else {
        json!(counts.accounts as f64 / counts.persons as f64)
    };
    json!({"accounts": counts.accounts, "unknown_accounts": counts.unknown_accounts, "persons": counts.persons, "accounts_per_person": each})
}

/// A table with its account, and how to ask for it again.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The rows.
    pub table: RecordBatch,
    /// The account of the events' rows.
    pub report: Report,
    /// Function, parameters, model and source, as plain data.
    pub recipe: Value,
}

/// Rows by fate; `total` is the sum of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowCounts {
    /// Rows of the source.
    pub total: u64,
    /// Passed over by statistics, never looked at.
    pub skipped: u64,
    /// Behavior mapped to nothing.
    pub ignored: u64,
    /// Not acceptable.
    pub rejected: u64,
    /// Acceptable as far as was looked, but without effect on the question.
    pub not_needed: u64,
    /// Gone into the answer.
    pub kept: u64,
}

impl Report {
    /// Rows by fate.
    #[must_use]
    pub fn rows(&self) -> RowCounts {
        let tally = &self.tally;
        let rejected = tally.rows_rejected();
        RowCounts {
            total: tally.rows_skipped + tally.rows_read,
            skipped: tally.rows_skipped,
            ignored: tally.rows_ignored,
            rejected,
            not_needed: tally.rows_read.saturating_sub(tally.rows_ignored + rejected + tally.rows_kept),
            kept: tally.rows_kept,
        }
    }

    /// The first rejected rows of each reason.
    pub fn examples(&self) -> impl Iterator<Item = &Example> {
        self.tally.examples()
    }

    /// The report as plain data.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let rows = self.rows();
        json!({
            "rows_total": rows.total,
            "rows_skipped": rows.skipped,
            "rows_ignored": rows.ignored,
            "rows_rejected": rows.rejected,
            "rows_not_needed": rows.not_needed,
            "rows_kept": rows.kept,
            "rejected": self.tally.rejected_json(),
            "examples": self.examples().map(Example::to_json).collect::<Vec<_>>(),
            "notes": self.notes,
            "bytes": self.tally.bytes,
            "seconds": self.elapsed.as_secs_f64(),
            "threads": self.threads,
            "identity": self.identity.as_ref().map(identity_json),
        })
    }
}
