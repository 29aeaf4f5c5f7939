//! One pass over a source: read on all threads, spread over buckets, put in order, fold.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::id::{BUCKETS, bucket_of};
use crate::base::{Day, IdType, IdValue};
use crate::event::{BehaviorDecoder, EventSchema, Tally};
use crate::model::data::ScopeKind;
use crate::model::program::Program;
use crate::source::error::guard;
use crate::source::select::{Selector, Survivors, select_batch};
use crate::source::{Events, OnError, Piece, Pieces, Request, SourceError, StatePeriod};
use crate::timeline::bucket::{Assembly, BucketTimelines, KeyedSpan, NO_STATE, StateSpan, TooManyConsumers};
use crate::timeline::partition::{Partitioner, Plan, measures_to_check};
use crate::timeline::rows::{Classes, PayloadLayout, Pending};
use crate::timeline::runtime::{Progress, Runtime};
use crate::timeline::scopes::{ScopeNumbers, ScopeValue};
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
    /// The caller asked to stop.
    #[error("canceled")]
    Canceled,
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

/// What a scan is for.
#[derive(Debug)]
pub struct Question<'a> {
    /// The compiled model.
    pub program: &'a Program,
    /// The first day asked about.
    pub first: Day,
    /// The last day asked about; later events do not count.
    pub last: Day,
    /// Only these scopes, if given.
    pub scopes: Option<&'a [ScopeValue]>,
    /// Whether rows are kept for the fold; if not, they are only checked and counted.
    pub keep: bool,
}

/// What a scan gives: one fold result a bucket, and what they are about.
#[derive(Debug)]
pub struct Scanned<R> {
    /// Results by bucket.
    pub buckets: Vec<R>,
    /// The consumers.
    pub universe: Arc<Universe>,
    /// The scopes, in order of value.
    pub scopes: Vec<ScopeValue>,
    /// The account of rows.
    pub tally: Tally,
    /// How long it took.
    pub elapsed: Duration,
}

/// Reads the events that can matter to a question and folds each bucket's timelines. The fold also gets leaf masks by class.
///
/// # Errors
/// What the source refuses; a rejected row under `on_error = "raise"`; cancellation.
pub fn scan<R: Send>(
    events: &Events,
    question: &Question<'_>,
    runtime: &Runtime<'_>,
    fold: impl Fn(&BucketTimelines, &[u64]) -> R + Sync,
) -> Result<Scanned<R>, ScanError> {
    let started = Instant::now();
    let schema = events.schema();
    let columns = events.source().columns();
    let type_of = |column: &str| columns.field_with_name(column).ok().map(|field| field.data_type().clone());
    let plan = Plan {
        program: question.program,
        schema,
        first_day: question.first.number(),
        layout: PayloadLayout {
            orders: question.program.orders,
            events: schema.column("event_id").is_some(),
            sums: question.program.sums.len(),
        },
        checked_measures: measures_to_check(schema, question.program, type_of),
        scopes: ScopeNumbers::new(question.scopes),
        classes: Classes::new(),
        keep: question.keep,
    };
    let request = request(events, question, &plan);
    runtime.progress().begin(events.source().rows().unwrap_or(0));
    let (parts, mut tally) = read(events, &request, &plan, runtime)?;
    tally.rows_total = events.source().rows().unwrap_or(tally.rows_read + tally.rows_skipped);
    let spans = table_spans(events, question, &plan.scopes, &mut tally);
    if let (OnError::Raise, Some(first)) = (events.on_error(), tally.first_rejected()) {
        return Err(ScanError::Rejected {
            place: first.file.to_string(),
            row: first.row,
            reason: first.reason.code(),
            column: if first.column.is_empty() {
                String::new()
            } else {
                format!(" in column {:?}", first.column)
            },
            detail: if first.detail.is_empty() {
                String::new()
            } else {
                format!(": {}", first.detail)
            },
            rejected: tally.rows_rejected(),
        });
    }
    let (scopes, scope_places) = plan.scopes.settle();
    let (masks, class_places) = plan.classes.settle();
    let id_type = events.id_type("consumer");
    let folded = fold_buckets(
        parts,
        &spans,
        &Assembly {
            id_type,
            layout: plan.layout,
            scope_places: &scope_places,
            class_places: &class_places,
        },
        runtime,
        |timelines| fold(timelines, &masks),
    )?;
    let (stores, buckets): (Vec<IdStore>, Vec<R>) = folded.into_iter().unzip();
    let universe = Arc::new(Universe::new(id_type, stores));
    Ok(Scanned {
        buckets,
        universe,
        scopes,
        tally,
        elapsed: started.elapsed(),
    })
}

