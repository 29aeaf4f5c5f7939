//! Reading a source on all threads of a pool, and working on buckets on all threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::id::BUCKETS;
use crate::event::Tally;
use crate::source::error::guard;
use crate::source::select::{Selector, Survivors, select_batch};
use crate::source::{EventBatch, Events, Piece, Pieces, Request, Sink, Source, SourceError};
use crate::timeline::runtime::{Progress, Runtime};
use crate::timeline::scan::ScanError;

/// What a worker brings home.
type Share<S> = Result<(S, Tally), SourceError>;

/// How workers take in what a source hands out; each has a state of its own.
trait Reading: Sync {
    type Worker;
    type Home: Send;
    fn worker(&self) -> Self::Worker;
    /// Reads one split.
    fn split(&self, worker: &mut Self::Worker, split: usize, stop: &Stop<'_>, tally: &mut Tally) -> Result<(), SourceError>;
    /// Takes one piece of a sequence.
    fn piece(&self, worker: &mut Self::Worker, piece: &Piece, tally: &mut Tally) -> Result<(), SourceError>;
    /// What a worker brings home, once there is nothing left to read.
    fn home(&self, worker: Self::Worker) -> Result<Self::Home, SourceError>;
}

/// Events that can matter to a request, into a sink a worker.
struct EventReading<'a, F> {
    source: &'a dyn Source,
    request: &'a Request,
    sink: F,
}

impl<'a, S: Sink + Send, F: Fn() -> S + Sync> Reading for EventReading<'a, F> {
    type Worker = (S, Selector<'a>, Survivors);
    type Home = S;

    fn worker(&self) -> Self::Worker {
        ((self.sink)(), Selector::new(self.request), Survivors::default())
    }

    fn split(&self, (sink, ..): &mut Self::Worker, split: usize, stop: &Stop<'_>, tally: &mut Tally) -> Result<(), SourceError> {
        self.source.read_split(split, self.request, &mut Watched { sink, stop }, tally)
    }

    fn piece(&self, (sink, selector, scratch): &mut Self::Worker, piece: &Piece, tally: &mut Tally) -> Result<(), SourceError> {
        select_batch(self.request, piece, selector, scratch, sink, tally)
    }

    fn home(&self, (sink, ..): Self::Worker) -> Result<S, SourceError> {
        Ok(sink)
    }
}

/// Takes every row of a table, piece by piece.
pub(crate) trait Taker: Send {
    /// Takes one piece; what cannot be used goes to the tally.
    ///
    /// # Errors
    /// Whatever makes going on useless.
    fn take(&mut self, piece: &Piece, tally: &mut Tally) -> Result<(), SourceError>;
    /// Ends the work, still on the worker's own thread.
    ///
    /// # Errors
    /// As [`Taker::take`].
    fn end(&mut self) -> Result<(), SourceError>;
}

/// Columns of every row, into a taker a worker.
struct TableReading<'a, F> {
    source: &'a dyn Source,
    columns: &'a [String],
    taker: F,
}

impl<S: Taker, F: Fn() -> S + Sync> Reading for TableReading<'_, F> {
    type Worker = S;
    type Home = S;

    fn worker(&self) -> S {
        (self.taker)()
    }

    fn split(&self, taker: &mut S, split: usize, stop: &Stop<'_>, tally: &mut Tally) -> Result<(), SourceError> {
        let mut take = |piece: &Piece, tally: &mut Tally| {
            if stop.now() {
                return Err(SourceError::Canceled);
            }
            taker.take(piece, tally)
        };
        self.source.read_pieces(split, self.columns, &mut take, tally)
    }

    fn piece(&self, taker: &mut S, piece: &Piece, tally: &mut Tally) -> Result<(), SourceError> {
        taker.take(piece, tally)
    }

    fn home(&self, mut taker: S) -> Result<S, SourceError> {
        taker.end()?;
        Ok(taker)
    }
}

/// Reads the events of a source on all threads, each into a sink of its own.
pub(crate) fn read<S: Sink + Send>(
    events: &Events,
    request: &Request,
    runtime: &Runtime<'_>,
    sink: impl Fn() -> S + Sync,
) -> Result<(Vec<S>, Tally), ScanError> {
    let source = events.source();
    let reading = EventReading { source, request, sink };
    run(source, &request.all_columns(), &reading, runtime)
}

/// Reads columns of every row of a source on all threads, each into a taker of its own.
pub(crate) fn read_table<S: Taker>(
    source: &dyn Source,
    columns: &[String],
    runtime: &Runtime<'_>,
    taker: impl Fn() -> S + Sync,
) -> Result<(Vec<S>, Tally), ScanError> {
    run(source, columns, &TableReading { source, columns, taker }, runtime)
}

