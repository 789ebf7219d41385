//! What is on screen now, and what sounds: one writer (the source), many readers (viewers, encoders), latest wins.
//!
//! A reader that is busy misses nothing and delays nobody: what changed meanwhile adds up in its mailbox and
//! it reads the newest scanout when it comes back. Only a reader that was waiting for a change holds the source's
//! [`Release`], and only until it has read. Uses `frame` and `sound`.

mod clipboard;
mod console;
mod exact;
mod guest;
mod mailbox;
mod microphone;
mod playback;
mod ports;
mod release;
mod turns;

pub(crate) use clipboard::{Clipboard, GuestCopied, PasteRequest, SELECTIONS};
pub use console::{Change, Console, Subscription};
pub(crate) use exact::{Asked, ExactReader, Told};
pub(crate) use guest::CursorState;
pub use guest::{ConsoleInfo, Guest, Leds};
pub(crate) use microphone::{Microphone, Speaker, Wanted};
pub(crate) use playback::{Listening, Playback, Played};
pub use ports::PortInfo;
pub(crate) use ports::{AGENT_PORT, Device, PortRequest, PortRequests, PortWish};
pub(crate) use release::Ledger;
pub use release::ReleaseQueue;
pub(crate) use release::{Draws, Release};
pub(crate) use turns::{Turn, Turns};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::frame::ConsoleId;

/// The most consoles of one VM that are shown: virtio-gpu has at most 16 outputs.
pub(crate) const MAX_CONSOLES: usize = 16;

/// The screens and the sound of one VM and what is known of it. Cheap to clone; all clones are the same hub.
#[derive(Clone, Debug)]
pub struct Hub {
    consoles: Arc<Mutex<BTreeMap<ConsoleId, Arc<Console>>>>,
    guest: Arc<watch::Sender<Guest>>,
    ports: PortRequests,
    /// Who has which of the guest's devices.
    devices: Arc<Mutex<Devices>>,
    playback: Arc<Playback>,
    microphone: Arc<Microphone>,
    clipboard: Arc<Clipboard>,
}

/// The turns for devices, by their kind and number.
type Devices = BTreeMap<(Device, u8), Arc<Turns>>;

/// The console that exists before any VM, for viewers who come early.
const FIRST: ConsoleId = ConsoleId(0);

impl Default for Hub {
    fn default() -> Self {
        let consoles = BTreeMap::from([(FIRST, Arc::new(Console::new(FIRST)))]);
        let guest = watch::Sender::new(Guest::default());
        Self {
            consoles: Arc::new(Mutex::new(consoles)),
            guest: Arc::new(guest),
            ports: PortRequests::default(),
            devices: Arc::default(),
            playback: Arc::default(),
            microphone: Arc::default(),
            clipboard: Arc::default(),
        }
    }
}

impl Hub {
    /// Finds the console numbered `id`. Console 0 exists even before a VM is attached.
    #[must_use]
    pub fn console(&self, id: ConsoleId) -> Option<Arc<Console>> {
        lock(&self.consoles).get(&id).cloned()
    }

    /// Finds or makes the console numbered `id`. For the source alone.
    ///
    /// INVARIANT: nobody else makes consoles, so no viewer can take a place that a VM needs.
    #[must_use]
    pub fn add_console(&self, id: ConsoleId) -> Arc<Console> {
        lock(&self.consoles).entry(id).or_insert_with(|| Arc::new(Console::new(id))).clone()
    }

    /// Watches the facts about the guest.
    #[must_use]
    pub fn guest(&self) -> watch::Receiver<Guest> {
        self.guest.subscribe()
    }

    /// Changes the facts about the guest. Readers wake only if one differs. For the source alone.
    pub fn change_guest(&self, change: impl FnOnce(&mut Guest)) {
        self.guest.send_if_modified(|guest| {
            let before = guest.clone();
            change(guest);
            *guest != before
        });
    }

    /// Returns the requests for connections to the guest's serial ports.
    pub(crate) fn ports(&self) -> &PortRequests {
        &self.ports
    }

    /// Returns the turns of the clients that want a device of the guest, or of the next guest in its place.
    pub(crate) fn device(&self, device: Device, number: u8) -> Arc<Turns> {
        lock(&self.devices).entry((device, number)).or_default().clone()
    }

    /// Returns what comes out of the guest's sound card.
    pub(crate) fn playback(&self) -> &Arc<Playback> {
        &self.playback
    }

    /// Returns what goes into the guest's microphone.
    pub(crate) fn microphone(&self) -> &Arc<Microphone> {
        &self.microphone
    }

    /// Returns the clipboards that a viewer and the guest share.
    pub(crate) fn clipboard(&self) -> &Arc<Clipboard> {
        &self.clipboard
    }

    /// Forgets the VM. Screens go black, sound ends; viewers keep their consoles. For the source alone.
    pub fn detach(&self) {
        let mut consoles = lock(&self.consoles);
        for console in consoles.values() {
            console.clear();
        }
        consoles.retain(|id, console| *id == FIRST || Arc::strong_count(console) > 1);
        drop(consoles);
        self.ports.forget();
        self.playback.stop();
        self.clipboard.forget();
        self.microphone.want(Wanted::default());
        self.change_guest(|guest| *guest = Guest::default());
    }
}

/// Locks `mutex` even if a thread panicked under it, because every change here is a single assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_source_makes_consoles() {
        let hub = Hub::default();
        assert!((1..=255).all(|id| hub.console(ConsoleId(id)).is_none()));
        let second = hub.add_console(ConsoleId(1));
        assert!(hub.console(ConsoleId(0)).is_some() && hub.console(ConsoleId(1)).is_some());
        hub.detach();
        assert!(hub.console(ConsoleId(1)).is_some(), "someone looks at it");
        drop(second);
        hub.detach();
        assert!(hub.console(ConsoleId(1)).is_none());
        assert!(hub.console(ConsoleId(0)).is_some(), "viewers may come before their VM");
    }
}
