//! Events in memory: decoded once, ordered once, asked any number of times.
//!
//! A log keeps, bucket by bucket, the mapped columns of every acceptable event in order of consumer, brand and time. Texts are
//! codes into one dictionary a column; numbers of few different values are codes into a dictionary of the bucket.

mod answer;
pub(crate) mod fields;
pub(crate) mod load;
mod rows;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef};
use serde_json::{Map, Value, json};

use crate::base::{Day, IdKind, Zone};
use crate::event::{BehaviorCode, BehaviorDecoder, EventSchema, Tally};
use crate::source::{OnError, StateTable};
use crate::timeline::universe::Universe;
use fields::Kind;

pub use load::load;
pub use rows::{LogEvents, NO_LABEL};

/// Events in memory, ready for any number of questions. Cheap to clone.
///
/// Made by [`Timelines::log`](crate::timeline::Timelines::log) of [`Events`](crate::source::Events), or by [`load`]. It answers
/// as the events do, and all audiences that are made from it are of one universe.
///
/// ```
/// use std::sync::Arc;
/// use aipl_core::event::EventSchema;
/// use aipl_core::source::Events;
/// use aipl_core::timeline::{Runtime, Timelines};
/// use arrow::array::{RecordBatch, StringArray};
///
/// let column = |values: [&'static str; 2]| Arc::new(StringArray::from(values.to_vec())) as _;
/// let batch = RecordBatch::try_from_iter([
///     ("user", column(["u1", "u2"])),
///     ("brand", column(["b", "b"])),
///     ("action", column(["view", "purchase"])),
///     ("at", column(["2024-06-30 10:00:00", "2024-06-30 11:00:00"])),
/// ])?;
/// let events = Events::from_batches(batch.schema(), vec![batch], EventSchema::new("user", "brand", "action", "at"), "UTC")?;
/// let log = events.log(None, None, &Runtime::default())?;
/// assert_eq!((log.rows(), log.universe().len()), (2, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct EventLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    schema: EventSchema,
    zone: Arc<Zone>,
    states: Vec<Arc<StateTable>>,
    id_kinds: Vec<(String, IdKind)>,
    fingerprint: String,
    universe: Arc<Universe>,
    /// All brands, in order.
    brands: ArrayRef,
    fields: Vec<LogField>,
    buckets: Vec<LogBucket>,
    tally: Tally,
    on_error: OnError,
    elapsed: Duration,
    threads: usize,
}

/// A column besides consumer, brand, behavior and time.
#[derive(Debug)]
pub(crate) struct LogField {
    pub column: String,
    pub kind: Kind,
    /// All texts of the column, in order.
    dictionary: Option<ArrayRef>,
}

/// The events of one bucket's consumers, in order of consumer, brand, time and behavior.
#[derive(Debug)]
pub(crate) struct LogBucket {
    /// Where each consumer's rows begin; one more than there are consumers.
    pub starts: Vec<u32>,
    pub days: Vec<i32>,
    /// UTC µs.
    pub instants: Vec<i64>,
    pub codes: Vec<BehaviorCode>,
    pub brands: ArrayRef,
    pub fields: Vec<ArrayRef>,
}

impl LogBucket {
    fn rows(&self) -> usize {
        self.days.len()
    }
}

impl EventLog {
    fn new(inner: Inner) -> Self {
        EventLog { inner: Arc::new(inner) }
    }