fn run<R: Reading>(
    source: &dyn Source,
    columns: &[String],
    reading: &R,
    runtime: &Runtime<'_>,
) -> Result<(Vec<R::Home>, Tally), ScanError> {
    let stop = Stop {
        failed: AtomicBool::new(false),
        progress: runtime.progress(),
    };
    let shares = match source.plan(columns)? {
        crate::source::Plan::Splits(splits) => {
            let next = AtomicUsize::new(0);
            runtime.on_every_thread(|| stop.watch(|| read_splits(reading, &next, splits, &stop)), || ())
        }
        crate::source::Plan::Sequence(pieces) => read_sequence(pieces, reading, runtime, &stop)?,
    };
    if runtime.progress().is_canceled() {
        return Err(ScanError::Canceled);
    }
    let (mut homes, mut tally) = (Vec::with_capacity(shares.len()), Tally::default());
    // A worker that merely stopped because another failed is not the reason.
    let (reasons, shares): (Vec<_>, Vec<_>) = shares
        .into_iter()
        .partition(|share| matches!(share, Err(error) if !matches!(error, SourceError::Canceled)));
    for share in reasons.into_iter().chain(shares) {
        let (home, counted) = share?;
        tally.merge(counted);
        homes.push(home);
    }
    Ok((homes, tally))
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

    fn watch<S>(&self, work: impl FnOnce() -> Share<S>) -> Share<S> {
        let share = work();
        if share.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        share
    }
}

fn read_splits<R: Reading>(reading: &R, next: &AtomicUsize, splits: usize, stop: &Stop<'_>) -> Share<R::Home> {
    let (mut worker, mut tally) = (reading.worker(), Tally::default());
    while !stop.now() {
        let split = next.fetch_add(1, Ordering::Relaxed);
        if split >= splits {
            break;
        }
        let before = tally.rows_read + tally.rows_skipped;
        reading.split(&mut worker, split, stop, &mut tally)?;
        stop.progress.advance(tally.rows_read + tally.rows_skipped - before);
    }
    Ok((reading.home(worker)?, tally))
}

/// A sink that gives up between batches when asked to.
struct Watched<'a, S> {
    sink: &'a mut S,
    stop: &'a Stop<'a>,
}

impl<S: Sink> Sink for Watched<'_, S> {
    fn checkpoint(&self) -> Result<(), SourceError> {
        if self.stop.now() { Err(SourceError::Canceled) } else { Ok(()) }
    }

    fn accept(&mut self, batch: &EventBatch<'_>, tally: &mut Tally) -> Result<(), SourceError> {
        self.checkpoint()?;
        self.sink.accept(batch, tally)
    }
}

/// The calling thread draws pieces, all workers take them.
fn read_sequence<R: Reading>(
    pieces: Pieces<'_>,
    reading: &R,
    runtime: &Runtime<'_>,
    stop: &Stop<'_>,
) -> Result<Vec<Share<R::Home>>, ScanError> {
    let (sender, receiver) = sync_channel::<Piece>(2 * runtime.threads());
    let receiver = Mutex::new(receiver);
    let mut refused = None;
    let shares = runtime.on_every_thread(
        || stop.watch(|| take_pieces(&receiver, reading, stop)),
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

fn take_pieces<R: Reading>(receiver: &Mutex<Receiver<Piece>>, reading: &R, stop: &Stop<'_>) -> Share<R::Home> {
    let (mut worker, mut tally) = (reading.worker(), Tally::default());
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
        let taken = guard(&piece.place, "Arrow stream", || reading.piece(&mut worker, &piece, &mut tally));
        match taken {
            Ok(()) => stop.progress.advance(piece.batch.num_rows() as u64),
            Err(error) => {
                stop.failed.store(true, Ordering::Relaxed);
                refused = Some(error);
            }
        }
    }
    refused.map_or_else(|| Ok((reading.home(worker)?, tally)), Err)
}

/// Parts of all workers, by bucket.
pub(crate) fn by_bucket<P>(shares: impl Iterator<Item = Vec<P>>) -> Vec<Vec<P>> {
    let mut parts: Vec<Vec<P>> = std::iter::repeat_with(Vec::new).take(BUCKETS).collect();
    for share in shares {
        parts.iter_mut().zip(share).for_each(|(bucket, part)| bucket.push(part));
    }
    parts
}

/// Works on each bucket's parts on all threads, and gives the results in order of bucket.
pub(crate) fn each_bucket<P: Send, R: Send>(
    parts: Vec<P>,
    runtime: &Runtime<'_>,
    work: impl Fn(usize, P) -> Result<R, ScanError> + Sync,
) -> Result<Vec<R>, ScanError> {
    let waiting: Vec<Mutex<Option<P>>> = parts.into_iter().map(|part| Mutex::new(Some(part))).collect();
    let next = AtomicUsize::new(0);
    let progress = runtime.progress();
    let take = || {
        let mut done = Vec::new();
        while !progress.is_canceled() {
            let bucket = next.fetch_add(1, Ordering::Relaxed);
            let Some(slot) = waiting.get(bucket) else { break };
            let part = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            done.extend(part.map(|part| (bucket, work(bucket, part))));
        }
        done
    };
    let mut done: Vec<_> = runtime.on_every_thread(take, || ()).into_iter().flatten().collect();
    if progress.is_canceled() {
        return Err(ScanError::Canceled);
    }
    done.sort_by_key(|(bucket, _)| *bucket);
    done.into_iter().map(|(_, result)| result).collect()
}