/// What a question needs of the source, and no more.
fn request(events: &Events, question: &Question<'_>, plan: &Plan<'_>) -> Request {
    let (schema, program) = (events.schema(), question.program);
    let mut roles = vec!["consumer", "brand"];
    match program.scope {
        ScopeKind::Brand => {}
        ScopeKind::Category => roles.extend(["category", "touchpoint"]),
        ScopeKind::Store => roles.push("store"),
    }
    roles.extend(
        program
            .filters
            .iter()
            .flat_map(|filter| filter.conditions.iter().map(|(role, _)| role.as_str())),
    );
    roles.extend(program.sums.iter().map(String::as_str));
    roles.extend(plan.checked_measures.iter().map(String::as_str));
    roles.extend(plan.layout.orders.then_some("order_id"));
    roles.extend(plan.layout.events.then_some("event_id"));
    let mut columns: Vec<String> = roles
        .into_iter()
        .filter_map(|role| schema.column(role))
        .map(str::to_owned)
        .collect();
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

/// What a worker brings home.
type Share = Result<(Vec<Pending>, Tally), SourceError>;

fn read(events: &Events, request: &Request, plan: &Plan<'_>, runtime: &Runtime<'_>) -> Result<(Vec<Vec<Pending>>, Tally), ScanError> {
    let stop = Stop {
        failed: AtomicBool::new(false),
        progress: runtime.progress(),
    };
    let shares = match events.source().plan(request)? {
        crate::source::Plan::Splits(splits) => {
            let next = AtomicUsize::new(0);
            runtime.on_every_thread(|| stop.watch(|| read_splits(events, request, plan, &next, splits, &stop)), || ())
        }
        crate::source::Plan::Sequence(pieces) => read_sequence(pieces, request, plan, runtime, &stop)?,
    };
    if runtime.progress().is_canceled() {
        return Err(ScanError::Canceled);
    }
    let mut parts: Vec<Vec<Pending>> = std::iter::repeat_with(Vec::new).take(BUCKETS).collect();
    let mut tally = Tally::default();
    // A worker that merely stopped because another failed is not the reason.
    let (reasons, shares): (Vec<_>, Vec<_>) = shares
        .into_iter()
        .partition(|share| matches!(share, Err(error) if !matches!(error, SourceError::Canceled)));
    for share in reasons.into_iter().chain(shares) {
        let (pending, counted) = share?;
        tally.merge(counted);
        parts.iter_mut().zip(pending).for_each(|(bucket, part)| bucket.push(part));
    }
    Ok((parts, tally))
}

/// Tells all workers to stop once one has failed or the caller cancels.
struct Stop<'a> {
    failed: AtomicBool,
    progress: &'a Progress,
}

impl Stop<'_> {
    fn now(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.progress.is_canceled()
    }

    fn watch(&self, work: impl FnOnce() -> Share) -> Share {
        let share = work();
        if share.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        share
    }
}

fn read_splits(events: &Events, request: &Request, plan: &Plan<'_>, next: &AtomicUsize, splits: usize, stop: &Stop<'_>) -> Share {
    let (mut partitioner, mut tally) = (Partitioner::new(plan), Tally::default());
    while !stop.now() {
        let split = next.fetch_add(1, Ordering::Relaxed);
        if split >= splits {
            break;
        }
        let before = tally.rows_read + tally.rows_skipped;
        let mut sink = Watched {
            partitioner: &mut partitioner,
            stop,
        };
        events.source().read_split(split, request, &mut sink, &mut tally)?;
        stop.progress.advance(tally.rows_read + tally.rows_skipped - before);
    }
    Ok((partitioner.into_pending(), tally))
}

