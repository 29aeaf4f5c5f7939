//! Refusals of the event floor.

use crate::base::suggest::listed;

/// A schema that cannot be used, or does not fit the data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The data has no such column.
    #[error("{place}: no column {column:?} (mapped to {role}){hint}; columns: {}", listed(choices))]
    ColumnNotFound {
        /// The source or file that was looked in.
        place: String,
        /// The missing column.
        column: String,
        /// The schema field mapped to it.
        role: String,
        /// "did you mean", ready to print.
        hint: String,
        /// The columns there are.
        choices: Vec<String>,
    },
    /// A column is of a type that its role does not take.
    #[error("{place}: column {column:?} (mapped to {role}) is {found}; accepted: {accepted}")]
    ColumnType {
        /// The source or file.
        place: String,
        /// The column.
        column: String,
        /// The schema field mapped to it.
        role: String,
        /// Its type.
        found: String,
        /// The accepted types in words.
        accepted: &'static str,
    },
    /// Two files disagree about a column in a way that no widening mends.
    #[error("{place}: column {column:?} is {found}, but {expected} in {first}")]
    FilesDisagree {
        /// The file that disagrees.
        place: String,
        /// The column.
        column: String,
        /// Its type there.
        found: String,
        /// The type in the first file.
        expected: String,
        /// The first file.
        first: String,
    },
    /// A field of the schema itself is wrong.
    #[error("EventSchema.{field}: {problem}")]
    Field {
        /// The field.
        field: String,
        /// What is wrong.
        problem: String,
    },
}
