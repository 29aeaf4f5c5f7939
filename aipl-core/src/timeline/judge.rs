//! What becomes of the rows of a batch: which are acceptable, what scope they are of, which leaves they count for.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;

use crate::base::IdValue;
use crate::base::id::{int_key, text_key};
use crate::event::bytes::{checked_text, is_bytes};
use crate::event::columns::IdRef;
use crate::event::measure::{Measure, Measures};
use crate::event::{EventSchema, IdColumn, Reason, SchemaError, Tally};
use crate::identity::People;
use crate::identity::people::{Meeting, Persons};
use crate::model::data::{Condition, Operand, ScopeKind};
use crate::model::filter;
use crate::model::program::Program;
use crate::source::{EventBatch, SourceError};
use crate::timeline::labels::{LabelNumbers, WorkerLabels, label_column};
use crate::timeline::numbers::{BAD_VALUE, NO_VALUE, NOT_WANTED, Numbers};
use crate::timeline::rows::{Classes, MAX_CLASSES, PayloadLayout};
use crate::timeline::scopes::{ScopeNumbers, ScopeValue};
use crate::timeline::timelines::{Question, Timelines};

/// What all workers of a scan share.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub program: &'a Program,
    pub schema: &'a EventSchema,
    /// The first day that the question asks about: leaves closed before it need not be carried.
    pub first_day: i32,
    pub layout: PayloadLayout,
    /// Measure columns whose values can make a row unacceptable, besides those that are summed.
    pub checked_measures: Vec<String>,
    /// Columns in whose text the question looks, or which it takes along: bytes there must be text.
    pub checked_texts: Vec<String>,
    pub scopes: ScopeNumbers,
    pub classes: Classes,
    pub labels: LabelNumbers,
    /// Only this consumer, if given; one of another type than the data's is nobody.
    pub consumer: Option<Option<IdValue>>,
    /// Whether rows are kept; if not, they are only checked and counted.
    pub keep: bool,
    /// The map that consumers are seen through, and the accounts met.
    pub people: Option<(Arc<People>, Meeting)>,
}

impl<'a> Plan<'a> {
    pub fn new(source: &'a dyn Timelines, question: &Question<'a>, type_of: impl Fn(&str) -> Option<DataType>) -> Self {
        let (program, schema) = (question.program, source.schema());
        Plan {
            program,
            schema,
            first_day: question.first.number(),
            layout: PayloadLayout {
                orders: program.orders,
                events: schema.column("event_id").is_some(),
                sums: program.sums.len(),
                labels: program.labels.len(),
                places: question.places,
            },
            checked_texts: texts_to_check(question, schema, &type_of),
            checked_measures: measures_to_check(program, type_of),
            scopes: ScopeNumbers::new(question.scopes),
            classes: Classes::new(),
            labels: LabelNumbers::new(program.labels.len()),
            consumer: question.consumer.map(|consumer| consumer.to_type(source.id_kind("consumer"))),
            keep: question.keep,
            people: None,
        }
    }

    /// The same plan for events that are seen through a map.
    pub fn through(mut self, people: Option<&Arc<People>>) -> Self {
        self.people = people.map(|people| (people.clone(), Meeting::new(people)));
        self
    }
}

/// Leaves whose masks have their classes in a table.
const SMALL_LEAVES: usize = 12;
/// A mask that was not met yet; classes are numbered from 0 to [`MAX_CLASSES`].
const NO_CLASS: u16 = u16::MAX;

/// Judges batches; one per worker, since it remembers what it has met.
pub(crate) struct Judge<'a> {
    pub plan: &'a Plan<'a>,
    /// The class of each mask met: of few leaves in a table, of more in a map.
    small_classes: Vec<u16>,
    large_classes: HashMap<u64, u16>,
    mains: Numbers,
    categories: Numbers,
    /// Pairs of main and category numbers met, and the place of each.
    pairs: Vec<(u32, u32)>,
    pair_numbers: HashMap<(u32, u32), u32>,
    /// The scope number of each candidate: of main numbers, or of pairs where scopes have categories.
    numbered: Vec<u32>,
    labels: Vec<WorkerLabels>,
    failed: Option<SourceError>,
}

