//! What files are expected to hold: the fields of events, or plain columns of identifiers.

use crate::event::EventSchema;
use crate::event::schema::MEASURE_FIELDS;

/// What files are expected to hold.
#[derive(Debug, Clone, Copy)]
pub enum Expected<'a> {
    /// Events, mapped by a schema.
    Events(&'a EventSchema),
    /// Columns of identifiers, any of which a file may lack.
    Identifiers(&'a [String]),
}

impl<'a> From<&'a EventSchema> for Expected<'a> {
    fn from(schema: &'a EventSchema) -> Self {
        Expected::Events(schema)
    }
}

impl<'a> Expected<'a> {
    /// The schema, if events are expected.
    pub(crate) fn schema(self) -> Option<&'a EventSchema> {
        match self {
            Expected::Events(schema) => Some(schema),
            Expected::Identifiers(_) => None,
        }
    }

    /// Whether a column has identifiers, whose types must agree between files.
    pub(crate) fn is_identifier(self, column: &str) -> bool {
        const ROLES: [&str; 6] = ["consumer", "brand", "category", "store", "order_id", "event_id"];
        match self {
            Expected::Events(schema) => ROLES.iter().any(|role| schema.column(role) == Some(column)),
            Expected::Identifiers(_) => false,
        }
    }

    /// Whether a column has measures.
    pub(crate) fn is_measure(self, column: &str) -> bool {
        let schema = self.schema();
        schema.is_some_and(|schema| MEASURE_FIELDS.iter().any(|role| schema.column(role) == Some(column)))
    }

    /// Whether a column is wanted, and if so whether its texts are mostly different from row to row.
    pub(crate) fn texts(self, column: &str) -> Option<Texts> {
        const MANY: [&str; 4] = ["consumer", "order_id", "event_id", "time"];
        match self {
            Expected::Identifiers(columns) => columns.iter().any(|known| known == column).then_some(Texts::Many),
            Expected::Events(schema) => {
                let mut roles = schema.mapped().filter(|(_, mapped)| *mapped == column).peekable();
                roles.peek()?;
                Some(if roles.any(|(role, _)| MANY.contains(&role)) {
                    Texts::Many
                } else {
                    Texts::Few
                })
            }
        }
    }
}

/// How many different texts a column is expected to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Texts {
    /// Few, against its rows.
    Few,
    /// About as many as rows.
    Many,
}
