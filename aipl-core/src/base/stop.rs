//! "Should I stop?", for every floor, without a parameter through every function.
//!
//! Whoever starts work has a [`Stop`] and runs the work [`Stop::during`] it; the work asks [`requested`] in its loops.
//! The token is known to the thread that does the work and to no other, so a closure of a parallel iterator takes a
//! [`current`] one along.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How often the process ran short of memory so far.
static SHORTAGES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static CURRENT: RefCell<Option<Stop>> = const { RefCell::new(None) };
}

/// The work should end; whoever asked for it knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("canceled")]
pub struct Stopped;

/// Whether one piece of work should stop, shared by its threads. Once asked, it stays asked.
///
/// ```
/// use aipl_core::base::stop::{Stop, requested};
/// let stop = Stop::new();
/// let steps = stop.during(|| {
///     let mut steps = 0;
///     while !requested() {
///         steps += 1;
///         stop.ask(); // in life: another thread, on Ctrl-C
///     }
///     steps
/// });
/// assert_eq!((steps, requested()), (1, false));
/// ```
#[derive(Debug, Clone)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    /// The shortages there were when the work began.
    shortages: u64,
}

impl Default for Stop {
    fn default() -> Self {
        Stop {
            asked: Arc::default(),
            shortages: SHORTAGES.load(Ordering::Relaxed),
        }
    }
}

impl Stop {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the work to end soon.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether the work should end: somebody asked, or the process ran short of memory since it began.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) || self.ran_short()
    }

    /// Whether the process ran short of memory since the work began.
    #[must_use]
    pub fn ran_short(&self) -> bool {
        SHORTAGES.load(Ordering::Relaxed) != self.shortages
    }

    /// Runs work on this thread that can ask [`requested`]. Work within work has its own token, and the outer one
    /// afterwards.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let _restored = Restored(CURRENT.replace(Some(self.clone())));
        work()
    }
}

/// Puts the outer token back, also when work panics.
struct Restored(Option<Stop>);

impl Drop for Restored {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// Whether the work that this thread does should end; `false` where no work is going on. A few instructions.
///
/// ```
/// assert!(!aipl_core::base::stop::requested());
/// ```
#[must_use]
pub fn requested() -> bool {
    CURRENT.with_borrow(|stop| stop.as_ref().is_some_and(Stop::is_asked))
}

/// [`requested`] as an error, for `?`.
///
/// # Errors
/// [`Stopped`] once the work should end.
pub fn checkpoint() -> Result<(), Stopped> {
    if requested() { Err(Stopped) } else { Ok(()) }
}

/// The token of the work that this thread does, to take along into other threads.
#[must_use]
pub fn current() -> Option<Stop> {
    CURRENT.with_borrow(Clone::clone)
}

/// Tells all work that is going on that memory has run out. For allocators: it allocates nothing.
pub fn note_shortage() {
    SHORTAGES.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_work_itself_is_asked() {
        let stop = Stop::new();
        stop.ask();
        assert!(!requested());
        assert!(stop.during(requested));
        assert!(!requested());
    }

    #[test]
    fn inner_work_has_its_own_token() {
        let (outer, inner) = (Stop::new(), Stop::new());
        outer.ask();
        let seen = outer.during(|| (inner.during(requested), checkpoint()));
        assert_eq!(seen, (false, Err(Stopped)));
    }

    #[test]
    fn a_panic_puts_the_outer_token_back() {
        let stop = Stop::new();
        stop.ask();
        let caught = std::panic::catch_unwind(|| stop.during(|| panic!("boom")));
        assert!(caught.is_err() && !requested());
    }

    #[test]
    fn a_token_taken_along_is_the_same() {
        let stop = Stop::new();
        let along = stop.during(current).expect("a token");
        stop.ask();
        assert!(along.is_asked() && current().is_none());
    }
}