/// What a judge found, row by row.
pub(crate) struct Judged {
    /// Whether the row is acceptable.
    pub alive: Vec<bool>,
    /// Its scope's number, or a mark.
    pub scopes: Vec<u32>,
    /// Leaves that it counts for.
    pub masks: Vec<u64>,
    /// The number of that mask.
    pub classes: Vec<u16>,
    /// Payload integers, as many a row as the layout says.
    pub payloads: Vec<u64>,
}

impl<'a> Judge<'a> {
    pub fn new(plan: &'a Plan<'a>) -> Self {
        Judge {
            plan,
            small_classes: vec![NO_CLASS; 1 << plan.program.leaves.len().min(SMALL_LEAVES)],
            large_classes: HashMap::new(),
            mains: Numbers::default(),
            categories: Numbers::default(),
            pairs: Vec::new(),
            pair_numbers: HashMap::new(),
            numbered: Vec::new(),
            labels: plan.program.labels.iter().map(|_| WorkerLabels::default()).collect(),
            failed: None,
        }
    }

    /// Judges a batch. Rows that are not `owned` are of no consumer, or of one who is not asked for: they make no scope
    /// known.
    pub fn judge(&mut self, batch: &EventBatch<'_>, owned: &[bool], tally: &mut Tally) -> Result<Judged, SourceError> {
        let mut alive = vec![true; batch.rows.len()];
        let mut scopes = self.candidates(batch)?;
        self.check_labels(batch, &mut scopes, &mut alive, tally)?;
        self.check_texts(batch, &mut alive, tally);
        self.check_measures(batch, &mut alive, tally)?;
        let masks = self.masks(batch);
        let classes = masks.iter().map(|&mask| self.class(mask)).collect();
        let mut judged = Judged {
            alive,
            scopes,
            masks,
            classes,
            payloads: Vec::new(),
        };
        self.number_scopes(batch, &mut judged, owned);
        judged.payloads = self.payloads(batch, &judged)?;
        self.failed.take().map_or(Ok(judged), Err)
    }

