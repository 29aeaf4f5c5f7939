//! Raw events as timelines: one pass over a source, spread over buckets, put in order, shown.

use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::DataType;

use crate::base::{Day, IdKind, IdValue, Zone};
use crate::event::{BehaviorDecoder, EventSchema, Tally};
use crate::identity::people::Meeting;
use crate::identity::{People, Seen};
use crate::model::program::Program;
use crate::source::{Events, OnError, Request, SourceError, StateTable};
use crate::timeline::bucket::{Assembly, BucketTimelines, TooManyConsumers};
use crate::timeline::judge::Plan;
use crate::timeline::log::{EventLog, load};
use crate::timeline::partition::Partitioner;
use crate::timeline::read::{by_bucket, each_bucket, read};
use crate::timeline::runtime::Runtime;
use crate::timeline::spans::table_spans;
use crate::timeline::timelines::{Bucket, Question, Timelines, Visit, Visited};
use crate::timeline::universe::{IdStore, Universe};

/// Refusals of the timeline floor.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// More consumers than can be numbered.
    #[error(transparent)]
    TooManyConsumers(#[from] TooManyConsumers),
    /// Events that the question needs are gone.
    #[error(
        "events before {expired} are expired and the question needs them{from}; only days that were materialized before can still be answered"
    )]
    Expired {
        /// The first day that is there.
        expired: Day,
        /// The first day needed, ready to print.
        from: String,
    },
    /// The home of the events refused.
    #[error("{0}")]
    Home(Box<dyn std::error::Error + Send + Sync>),
    /// The caller asked to stop.
    #[error("canceled")]
    Canceled,
    /// The question needs a field that the log was loaded without.
    #[error(
        "{field:?} was not loaded into the log; loaded: {}; load it with events.load(columns=[{field:?}, ...])",
        or_none(loaded)
    )]
    NotLoaded {
        /// The field.
        field: String,
        /// The optional fields that are there.
        loaded: Vec<String>,
    },
    /// A field to load is not mapped by the schema.
    #[error("columns: the EventSchema maps no {field:?}{hint}; mapped: {}", or_none(mapped))]
    NotMapped {
        /// The field.
        field: String,
        /// "did you mean", ready to print.
        hint: String,
        /// The optional fields that are mapped.
        mapped: Vec<String>,
    },
    /// A row was rejected and the events say `on_error = "raise"`.
    #[error("{place}, row {row}: {reason}{column}{detail} ({rejected} rows rejected in all)")]
    Rejected {
        /// The file, or the name of the in-memory source.
        place: String,
        /// The row (for CSV: the line).
        row: u64,
        /// The reason's code.
        reason: &'static str,
        /// The column, ready to print.
        column: String,
        /// More in words, ready to print.
        detail: String,
        /// Rejected rows in all.
        rejected: u64,
    },
}

/// Names for a message.
fn or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl Timelines for Events {
    fn schema(&self) -> &EventSchema {
        Events::schema(self)
    }

    fn zone(&self) -> &Arc<Zone> {
        Events::zone(self)
    }

    fn states(&self) -> &[Arc<StateTable>] {
        Events::states(self)
    }

    fn id_kind(&self, role: &str) -> IdKind {
        Events::id_kind(self, role)
    }

    fn fingerprint(&self) -> String {
        let source = self.source().fingerprint();
        self.people()
            .map_or(source.clone(), |people| format!("{source}; {}", people.recipe()))
    }

    /// One pass over the source: read on all threads, spread over buckets, put in order, shown.
    fn visit(&self, question: &Question<'_>, runtime: &Runtime<'_>, visit: Visit<'_>) -> Result<Visited, ScanError> {
        let started = Instant::now();
        let plan = Plan::new(self, question, |role| column_type(self, role)).through(self.people());
        let request = request(self, question, &plan);
        runtime.progress().begin(self.source().rows().unwrap_or(0));
        let (shares, mut tally) = read(self, &request, runtime, || Partitioner::new(&plan))?;
        let parts = by_bucket(shares.into_iter().map(Partitioner::into_pending));
        tally.rows_total = self.source().rows().unwrap_or(tally.rows_read + tally.rows_skipped);
        let spans = table_spans(self, question, &plan.scopes, &mut tally);
        refuse_rejected(self.on_error(), &tally)?;
        let people = seen(self, plan.people)?;
        let unmet = plan.scopes.unmet();
        let (scopes, scope_places) = plan.scopes.settle();
        let (masks, class_places) = plan.classes.settle();
        let (labels, label_places) = plan.labels.settle();
        let assembly = Assembly {
            id_kind: self.id_kind("consumer"),
            layout: plan.layout,
            scope_places: &scope_places,
            class_places: &class_places,
            label_places: &label_places,
        };
        let stores = each_bucket(parts, runtime, |number, parts| {
            let (ids, timelines) = BucketTimelines::assemble(parts, &spans[number], &assembly)?;
            visit(Bucket {
                number,
                ids: &ids,
                timelines: &timelines,
                masks: &masks,
                scopes: &scopes,
                labels: &labels,
            });
            Ok::<IdStore, ScanError>(ids)
        })?;
        let universe = Arc::new(Universe::new(assembly.id_kind, stores).with_people(people));
        Ok(Visited {
            universe,
            scopes,
            labels,
            unmet,
            tally,
            elapsed: started.elapsed(),
        })
    }

    fn log(&self, fields: Option<&[String]>, consumer: Option<&IdValue>, runtime: &Runtime<'_>) -> Result<EventLog, ScanError> {
        load(self, fields, consumer, runtime)
    }
}

