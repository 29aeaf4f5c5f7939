//! Reading a source on all threads of a pool, and working on buckets on all threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::id::BUCKETS;
use crate::event::Tally;
use crate::source::error::guard;
use crate::source::select::{Selector, Survivors, select_batch};
use crate::source::{EventBatch, Events, Piece, Pieces, Request, Sink, SourceError};
use crate::timeline::runtime::{Progress, Runtime};
use crate::timeline::scan::ScanError;

/// What a worker brings home.
type Share<S> = Result<(S, Tally), SourceError>;

/// Reads a source on all threads, each into a sink of its own.
pub(crate) fn read<S: Sink + Send>(
    events: &Events,
    request: &Request,
    runtime: &Runtime<'_>,
    sink: impl Fn() -> S + Sync,
) -> Result<(Vec<S>, Tally), ScanError> {
    let stop = Stop {
        failed: AtomicBool::new(false),
        progress: runtime.progress(),
    };
    let shares = match events.source().plan(request)? {
        crate::source::Plan::Splits(splits) => {
            let next = AtomicUsize::new(0);
            runtime.on_every_thread(|| stop.watch(|| read_splits(events, request, sink(), &next, splits, &stop)), || ())
        }
        crate::source::Plan::Sequence(pieces) => read_sequence(pieces, request, &sink, runtime, &stop)?,
    };
    if runtime.progress().is_canceled() {
        return Err(ScanError::Canceled);
    }
    let (mut sinks, mut tally) = (Vec::with_capacity(shares.len()), Tally::default());
    // A worker that merely stopped because another failed is not the reason.
    let (reasons, shares): (Vec<_>, Vec<_>) = shares
        .into_iter()
        .partition(|share| matches!(share, Err(error) if !matches!(error, SourceError::Canceled)));
    for share in reasons.into_iter().chain(shares) {
        let (sink, counted) = share?;
        tally.merge(counted);
        sinks.push(sink);
    }
    Ok((sinks, tally))
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

fn read_splits<S: Sink>(events: &Events, request: &Request, mut sink: S, next: &AtomicUsize, splits: usize, stop: &Stop<'_>) -> Share<S> {
    let mut tally = Tally::default();
    while !stop.now() {
        let split = next.fetch_add(1, Ordering::Relaxed);
        if split >= splits {
            break;
        }
        let before = tally.rows_read + tally.rows_skipped;
        let mut watched = Watched { sink: &mut sink, stop };
        events.source().read_split(split, request, &mut watched, &mut tally)?;
        stop.progress.advance(tally.rows_read + tally.rows_skipped - before);
    }
    Ok((sink, tally))
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
fn read_sequence<S: Sink + Send>(
    pieces: Pieces<'_>,
    request: &Request,
    sink: &(impl Fn() -> S + Sync),
    runtime: &Runtime<'_>,
    stop: &Stop<'_>,
) -> Result<Vec<Share<S>>, ScanError> {
    let (sender, receiver) = sync_channel::<Piece>(2 * runtime.threads());
    let receiver = Mutex::new(receiver);
    let mut refused = None;
    let shares = runtime.on_every_thread(
        || stop.watch(|| take_pieces(&receiver, request, sink(), stop)),
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

fn take_pieces<S: Sink>(receiver: &Mutex<Receiver<Piece>>, request: &Request, mut sink: S, stop: &Stop<'_>) -> Share<S> {
    let mut tally = Tally::default();
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
            select_batch(request, &piece, &mut selector, &mut scratch, &mut sink, &mut tally)
        });
        match taken {
            Ok(()) => stop.progress.advance(piece.batch.num_rows() as u64),
            Err(error) => {
                stop.failed.store(true, Ordering::Relaxed);
                refused = Some(error);
            }
        }
    }
    refused.map_or(Ok((sink, tally)), Err)
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
