//! The thread pool, progress and cancellation of one question.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::base::stop::Stop;

/// How long the calling thread waits before it looks for a reason to stop.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// How far a question has come, and whether it should stop. Shared by all threads of the question.
#[derive(Debug, Default)]
pub struct Progress {
    rows_done: AtomicU64,
    rows_total: AtomicU64,
    stop: Stop,
}

impl Progress {
    /// Rows passed so far, and rows in all (0 where the source does not know).
    #[must_use]
    pub fn rows(&self) -> (u64, u64) {
        (self.rows_done.load(Ordering::Relaxed), self.rows_total.load(Ordering::Relaxed))
    }

    /// Asks every thread of the question to stop soon. It holds for good, also for later steps of the same [`Runtime`]:
    /// a step that began afterwards would else go on unheard. Ask the next question with a new one.
    pub fn cancel(&self) {
        self.stop.ask();
    }

    /// Whether the question should stop: it was canceled, or the process ran short of memory.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.stop.is_asked()
    }

    /// What the floors below ask whether to stop.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Begins a step: no row is done yet.
    pub fn begin(&self, rows: u64) {
        self.rows_done.store(0, Ordering::Relaxed);
        self.rows_total.store(rows, Ordering::Relaxed);
    }

    pub(crate) fn advance(&self, rows: u64) {
        self.rows_done.fetch_add(rows, Ordering::Relaxed);
    }
}

/// Where a question runs: a pool of threads, and what the calling thread does while it waits.
///
/// ```
/// use aipl_core::timeline::Runtime;
/// let runtime = Runtime::with_threads(2)?;
/// assert_eq!(runtime.threads(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Runtime<'a> {
    pool: Arc<ThreadPool>,
    progress: Arc<Progress>,
    poll: Box<dyn Fn(&Progress) + 'a>,
}

impl std::fmt::Debug for Runtime<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("threads", &self.threads())
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

impl Default for Runtime<'_> {
    /// The process-wide pool, one thread a core.
    fn default() -> Self {
        static POOL: OnceLock<Arc<ThreadPool>> = OnceLock::new();
        let pool = POOL.get_or_init(|| {
            build_pool(0)
                .or_else(|_| build_pool(1))
                .unwrap_or_else(|error| unreachable_pool(&error))
        });
        Runtime::new(pool.clone())
    }
}

/// A process that cannot start one thread cannot answer a question either.
#[allow(clippy::panic, reason = "no thread can be started; there is no result type to carry this")]
fn unreachable_pool(error: &ThreadPoolBuildError) -> Arc<ThreadPool> {
    panic!("no thread can be started: {error}")
}

/// A pool of named threads; 0 means one a core.
///
/// # Errors
/// The system starts no thread.
pub fn build_pool(threads: usize) -> Result<Arc<ThreadPool>, ThreadPoolBuildError> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("aipl-{index}"))
        .build()
        .map(Arc::new)
}

/// Lets the calling thread wait.
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

impl<'a> Runtime<'a> {
    /// Runs on this pool.
    #[must_use]
    pub fn new(pool: Arc<ThreadPool>) -> Self {
        Runtime {
            pool,
            progress: Arc::default(),
            poll: Box::new(|_| ()),
        }
    }

    /// Runs on a pool of its own.
    ///
    /// # Errors
    /// The system starts no thread.
    pub fn with_threads(threads: usize) -> Result<Self, ThreadPoolBuildError> {
        Ok(Self::new(build_pool(threads)?))
    }

    /// Calls `poll` on the calling thread about every 50 ms while work goes on; it may look at progress and cancel.
    #[must_use]
    pub fn with_poll(mut self, poll: impl Fn(&Progress) + 'a) -> Self {
        self.poll = Box::new(poll);
        self
    }

    /// The number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Progress and cancellation, to share with another thread.
    #[must_use]
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    pub(crate) fn poll(&self) {
        (self.poll)(&self.progress);
    }

