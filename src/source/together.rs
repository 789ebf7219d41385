use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::frame::ConsoleId;

/// What the sources of one VM know of each other. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Together(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    has_gpu: AtomicBool,
    pointer: Mutex<Option<bool>>,
    first_console: AtomicU32,
}

impl Together {
    /// Makes what is known before any VM is: whether we are its graphics card.
    pub(super) fn new(has_gpu: bool) -> Self {
        let together = Self::default();
        together.0.has_gpu.store(has_gpu, Ordering::SeqCst);
        together
    }

    /// Returns whether the guest's graphics card is ours, so that its consoles get their pictures from there.
    pub(super) fn has_gpu(&self) -> bool {
        self.0.has_gpu.load(Ordering::SeqCst)
    }

    /// Stores what pointer of ours the guest has: whether it takes places; `None` without one.
    pub(super) fn set_pointer(&self, absolute: Option<bool>) {
        *self.pointer_state() = absolute;
    }

    /// Returns whether the pointer of ours that the guest has takes places; `None` without one.
    pub(super) fn pointer(&self) -> Option<bool> {
        *self.pointer_state()
    }

    fn pointer_state(&self) -> MutexGuard<'_, Option<bool>> {
        self.0.pointer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores which number QEMU gives to the first console of our graphics card.
    pub(super) fn set_first_console(&self, console: ConsoleId) {
        self.0.first_console.store(console.0, Ordering::SeqCst);
    }

    /// Returns the console that `scanout` of our graphics card is.
    pub(super) fn console(&self, scanout: u32) -> ConsoleId {
        ConsoleId(self.0.first_console.load(Ordering::SeqCst).saturating_add(scanout))
    }

    /// Returns the scanout of our graphics card that `console` is.
    pub(super) fn scanout(&self, console: ConsoleId) -> Option<u32> {
        console.0.checked_sub(self.0.first_console.load(Ordering::SeqCst))
    }
}
