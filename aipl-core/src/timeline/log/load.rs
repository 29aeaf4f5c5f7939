//! Loading: events of all workers, spread over buckets as columns, then each bucket put in order.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::ArrayRef;

use crate::base::id::{BUCKETS, bucket_of};
use crate::base::memory::{OutOfMemory, has_room};
use crate::base::suggest::hint;
use crate::base::{Day, IdKind, IdValue};
use crate::event::columns::IdRef;
use crate::event::{BehaviorCode, EventSchema, Tally};
use crate::model::program::Program;
use crate::model::{compile, everything};
use crate::source::{EventBatch, Events, Request, Sink, SourceError};
use crate::timeline::interner::{Interner, Texts as ConsumerTexts};
use crate::timeline::judge::{Judge, Plan};
use crate::timeline::log::fields::{Collected, Column, Decoded, Dictionary, Kind, Texts, decode, id_array, keyed};
use crate::timeline::log::{EventLog, Inner, LogBucket, LogField};
use crate::timeline::read::{by_bucket, each_bucket, read};
use crate::timeline::rows::{class_of, day_of, pack, scope_of};
use crate::timeline::runtime::Runtime;
use crate::timeline::scan::{ScanError, column_type, refuse_rejected, request, seen};
use crate::timeline::timelines::{Question, Timelines};
use crate::timeline::universe::{IdStore, Universe};

/// Loads events into memory: the given optional fields, or all that are mapped; of all consumers, or of one.
///
/// # Errors
/// What the source refuses; a rejected row under `on_error = "raise"`; a field that is not mapped; cancellation.
pub fn load(events: &Events, fields: Option<&[String]>, consumer: Option<&IdValue>, runtime: &Runtime<'_>) -> Result<EventLog, ScanError> {
    let started = Instant::now();
    let program = program_of_everything(events)?;
    let loading = Loading::new(events, &program, fields, consumer)?;
    let (builders, tally) = loading.read(runtime, None)?;
    let with_states = state_consumers(events, consumer, events.id_kind("consumer"));
    let rows = loading.assemble(builders, &with_states, Some(runtime))?;
    let people = seen(events, loading.plan.people)?;
    Ok(EventLog::new(Inner {
        schema: events.schema().clone(),
        zone: events.zone().clone(),
        states: events.states().to_vec(),
        id_kinds: id_kinds(events),
        fingerprint: Timelines::fingerprint(events),
        universe: Arc::new(Universe::new(events.id_kind("consumer"), rows.stores).with_people(people)),
        brands: rows.brands,
        fields: rows.fields,
        buckets: rows.buckets,
        tally,
        on_error: events.on_error(),
        elapsed: started.elapsed(),
        threads: runtime.threads(),
    }))
}

/// The model to which every event matters, compiled for these events.
pub(crate) fn program_of_everything(events: &Events) -> Result<Program, ScanError> {
    let model = everything(events.schema());
    compile(&model, events.schema()).map_err(|error| ScanError::Source(SourceError::Sink(error.to_string())))
}

/// Rows in order, bucket by bucket: what a log holds, and what a bank writes down.
#[derive(Debug)]
pub(crate) struct OrderedRows {
    /// Consumers by bucket, in order of key.
    pub stores: Vec<IdStore>,
    pub buckets: Vec<LogBucket>,
    /// All brands, in order.
    pub brands: ArrayRef,
    pub fields: Vec<LogField>,
}

/// Where a worker's rows go when they have become too many to hold.
pub(crate) struct Overflow<'a> {
    /// Bytes that one worker may gather.
    pub bytes: usize,
    /// Takes what a worker has gathered, in order.
    pub take: &'a (dyn Fn(OrderedRows) -> Result<(), SourceError> + Sync),
}

/// A load under way: what is read of which events.
pub(crate) struct Loading<'a> {
    events: &'a Events,
    pub plan: Plan<'a>,
    request: Request,
    wanted: Vec<String>,
    kinds: Vec<Kind>,
}

impl<'a> Loading<'a> {
    pub fn new(
        events: &'a Events,
        program: &'a Program,
        fields: Option<&[String]>,
        consumer: Option<&'a IdValue>,
    ) -> Result<Self, ScanError> {
        let wanted = wanted_columns(events.schema(), fields)?;
        let question = Question {
            consumer,
            ..Question::new(program, Day::MIN, Day::MAX)
        };
        let mut plan = Plan::new(events, &question, |role| column_type(events, role)).through(events.people());
        // What is kept can be asked for later, so it must be text now.
        plan.checked_texts.extend(wanted.iter().cloned());
        let mut request = request(events, &question, &plan);
        request.instants.fill(true);
        request.columns.extend(wanted.iter().cloned());
        request.columns.sort();
        request.columns.dedup();
        let types = events.source().columns();
        let kind = |column: &String| {
            types
                .field_with_name(column)
                .map_or(Kind::Text, |field| Kind::of(field.data_type()))
        };
        Ok(Loading {
            events,
            plan,
            request,
            kinds: wanted.iter().map(kind).collect(),
            wanted,
        })
    }

