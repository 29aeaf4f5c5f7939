//! What every analysis of a stage model begins and ends with: a compiled model, named scopes, report and recipe.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use roaring::RoaringBitmap;
use serde_json::{Map, Value, json};

use crate::analyses::outcome::{Answer, Report};
use crate::audience::{Audience, AudienceError};
use crate::base::id::MAX_LOCAL;
use crate::base::suggest::hint;
use crate::base::{ConsumerIdx, Day, IdKind, IdValue};
use crate::event::Tally;
use crate::event::schema::MEASURE_FIELDS;
use crate::model::{ModelError, Program, ScopeKind, StageModel, compile};
use crate::stage::Trade;
use crate::timeline::scan::ScanError;
use crate::timeline::scopes::{ScopeValue, scope_hint};
use crate::timeline::{Attributes, Bucket, IdentityCounts, KeptStages, Question, Runtime, Timelines, Universe, Visited};

/// Refusals of analyses.
#[derive(Debug, thiserror::Error)]
pub enum AnalysisError {
    /// The model does not fit.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The events cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// An audience cannot be used.
    #[error(transparent)]
    Audience(#[from] AudienceError),
    /// There is no such scope in the answer.
    #[error("no scope {scope:?} in this answer{hint}")]
    UnknownScope {
        /// What was asked for.
        scope: String,
        /// "did you mean", ready to print.
        hint: String,
    },
    /// A scope was named in a type that the data does not have.
    #[error("scopes: {scope:?} is not a {kind} of type {expected}")]
    ScopeType {
        /// What was given.
        scope: String,
        /// `brand`, `category` or `store`.
        kind: &'static str,
        /// The type of the column.
        expected: IdKind,
    },
    /// A parameter out of its range, or that does not go with another.
    #[error("{parameter}: {problem}")]
    Parameter {
        /// Which.
        parameter: &'static str,
        /// What is wrong, with the choices.
        problem: String,
    },
}

impl AnalysisError {
    pub(crate) fn parameter(parameter: &'static str, problem: impl Into<String>) -> Self {
        AnalysisError::Parameter {
            parameter,
            problem: problem.into(),
        }
    }
}

/// Columns of one answer have one length; what Arrow says otherwise is a fault of ours.
pub(crate) fn arrow_fault(error: arrow::error::ArrowError) -> AnalysisError {
    AnalysisError::Scan(ScanError::Source(crate::source::SourceError::Sink(error.to_string())))
}

/// An audience that limits an analysis to its consumers, whatever universe it is of.
#[derive(Debug)]
pub(crate) struct Within {
    universe: Arc<Universe>,
    bits: RoaringBitmap,
    /// Consumers of the audience, with those whose identifier cannot be one of the source's.
    consumers: u64,
    /// Whether they are persons.
    persons: bool,
}

impl Within {
    pub fn new(audience: &Audience, source: &dyn Timelines) -> Result<Self, AnalysisError> {
        let (universe, id_kind) = (audience.universe()?, source.id_kind("consumer"));
        let persons = universe.people().is_some();
        if universe.id_kind() == id_kind {
            return Ok(Within {
                universe: universe.clone(),
                bits: audience.bits().clone(),
                consumers: audience.len(),
                persons,
            });
        }
        let universe = Universe::of_ids(id_kind, audience.ids()?);
        Ok(Within {
            bits: universe.numbers().map(|idx| idx.0).collect(),
            consumers: audience.len(),
            persons,
            universe: Arc::new(universe),
        })
    }

    /// Whether it has consumers and none of them can be one of these: of another type, or accounts where these are persons.
    fn is_stranger(&self, universe: &Universe) -> bool {
        let of_other_kind = self.persons != universe.people().is_some();
        let known = |idx: u32| universe.find(&self.universe.id(ConsumerIdx(idx))).is_some();
        self.consumers > 0 && (self.bits.is_empty() || of_other_kind && !self.bits.iter().any(known))
    }

