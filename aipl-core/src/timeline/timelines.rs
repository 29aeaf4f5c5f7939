//! What analyses ask of: raw events, a log in memory, a bank. An analysis never knows which.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roaring::RoaringBitmap;

use crate::base::{Day, IdKind, IdValue, Zone};
use crate::event::{EventSchema, Tally};
use crate::model::StageModel;
use crate::model::program::Program;
use crate::source::StateTable;
use crate::timeline::bucket::BucketTimelines;
use crate::timeline::log::EventLog;
use crate::timeline::runtime::Runtime;
use crate::timeline::scan::ScanError;
use crate::timeline::scopes::ScopeValue;
use crate::timeline::universe::{IdStore, IdentityCounts, Universe};

/// What is asked of timelines.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The compiled model.
    pub program: &'a Program,
    /// The first day asked about.
    pub first: Day,
    /// The last day asked about; later events do not count.
    pub last: Day,
    /// Only these scopes, if given.
    pub scopes: Option<&'a [ScopeValue]>,
    /// Only this consumer, if given.
    pub consumer: Option<&'a IdValue>,
    /// Whether rows are kept for the fold; if not, they are only checked and counted.
    pub keep: bool,
    /// Whether every row is wanted with its place in the log, also those without effect on a stage (logs only).
    pub places: bool,
}

impl<'a> Question<'a> {
    /// All consumers and scopes on the days from `first` to `last`.
    #[must_use]
    pub fn new(program: &'a Program, first: Day, last: Day) -> Self {
        Question {
            program,
            first,
            last,
            scopes: None,
            consumer: None,
            keep: true,
            places: false,
        }
    }
}

/// One bucket, ready to be folded.
#[derive(Debug, Clone, Copy)]
pub struct Bucket<'a> {
    /// Its number.
    pub number: usize,
    /// Its consumers' external identifiers, by local number.
    pub ids: &'a IdStore,
    /// Its consumers' histories.
    pub timelines: &'a BucketTimelines,
    /// Leaf masks by class.
    pub masks: &'a [u64],
    /// The scopes of the answer, in order of value; a history's scope is a place here.
    pub scopes: &'a [ScopeValue],
    /// The values of each label field that the program carries, in order.
    pub labels: &'a [Vec<IdValue>],
}

/// What an answer is about.
#[derive(Debug)]
pub struct Visited {
    /// The consumers.
    pub universe: Arc<Universe>,
    /// The scopes, in order of value.
    pub scopes: Vec<ScopeValue>,
    /// The values of each label field that the program carries, in order.
    pub labels: Vec<Vec<IdValue>>,
    /// Named scopes of which the question saw nothing.
    pub unmet: Vec<ScopeValue>,
    /// The account of rows.
    pub tally: Tally,
    /// How long it took.
    pub elapsed: Duration,
}

