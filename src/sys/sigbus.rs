#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The most ranges at a time: a VMM has eight regions of memory, or up to 509 slots.
const SLOTS: usize = 1024;

/// The ranges, for the signal handler, which may take no lock.
static RANGES: [Slot; SLOTS] = [const { Slot::new() }; SLOTS];

/// Held by who changes [`RANGES`].
static CHANGES: Mutex<()> = Mutex::new(());

/// What was done about the signal before.
static BEFORE: OnceLock<Option<libc::sigaction>> = OnceLock::new();

/// A range of addresses; of length 0 if there is none. Its version is odd while it is changed.
struct Slot {
    version: AtomicUsize,
    start: AtomicUsize,
    len: AtomicUsize,
}

/// Memory of somebody else's file that may be read and written even where the file was truncated: once that is noticed
/// there are zeros in the place of all of it. Without this the system would end the process (`SIGBUS`).
#[derive(Debug)]
pub(crate) struct TruncationGuard(usize);

impl TruncationGuard {
    /// Guards `len` bytes mapped at `start`. `None` if too many ranges are guarded.
    ///
    /// INVARIANT: the memory is a mapping of the caller's, to which nobody has references, and stays mapped for as long
    /// as the guard lives.
    pub(crate) fn new(start: *const u8, len: usize) -> Option<Self> {
        BEFORE.get_or_init(install);
        let _changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
        let free = RANGES.iter().position(|slot| slot.len.load(Ordering::Relaxed) == 0)?;
        RANGES.get(free)?.set(start.expose_provenance(), len);
        Some(Self(free))
    }
}

impl Drop for TruncationGuard {
    fn drop(&mut self) {
        let _changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = RANGES.get(self.0) {
            slot.set(0, 0);
        }
    }
}

impl Slot {
    const fn new() -> Self {
        Self { version: AtomicUsize::new(0), start: AtomicUsize::new(0), len: AtomicUsize::new(0) }
    }

    fn set(&self, start: usize, len: usize) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.start.store(start, Ordering::Release);
        self.len.store(len, Ordering::Release);
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns the range if `address` is in it.
    fn around(&self, address: usize) -> Option<(usize, usize)> {
        let version = self.version.load(Ordering::Acquire);
        let (start, len) = (self.start.load(Ordering::Acquire), self.len.load(Ordering::Acquire));
        fence(Ordering::Acquire);
        let is_whole = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        (is_whole && address.checked_sub(start).is_some_and(|at| at < len)).then_some((start, len))
    }
}

/// Takes the signal over. Returns what was done about it before.
fn install() -> Option<libc::sigaction> {
    // SAFETY: all zeros are a valid `sigaction`, which is filled in; the handler calls nothing but `mmap` and
    // `sigaction`, as a handler may.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_signal;
        #[expect(clippy::as_conversions, reason = "there is no other way from a function to its address")]
        let address = handler as libc::sighandler_t;
        action.sa_sigaction = address;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        let mut before: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(libc::SIGBUS, &action, &mut before) == 0).then_some(before)
    }
}

/// Puts zeros in the place of a guarded range; leaves every other address to who had the signal before.
extern "C" fn on_signal(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the system gives a handler with SA_SIGINFO a valid `siginfo_t`; where the code is positive, it has an
    // address.
    let address = unsafe { if (*info).si_code > 0 { (*info).si_addr().addr() } else { 0 } };
    if let Some((start, len)) = RANGES.iter().find_map(|slot| slot.around(address)) {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
        // SAFETY: the range is a mapping that its guard's owner keeps, and nobody has references to; what was mapped
        // there is gone.
        let mapped = unsafe {
            libc::mmap(std::ptr::with_exposed_provenance_mut(start), len, protection, flags, -1, 0)
        };
        if mapped != libc::MAP_FAILED {
            return;
        }
    }
    // What caused the signal is done again, and then causes what it did before us.
    // SAFETY: it is what `sigaction` gave, or all zeros, which are the default.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        let before = BEFORE.get().and_then(Option::as_ref).unwrap_or(&default);
        libc::sigaction(libc::SIGBUS, before, std::ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

    #[test]
    fn memory_that_was_cut_short_reads_as_zeros() {
        let file = memfd_create("memory", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, 16_384).unwrap();
        let (both, shared) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping.
        let start =
            unsafe { mmap(std::ptr::null_mut(), 16_384, both, shared, &file, 0) }.unwrap().cast::<u8>();
        // SAFETY: inside the mapping.
        let read = |at: usize| unsafe { start.add(at).read_volatile() };
        // SAFETY: as above.
        let write = |at: usize, byte: u8| unsafe { start.add(at).write_volatile(byte) };
        let guard = TruncationGuard::new(start, 16_384).unwrap();
        write(9000, 7);
        assert_eq!(read(9000), 7);
        ftruncate(&file, 4096).unwrap();
        assert_eq!(read(9000), 0);
        write(16_383, 9);
        assert_eq!(read(16_383), 9);
        drop(guard);
        let kept = TruncationGuard::new(start, 4096).unwrap();
        assert_eq!(RANGES.iter().filter(|slot| slot.around(start.addr()).is_some()).count(), 1);
        drop(kept);
        assert!(RANGES.iter().all(|slot| slot.around(start.addr()).is_none()));
        // SAFETY: nobody uses it any more.
        unsafe { munmap(start.cast(), 16_384) }.unwrap();
    }
}
