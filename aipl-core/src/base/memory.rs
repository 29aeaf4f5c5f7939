//! Room for the few lists that grow with the data: memory that is refused becomes an error, not the end of the process.

use std::cell::Cell;

/// The system refused memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the memory that this process may use did not suffice")]
pub struct OutOfMemory;

thread_local! {
    static OPTIONAL: Cell<bool> = const { Cell::new(false) };
}

/// Whether what this thread is allocating may be refused: an allocator that puts memory by keeps it for what may not.
#[must_use]
pub fn may_be_refused() -> bool {
    OPTIONAL.get()
}

fn asking<T>(ask: impl FnOnce() -> T) -> T {
    OPTIONAL.set(true);
    let answer = ask();
    OPTIONAL.set(false);
    answer
}

/// Whether a list has room for one more, which is made as `push` makes it.
///
/// ```
/// let mut list = Vec::new();
/// assert!(aipl_core::base::memory::has_room(&mut list));
/// list.push(1);
/// ```
#[inline]
pub fn has_room<T>(list: &mut Vec<T>) -> bool {
    has_room_for(list, 1)
}

/// Whether a list has room for some more, which is made as `extend` makes it.
#[inline]
pub fn has_room_for<T>(list: &mut Vec<T>, more: usize) -> bool {
    list.capacity() - list.len() >= more || asking(|| list.try_reserve(more)).is_ok()
}

/// An empty list with room for this many.
///
/// # Errors
/// [`OutOfMemory`].
pub fn with_room<T>(length: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut list = Vec::new();
    match asking(|| list.try_reserve_exact(length)) {
        Ok(()) => Ok(list),
        Err(_) => Err(OutOfMemory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_an_error() {
        assert_eq!(with_room::<u64>(usize::MAX / 16), Err(OutOfMemory));
        assert_eq!(with_room::<u64>(3).map(|list| list.capacity()), Ok(3));
        let mut list = vec![0_u8; 2];
        assert!(!has_room_for(&mut list, isize::MAX as usize) && !may_be_refused());
        assert!(has_room(&mut list) && list.len() == 2);
    }
}