    /// Events.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.inner.buckets.iter().map(LogBucket::rows).sum()
    }

    /// The consumers: every one with an event or a state.
    #[must_use]
    pub fn universe(&self) -> &Arc<Universe> {
        &self.inner.universe
    }

    /// The account of rows that were read to make it.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.inner.tally
    }

    /// The first and last day with an event.
    #[must_use]
    pub fn days(&self) -> Option<(Day, Day)> {
        let all = || self.inner.buckets.iter().flat_map(|bucket| bucket.days.iter().copied());
        let day = |number: Option<i32>| number.and_then(|number| Day::from_number(i64::from(number)).ok());
        Some((day(all().min())?, day(all().max())?))
    }

    /// Optional fields that were loaded.
    #[must_use]
    pub fn loaded(&self) -> Vec<String> {
        let here = |column: &str| self.inner.fields.iter().any(|field| field.column == column);
        let schema = &self.inner.schema;
        let brand = schema.column("brand");
        let optional = schema.mapped().skip(4);
        optional
            .filter(|(_, column)| here(column) || Some(*column) == brand)
            .map(|(role, _)| role.to_owned())
            .collect()
    }

    /// Bytes held, by what they hold: `consumer`, `brand`, `behavior`, `time`, each further field, and the texts of each field
    /// as `… (values)`.
    #[must_use]
    pub fn bytes(&self) -> Vec<(String, usize)> {
        let inner = &*self.inner;
        let sum = |of: &dyn Fn(&LogBucket) -> usize| inner.buckets.iter().map(of).sum::<usize>();
        let mut bytes = vec![
            ("consumer".to_owned(), sum(&|bucket| bucket.starts.len() * 4)),
            ("consumer (values)".to_owned(), inner.universe.nbytes()),
            ("brand".to_owned(), sum(&|bucket| held(&bucket.brands, true))),
            ("brand (values)".to_owned(), inner.brands.get_buffer_memory_size()),
            ("behavior".to_owned(), sum(&|bucket| bucket.codes.len())),
            ("time".to_owned(), sum(&|bucket| bucket.days.len() * 12)),
        ];
        for (place, field) in inner.fields.iter().enumerate() {
            let shared = field.dictionary.is_some();
            let name = inner.schema.mapped().skip(4).find(|(_, column)| *column == field.column);
            let name = name.map_or(field.column.as_str(), |(role, _)| role);
            bytes.push((name.to_owned(), sum(&|bucket| held(&bucket.fields[place], shared))));
            if let Some(dictionary) = &field.dictionary {
                bytes.push((format!("{name} (values)"), dictionary.get_buffer_memory_size()));
            }
        }
        bytes
    }

    /// What the log holds, as plain data.
    #[must_use]
    pub fn info(&self) -> Value {
        let bytes = self.bytes();
        let values = |name: &str| name.ends_with("(values)");
        let per_row = |bytes: usize| if self.rows() == 0 { 0.0 } else { bytes as f64 / self.rows() as f64 };
        let dense: usize = bytes.iter().filter(|(name, _)| !values(name)).map(|(_, bytes)| bytes).sum();
        json!({
            "rows": self.rows(),
            "consumers": self.universe().len(),
            "brands": self.inner.brands.len(),
            "first_day": self.days().map(|(first, _)| first.to_string()),
            "last_day": self.days().map(|(_, last)| last.to_string()),
            "fields": self.loaded(),
            "bytes": bytes.iter().map(|(_, bytes)| bytes).sum::<usize>(),
            "bytes_by_column": bytes.iter().map(|(name, bytes)| (name.clone(), json!(bytes))).collect::<Map<_, _>>(),
            "bytes_per_event": per_row(dense),
            "rows_rejected": self.inner.tally.rows_rejected(),
            "rows_ignored": self.inner.tally.rows_ignored,
            "rejected": self.inner.tally.rejected_json(),
        })
    }

    /// How long loading took, and on how many threads.
    #[must_use]
    pub fn effort(&self) -> (Duration, usize) {
        (self.inner.elapsed, self.inner.threads)
    }

    fn vocabulary(&self) -> Vec<String> {
        BehaviorDecoder::new(&self.inner.schema).vocabulary().to_vec()
    }
}

/// Bytes of an array; of a dictionary whose values all buckets share, those of its keys alone.
fn held(array: &ArrayRef, shared: bool) -> usize {
    use arrow::array::AsArray;
    match array.as_any_dictionary_opt() {
        Some(dictionary) if shared => dictionary.keys().get_buffer_memory_size(),
        _ => array.get_buffer_memory_size(),
    }
}