    /// Reads all rows, each worker into a builder of its own.
    pub fn read<'l>(
        &'l self,
        runtime: &Runtime<'_>,
        overflow: Option<&'l Overflow<'l>>,
    ) -> Result<(Vec<Builder<'l, 'a>>, Tally), ScanError> {
        let events = self.events;
        runtime.progress().begin(events.source().rows().unwrap_or(0));
        let (builders, mut tally) = read(events, &self.request, runtime, || Builder::new(self, overflow))?;
        tally.rows_total = events.source().rows().unwrap_or(tally.rows_read + tally.rows_skipped);
        events.states().iter().for_each(|table| tally.merge(table.tally.clone()));
        refuse_rejected(events.on_error(), &tally)?;
        Ok((builders, tally))
    }

    /// Puts what workers gathered in order: on the threads of a runtime, or on this one.
    pub fn assemble(
        &self,
        builders: Vec<Builder<'_, 'a>>,
        with_states: &[Vec<IdValue>],
        runtime: Option<&Runtime<'_>>,
    ) -> Result<OrderedRows, ScanError> {
        let mut texts: Vec<Vec<Texts>> = self.wanted.iter().map(|_| Vec::new()).collect();
        let mut shares = Vec::new();
        for builder in builders {
            texts.iter_mut().zip(builder.texts).for_each(|(all, own)| all.push(own));
            shares.push(builder.buckets);
        }
        let (brands, brand_places) = self.plan.scopes.settle();
        let dictionary = |(texts, kind): (Vec<Texts>, &Kind)| (*kind == Kind::Text).then(|| Dictionary::merge(texts));
        let assembly = Assembly {
            id_kind: self.events.id_kind("consumer"),
            brand_places: &brand_places,
            brand_values: id_array(brands.iter().map(|scope| &scope.main)),
            kinds: &self.kinds,
            dictionaries: texts.into_iter().zip(&self.kinds).map(dictionary).collect(),
        };
        let none = Vec::new();
        let bucket = |number: usize, parts| assembly.bucket(parts, with_states.get(number).unwrap_or(&none));
        let parts = by_bucket(shares.into_iter());
        let assembled = match runtime {
            Some(runtime) => each_bucket(parts, runtime, bucket)?,
            None => parts
                .into_iter()
                .enumerate()
                .map(|(number, parts)| bucket(number, parts))
                .collect::<Result<_, _>>()?,
        };
        let (stores, buckets): (Vec<IdStore>, Vec<LogBucket>) = assembled.into_iter().unzip();
        let field = |((column, kind), dictionary): ((&String, &Kind), &Option<Dictionary>)| LogField {
            column: column.clone(),
            kind: *kind,
            dictionary: dictionary.as_ref().map(|dictionary| dictionary.values.clone()),
        };
        Ok(OrderedRows {
            stores,
            buckets,
            fields: self.wanted.iter().zip(&self.kinds).zip(&assembly.dictionaries).map(field).collect(),
            brands: assembly.brand_values,
        })
    }
}

/// The columns of the optional fields to load, each once. Event identities tell copies apart, so they always come
/// along.
pub(super) fn wanted_columns(schema: &EventSchema, fields: Option<&[String]>) -> Result<Vec<String>, ScanError> {
    const REQUIRED: [&str; 4] = ["consumer", "brand", "behavior", "time"];
    let optional: Vec<(&str, &str)> = schema.mapped().filter(|(role, _)| !REQUIRED.contains(role)).collect();
    for field in fields.unwrap_or_default() {
        let known = || optional.iter().map(|(role, _)| *role).chain(REQUIRED);
        if !known().any(|role| role == field) {
            return Err(ScanError::NotMapped {
                field: field.clone(),
                hint: hint(field, known()),
                mapped: optional.iter().map(|(role, _)| (*role).to_owned()).collect(),
            });
        }
    }
    let listed = |role: &str| fields.is_none_or(|fields| role == "event_id" || fields.iter().any(|field| field == role));
    let brand = schema.column("brand");
    let mut columns: Vec<String> = optional
        .iter()
        .filter(|(role, column)| listed(role) && Some(*column) != brand)
        .map(|(_, column)| (*column).to_owned())
        .collect();
    columns.sort();
    columns.dedup();
    Ok(columns)
}