    /// Which consumers of a bucket are in it.
    pub fn members(&self, bucket: &Bucket<'_>) -> Members {
        let first = ConsumerIdx::new(bucket.number, 0).0;
        let own = self.bits.range(first..=first | (MAX_LOCAL - 1)).map(|idx| ConsumerIdx(idx).local());
        let known = self.universe.bucket(bucket.number);
        let mut members = vec![false; bucket.ids.len()];
        if std::ptr::eq(known, bucket.ids) {
            own.for_each(|local| members[local as usize] = true);
        } else if !(self.universe.is_keyed() && bucket.ids.is_keyed()) {
            // A person may be in one bucket here and in another there.
            for (local, member) in members.iter_mut().enumerate() {
                let found = self.universe.find(&bucket.ids.id(local));
                *member = found.is_some_and(|idx| self.bits.contains(idx.0));
            }
        } else {
            own.filter_map(|local| bucket.ids.find(&known.id(local as usize)))
                .for_each(|local| members[local] = true);
        }
        Members(members)
    }
}

/// Which consumers of a bucket are in an audience, by local number.
#[derive(Debug)]
pub(crate) struct Members(Vec<bool>);

impl Members {
    /// Whether a consumer is.
    #[inline]
    pub fn contains(&self, consumer: u32) -> bool {
        self.0[consumer as usize]
    }
}

/// A range of days that is not reversed.
pub(crate) fn check_range(start: Day, end: Day) -> Result<(), AnalysisError> {
    if start > end {
        return Err(AnalysisError::parameter("end", format!("{end} is before start {start}")));
    }
    Ok(())
}

/// A model, or events alone, asked of a source.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub source: &'a dyn Timelines,
    model: Option<&'a StageModel>,
    pub program: Program,
    /// Named scopes as values of the data's types, in order.
    pub named: Option<Vec<ScopeValue>>,
    /// Whether figures are of orders.
    orders: bool,
    /// The audiences that limit it, by parameter.
    limits: Vec<(&'static str, Arc<Within>)>,
    /// The tags that it tells consumers apart by.
    attributes: Option<Attributes>,
}

impl<'a> Asked<'a> {
    pub fn new(source: &'a dyn Timelines, model: &'a StageModel, scopes: Option<&[ScopeValue]>) -> Result<Self, AnalysisError> {
        let program = compile(model, source.schema())?;
        let named = scopes.map(|scopes| convert_scopes(source, program.scope, scopes)).transpose()?;
        Ok(Asked {
            source,
            model: Some(model),
            program,
            named,
            orders: false,
            limits: Vec::new(),
            attributes: None,
        })
    }

    /// Events of brands alone, no stages; what the question sees is what it watches.
    pub fn of_events(source: &'a dyn Timelines, scopes: Option<&[ScopeValue]>) -> Result<Self, AnalysisError> {
        let program = Program::bare(ScopeKind::Brand, source.schema().vocabulary().len());
        let named = scopes.map(|scopes| convert_scopes(source, program.scope, scopes)).transpose()?;
        Ok(Asked {
            source,
            model: None,
            program,
            named,
            orders: false,
            limits: Vec::new(),
            attributes: None,
        })
    }

    /// Limits it, or a part of it, to an audience.
    pub fn within(&mut self, parameter: &'static str, audience: &Audience) -> Result<Arc<Within>, AnalysisError> {
        let within = Arc::new(Within::new(audience, self.source)?);
        self.limits.push((parameter, within.clone()));
        Ok(within)
    }

    /// Tells consumers apart by tags.
    pub fn tell_by(&mut self, attributes: &Attributes) {
        self.attributes = Some(attributes.clone());
    }