    /// The consumers of a batch: persons, if events are seen through a map.
    pub fn consumers(&self, batch: &EventBatch<'_>) -> Result<Consumers<'a>, SourceError> {
        let column = self.id_column(batch, "consumer")?;
        let raw = column.ok_or_else(|| SourceError::Sink("the consumer column was not decoded".to_owned()))?;
        let Some((people, meeting)) = &self.plan.people else {
            return Ok(Consumers { raw, persons: None });
        };
        let types = match people.type_column().and_then(|name| batch.columns.column_by_name(name)) {
            Some(array) => Some(IdColumn::new(array).ok_or_else(|| self.wrong_type(batch, "id_type_column", array, "utf8"))?),
            None => None,
        };
        let persons = people.persons(&raw, types.as_ref());
        Ok(Consumers {
            raw,
            persons: Some((people, meeting, persons)),
        })
    }

    /// Which rows are of a consumer who is asked for.
    pub fn owned(&self, consumers: &IdColumn) -> Vec<bool> {
        let mut owned = vec![false; consumers.len()];
        let only = self.plan.consumer.as_ref();
        consumers.for_each(|row, id| {
            owned[row] = matches!(id, IdRef::Int(_) | IdRef::Text(_)) && only.is_none_or(|only| id.is(only.as_ref()));
        });
        owned
    }

    pub fn column<'b>(&self, batch: &'b EventBatch<'_>, role: &str) -> Option<&'b ArrayRef> {
        self.plan.schema.column(role).and_then(|name| batch.columns.column_by_name(name))
    }

    pub fn id_column(&self, batch: &EventBatch<'_>, role: &str) -> Result<Option<IdColumn>, SourceError> {
        let Some(array) = self.column(batch, role) else {
            return Ok(None);
        };
        IdColumn::new(array)
            .map(Some)
            .ok_or_else(|| self.wrong_type(batch, role, array, crate::event::columns::ACCEPTED_IDS))
    }

    fn label_column(&self, batch: &EventBatch<'_>, role: &str) -> Result<Option<IdColumn>, SourceError> {
        let Some(array) = self.column(batch, role) else {
            return Ok(None);
        };
        label_column(array)
            .map(Some)
            .ok_or_else(|| self.wrong_type(batch, role, array, crate::event::columns::ACCEPTED_IDS))
    }

    fn measures(&self, batch: &EventBatch<'_>, role: &str) -> Result<Vec<Measure>, SourceError> {
        let Some(array) = self.column(batch, role) else {
            return Ok(vec![Measure::Null; batch.rows.len()]);
        };
        Measures::decode(array).ok_or_else(|| self.wrong_type(batch, role, array, crate::event::measure::ACCEPTED_MEASURES))
    }

    fn wrong_type(&self, batch: &EventBatch<'_>, role: &str, array: &ArrayRef, accepted: &'static str) -> SourceError {
        let column = self.plan.schema.column(role).unwrap_or(role).to_owned();
        SchemaError::ColumnType {
            place: batch.place.to_string(),
            column,
            role: role.to_owned(),
            found: array.data_type().to_string(),
            accepted,
        }
        .into()
    }

    /// Rows with bytes that are no text are counted and dropped.
    fn check_texts(&self, batch: &EventBatch<'_>, alive: &mut [bool], tally: &mut Tally) {
        for name in &self.plan.checked_texts {
            let bad = batch
                .columns
                .column_by_name(name)
                .and_then(checked_text)
                .and_then(|checked| checked.bad);
            for row in bad.iter().flat_map(BooleanBuffer::set_indices) {
                if std::mem::replace(&mut alive[row], false) {
                    tally.reject(batch.place, batch.rows[row], Reason::NotUtf8, name, String::new);
                }
            }
        }
    }

    /// Rows whose measures are unacceptable are counted and dropped.
    fn check_measures(&self, batch: &EventBatch<'_>, alive: &mut [bool], tally: &mut Tally) -> Result<(), SourceError> {
        for role in &self.plan.checked_measures {
            if self.column(batch, role).is_none_or(Measures::all_good) {
                continue;
            }
            for (row, measure) in self.measures(batch, role)?.into_iter().enumerate() {
                if let (true, Measure::Bad(reason)) = (alive[row], measure) {
                    alive[row] = false;
                    tally.reject(
                        batch.place,
                        batch.rows[row],
                        reason,
                        self.plan.schema.column(role).unwrap_or_default(),
                        String::new,
                    );
                }
            }
        }
        Ok(())
    }

    /// The leaves that each row counts for.
    fn masks(&self, batch: &EventBatch<'_>) -> Vec<u64> {
        let program = self.plan.program;
        let mut masks: Vec<u64> = batch.codes.iter().map(|&code| program.behavior_leaves[code as usize]).collect();
        for filter in &program.filters {
            if masks.iter().all(|mask| mask & filter.leaves == 0) {
                continue;
            }
            let mut holds = vec![true; masks.len()];
            for (role, condition) in &filter.conditions {
                match self.column(batch, role) {
                    Some(column) => filter::retain(condition, column, &mut holds),
                    None => holds.fill(false),
                }
            }
            masks
                .iter_mut()
                .zip(holds)
                .filter(|(_, holds)| !holds)
                .for_each(|(mask, _)| *mask &= !filter.leaves);
        }
        for (mask, &day) in masks.iter_mut().zip(batch.days) {
            *mask &= program.open_leaves(self.plan.first_day - day);
        }
        masks
    }

    #[inline]
    fn class(&mut self, mask: u64) -> u16 {
        let known = match self.small_classes.get(mask as usize) {
            Some(&class) => class,
            None => self.large_classes.get(&mask).copied().unwrap_or(NO_CLASS),
        };
        if known == NO_CLASS { self.new_class(mask) } else { known }
    }

    fn new_class(&mut self, mask: u64) -> u16 {
        let class = self.plan.classes.number(mask).unwrap_or_else(|| {
            self.failed = Some(SourceError::Sink(format!(
                "the model's conditions divide events into more than {MAX_CLASSES} kinds"
            )));
            0
        });
        match self.small_classes.get_mut(mask as usize) {
            Some(known) => *known = class,
            None => drop(self.large_classes.insert(mask, class)),
        }
        class
    }

    /// A candidate for the scope of each row: a number of this worker's own, or one of the marks.
    fn candidates(&mut self, batch: &EventBatch<'_>) -> Result<Vec<u32>, SourceError> {
        let main = match self.plan.program.scope {
            ScopeKind::Store => "store",
            ScopeKind::Brand | ScopeKind::Category => "brand",
        };
        let rows = batch.rows.len();
        let mains = self
            .id_column(batch, main)?
            .map_or_else(|| vec![NO_VALUE; rows], |column| self.mains.of_column(&column));
        if self.plan.program.scope != ScopeKind::Category {
            return Ok(mains);
        }
        let categories = self
            .id_column(batch, "category")?
            .map_or_else(|| vec![NO_VALUE; rows], |column| self.categories.of_column(&column));
        let mut brand_wide = vec![false; rows];
        if let Some(touchpoints) = self
            .column(batch, "touchpoint")
            .filter(|_| !self.plan.program.brand_wide.is_empty())
        {
            brand_wide.fill(true);
            let listed = Condition::In(self.plan.program.brand_wide.iter().cloned().map(Operand::Text).collect());
            filter::retain(&listed, touchpoints, &mut brand_wide);
        }
        let scope = |((main, category), brand_wide): ((u32, u32), bool)| match (main, category) {
            (NO_VALUE | BAD_VALUE, _) => main,
            (_, NO_VALUE) => NOT_WANTED,
            (_, BAD_VALUE) => BAD_VALUE,
            _ if brand_wide => NOT_WANTED,
            _ => self.pair(main, category),
        };
        Ok(mains.into_iter().zip(categories).zip(brand_wide).map(scope).collect())
    }

    /// The candidate of a brand and a category.
    fn pair(&mut self, main: u32, category: u32) -> u32 {
        let next = self.pairs.len() as u32;
        let candidate = *self.pair_numbers.entry((main, category)).or_insert(next);
        if candidate == next {
            self.pairs.push((main, category));
        }
        candidate
    }

    /// The scope number of a candidate; a scope is numbered when the first row of it has an effect.
    fn scope_of(&mut self, candidate: u32) -> u32 {
        let at = candidate as usize;
        if self.numbered.len() <= at {
            self.numbered.resize(at + 1, NO_VALUE);
        }
        if self.numbered[at] == NO_VALUE {
            let (main, category) = match self.plan.program.scope {
                ScopeKind::Category => self.pairs[at],
                ScopeKind::Brand | ScopeKind::Store => (candidate, NO_VALUE),
            };
            let scope = ScopeValue {
                main: self.mains.values[main as usize].clone(),
                category: (category != NO_VALUE).then(|| self.categories.values[category as usize].clone()),
            };
            self.numbered[at] = self.plan.scopes.number(scope).unwrap_or(NOT_WANTED);
        }
        self.numbered[at]
    }

    /// Puts scope numbers in the place of candidates, where a row has an effect.
    fn number_scopes(&mut self, batch: &EventBatch<'_>, judged: &mut Judged, owned: &[bool]) {
        let (program, everything) = (self.plan.program, self.plan.program.existence || self.plan.layout.places);
        for (row, &code) in batch.codes.iter().enumerate() {
            let candidate = judged.scopes[row];
            if candidate == NOT_WANTED {
                continue;
            }
            let effect = judged.masks[row] != 0 || everything || program.toggles[usize::from(code)].is_some();
            judged.scopes[row] = if effect && judged.alive[row] && owned[row] {
                self.scope_of(candidate)
            } else {
                NOT_WANTED
            };
        }
    }

    /// Rows without a brand, or with a label that is no acceptable identifier, are counted and dropped; rows that
    /// merely have no store or category count for no scope.
    fn check_labels(&self, batch: &EventBatch<'_>, scopes: &mut [u32], alive: &mut [bool], tally: &mut Tally) -> Result<(), SourceError> {
        let (scope, layout) = (self.plan.program.scope, self.plan.layout);
        let more = [
            (scope == ScopeKind::Category, "category"),
            (scope == ScopeKind::Store, "store"),
            (layout.orders, "order_id"),
            (layout.events, "event_id"),
        ];
        let carried = self.plan.program.labels.iter().map(String::as_str).filter(|role| *role != "brand");
        let odd = scopes.iter().any(|scope| matches!(*scope, NO_VALUE | BAD_VALUE));
        if !odd && more.iter().all(|(wanted, _)| !wanted) && self.plan.program.labels.is_empty() {
            return Ok(());
        }
        let roles = std::iter::once("brand").chain(more.into_iter().filter(|(wanted, _)| *wanted).map(|(_, role)| role));
        for role in roles.chain(carried) {
            let column = self.label_column(batch, role)?;
            let Some(column) = column.filter(|column| role == "brand" || column.can_be_bad()) else {
                continue;
            };
            let name = self.plan.schema.column(role).unwrap_or_default();
            column.for_each(|row, id| {
                let reason = match id {
                    IdRef::Null if role == "brand" => Reason::NullScope,
                    IdRef::Bad(reason) => reason,
                    _ => return,
                };
                if std::mem::replace(&mut alive[row], false) {
                    tally.reject(batch.place, batch.rows[row], reason, name, String::new);
                }
            });
        }
        scopes
            .iter_mut()
            .filter(|scope| matches!(**scope, NO_VALUE | BAD_VALUE))
            .for_each(|scope| *scope = NOT_WANTED);
        Ok(())
    }

    /// The payload integers of every row, `width` each.
    fn payloads(&mut self, batch: &EventBatch<'_>, judged: &Judged) -> Result<Vec<u64>, SourceError> {
        let layout = self.plan.layout;
        let (rows, width) = (batch.rows.len(), layout.width());
        let mut payloads = vec![0; rows * width];
        for (role, at, wanted) in [("order_id", 0, layout.orders), ("event_id", layout.event_at(), layout.events)] {
            if let (true, Some(column)) = (wanted, self.id_column(batch, role)?) {
                column.for_each(|row, id| {
                    let (high, low) = identity(id);
                    payloads[row * width + at] = high;
                    payloads[row * width + at + 1] = low;
                });
            }
        }
        if layout.places {
            for (row, &place) in batch.rows.iter().enumerate() {
                payloads[row * width + layout.place_at()] = place;
            }
        }
        for (place, role) in self.plan.program.sums.iter().enumerate() {
            for (row, measure) in self.measures(batch, role)?.into_iter().enumerate() {
                if let Measure::Value(value) = measure {
                    payloads[row * width + layout.sums_at() + place] = value.0 as u64;
                }
            }
        }
        for (place, role) in self.plan.program.labels.iter().enumerate() {
            if let Some(column) = self.label_column(batch, role)? {
                let at = (layout.labels_at() + place, width);
                let counts = |row: usize| judged.counts(row);
                self.labels[place].write((&column, counts), (&self.plan.labels, place), &mut payloads, at);
            }
        }
        Ok(payloads)
    }
}

/// The consumers of a batch.
pub(crate) struct Consumers<'a> {
    raw: IdColumn,
    persons: Option<(&'a People, &'a Meeting, Persons)>,
}

