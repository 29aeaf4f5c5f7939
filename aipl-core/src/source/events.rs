//! Events: a source, its schema, its time zone, and what to do with rows that cannot be read.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use crate::base::{IdKind, Zone};
use crate::event::{EventSchema, IdColumn, SchemaError};
use crate::identity::{IdentityError, People};
use crate::source::check::{check_columns, not_found};
use crate::source::csv::{CsvOptions, CsvSource};
use crate::source::ipc::IpcSource;
use crate::source::memory::StreamSource;
use crate::source::parquet::ParquetSource;
use crate::source::states::StateTable;
use crate::source::{ReadOptions, Source, SourceError};

/// What to do with rows that cannot be events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// Count them, keep the first examples, and go on.
    #[default]
    Reject,
    /// Refuse the whole question, naming the first of them.
    Raise,
}

/// Raw events, not yet read: what every analysis starts from.
///
/// ```
/// use std::sync::Arc;
/// use aipl_core::event::EventSchema;
/// use aipl_core::source::Events;
/// use arrow::array::{Date32Array, RecordBatch, StringArray};
///
/// let batch = RecordBatch::try_from_iter([
///     ("user", Arc::new(StringArray::from(vec!["u1"])) as _),
///     ("brand", Arc::new(StringArray::from(vec!["b"])) as _),
///     ("action", Arc::new(StringArray::from(vec!["view"])) as _),
///     ("day", Arc::new(Date32Array::from(vec![19_904])) as _),
/// ])?;
/// let events = Events::from_batches(batch.schema(), vec![batch], EventSchema::new("user", "brand", "action", "day"), "Asia/Shanghai")?;
/// assert_eq!(events.source().rows(), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Events {
    source: Arc<dyn Source>,
    schema: EventSchema,
    zone: Arc<Zone>,
    on_error: OnError,
    raw_states: Vec<Arc<StateTable>>,
    /// Those tables as they are asked: seen through the map, if there is one.
    states: Vec<Arc<StateTable>>,
    people: Option<Arc<People>>,
}

impl Events {
    /// Events of any source.
    ///
    /// # Errors
    /// A schema that is wrong in itself, names a column that is not there, or maps a column of a type its field does
    /// not take.
    pub fn new(source: Arc<dyn Source>, schema: EventSchema, zone: Zone) -> Result<Self, SourceError> {
        schema.check()?;
        check_columns(&source.name(), &source.columns(), &schema)?;
        Ok(Events {
            source,
            schema,
            zone: Arc::new(zone),
            on_error: OnError::Reject,
            raw_states: Vec::new(),
            states: Vec::new(),
            people: None,
        })
    }

    /// Events of Parquet files: paths, patterns or folders.
    ///
    /// # Errors
    /// As [`Events::new`]; no such file; a file that is no Parquet; an unknown zone.
    pub fn scan_parquet(paths: &[String], schema: EventSchema, zone: &str) -> Result<Self, SourceError> {
        Self::scan_parquet_with(paths, schema, zone, ReadOptions::default())
    }

    /// As [`Events::scan_parquet`], with limits of the caller's choice.
    ///
    /// # Errors
    /// As [`Events::scan_parquet`]; a file that asks for more than the options allow.
    pub fn scan_parquet_with(paths: &[String], schema: EventSchema, zone: &str, options: ReadOptions) -> Result<Self, SourceError> {
        let zone = read_zone(zone)?;
        Self::new(Arc::new(ParquetSource::open(paths, &schema, options)?), schema, zone)
    }

    /// Events of Arrow IPC files or streams on disk.
    ///
    /// # Errors
    /// As [`Events::scan_parquet`].
    pub fn scan_ipc(paths: &[String], schema: EventSchema, zone: &str) -> Result<Self, SourceError> {
        Self::scan_ipc_with(paths, schema, zone, ReadOptions::default())
    }

    /// As [`Events::scan_ipc`], with limits of the caller's choice.
    ///
    /// # Errors
    /// As [`Events::scan_parquet_with`].
    pub fn scan_ipc_with(paths: &[String], schema: EventSchema, zone: &str, options: ReadOptions) -> Result<Self, SourceError> {
        let zone = read_zone(zone)?;
        Self::new(Arc::new(IpcSource::open(paths, &schema, options)?), schema, zone)
    }

    /// Events of CSV files with a header line. Every column is text; identifiers from CSV are text too.
    ///
    /// # Errors
    /// As [`Events::scan_parquet`].
    pub fn scan_csv(paths: &[String], schema: EventSchema, zone: &str, csv: CsvOptions) -> Result<Self, SourceError> {
        Self::scan_csv_with(paths, schema, zone, csv, ReadOptions::default())
    }