/// The accounts that were met while events were read through a map.
pub(crate) fn seen(events: &Events, people: Option<(Arc<People>, Meeting)>) -> Result<Option<Seen>, ScanError> {
    let Some((people, meeting)) = people else { return Ok(None) };
    for period in events.raw_states().iter().flat_map(|table| &table.periods) {
        meeting.note_state(&people, &period.consumer.to_string());
    }
    Ok(Some(meeting.end((*people).clone()).map_err(SourceError::from)?))
}

/// The type of a field's column.
pub(crate) fn column_type(events: &Events, role: &str) -> Option<DataType> {
    let columns = events.source().columns();
    let field = columns.field_with_name(events.schema().column(role)?).ok()?;
    Some(field.data_type().clone())
}

/// Under `on_error = "raise"` the first rejected row ends the question.
pub(crate) fn refuse_rejected(on_error: OnError, tally: &Tally) -> Result<(), ScanError> {
    let (OnError::Raise, Some(first)) = (on_error, tally.first_rejected()) else {
        return Ok(());
    };
    let after = |text: &str, lead: &str| if text.is_empty() { String::new() } else { format!("{lead}{text}") };
    Err(ScanError::Rejected {
        place: first.file.to_string(),
        row: first.row,
        reason: first.reason.code(),
        column: if first.column.is_empty() {
            String::new()
        } else {
            format!(" in column {:?}", first.column)
        },
        detail: after(&first.detail, ": "),
        rejected: tally.rows_rejected(),
    })
}

/// What a question needs of the source, and no more.
pub(crate) fn request(events: &Events, question: &Question<'_>, plan: &Plan<'_>) -> Request {
    let (schema, program) = (events.schema(), question.program);
    let mut roles = program.fields();
    roles.extend(["consumer", "brand"]);
    roles.extend(plan.checked_measures.iter().map(String::as_str));
    roles.extend(plan.layout.events.then_some("event_id"));
    let mut columns: Vec<String> = roles
        .into_iter()
        .filter_map(|role| schema.column(role))
        .map(str::to_owned)
        .collect();
    columns.extend(plan.checked_texts.iter().cloned());
    columns.extend(events.people().and_then(|people| people.type_column()).map(str::to_owned));
    columns.sort();
    columns.dedup();
    Request {
        schema: schema.clone(),
        decoder: BehaviorDecoder::new(schema),
        zone: events.zone().clone(),
        first_days: program.first_days(question.first.number()),
        last_day: question.last.number(),
        columns,
        instants: instants(program, schema),
    }
}

/// Which behaviors need their exact instant: those that switch states.
fn instants(program: &Program, schema: &EventSchema) -> Vec<bool> {
    let mut instants: Vec<bool> = program.toggles.iter().map(Option::is_some).collect();
    instants.resize(BehaviorDecoder::new(schema).code_count(), false);
    instants
}