/// A partitioner that gives up between batches when asked to.
struct Watched<'a, 'b> {
    partitioner: &'a mut Partitioner<'b>,
    stop: &'a Stop<'a>,
}

impl crate::source::Sink for Watched<'_, '_> {
    fn checkpoint(&self) -> Result<(), SourceError> {
        if self.stop.now() { Err(SourceError::Canceled) } else { Ok(()) }
    }

    fn accept(&mut self, batch: &crate::source::EventBatch<'_>, tally: &mut Tally) -> Result<(), SourceError> {
        self.checkpoint()?;
        self.partitioner.accept(batch, tally)
    }
}

/// The calling thread draws pieces, all workers take them.
fn read_sequence(
    pieces: Pieces<'_>,
    request: &Request,
    plan: &Plan<'_>,
    runtime: &Runtime<'_>,
    stop: &Stop<'_>,
) -> Result<Vec<Share>, ScanError> {
    let (sender, receiver) = sync_channel::<Piece>(2 * runtime.threads());
    let receiver = Mutex::new(receiver);
    let mut refused = None;
    let shares = runtime.on_every_thread(
        || stop.watch(|| take_pieces(&receiver, request, plan, stop)),
        || {
            let mut polled = Instant::now();
            for piece in pieces {
                match piece {
                    Ok(piece) => {
                        if !hand_out(&sender, piece, runtime, stop) {
                            break;
                        }
                    }
                    Err(error) => {
                        refused = Some(error);
                        stop.failed.store(true, Ordering::Relaxed);
                        break;
                    }
                }
                if polled.elapsed() > Duration::from_millis(50) {
                    runtime.poll();
                    polled = Instant::now();
                }
            }
            drop(sender);
        },
    );
    refused.map_or(Ok(shares), |error| Err(error.into()))
}

/// Gives a piece to the workers, polling while they are busy; `false` once the question should stop.
fn hand_out(sender: &SyncSender<Piece>, mut piece: Piece, runtime: &Runtime<'_>, stop: &Stop<'_>) -> bool {
    let mut waited = Duration::ZERO;
    while !stop.now() {
        match sender.try_send(piece) {
            Ok(()) => return true,
            Err(TrySendError::Disconnected(_)) => return false,
            Err(TrySendError::Full(back)) => piece = back,
        }
        let pause = Duration::from_micros(200);
        std::thread::sleep(pause);
        waited += pause;
        if waited > Duration::from_millis(50) {
            runtime.poll();
            waited = Duration::ZERO;
        }
    }
    false
}

fn take_pieces(receiver: &Mutex<Receiver<Piece>>, request: &Request, plan: &Plan<'_>, stop: &Stop<'_>) -> Share {
    let (mut partitioner, mut tally) = (Partitioner::new(plan), Tally::default());
    let (mut selector, mut scratch) = (Selector::new(request), Survivors::default());
    let mut refused = None;
    // After a refusal the worker goes on emptying the channel, so that the sender never waits for room in vain.
    loop {
        let Ok(piece) = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv() else {
            break;
        };
        if refused.is_some() || stop.now() {
            continue;
        }
        tally.bytes += piece
            .batch
            .columns()
            .iter()
            .map(|column| column.to_data().get_slice_memory_size().unwrap_or(0) as u64)
            .sum::<u64>();
        let taken = guard(&piece.place, "Arrow stream", || {
            select_batch(request, &piece, &mut selector, &mut scratch, &mut partitioner, &mut tally)
        });
        match taken {
            Ok(()) => stop.progress.advance(piece.batch.num_rows() as u64),
            Err(error) => {
                stop.failed.store(true, Ordering::Relaxed);
                refused = Some(error);
            }
        }
    }
    refused.map_or(Ok((partitioner.into_pending(), tally)), Err)
}

