//! Refusals of the identity floor.

/// Why identities cannot be resolved or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A parameter is out of its range.
    #[error("{field}: {problem}")]
    Parameter {
        /// The parameter.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// An identifier type that the map does not have.
    #[error("{field}: {name:?} is not an id type of this map{hint}; there are: {}", known.join(", "))]
    UnknownIdType {
        /// The parameter.
        field: String,
        /// What was given.
        name: String,
        /// "did you mean", ready to print.
        hint: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Rows that have neither the columns of id types nor those of links.
    #[error(
        "{place}: a table of rows needs a column for at least one of the id types ({}), a table of links the columns id_type_a, id_a, id_type_b and id_b; it has: {}",
        wanted.join(", "), columns.join(", ")
    )]
    NoIdColumns {
        /// The table.
        place: String,
        /// The id types.
        wanted: Vec<String>,
        /// The columns there are.
        columns: Vec<String>,
    },
    /// A column of a type that holds no identifiers.
    #[error("{place}: column {column:?} is {found}; accepted: {accepted}{}", if found.starts_with("Float") { "; cast whole numbers to integers first (in pandas: astype('Int64'))" } else { "" })]
    ColumnType {
        /// The file or table.
        place: String,
        /// The column.
        column: String,
        /// Its type.
        found: String,
        /// What is accepted.
        accepted: &'static str,
    },
    /// Values hashed in another way than the map's.
    #[error(
        "{id_type}: these rows hold {found} values and the map holds {kept} values, which cannot be compared; resolve all rows again with a `hash` for this id type, which leaves values hashed in another way out and counts them"
    )]
    HashMismatch {
        /// The id type.
        id_type: String,
        /// What the rows hold.
        found: String,
        /// What the map holds.
        kept: String,
    },
    /// No such identifier.
    #[error("no {id_type} of this value is known")]
    UnknownId {
        /// The id type.
        id_type: String,
    },
    /// No such person.
    #[error("there is no person {person}")]
    UnknownPerson {
        /// The number.
        person: i64,
    },
    /// Two identifiers that no row links directly.
    #[error("no row links this {left} and this {right} directly; IdentityMap.links(person=...) lists the links of a person")]
    NoLink {
        /// The id type of one end.
        left: String,
        /// Of the other.
        right: String,
    },
    /// More identifiers than can be numbered.
    #[error("more than {} identifiers, or more than 4 GiB of them in one bucket of 128", u32::MAX >> 1)]
    TooManyIds,
    /// Two unknown identifiers with one number.
    #[error("two identifiers that are not in the map have the same 63-bit number; add them to the map, which tells them apart")]
    NumberClash,
    /// A stored map that cannot be read.
    #[error("{place}: {problem}")]
    Malformed {
        /// The file or table.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// A file that cannot be written or read.
    #[error("{path}: {problem}")]
    File {
        /// The path.
        path: String,
        /// What the system said.
        problem: String,
    },
}