    /// As [`Events::scan_csv`], with limits of the caller's choice.
    ///
    /// # Errors
    /// As [`Events::scan_parquet_with`].
    pub fn scan_csv_with(
        paths: &[String],
        schema: EventSchema,
        zone: &str,
        csv: CsvOptions,
        options: ReadOptions,
    ) -> Result<Self, SourceError> {
        let zone = read_zone(zone)?;
        Self::new(Arc::new(CsvSource::open(paths, &schema, csv, options)?), schema, zone)
    }

    /// Events of record batches in memory.
    ///
    /// # Errors
    /// As [`Events::new`]; an unknown zone.
    pub fn from_batches(columns: SchemaRef, batches: Vec<RecordBatch>, schema: EventSchema, zone: &str) -> Result<Self, SourceError> {
        let zone = read_zone(zone)?;
        Self::new(
            Arc::new(StreamSource::from_batches("record batches", columns, batches)),
            schema,
            zone,
        )
    }

    /// The same events with another treatment of rows that cannot be read.
    #[must_use]
    pub fn with_on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// The same events with the states of a table beside them.
    ///
    /// # Errors
    /// Events whose consumers are of several id types: a table of states does not say which ones its consumers are of.
    pub fn with_states(mut self, table: StateTable) -> Result<Self, SourceError> {
        self.raw_states.push(Arc::new(table));
        self.check_states()?;
        self.see_states();
        Ok(self)
    }

    fn check_states(&self) -> Result<(), SourceError> {
        let mixed = self.people.as_ref().is_some_and(|people| people.type_column().is_some());
        if mixed && !self.raw_states.is_empty() {
            return Err(IdentityError::Parameter {
                field: "id_type_column".to_owned(),
                problem: "tables of states do not say which id type their consumers are of; use id_type".to_owned(),
            }
            .into());
        }
        Ok(())
    }

    fn see_states(&mut self) {
        self.states = match &self.people {
            None => self.raw_states.clone(),
            Some(people) => self.raw_states.iter().map(|table| Arc::new(table.seen_through(people))).collect(),
        };
    }

    /// The same events with consumers seen through a map: every analysis then counts persons. Consumers in tables of
    /// states are seen through it as well.
    ///
    /// # Errors
    /// The map has no such id type; the column that names them is not there.
    pub fn with_identity(mut self, people: People) -> Result<Self, SourceError> {
        if let Some(column) = people.type_column() {
            let columns = self.source.columns();
            if columns.field_with_name(column).is_err() {
                let choices = columns.fields().iter().map(|field| field.name().clone()).collect();
                return Err(not_found(&self.source.name(), "id_type_column", column, choices).into());
            }
        }
        self.people = Some(Arc::new(people));
        self.check_states()?;
        self.see_states();
        Ok(self)
    }

    /// The map that consumers are seen through, if there is one.
    #[must_use]
    pub fn people(&self) -> Option<&Arc<People>> {
        self.people.as_ref()
    }

    /// Where the events come from.
    #[must_use]
    pub fn source(&self) -> &dyn Source {
        &*self.source
    }

    /// Where the events come from, to share.
    #[must_use]
    pub fn shared_source(&self) -> Arc<dyn Source> {
        self.source.clone()
    }

    /// The mapping of columns.
    #[must_use]
    pub fn schema(&self) -> &EventSchema {
        &self.schema
    }

    /// The zone of wall-clock times and calendar days.
    #[must_use]
    pub fn zone(&self) -> &Arc<Zone> {
        &self.zone
    }

    /// What happens to rows that cannot be read.
    #[must_use]
    pub fn on_error(&self) -> OnError {
        self.on_error
    }

    /// Tables of states as they were given.
    pub(crate) fn raw_states(&self) -> &[Arc<StateTable>] {
        &self.raw_states
    }

    /// Tables of states; under an identity their consumers are persons.
    #[must_use]
    pub fn states(&self) -> &[Arc<StateTable>] {
        &self.states
    }

    /// What the identifiers of a field are; `Text` where the column is empty of type.
    #[must_use]
    pub fn id_kind(&self, role: &str) -> IdKind {
        if role == "consumer" && self.people.is_some() {
            return IdKind::Int64;
        }
        let columns = self.source.columns();
        let field = self.schema.column(role).and_then(|column| columns.field_with_name(column).ok());
        field.and_then(|field| IdColumn::id_kind(field.data_type())).unwrap_or(IdKind::Text)
    }
}

fn read_zone(name: &str) -> Result<Zone, SourceError> {
    Ok(Zone::named(name).map_err(|error| SchemaError::Field {
        field: "tz".to_owned(),
        problem: error.to_string(),
    })?)
}