    /// Lets events of some behaviors through, so many days back from the first day of the question on (all if `None`). Gives their bit in
    /// the masks of rows.
    pub fn watch(&mut self, parameter: &'static str, behaviors: &[String], days: Option<u32>) -> Result<u64, AnalysisError> {
        let vocabulary = self.source.schema().vocabulary();
        let code = |name: &String| {
            vocabulary.iter().position(|known| known == name).ok_or_else(|| {
                let tail = hint(name, vocabulary.iter().map(String::as_str));
                let choices = vocabulary.join(", ");
                AnalysisError::parameter(
                    parameter,
                    format!("{name:?} is not a behavior of the EventSchema{tail}; behaviors: {choices}"),
                )
            })
        };
        let codes = behaviors.iter().map(code).collect::<Result<Vec<_>, _>>()?;
        self.program.watch(codes, days).ok_or_else(full)
    }

    /// Lets the switches of a state through; gives its leaf bit.
    pub fn watch_state(&mut self, name: &str) -> Result<u64, AnalysisError> {
        let place = self
            .program
            .watch_state(name, &self.source.schema().vocabulary())
            .ok_or_else(full)?;
        Ok(self.program.states[place].1)
    }

    /// Lets purchases and refunds through, as [`Trade::watch`] says.
    pub fn watch_trade(&mut self, days: Option<u32>) -> Result<Trade, AnalysisError> {
        self.orders = true;
        let schema = self.source.schema();
        Trade::watch(&mut self.program, schema, days).ok_or_else(full)
    }

    /// Carries the values of a label field beside each row; gives their place.
    pub fn carry_label(&mut self, parameter: &'static str, field: &str) -> Result<usize, AnalysisError> {
        // Every event and every order is a value of its own, and measures are no labels.
        const NOT_LABELS: [&str; 5] = ["consumer", "behavior", "time", "order_id", "event_id"];
        let unfit = |name: &str| NOT_LABELS.contains(&name) || MEASURE_FIELDS.contains(&name);
        let mapped: Vec<&str> = self
            .source
            .schema()
            .mapped()
            .map(|(role, _)| role)
            .filter(|role| !unfit(role))
            .collect();
        if !mapped.contains(&field) {
            let tail = hint(field, mapped.iter().copied());
            let problem = format!("{field:?} is not a mapped label field{tail}; choices: {}", mapped.join(", "));
            return Err(AnalysisError::parameter(parameter, problem));
        }
        Ok(self.program.carry_label(field))
    }

    /// The stages of a day, if the source keeps them.
    pub fn kept(&self, day: Day) -> Result<Option<Arc<dyn KeptStages>>, AnalysisError> {
        let Some(model) = self.model else { return Ok(None) };
        Ok(self.source.kept(model, day)?)
    }

    /// The stages of several days, if the source keeps them all, and all as of one state of it.
    pub fn all_kept(&self, days: &[Day]) -> Result<Option<Vec<Arc<dyn KeptStages>>>, AnalysisError> {
        // A home that is written to meanwhile is asked again, and if it never rests its events are.
        const TRIES: usize = 10;
        for _ in 0..TRIES {
            let mut all: Vec<Arc<dyn KeptStages>> = Vec::with_capacity(days.len());
            for day in days {
                let Some(kept) = self.kept(*day)? else { return Ok(None) };
                all.push(kept);
            }
            if all.windows(2).all(|pair| pair[0].fingerprint() == pair[1].fingerprint()) {
                return Ok(Some(all));
            }
        }
        Ok(None)
    }

    /// The question about the days from `first` to `last`.
    pub fn question(&self, first: Day, last: Day) -> Question<'_> {
        Question {
            scopes: self.named.as_deref(),
            ..Question::new(&self.program, first, last)
        }
    }

    /// What the scope column holds.
    pub fn scope_type(&self) -> IdKind {
        match self.program.scope {
            ScopeKind::Brand => self.source.id_kind("brand"),
            ScopeKind::Category => IdKind::Text,
            ScopeKind::Store => self.source.id_kind("store"),
        }
    }