fn id_kinds(events: &Events) -> Vec<(String, IdKind)> {
    let roles = events.schema().mapped().map(|(role, _)| role.to_owned());
    roles.map(|role| (role.clone(), events.id_kind(&role))).collect()
}

/// Consumers that a table of states names, by bucket: they exist even without an event.
fn state_consumers(events: &Events, only: Option<&IdValue>, id_kind: IdKind) -> Vec<Vec<IdValue>> {
    let mut buckets: Vec<Vec<IdValue>> = vec![Vec::new(); BUCKETS];
    let only = only.map(|consumer| consumer.to_type(id_kind));
    for period in events.states().iter().flat_map(|table| &table.periods) {
        let Some(consumer) = period.consumer.to_type(id_kind) else {
            continue;
        };
        if only.as_ref().is_none_or(|only| only.as_ref() == Some(&consumer)) {
            buckets[bucket_of(consumer.key())].push(consumer);
        }
    }
    buckets
}

/// One worker's rows of one bucket.
#[derive(Debug, Default)]
struct Share {
    keys: Vec<u64>,
    texts: Vec<u8>,
    /// Brand, day and behavior.
    words: Vec<u64>,
    instants: Vec<i64>,
    fields: Vec<Collected>,
}

/// One worker of a load.
pub(crate) struct Builder<'l, 'a> {
    loading: &'l Loading<'a>,
    overflow: Option<&'l Overflow<'l>>,
    judge: Judge<'l>,
    texts: Vec<Texts>,
    buckets: Vec<Share>,
    /// About how many bytes are held.
    bytes: usize,
}

impl<'l, 'a> Builder<'l, 'a> {
    fn new(loading: &'l Loading<'a>, overflow: Option<&'l Overflow<'l>>) -> Self {
        let share = || Share {
            fields: loading.kinds.iter().map(|kind| Collected::new(*kind)).collect(),
            ..Share::default()
        };
        Builder {
            loading,
            overflow,
            judge: Judge::new(&loading.plan),
            texts: loading.kinds.iter().map(|_| Texts::default()).collect(),
            buckets: std::iter::repeat_with(share).take(BUCKETS).collect(),
            bytes: 0,
        }
    }

    /// Hands over what is held once it is too much.
    fn relieve(&mut self) -> Result<(), SourceError> {
        let Some(overflow) = self.overflow.filter(|overflow| self.bytes > overflow.bytes) else {
            return Ok(());
        };
        let full = std::mem::replace(self, Builder::new(self.loading, self.overflow));
        let failed = |error: ScanError| match error {
            ScanError::Source(error) => error,
            other => SourceError::Sink(other.to_string()),
        };
        (overflow.take)(self.loading.assemble(vec![full], &[], None).map_err(failed)?)
    }

    fn decode(&mut self, batch: &EventBatch<'_>) -> Result<Vec<Decoded>, SourceError> {
        let loading = self.loading;
        let mut decoded = Vec::with_capacity(loading.wanted.len());
        for ((column, kind), texts) in loading.wanted.iter().zip(&loading.kinds).zip(&mut self.texts) {
            let values = batch.columns.column_by_name(column).and_then(|array| decode(*kind, texts, array));
            decoded.push(values.ok_or_else(|| SourceError::Sink(format!("{}: column {column:?} cannot be loaded", batch.place)))?);
        }
        Ok(decoded)
    }
}

impl Sink for Builder<'_, '_> {
    fn accept(&mut self, batch: &EventBatch<'_>, tally: &mut Tally) -> Result<(), SourceError> {
        let plan = self.judge.plan;
        let consumers = self.judge.consumers(batch)?;
        let owned = self.judge.owned(consumers.column());
        let judged = self.judge.judge(batch, &owned, tally)?;
        let held = |texts: &[Texts]| texts.iter().map(Texts::bytes).sum::<usize>();
        let texts_before = held(&self.texts);
        let decoded = self.decode(batch)?;
        let mut id_bytes = 0;
        let buckets = &mut self.buckets;
        let (mut kept, mut refused) = (0, false);
        judged.each_consumer(batch, consumers.column(), plan, tally, |row, key, id| {
            if !judged.matters(row, false, plan) {
                return;
            }
            kept += 1;
            consumers.note(row);
            let share = &mut buckets[bucket_of(key)];
            if !(has_room(&mut share.keys) && has_room(&mut share.words) && has_room(&mut share.instants)) {
                refused = true;
                return;
            }
            let at = share.keys.len() as u32;
            share.keys.push(key);
            share
                .words
                .push(pack(judged.scopes[row], batch.days[row], u16::from(batch.codes[row])));
            share.instants.push(batch.instants[row]);
            if let IdRef::Text(text) = id {
                id_bytes += text.len();
                crate::timeline::partition::push_text(&mut share.texts, text);
            }
            for (field, decoded) in share.fields.iter_mut().zip(&decoded) {
                field.push(decoded, row, at);
            }
        });
        tally.rows_kept += kept;
        if refused {
            return Err(OutOfMemory.into());
        }
        self.bytes += kept as usize * (ROW_BYTES + FIELD_BYTES * decoded.len()) + id_bytes + held(&self.texts) - texts_before;
        self.relieve()
    }
}

