//! The allocator of the extension: the system's, with something put by for the moment when the system refuses.
//!
//! Rust ends the process where memory is refused. So a stretch of addresses that nobody touches is held; when the
//! system refuses, it is given back, all work that is going on is told to stop, and the allocation is tried again. What
//! it needs to come to its next checkpoint comes out of that stretch; the caller gets `MemoryLimitError`, and the
//! stretch is held again.

#![allow(unsafe_code, reason = "an allocator is unsafe by its nature; this is the module for it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::time::Duration;

use aipl_core::base::memory::may_be_refused;
use aipl_core::base::stop;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// The most that is put by, and the least that is worth it; addresses only, since no page of it is ever touched.
const MOST: usize = 64 << 20;
const LEAST: usize = 4 << 20;
/// How often a refused allocation is tried again, and the pause between two tries.
const TRIES: usize = 200;
const PAUSE: Duration = Duration::from_millis(2);

static RESERVE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static RESERVED: AtomicUsize = AtomicUsize::new(0);

/// Puts memory by, unless that is done: as much as the system grants.
pub fn put_by() {
    if !RESERVE.load(Ordering::Acquire).is_null() {
        return;
    }
    let mut size = MOST;
    while size >= LEAST {
        if let Some(fresh) = map(size) {
            // Whoever comes second gives its own back: the size belongs to the stretch that is held.
            match RESERVE.compare_exchange(ptr::null_mut(), fresh.as_ptr(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => RESERVED.store(size, Ordering::Release),
                Err(_) => unmap(fresh, size),
            }
            return;
        }
        size /= 2;
    }
}

/// Gives back what was put by; `false` if there is nothing.
fn give_back() -> bool {
    // The size is taken first: only who gets it may give the stretch back.
    let size = RESERVED.swap(0, Ordering::AcqRel);
    if size == 0 {
        return false;
    }
    match NonNull::new(RESERVE.swap(ptr::null_mut(), Ordering::AcqRel)) {
        Some(held) => {
            unmap(held, size);
            true
        }
        None => false,
    }
}

fn map(size: usize) -> Option<NonNull<u8>> {
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing that exists.
    let mapped = unsafe { mmap_anonymous(ptr::null_mut(), size, ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE) };
    NonNull::new(mapped.ok()?.cast())
}

fn unmap(held: NonNull<u8>, size: usize) {
    // SAFETY: `held` came from `map(size)`, nobody has ever read or written it, and its one owner gives it up here.
    // A refusal leaves it mapped, which costs addresses and nothing else.
    let _ = unsafe { munmap(held.as_ptr().cast(), size) };
}

/// The system's allocator with something put by.
pub struct Careful;

/// After a refusal: tells all work to stop, gives back what was put by, and tries again, for a while: work that stops
/// frees memory too.
#[cold]
fn again(size: usize, attempt: impl Fn() -> *mut u8) -> *mut u8 {
    if size > 4 * MOST {
        // A size that is out of reach, or a lie: no reason to end other work.
        return ptr::null_mut();
    }
    stop::note_shortage();
    if may_be_refused() {
        return ptr::null_mut();
    }
    for _ in 0..TRIES {
        let gave = give_back();
        let block = attempt();
        if !block.is_null() {
            return block;
        }
        if !gave {
            std::thread::sleep(PAUSE);
        }
    }
    ptr::null_mut()
}

// SAFETY: every call goes to `System` with the caller's own arguments, whose promises are those that `System` asks for;
// another try is made only after the last gave nothing, so no block is handed out or freed twice. Nothing here
// allocates or unwinds: the way of a refusal is atomics, a pause and one system call.
unsafe impl GlobalAlloc for Careful {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `alloc`'s promises.
        let block = unsafe { System.alloc(layout) };
        if block.is_null() {
            // SAFETY: as above.
            return again(layout.size(), || unsafe { System.alloc(layout) });
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `alloc_zeroed`'s promises.
        let block = unsafe { System.alloc_zeroed(layout) };
        if block.is_null() {
            // SAFETY: as above.
            return again(layout.size(), || unsafe { System.alloc_zeroed(layout) });
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s promises, and `block` is `System`'s.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps `realloc`'s promises, and `block` is `System`'s.
        let grown = unsafe { System.realloc(block, layout, size) };
        if grown.is_null() {
            // SAFETY: as above; a refused `realloc` leaves `block` as it was.
            return again(size, || unsafe { System.realloc(block, layout, size) });
        }
        grown
    }
}