    /// How to ask again, as plain data.
    pub fn recipe(&self, function: &str, unit: &str, parameters: &[(&str, Value)]) -> Value {
        let named = self.named.as_ref();
        let mut recipe: Map<String, Value> = parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let fixed = json!({
            "function": function,
            "scopes": named.map(|scopes| scopes.iter().map(ToString::to_string).collect::<Vec<_>>()),
            "model": self.model.map(StageModel::to_value),
            "orders": self.orders.then_some("rows of one order_id are one order, refunds are taken off their order's day: ours"),
            "schema": self.source.schema().to_json(),
            "tz": self.source.zone().name(),
            "source": self.source.fingerprint(),
            "unit": unit,
            "version": env!("CARGO_PKG_VERSION"),
        });
        if let Value::Object(fixed) = fixed {
            recipe.extend(fixed);
        }
        Value::Object(recipe)
    }

    /// A table with its account and recipe; what its figures count is the unit.
    pub fn answer(
        &self,
        table: RecordBatch,
        (function, unit): (&str, &str),
        parameters: &[(&str, Value)],
        about: Visited,
        notes: Vec<String>,
        runtime: &Runtime<'_>,
    ) -> Answer {
        Answer {
            table,
            recipe: self.recipe(function, unit, parameters),
            report: self.report_of(about, notes, runtime),
        }
    }

    /// The account of a question, which says which named scopes it saw nothing of.
    pub fn report_of(&self, about: Visited, mut notes: Vec<String>, runtime: &Runtime<'_>) -> Report {
        notes.extend(
            about
                .unmet
                .iter()
                .map(|scope| format!("scope {:?}: nothing in the events that this question looks at", scope.to_string())),
        );
        self.report(about.tally, about.elapsed, Some(&about.universe), notes, runtime)
    }

    /// Audiences and tags that can know nobody of the events, in words.
    fn stranger_notes(&self, universe: &Universe) -> Vec<String> {
        let strangers = self.limits.iter().filter(|(_, within)| within.is_stranger(universe));
        let mut notes: Vec<String> = strangers.map(|(parameter, _)| stranger_note(parameter, universe)).collect();
        let tags = self.attributes.as_ref().filter(|attributes| attributes.is_stranger(universe));
        notes.extend(tags.map(|_| stranger_note("attributes", universe)));
        notes
    }

    /// Named scopes of which an answer has nothing to say, in words.
    pub fn empty_scopes(&self, scopes: &[ScopeValue], is_empty: impl Fn(usize) -> bool, words: &str) -> Vec<String> {
        let empty = |scope: &&ScopeValue| scopes.binary_search(scope).is_ok_and(&is_empty);
        let named = self.named.iter().flatten().filter(empty);
        named.map(|scope| format!("scope {:?}: {words}", scope.to_string())).collect()
    }

    /// The account of a question; accounts and persons are counted where the universe is known.
    pub fn report(&self, tally: Tally, elapsed: Duration, universe: Option<&Universe>, more: Vec<String>, runtime: &Runtime<'_>) -> Report {
        let mut notes = self.program.unmatched.clone();
        notes.extend(state_notes(self.source, &self.program));
        notes.extend(universe.map(|universe| self.stranger_notes(universe)).unwrap_or_default());
        notes.extend(more);
        Report {
            tally,
            notes,
            elapsed,
            threads: runtime.threads(),
            identity: universe.and_then(IdentityCounts::of),
        }
    }
}

/// What audiences and tags are told of that know nobody of the events.
fn stranger_note(parameter: &str, universe: &Universe) -> String {
    let (who, how) = match universe.people() {
        Some(_) => ("person", "; accounts become persons by with_identity"),
        None => ("consumer", ""),
    };
    format!("{parameter}: nobody in it is a {who} of the events{how}")
}