    /// Runs `work` on the pool while the calling thread polls. The work may ask [`crate::base::stop::requested`], and
    /// its parallel iterators use the pool's threads.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let (finished, stop) = ((Mutex::new(None), Condvar::new()), self.progress.stop());
        self.pool.in_place_scope(|scope| {
            let finished = &finished;
            scope.spawn(move |_| {
                let result = catch_unwind(AssertUnwindSafe(|| stop.during(work)));
                *finished.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                finished.1.notify_all();
            });
            let mut done = finished.0.lock().unwrap_or_else(PoisonError::into_inner);
            while done.is_none() {
                done = finished.1.wait_timeout(done, POLL_EVERY).unwrap_or_else(PoisonError::into_inner).0;
                if done.is_none() {
                    drop(done);
                    self.poll();
                    done = finished.0.lock().unwrap_or_else(PoisonError::into_inner);
                }
            }
        });
        match finished.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(Ok(value)) => value,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => std::panic::resume_unwind(Box::new("the work was never started")),
        }
    }

    /// Runs `work` once on every thread of the pool, and `meanwhile` on the calling thread, which polls when that is
    /// done. Results come in the order of workers. A panic in a worker is passed on after all have ended.
    pub(crate) fn on_every_thread<T: Send>(&self, work: impl Fn() -> T + Sync, meanwhile: impl FnOnce()) -> Vec<T> {
        let workers = self.threads();
        let finished = (Mutex::new(Vec::with_capacity(workers)), Condvar::new());
        let stop = self.progress.stop();
        self.pool.in_place_scope(|scope| {
            for index in 0..workers {
                let (work, finished) = (&work, &finished);
                scope.spawn(move |_| {
                    let result = catch_unwind(AssertUnwindSafe(|| stop.during(work)));
                    finished.0.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                    finished.1.notify_all();
                });
            }
            stop.during(meanwhile);
            let mut done = finished.0.lock().unwrap_or_else(PoisonError::into_inner);
            while done.len() < workers {
                done = finished.1.wait_timeout(done, POLL_EVERY).unwrap_or_else(PoisonError::into_inner).0;
                if done.len() < workers {
                    drop(done);
                    self.poll();
                    done = finished.0.lock().unwrap_or_else(PoisonError::into_inner);
                }
            }
        });
        collect(finished.0.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A worker's number and what became of its work.
type Ended<T> = (usize, Result<T, Box<dyn Any + Send>>);

fn collect<T>(mut results: Vec<Ended<T>>) -> Vec<T> {
    results.sort_by_key(|(index, _)| *index);
    results
        .into_iter()
        .map(|(_, result)| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::stop::requested;

    #[test]
    fn every_thread_works_and_the_caller_polls() {
        let polled = AtomicU64::new(0);
        let runtime = Runtime::with_threads(3).expect("threads").with_poll(|_| {
            polled.fetch_add(1, Ordering::Relaxed);
        });
        let results = runtime.on_every_thread(|| std::thread::sleep(Duration::from_millis(160)), || ());
        assert_eq!(results.len(), 3);
        assert!(polled.load(Ordering::Relaxed) >= 1);
    }

    #[test]
    fn work_on_any_thread_hears_that_it_should_stop() {
        let runtime = Runtime::with_threads(2).expect("threads").with_poll(Progress::cancel);
        let wait = || {
            while !requested() {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        runtime.run(wait);
        runtime.on_every_thread(wait, || assert!(requested()));
        runtime.progress().begin(1);
        assert!(runtime.progress().is_canceled());
    }

    #[test]
    fn a_panic_in_a_worker_reaches_the_caller() {
        let runtime = Runtime::with_threads(2).expect("threads");
        let outcome = catch_unwind(AssertUnwindSafe(|| runtime.on_every_thread(|| panic!("boom"), || ())));
        assert!(outcome.is_err());
    }
}
