//! The one guard of every binding: no panic leaves it, neither into Python nor into code that pulls a stream.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use aipl_core::base::stop::Stop;
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;

use crate::errors::{blamed_on_memory, internal, short_of_memory};
use crate::memory;

thread_local! {
    /// Whether the next guarded call of this thread panics.
    static ARMED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a callback of foreign code: what came of it or the panic that was caught, and whether memory ran out meanwhile.
#[allow(clippy::panic, reason = "tests arm it to see what becomes of a panic")]
pub fn caught<T>(work: impl FnOnce() -> T) -> (Result<T, Box<dyn Any + Send>>, bool) {
    let stop = Stop::new();
    let run = || {
        if ARMED.replace(false) {
            panic!("asked to panic");
        }
        work()
    };
    let outcome = catch_unwind(AssertUnwindSafe(run));
    memory::put_by();
    (outcome, stop.ran_short())
}

/// Runs a function, method, property or special method of a binding: everything that Python calls goes through here.
pub fn guard<T>(py: Python<'_>, work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    match caught(work) {
        (Ok(Ok(value)), _) => Ok(value),
        (Ok(Err(error)), short) if short || error.is_instance_of::<PyMemoryError>(py) => Err(blamed_on_memory(py, error)),
        (Ok(Err(error)), _) => Err(error),
        (Err(_), true) => Err(short_of_memory(py)),
        (Err(panic), false) => Err(internal(py, &*panic)),
    }
}

/// Makes the next guarded call of this thread panic, so that tests can see what becomes of it.
#[pyfunction]
pub fn panic_next(py: Python<'_>) -> PyResult<()> {
    guard(py, || {
        ARMED.set(true);
        Ok(())
    })
}