/// State periods of tables that reach into the question's days, by bucket.
fn table_spans(events: &Events, question: &Question<'_>, scopes: &ScopeNumbers, tally: &mut Tally) -> Vec<Vec<KeyedSpan>> {
    let mut buckets: Vec<Vec<KeyedSpan>> = std::iter::repeat_with(Vec::new).take(BUCKETS).collect();
    let id_type = events.id_type("consumer");
    for table in events.states() {
        // Rejected rows of the table are told with the others; its readable rows are no rows of the source.
        tally.merge(table.tally.clone());
        for period in &table.periods {
            // A state that no rule asks for, or that ended earlier, still proves that the pair exists.
            let place = question.program.states.iter().position(|(name, _)| *name == period.state);
            let matters = question.program.existence || (place.is_some() && period.last >= question.first.number());
            if period.first > question.last.number() || !matters {
                continue;
            }
            let state = place.map_or(NO_STATE, |place| place as u8);
            let Some((consumer, scope)) = convert_period(events, question, period, id_type) else {
                continue;
            };
            let Some(scope) = scopes.number(scope) else {
                continue;
            };
            let text = if let IdValue::Text(text) = &consumer {
                text.clone().into_bytes()
            } else {
                Vec::new()
            };
            buckets[bucket_of(consumer.key())].push((
                consumer.key(),
                text,
                StateSpan {
                    scope,
                    first: period.first,
                    last: period.last,
                    state,
                },
            ));
        }
    }
    buckets
}

/// A state row's identifiers in the types of the events; a row that does not convert names nobody among them.
fn convert_period(events: &Events, question: &Question<'_>, period: &StatePeriod, id_type: IdType) -> Option<(IdValue, ScopeValue)> {
    let main = if question.program.scope == ScopeKind::Store {
        "store"
    } else {
        "brand"
    };
    let (brand, category) = &period.scope;
    let category = match (question.program.scope, category) {
        (ScopeKind::Category, Some(category)) => Some(category.to_type(events.id_type("category"))?),
        (ScopeKind::Category, None) => return None,
        (ScopeKind::Brand | ScopeKind::Store, _) => None,
    };
    Some((
        period.consumer.to_type(id_type)?,
        ScopeValue {
            main: brand.to_type(events.id_type(main))?,
            category,
        },
    ))
}

fn fold_buckets<R: Send>(
    parts: Vec<Vec<Pending>>,
    spans: &[Vec<KeyedSpan>],
    assembly: &Assembly<'_>,
    runtime: &Runtime<'_>,
    fold: impl Fn(&BucketTimelines) -> R + Sync,
) -> Result<Vec<(IdStore, R)>, ScanError> {
    let waiting: Vec<Mutex<Option<Vec<Pending>>>> = parts.into_iter().map(|part| Mutex::new(Some(part))).collect();
    let next = AtomicUsize::new(0);
    let progress = runtime.progress();
    let work = || {
        let mut done = Vec::new();
        while !progress.is_canceled() {
            let bucket = next.fetch_add(1, Ordering::Relaxed);
            let Some(slot) = waiting.get(bucket) else {
                break;
            };
            let parts = slot.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
            match BucketTimelines::assemble(parts, &spans[bucket], assembly) {
                Ok(timelines) => {
                    let result = fold(&timelines);
                    done.push((bucket, Ok((timelines.ids, result))));
                }
                Err(error) => done.push((bucket, Err(error))),
            }
        }
        done
    };
    let mut done: Vec<_> = runtime.on_every_thread(work, || ()).into_iter().flatten().collect();
    if progress.is_canceled() {
        return Err(ScanError::Canceled);
    }
    done.sort_by_key(|(bucket, _)| *bucket);
    done.into_iter().map(|(_, result)| result.map_err(ScanError::from)).collect()
}