/// Key, word and instant of a row.
const ROW_BYTES: usize = 24;
/// The place and value of a field.
const FIELD_BYTES: usize = 12;

/// What buckets are put together with.
struct Assembly<'a> {
    id_kind: IdKind,
    brand_places: &'a [u32],
    brand_values: ArrayRef,
    kinds: &'a [Kind],
    dictionaries: Vec<Option<Dictionary>>,
}

impl Assembly<'_> {
    fn bucket(&self, shares: Vec<Share>, with_states: &[IdValue]) -> Result<(IdStore, LogBucket), ScanError> {
        let rows: usize = shares.iter().map(|share| share.keys.len()).sum();
        let mut interner = Interner::new(rows / 8);
        let mut owners = Vec::with_capacity(rows);
        for share in &shares {
            let mut texts = ConsumerTexts { bytes: &share.texts };
            owners.extend(share.keys.iter().map(|&key| interner.number(key, texts.next(self.id_kind))));
        }
        for consumer in with_states {
            interner.number_of(consumer);
        }
        let (ids, places) = interner.settle(self.id_kind)?;
        let starts = crate::timeline::bucket::starts(owners.iter().map(|&owner| places[owner as usize]), ids.len());
        let mut keys: Vec<(u128, u32)> = vec![(0, 0); rows];
        let mut next = starts.clone();
        let words = shares.iter().flat_map(|share| share.words.iter().zip(&share.instants));
        for ((row, owner), (&word, &instant)) in (0u32..).zip(&owners).zip(words) {
            let at = &mut next[places[*owner as usize] as usize];
            keys[*at as usize] = (self.key(word, instant), row);
            *at += 1;
        }
        let columns: Vec<Column> = (0..self.kinds.len()).map(|field| self.column(field, &shares)).collect();
        drop(shares);
        let by_values = |left: u32, right: u32| {
            columns
                .iter()
                .map(|column| column.compare(left, right))
                .find(|order| *order != Ordering::Equal)
                .unwrap_or(Ordering::Equal)
        };
        for bounds in starts.windows(2) {
            keys[bounds[0] as usize..bounds[1] as usize]
                .sort_unstable_by(|left, right| left.0.cmp(&right.0).then_with(|| by_values(left.1, right.1)));
        }
        let order: Vec<u32> = keys.iter().map(|(_, row)| *row).collect();
        let field = |(column, (kind, dictionary)): (&Column, (&Kind, &Option<Dictionary>))| {
            column.finish(&order, *kind, dictionary.as_ref().map(|dictionary| &dictionary.values))
        };
        let bucket = LogBucket {
            starts,
            days: keys.iter().map(|(key, _)| (key >> 61) as i32 & 0x1_ffff).collect(),
            instants: keys
                .iter()
                .map(|(key, _)| (key >> 8) as i64 & ((1 << 53) - 1))
                .map(|instant| instant - SHIFT)
                .collect(),
            codes: keys.iter().map(|(key, _)| *key as BehaviorCode).collect(),
            brands: keyed(keys.iter().map(|(key, _)| (key >> 78) as u64), None, self.brand_values.clone()),
            fields: columns.iter().zip(self.kinds.iter().zip(&self.dictionaries)).map(field).collect(),
        };
        Ok((ids, bucket))
    }

    /// Brand (32 bits), day (17), instant (53) and behavior (8) in one integer that sorts in this order.
    fn key(&self, word: u64, instant: i64) -> u128 {
        let brand = u128::from(self.brand_places[scope_of(word) as usize]);
        let instant = (instant + SHIFT) as u128;
        brand << 78 | (day_of(word) as u128) << 61 | instant << 8 | class_of(word) as u128
    }

    fn column(&self, field: usize, shares: &[Share]) -> Column {
        let dictionary = self.dictionaries[field].as_ref();
        Column::join(shares.iter().enumerate().map(|(worker, share)| {
            let places = dictionary.map(|dictionary| dictionary.places[worker].as_slice());
            (&share.fields[field], share.keys.len(), places)
        }))
    }
}

/// A day before 1970 in a zone east of Greenwich is a negative instant; two days more make every instant positive.
const SHIFT: i64 = 2 * crate::base::day::MICROS_PER_DAY;