/// A model so large that nothing can be watched beside it.
fn full() -> AnalysisError {
    AnalysisError::parameter(
        "model",
        "its rules leave no room for what this analysis looks at besides; a model with fewer different rules does",
    )
}

/// States that nothing can switch on, and state tables that do not fit the scope of the model, in words.
fn state_notes(source: &dyn Timelines, program: &Program) -> Vec<String> {
    let mut notes = Vec::new();
    let named: Vec<&str> = source
        .states()
        .iter()
        .flat_map(|table| table.periods.iter().map(|period| period.state.as_str()))
        .collect();
    for (place, (name, _)) in program.states.iter().enumerate() {
        let switched = program.toggles.iter().flatten().any(|toggle| usize::from(toggle.state) == place);
        if !switched && !named.contains(&name.as_str()) {
            let known = ["member", "fan"].into_iter().chain(named.iter().copied());
            notes.push(format!(
                "state {name:?}: no behavior and no state table switches it, so it is never on{}",
                hint(name, known)
            ));
        }
    }
    // A brand model takes the brand of a row that names a category as well.
    let unfit = source
        .states()
        .iter()
        .flat_map(|table| &table.periods)
        .filter(|period| program.scope == ScopeKind::Category && period.scope.1.is_none())
        .count();
    if unfit > 0 {
        notes.push(format!(
            "state table: {unfit} rows do not name a {} each and are not used",
            program.scope.name()
        ));
    }
    notes
}

/// Named scopes as values of the data's types.
pub(crate) fn convert_scopes(source: &dyn Timelines, kind: ScopeKind, scopes: &[ScopeValue]) -> Result<Vec<ScopeValue>, AnalysisError> {
    let main = if kind == ScopeKind::Store { "store" } else { "brand" };
    let mut converted = Vec::with_capacity(scopes.len());
    for scope in scopes {
        let refuse = |kind: &'static str| AnalysisError::ScopeType {
            scope: scope.to_string(),
            kind,
            expected: source.id_kind(kind),
        };
        if scope.category.is_some() != (kind == ScopeKind::Category) {
            return Err(refuse(kind.name()));
        }
        let category = scope
            .category
            .as_ref()
            .map(|value| value.to_type(source.id_kind("category")).ok_or_else(|| refuse("category")))
            .transpose()?;
        converted.push(ScopeValue {
            main: scope.main.to_type(source.id_kind(main)).ok_or_else(|| refuse(main))?,
            category,
        });
    }
    converted.sort();
    converted.dedup();
    Ok(converted)
}

/// The place of a scope in an answer.
pub(crate) fn find_scope(scopes: &[ScopeValue], scope: &ScopeValue) -> Result<usize, AnalysisError> {
    let of_type = |value: &IdValue, like: Option<&IdValue>| match like {
        Some(IdValue::Int(_)) => value.to_type(IdKind::Int64),
        Some(IdValue::Text(_)) => value.to_type(IdKind::Text),
        None => Some(value.clone()),
    };
    let like = scopes.first();
    let main = of_type(&scope.main, like.map(|like| &like.main));
    let category = scope
        .category
        .as_ref()
        .map(|category| of_type(category, like.and_then(|like| like.category.as_ref())));
    let found = match (main, category) {
        (Some(main), None) => scopes.binary_search(&ScopeValue { main, category: None }).ok(),
        (Some(main), Some(Some(category))) => scopes
            .binary_search(&ScopeValue {
                main,
                category: Some(category),
            })
            .ok(),
        _ => None,
    };
    // The text of a brand × category scope, as tables show it, names it too.
    let text = scope.to_string();
    let by_text = || {
        if scope.category.is_none() {
            scopes.iter().position(|known| known.to_string() == scope.main.to_string())
        } else {
            None
        }
    };
    found.or_else(by_text).ok_or_else(|| AnalysisError::UnknownScope {
        scope: text,
        hint: scope_hint(scope, scopes),
    })
}
