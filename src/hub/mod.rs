//! What is on screen now: one writer (the source), many readers (viewers, encoders), latest wins.
//!
//! A reader that is busy misses nothing and delays nobody: what changed meanwhile adds up in its mailbox and
//! it reads the newest scanout when it comes back. Only a reader that was waiting for a change holds the source's
//! [`Release`], and only until it has read. Uses `frame` alone.

mod console;
mod guest;
mod mailbox;
mod release;

pub use console::{Change, Console, Subscription};
pub use guest::{ConsoleInfo, CursorState, Guest, Leds};
pub use release::{Ledger, Release, ReleaseQueue};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::frame::ConsoleId;

/// The most consoles of one VM: virtio-gpu has at most 16 outputs.
pub const MAX_CONSOLES: usize = 16;

/// The screens of one VM and what is known of it. Cheap to clone; all clones are the same hub.
#[derive(Clone, Debug)]
pub struct Hub {
    consoles: Arc<Mutex<BTreeMap<ConsoleId, Arc<Console>>>>,
    guest: Arc<watch::Sender<Guest>>,
}

impl Default for Hub {
    fn default() -> Self {
        Self { consoles: Arc::default(), guest: Arc::new(watch::Sender::new(Guest::default())) }
    }
}

impl Hub {
    /// The console of this number, made if it is new: viewers may come before their VM.
    /// `None` if there are [`MAX_CONSOLES`] others.
    #[must_use]
    pub fn console(&self, id: ConsoleId) -> Option<Arc<Console>> {
        let mut consoles = lock(&self.consoles);
        if consoles.len() >= MAX_CONSOLES && !consoles.contains_key(&id) {
            return None;
        }
        Some(consoles.entry(id).or_insert_with(|| Arc::new(Console::new(id))).clone())
    }

    /// What is known of the guest, now and whenever it changes.
    #[must_use]
    pub fn guest(&self) -> watch::Receiver<Guest> {
        self.guest.subscribe()
    }

    /// For the source: changes what is known of the guest. Readers wake only if something is different.
    pub fn change_guest(&self, change: impl FnOnce(&mut Guest)) {
        self.guest.send_if_modified(|guest| {
            let before = guest.clone();
            change(guest);
            *guest != before
        });
    }

    /// For the source: the VM is gone. Screens go black, viewers stay.
    pub fn detach(&self) {
        for console in lock(&self.consoles).values() {
            console.clear();
        }
        self.change_guest(|guest| *guest = Guest::default());
    }
}

/// What a panicking thread left under a lock is whole: every change here is a single assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