/// A visitor of buckets; called once a bucket, on any thread.
pub type Visit<'a> = &'a (dyn Fn(Bucket<'_>) + Sync);

/// Every consumer's events in order, wherever they are kept.
pub trait Timelines: Send + Sync + fmt::Debug {
    /// The mapping of columns.
    fn schema(&self) -> &EventSchema;
    /// The zone of calendar days.
    fn zone(&self) -> &Arc<Zone>;
    /// Tables of states.
    fn states(&self) -> &[Arc<StateTable>];
    /// What the identifiers of a field are; `Text` where the column is empty of type.
    fn id_kind(&self, role: &str) -> IdKind;
    /// Identifies the content as far as is cheap.
    fn fingerprint(&self) -> String;
    /// Shows each bucket's histories, as far as they can matter to the question.
    ///
    /// # Errors
    /// What the source refuses; a rejected row under `on_error = "raise"`; a column that was not loaded; cancellation.
    fn visit(&self, question: &Question<'_>, runtime: &Runtime<'_>, visit: Visit<'_>) -> Result<Visited, ScanError>;
    /// The day before which events were removed, all but those that switch states.
    fn expired(&self) -> Option<Day> {
        None
    }
    /// The stages of a day by a model, if they are kept and still hold.
    ///
    /// # Errors
    /// Damage.
    fn kept(&self, _model: &StageModel, _day: Day) -> Result<Option<Arc<dyn KeptStages>>, ScanError> {
        Ok(None)
    }
    /// The events themselves in memory: the given optional fields (all if `None`) of all consumers; of one alone, where others would
    /// have to be read for him.
    ///
    /// # Errors
    /// As [`Timelines::visit`]; a field that is not mapped.
    fn log(&self, fields: Option<&[String]>, consumer: Option<&IdValue>, runtime: &Runtime<'_>) -> Result<EventLog, ScanError>;
}

/// The stages of a day as sets that a home keeps: no event is read to show them.
pub trait KeptStages: Send + Sync + fmt::Debug {
    /// Scopes with a set, in order of value.
    fn scopes(&self) -> &[ScopeValue];
    /// Whether each of these is in the answer of a snapshot of the day.
    fn listed(&self) -> &[bool];
    /// Consumers by scope and stage.
    fn counts(&self) -> &[i64];
    /// Whether the sets of earlier days are whole: new consumers can be told from returning ones.
    fn whole(&self) -> bool;
    /// The consumers in a stage of a scope, by places; behind the stages comes the set of those in any stage on a day before.
    ///
    /// # Errors
    /// Damage.
    fn set(&self, scope: usize, set: usize) -> Result<RoaringBitmap, ScanError>;
    /// Accounts and persons when the day was kept, if consumers are persons.
    fn identity(&self) -> Option<IdentityCounts>;
    /// The consumers that numbers stand for.
    ///
    /// # Errors
    /// Damage.
    fn universe(&self) -> Result<Arc<Universe>, ScanError>;
    /// Identifies the content that the sets are of.
    fn fingerprint(&self) -> String;
}

/// Refuses a question to a home whose events are partly gone, if it needs those. Switches of states are never gone.
///
/// # Errors
/// [`ScanError::Expired`].
pub fn refuse_expired(home: &dyn Timelines, question: &Question<'_>) -> Result<(), ScanError> {
    let Some(expired) = home.expired() else { return Ok(()) };
    let needed = needed_from(home, question.program, question.first);
    if needed >= expired.number() {
        return Ok(());
    }
    let from = Day::from_number(i64::from(needed)).map_or_else(|_| String::new(), |day| format!(" from {day} on"));
    Err(ScanError::Expired { expired, from })
}

/// The first day number whose events, switches of states aside, can matter to a day.
pub(crate) fn needed_from(home: &dyn Timelines, program: &Program, day: Day) -> i32 {
    let switches = state_switches(home.schema());
    let first_days = program.first_days(day.number()).into_iter().zip(switches);
    first_days
        .filter(|(_, switch)| !switch)
        .map(|(first, _)| first)
        .min()
        .unwrap_or(i32::MAX)
}

/// By behavior code, whether events of it switch a state on or off; they matter for ever.
pub(crate) fn state_switches(schema: &EventSchema) -> Vec<bool> {
    const SWITCHES: [&str; 4] = ["member_join", "member_leave", "follow", "unfollow"];
    schema.vocabulary().iter().map(|name| SWITCHES.contains(&name.as_str())).collect()
}

/// What a fold gives: one result a bucket, and what they are about.
#[derive(Debug)]
pub struct Folded<R> {
    /// Results by bucket.
    pub buckets: Vec<R>,
    /// What they are about.
    pub about: Visited,
}

/// Folds each bucket's histories, as far as they can matter to the question.
///
/// # Errors
/// As [`Timelines::visit`].
pub fn fold<R: Send>(
    source: &dyn Timelines,
    question: &Question<'_>,
    runtime: &Runtime<'_>,
    fold: impl Fn(Bucket<'_>) -> R + Sync,
) -> Result<Folded<R>, ScanError> {
    let results = Mutex::new(Vec::new());
    let about = source.visit(question, runtime, &|bucket| {
        let number = bucket.number;
        let result = fold(bucket);
        results.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
    })?;
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(number, _)| *number);
    Ok(Folded {
        buckets: results.into_iter().map(|(_, result)| result).collect(),
        about,
    })
}
