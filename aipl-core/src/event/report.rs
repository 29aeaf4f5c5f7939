//! The account of rows: how many were read, kept, set aside, and refused, and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

/// Why a row was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The behavior is null.
    NullBehavior,
    /// The behavior is not in the vocabulary or the mapping.
    UnknownBehavior,
    /// The time is null.
    NullTime,
    /// The time is text that is no ISO time.
    UnreadableTime,
    /// The time is outside 1970-01-01 to 2199-12-31.
    TimeOutOfRange,
    /// The consumer is null or empty.
    NullConsumer,
    /// The brand is null or empty.
    NullScope,
    /// An identifier is longer than 256 bytes.
    IdTooLong,
    /// An integer identifier does not fit 64 signed bits.
    IdOutOfRange,
    /// A measure is NaN or infinite.
    NotFinite,
    /// A measure is text that is no number.
    UnreadableNumber,
    /// A measure does not fit the fixed-point range of ±9.2 × 10¹².
    NumberOutOfRange,
    /// The bytes of a text are not UTF-8.
    NotUtf8,
    /// A text row has the wrong number of fields, is no UTF-8, or is over 1 MiB.
    MalformedRow,
    /// A row of a state table ends before it begins.
    ReversedPeriod,
    /// An identifier has not the form of its type.
    MalformedId,
    /// A hashed identifier is hashed in another way than those of its type.
    OtherHash,
    /// A link names an id type that the map does not have.
    UnknownIdType,
    /// Under an identity, the consumer's identifier belongs to no known person.
    UnknownPerson,
}

impl Reason {
    /// The reason as it stands in reports.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Reason::NullBehavior => "null_behavior",
            Reason::UnknownBehavior => "unknown_behavior",
            Reason::NullTime => "null_time",
            Reason::UnreadableTime => "unreadable_time",
            Reason::TimeOutOfRange => "time_out_of_range",
            Reason::NullConsumer => "null_consumer",
            Reason::NullScope => "null_brand",
            Reason::IdTooLong => "id_too_long",
            Reason::IdOutOfRange => "id_out_of_range",
            Reason::NotFinite => "not_finite",
            Reason::UnreadableNumber => "unreadable_number",
            Reason::NumberOutOfRange => "number_out_of_range",
            Reason::NotUtf8 => "not_utf8",
            Reason::MalformedRow => "malformed_row",
            Reason::ReversedPeriod => "reversed_period",
            Reason::MalformedId => "malformed_id",
            Reason::OtherHash => "other_hash",
            Reason::UnknownIdType => "unknown_id_type",
            Reason::UnknownPerson => "unknown_person",
        }
    }
}

/// A rejected row, by place. Holds no identifier and no value but an unknown behavior's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Example {
    /// The file, or the name of the in-memory source.
    pub file: Arc<str>,
    /// The row within it, counted from 0 (for CSV: the line, counted from 1).
    pub row: u64,
    /// Why.
    pub reason: Reason,
    /// The column.
    pub column: String,
    /// What is wrong, in words, where the reason alone does not say it.
    pub detail: String,
}

impl Example {
    /// The row as plain data.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({"file": &*self.file, "row": self.row, "reason": self.reason.code(), "column": self.column, "detail": self.detail})
    }
}

/// How many first examples are kept for each reason.
pub const EXAMPLES_PER_REASON: usize = 5;

/// Counts of rows through one scan. Tallies of parts add up to the tally of the whole in any order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows that the source holds, as far as it says.
    pub rows_total: u64,
    /// Rows passed over by statistics, never looked at.
    pub rows_skipped: u64,
    /// Rows looked at.
    pub rows_read: u64,
    /// Rows whose behavior is mapped to nothing.
    pub rows_ignored: u64,
    /// Rows that can matter to the question and went into the timelines.
    pub rows_kept: u64,
    /// Bytes of the files (or arrays) behind the source.
    pub bytes: u64,
    /// Rejected rows by reason.
    pub rejected: BTreeMap<Reason, u64>,
    examples: BTreeMap<Reason, Vec<Example>>,
}

impl Tally {
    /// Counts a rejected row and keeps it as an example if it is among the first of its reason.
    pub fn reject(&mut self, file: &Arc<str>, row: u64, reason: Reason, column: &str, detail: impl FnOnce() -> String) {
        *self.rejected.entry(reason).or_default() += 1;
        let kept = self.examples.entry(reason).or_default();
        // A full list is in order, so a row behind its last cannot be among the first.
        if kept.len() == EXAMPLES_PER_REASON && kept.last().is_some_and(|last| (&last.file, last.row) < (file, row)) {
            return;
        }
        kept.push(Example {
            file: file.clone(),
            row,
            reason,
            column: column.to_owned(),
            detail: detail(),
        });
        kept.sort();
        kept.truncate(EXAMPLES_PER_REASON);
    }

    /// Adds another part's counts.
    pub fn merge(&mut self, other: Tally) {
        self.rows_total += other.rows_total;
        self.rows_skipped += other.rows_skipped;
        self.rows_read += other.rows_read;
        self.rows_ignored += other.rows_ignored;
        self.rows_kept += other.rows_kept;
        self.bytes += other.bytes;
        for (reason, count) in other.rejected {
            *self.rejected.entry(reason).or_default() += count;
        }
        for (reason, examples) in other.examples {
            let kept = self.examples.entry(reason).or_default();
            kept.extend(examples);
            kept.sort();
            kept.truncate(EXAMPLES_PER_REASON);
        }
    }

    /// Renumbers the kept examples, for sources that count in lines.
    pub(crate) fn renumber(&mut self, number: impl Fn(u64) -> u64) {
        self.examples
            .values_mut()
            .flatten()
            .for_each(|example| example.row = number(example.row));
    }

    /// Rejected rows by the code of the reason, as plain data.
    #[must_use]
    pub fn rejected_json(&self) -> Value {
        let counted = self.rejected.iter().map(|(reason, count)| (reason.code().to_owned(), json!(count)));
        Value::Object(counted.collect())
    }

    /// Rejected rows in all.
    #[must_use]
    pub fn rows_rejected(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// The first rejected rows of each reason, by file and row.
    pub fn examples(&self) -> impl Iterator<Item = &Example> {
        self.examples.values().flatten()
    }

    /// The first rejected row of all.
    #[must_use]
    pub fn first_rejected(&self) -> Option<&Example> {
        self.examples().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_examples_are_kept_in_any_order() {
        let file: Arc<str> = "a.csv".into();
        let rows = [9u64, 3, 7, 1, 8, 2, 5];
        let mut whole = Tally::default();
        rows.iter()
            .for_each(|&row| whole.reject(&file, row, Reason::NullTime, "ts", String::new));
        let mut merged = Tally::default();
        for chunk in rows.chunks(2).rev() {
            let mut part = Tally::default();
            chunk
                .iter()
                .for_each(|&row| part.reject(&file, row, Reason::NullTime, "ts", String::new));
            merged.merge(part);
        }
        assert_eq!(whole, merged);
        assert_eq!(whole.examples().map(|example| example.row).collect::<Vec<_>>(), [1, 2, 3, 5, 7]);
        assert_eq!(whole.first_rejected().map(|example| example.row), Some(1));
        assert_eq!(whole.rows_rejected(), 7);
    }
}
