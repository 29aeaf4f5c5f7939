//! The one way into the core: interpreter detached, on the library's own threads, with Ctrl-C watched.

use std::cell::Cell;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use aipl_core::Error;
use aipl_core::timeline::runtime::build_pool;
use aipl_core::timeline::{Progress, Runtime};
use pyo3::prelude::*;
use rayon::ThreadPool;

use crate::errors::{exception, refusal};
use crate::guard::guard;

/// The most threads that can be asked for.
const MAX_THREADS: usize = 1024;

/// The pool of this process, and the number of threads that was asked for.
///
/// The lock is only taken while attached to the interpreter and never kept across a call that detaches. Python forks
/// while attached, so a forked child never inherits a taken lock.
static POOL: Mutex<State> = Mutex::new(State { wanted: None, built: None });

struct State {
    wanted: Option<usize>,
    built: Option<Built>,
}

struct Built {
    process: u32,
    pool: Arc<ThreadPool>,
}

/// The number of threads to use: what was set, else `AIPL_NUM_THREADS`, else the CPUs that this process may use.
fn wanted(py: Python<'_>, state: &mut State) -> PyResult<usize> {
    if let Some(wanted) = state.wanted {
        return Ok(wanted);
    }
    let wanted = match std::env::var("AIPL_NUM_THREADS") {
        Ok(text) if !text.is_empty() => {
            let number = text.trim().parse().ok().filter(|number| (1..=MAX_THREADS).contains(number));
            number.ok_or_else(|| {
                let message = format!("AIPL_NUM_THREADS: {text:?} is not a whole number from 1 to {MAX_THREADS}");
                exception(py, "ParameterError", &message)
            })?
        }
        _ => match py.import("os")?.call_method1("sched_getaffinity", (0,)) {
            Ok(cpus) => cpus.len()?.clamp(1, MAX_THREADS),
            Err(_) => std::thread::available_parallelism().map_or(1, usize::from),
        },
    };
    state.wanted = Some(wanted);
    Ok(wanted)
}

/// The number of threads that questions run on.
#[pyfunction]
pub fn num_threads(py: Python<'_>) -> PyResult<usize> {
    guard(py, || wanted(py, &mut POOL.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Sets the number of threads for the questions that follow.
#[pyfunction]
pub fn set_num_threads(py: Python<'_>, n: usize) -> PyResult<()> {
    guard(py, || {
        if !(1..=MAX_THREADS).contains(&n) {
            let message = format!("n: {n} is not a whole number from 1 to {MAX_THREADS}");
            return Err(exception(py, "ParameterError", &message));
        }
        POOL.lock().unwrap_or_else(PoisonError::into_inner).wanted = Some(n);
        Ok(())
    })
}

fn pool(py: Python<'_>) -> PyResult<Arc<ThreadPool>> {
    let mut state = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let (threads, process) = (wanted(py, &mut state)?, std::process::id());
    if let Some(built) = &state.built
        && built.process == process
        && built.pool.current_num_threads() == threads
    {
        return Ok(built.pool.clone());
    }
    let fresh = start(py, threads)?;
    let built = Built {
        process,
        pool: fresh.clone(),
    };
    if let Some(old) = state.built.replace(built).filter(|old| old.process != process) {
        // The threads of that pool did not come along into this process, so nothing would answer its end.
        mem::forget(old);
    }
    Ok(fresh)
}

/// Runs work that is done before a thread could take it over.
pub fn quick<T, E: Into<Error>>(py: Python<'_>, work: impl FnOnce() -> Result<T, E>) -> PyResult<T> {
    guard(py, || work().map_err(|error| refusal(py, &error.into())))
}

/// Runs work that needs no threads of its own but may take long: on a thread of the pool, while the calling thread
/// watches for signals. On one, the work is asked to stop ([`aipl_core::base::stop`]) and waited for.
pub fn guarded<T: Send, E: Into<Error>>(py: Python<'_>, work: impl FnOnce() -> Result<T, E> + Send) -> PyResult<T> {
    detached(py, None, |runtime| runtime.run(|| work().map_err(Into::<Error>::into)))
}

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// How many questions this thread is already in the middle of: a stream that one reads may itself ask another.
struct Nested(usize);

impl Nested {
    fn enter() -> Self {
        Nested(DEPTH.replace(DEPTH.get() + 1))
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        DEPTH.set(self.0);
    }
}

/// A pool for a question within a question: the outer one's workers hold every thread of the shared pool while they
/// wait.
fn own_pool(py: Python<'_>) -> PyResult<Arc<ThreadPool>> {
    start(py, wanted(py, &mut POOL.lock().unwrap_or_else(PoisonError::into_inner))?)
}

fn start(py: Python<'_>, threads: usize) -> PyResult<Arc<ThreadPool>> {
    build_pool(threads).map_err(|error| {
        let message = format!("{threads} threads cannot be started: {error}; a limit of memory or of processes is in the way");
        exception(py, "MemoryLimitError", &message)
    })
}

/// Runs a question: detached, panics caught, on the library's own pool, watching for signals and telling of progress.
pub fn detached<T: Send, E: Into<Error>>(
    py: Python<'_>,
    progress: Option<&Py<PyAny>>,
    work: impl FnOnce(&Runtime<'_>) -> Result<T, E> + Send,
) -> PyResult<T> {
    guard(py, || {
        let nested = Nested::enter();
        let pool = if nested.0 > 0 { own_pool(py)? } else { pool(py)? };
        let watch = Watch {
            told: progress,
            stopped: Mutex::new(None),
        };
        let outcome = py.detach(|| {
            let runtime = Runtime::new(pool).with_poll(|at| watch.look(at));
            let result = runtime.progress().stop().during(|| work(&runtime)).map_err(Into::into);
            if result.is_ok() {
                watch.look(runtime.progress());
            }
            result
        });
        match watch.stopped.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(stopped) => Err(stopped),
            None => outcome.map_err(|error| refusal(py, &error)),
        }
    })
}

/// What the calling thread does while it waits.
struct Watch<'a> {
    /// Who is told of progress.
    told: Option<&'a Py<PyAny>>,
    /// Why the question was stopped: what a signal handler or `told` raised.
    stopped: Mutex<Option<PyErr>>,
}

impl Watch<'_> {
    /// Looks for signals, tells of progress; what these raise cancels the question.
    fn look(&self, at: &Progress) {
        let looked = Python::try_attach(|py| py.check_signals().and_then(|()| self.tell(py, at)));
        match looked {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                at.cancel();
                // A second interrupt while the threads come to rest changes nothing.
                self.stopped.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
            // The interpreter is going away, and with it whoever asked.
            None => at.cancel(),
        }
    }

    fn tell(&self, py: Python<'_>, at: &Progress) -> PyResult<()> {
        match self.told {
            Some(told) if !at.is_canceled() => told.call1(py, at.rows()).map(drop),
            _ => Ok(()),
        }
    }
}
