//! A table of states: who was a member (or a fan, or anything else) of which scope from when to when.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::record_batch::RecordBatch;

use crate::base::suggest::hint;
use crate::base::{IdValue, Zone};
use crate::event::columns::{ACCEPTED_IDS, IdRef};
use crate::event::time::ACCEPTED_TIMES;
use crate::event::{IdColumn, Reason, SchemaError, Tally, TimeColumn};
use crate::identity::People;
use crate::source::SourceError;

/// Which column of a state table is what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateColumns {
    /// The consumer.
    pub consumer: String,
    /// The scope: one column (brand or store), or two (brand, category).
    pub scope: Vec<String>,
    /// The name of the state.
    pub state: String,
    /// The first day.
    pub from: String,
    /// The last day; null while the state goes on.
    pub to: String,
}

/// One row of a state table: the state covers the closed range of days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePeriod {
    /// Who.
    pub consumer: IdValue,
    /// Of what.
    pub scope: (IdValue, Option<IdValue>),
    /// Which state.
    pub state: String,
    /// First day number.
    pub first: i32,
    /// Last day number; `i32::MAX` while it goes on.
    pub last: i32,
}

/// A table of states in memory.
#[derive(Debug, Clone, Default)]
pub struct StateTable {
    /// The readable rows.
    pub periods: Vec<StatePeriod>,
    /// The account of its rows.
    pub tally: Tally,
}

impl StateTable {
    /// The same table with persons for consumers. Rows of consumers without a person are counted as rejected.
    #[must_use]
    pub fn seen_through(&self, people: &People) -> StateTable {
        let place: Arc<str> = "state table".into();
        let mut seen = StateTable {
            periods: Vec::with_capacity(self.periods.len()),
            tally: self.tally.clone(),
        };
        for (row, period) in (0u64..).zip(&self.periods) {
            match people.person_of(&period.consumer.to_string()) {
                Ok(person) => seen.periods.push(StatePeriod {
                    consumer: IdValue::Int(person),
                    ..period.clone()
                }),
                Err(reason) => {
                    seen.tally.rows_read += 1;
                    seen.tally.reject(&place, row, reason, "consumer", String::new);
                }
            }
        }
        seen
    }

    /// Reads a table; rows that cannot be read are counted.
    ///
    /// # Errors
    /// A column that is not there or of a wrong type.
    pub fn read(batches: &[RecordBatch], columns: &StateColumns, zone: &Zone) -> Result<StateTable, SourceError> {
        if !(1..=2).contains(&columns.scope.len()) {
            return Err(SchemaError::Field {
                field: "scope".to_owned(),
                problem: format!(
                    "{} columns of a state table; a scope has one, or two (brand, category)",
                    columns.scope.len()
                ),
            }
            .into());
        }
        let mut table = StateTable::default();
        let mut first_row = 0;
        for batch in batches {
            table.read_batch(batch, columns, zone, first_row)?;
            first_row += batch.num_rows() as u64;
        }
        Ok(table)
    }