impl Consumers<'_> {
    /// Who each row is of.
    pub fn column(&self) -> &IdColumn {
        self.persons.as_ref().map_or(&self.raw, |(_, _, persons)| &persons.column)
    }

    /// Notes that the event of a row counts.
    #[inline]
    pub fn note(&self, row: usize) {
        if let Some((people, meeting, persons)) = &self.persons {
            meeting.note(people, persons, row, self.raw.get(row));
        }
    }
}

impl Judged {
    /// Calls `visit` with the row, key and identifier of every acceptable consumer; of the others, rows that were
    /// acceptable so far are counted as rejected.
    #[inline]
    pub fn each_consumer(
        &self,
        batch: &EventBatch<'_>,
        consumers: &IdColumn,
        plan: &Plan<'_>,
        tally: &mut Tally,
        mut visit: impl FnMut(usize, u64, IdRef<'_>),
    ) {
        let column = plan.schema.column("consumer").unwrap_or_default();
        consumers.for_each(|row, id| {
            let reason = match id {
                IdRef::Int(value) => return visit(row, int_key(value), id),
                IdRef::Text(text) => return visit(row, text_key(text.as_bytes()), id),
                IdRef::Null => Reason::NullConsumer,
                IdRef::Bad(reason) => reason,
            };
            if self.alive[row] {
                tally.reject(batch.place, batch.rows[row], reason, column, String::new);
            }
        });
    }

    /// Whether a row is acceptable, and of a scope that is asked for.
    #[inline]
    pub fn counts(&self, row: usize) -> bool {
        self.alive[row] && self.scopes[row] != NOT_WANTED
    }

    /// Whether a row has an effect on the question.
    #[inline]
    pub fn matters(&self, row: usize, switches: bool, plan: &Plan<'_>) -> bool {
        let kept_anyway = switches || plan.program.existence || plan.layout.places;
        self.counts(row) && (self.masks[row] != 0 || kept_anyway)
    }
}

/// Two integers that identify an order or event within its consumer: an integer identifier is itself, a text its
/// 128-bit hash.
/// `(0, 0)` stands for none.
fn identity(id: IdRef<'_>) -> (u64, u64) {
    match id {
        IdRef::Int(value) => (1, value as u64),
        IdRef::Text(text) => {
            let hash = xxhash_rust::xxh3::xxh3_128(text.as_bytes());
            ((hash >> 64) as u64, hash as u64)
        }
        IdRef::Null | IdRef::Bad(_) => (0, 0),
    }
}

/// Columns whose bytes must be text: those that the question looks at, or all where rows are only checked.
fn texts_to_check(question: &Question<'_>, schema: &EventSchema, type_of: &impl Fn(&str) -> Option<DataType>) -> Vec<String> {
    let looked_at = question.program.fields();
    let checked = |role: &str| looked_at.contains(&role) || (!question.keep && type_of(role).is_some_and(|kind| is_bytes(&kind)));
    // Consumer and brand, behavior and time are checked by whoever reads them.
    let columns = schema
        .mapped()
        .skip(4)
        .filter(|(role, _)| checked(role))
        .map(|(_, column)| column.to_owned());
    columns.collect::<BTreeSet<String>>().into_iter().collect()
}

/// Measure columns that must be decoded to know whether a row is acceptable.
fn measures_to_check(program: &Program, type_of: impl Fn(&str) -> Option<DataType>) -> Vec<String> {
    let standard = crate::event::schema::MEASURE_FIELDS.into_iter().map(str::to_owned);
    let mut roles: Vec<String> = standard.chain(program.sums.iter().cloned()).collect();
    roles.dedup();
    roles.retain(|role| type_of(role).is_some_and(|data_type| Measures::can_be_bad(&data_type)));
    roles
}