    fn read_batch(&mut self, batch: &RecordBatch, columns: &StateColumns, zone: &Zone, first_row: u64) -> Result<(), SourceError> {
        let place: Arc<str> = "state table".into();
        let (consumers, states) = (
            identifiers(batch, "consumer", &columns.consumer)?,
            identifiers(batch, "state", &columns.state)?,
        );
        let scopes = columns
            .scope
            .iter()
            .map(|column| identifiers(batch, "scope", column))
            .collect::<Result<Vec<_>, _>>()?;
        let (starts, ends) = (
            Times::new(batch, "from", &columns.from, zone)?,
            Times::new(batch, "to", &columns.to, zone)?,
        );
        for row in 0..batch.num_rows() {
            let period = (|| {
                let consumer = identifier(&consumers, row, Reason::NullConsumer).map_err(|reason| (reason, &columns.consumer))?;
                let mut parts = Vec::new();
                for (column, name) in scopes.iter().zip(&columns.scope) {
                    parts.push(identifier(column, row, Reason::NullScope).map_err(|reason| (reason, name))?);
                }
                let state = identifier(&states, row, Reason::NullBehavior)
                    .map_err(|reason| (reason, &columns.state))?
                    .to_string();
                let first = starts
                    .day(row, zone)
                    .map_err(|reason| (reason, &columns.from))?
                    .ok_or((Reason::NullTime, &columns.from))?;
                let last = ends.day(row, zone).map_err(|reason| (reason, &columns.to))?.unwrap_or(i32::MAX);
                if last < first {
                    return Err((Reason::ReversedPeriod, &columns.to));
                }
                let mut parts = parts.into_iter();
                let scope = (parts.next().ok_or((Reason::NullScope, &columns.state))?, parts.next());
                Ok(StatePeriod {
                    consumer,
                    scope,
                    state,
                    first,
                    last,
                })
            })();
            match period {
                Ok(period) => self.periods.push(period),
                Err((reason, column)) => {
                    // Readable rows of the table are no rows of the events; only these are told with them.
                    self.tally.rows_read += 1;
                    self.tally.reject(&place, first_row + row as u64, reason, column, String::new);
                }
            }
        }
        Ok(())
    }
}

fn column(batch: &RecordBatch, role: &str, name: &str) -> Result<ArrayRef, SourceError> {
    batch.column_by_name(name).cloned().ok_or_else(|| {
        let choices: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        let hint = hint(name, choices.iter().map(String::as_str));
        SchemaError::ColumnNotFound {
            place: "state table".to_owned(),
            column: name.to_owned(),
            role: role.to_owned(),
            hint,
            choices,
        }
        .into()
    })
}

fn refuse(role: &str, name: &str, array: &ArrayRef, accepted: &'static str) -> SourceError {
    SchemaError::ColumnType {
        place: "state table".to_owned(),
        column: name.to_owned(),
        role: role.to_owned(),
        found: array.data_type().to_string(),
        accepted,
    }
    .into()
}

fn identifiers(batch: &RecordBatch, role: &str, name: &str) -> Result<IdColumn, SourceError> {
    let array = column(batch, role, name)?;
    IdColumn::new(&array).ok_or_else(|| refuse(role, name, &array, ACCEPTED_IDS))
}

fn identifier(column: &IdColumn, row: usize, null: Reason) -> Result<IdValue, Reason> {
    match column.get(row) {
        IdRef::Int(value) => Ok(IdValue::Int(value)),
        IdRef::Text(text) => Ok(IdValue::Text(text.to_owned())),
        IdRef::Null => Err(null),
        IdRef::Bad(reason) => Err(reason),
    }
}

/// A column of days, all null if its type is null.
struct Times(Option<(TimeColumn, ArrayRef)>);

impl Times {
    fn new(batch: &RecordBatch, role: &str, name: &str, zone: &Zone) -> Result<Self, SourceError> {
        let array = column(batch, role, name)?;
        if *array.data_type() == arrow::datatypes::DataType::Null {
            return Ok(Times(None));
        }
        let times = TimeColumn::new(&array, None, zone).ok_or_else(|| refuse(role, name, &array, ACCEPTED_TIMES))?;
        Ok(Times(Some((times, array))))
    }

    fn day(&self, row: usize, zone: &Zone) -> Result<Option<i32>, Reason> {
        let Some((times, _)) = self.0.as_ref().filter(|(_, array)| array.is_valid(row)) else {
            return Ok(None);
        };
        let raw = times.raw()[row];
        if let Some(wrong) = times.kind().wrong(raw) {
            return Err(wrong);
        }
        times
            .kind()
            .resolve(raw, zone)
            .map(|(_, day)| Some(day))
            .ok_or(Reason::TimeOutOfRange)
    }
}
