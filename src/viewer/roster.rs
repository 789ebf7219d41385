//! Who gets which picture, and how: what `qemu-spice status` tells of viewers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Delivery, Packed, Refused, RefusedCounts};
use crate::frame::{ConsoleId, Rect, Tier};

/// The longest name of a peer or reason kept, in bytes: peers name themselves.
const MAX_TEXT: usize = 256;

/// All viewers there are. Cheap to clone; all clones are the same roster.
///
/// It has as many listings as there are viewers, which are bounded by whoever takes them in.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    rows: Arc<Mutex<RosterTable>>,
}

#[derive(Debug, Default)]
struct RosterTable {
    next: u64,
    viewers: BTreeMap<u64, ViewerInfo>,
    refused: RefusedCounts,
    totals: Totals,
}

/// What all viewers were given, also those that have left.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Totals {
    /// Pictures given to them.
    pub sent: u64,
    /// Pictures that were not given on their own because newer ones came first.
    pub dropped: u64,
    /// Exact images among them and of them.
    pub images: Packed,
}

/// What is known of one viewer of one console.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ViewerInfo {
    /// Which console it sees.
    pub console: ConsoleId,
    /// Who it is, as far as its way tells: an address, a process, a name on a bus.
    pub peer: String,
    /// Its way to us: `unix`, `tcp`, `dbus`, ...
    pub transport: &'static str,
    /// How it gets the picture, such as `Passthrough`; empty until that is decided.
    pub delivery: String,
    /// Why so.
    pub reason: String,
    /// Bits a second that it is sent at most; `None` if nothing limits it.
    pub rate: Option<u64>,
    /// The tier of its video; `None` if it has none.
    pub tier: Option<Tier>,
    /// The parts of the picture that are video now. None where it rests, or comes otherwise.
    pub video: Vec<Rect>,
    /// Pictures given to it.
    pub sent: u64,
    /// Pictures that were not given to it on their own because newer ones came first.
    pub dropped: u64,
}

/// A viewer's listing in the roster. Dropped, it is in it no more.
#[derive(Debug)]
pub struct Listing {
    roster: Roster,
    id: u64,
}

impl Roster {
    /// Enters a viewer of `console`.
    #[must_use]
    pub fn enter(&self, console: ConsoleId, peer: &str, transport: &'static str) -> Listing {
        let mut rows = self.lock();
        let id = rows.next;
        rows.next = id.wrapping_add(1);
        let viewer = ViewerInfo {
            console,
            peer: short(peer),
            transport,
            delivery: String::new(),
            reason: String::new(),
            rate: None,
            tier: None,
            video: Vec::new(),
            sent: 0,
            dropped: 0,
        };
        rows.viewers.insert(id, viewer);
        Listing { roster: self.clone(), id }
    }

    /// Returns all viewers as they are now, the longest there first.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ViewerInfo> {
        self.lock().viewers.values().cloned().collect()
    }

    /// Returns what all viewers were given so far.
    #[must_use]
    pub(crate) fn totals(&self) -> Totals {
        self.lock().totals
    }

    /// Counts a connection that was not let in.
    pub fn refuse(&self, why: Refused) {
        let mut rows = self.lock();
        let count = rows.refused.entry(why).or_default();
        *count = count.saturating_add(1);
    }

    /// Returns how many connections were not let in so far, for each reason that occurred.
    #[must_use]
    pub fn refused(&self) -> RefusedCounts {
        self.lock().refused.clone()
    }

    /// Locks the rows. A thread that panicked left them whole, because each change is one assignment.
    fn lock(&self) -> MutexGuard<'_, RosterTable> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listing {
    /// Records how the viewer gets the picture from now on, and why.
    pub(crate) fn deliver(&self, delivery: Delivery, reason: impl fmt::Display) {
        self.change(|viewer| {
            viewer.delivery = delivery.to_string();
            viewer.reason = short(&reason.to_string());
        });
    }

    /// Records the limit in bits a second and the tier of video from now on.
    pub fn pace(&self, rate: Option<u64>, tier: Option<Tier>) {
        self.change(|viewer| (viewer.rate, viewer.tier) = (rate, tier));
    }

    /// Records which parts of the picture are video from now on.
    pub(crate) fn play(&self, video: Vec<Rect>) {
        self.change(|viewer| viewer.video = video);
    }

    /// Counts a picture that was given to the viewer, and `missed` earlier ones that it stands for.
    pub fn sent(&self, missed: u64) {
        let mut rows = self.roster.lock();
        let RosterTable { viewers, totals, .. } = &mut *rows;
        let counts = viewers.get_mut(&self.id).map(|viewer| (&mut viewer.sent, &mut viewer.dropped));
        for (sent, dropped) in counts.into_iter().chain([(&mut totals.sent, &mut totals.dropped)]) {
            *sent = sent.saturating_add(1);
            *dropped = dropped.saturating_add(missed);
        }
    }

    /// Counts exact images that the viewer was sent.
    pub(crate) fn packed(&self, images: Packed) {
        self.roster.lock().totals.images += images;
    }

    /// Counts a picture that the viewer did not get, and that no newer one stands for yet.
    pub(crate) fn missed(&self) {
        let mut rows = self.roster.lock();
        rows.totals.dropped = rows.totals.dropped.saturating_add(1);
        if let Some(viewer) = rows.viewers.get_mut(&self.id) {
            viewer.dropped = viewer.dropped.saturating_add(1);
        }
    }

    fn change(&self, change: impl FnOnce(&mut ViewerInfo)) {
        if let Some(viewer) = self.roster.lock().viewers.get_mut(&self.id) {
            change(viewer);
        }
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.roster.lock().viewers.remove(&self.id);
    }
}

fn short(text: &str) -> String {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_is_listed_as_long_as_it_is_there() {
        let roster = Roster::default();
        let first = roster.enter(ConsoleId(0), "10.0.0.7:4711", "tcp");
        let second = roster.enter(ConsoleId(1), &"ä".repeat(500), "dbus");
        first.deliver(Delivery::Images, "it has no decoder");
        first.sent(0);
        first.sent(3);
        second.pace(Some(4_000_000), Some(Tier::Middle));
        let viewers = roster.snapshot();
        assert_eq!((viewers[0].delivery.as_str(), viewers[0].sent, viewers[0].dropped), ("Images", 2, 3));
        assert_eq!((viewers[1].console, viewers[1].delivery.as_str()), (ConsoleId(1), ""));
        assert_eq!([viewers[0].rate, viewers[1].rate], [None, Some(4_000_000)]);
        assert_eq!(viewers[1].peer.len(), 256, "what a peer says of itself has a limit");
        drop(first);
        assert_eq!(roster.snapshot(), viewers[1..]);
        drop(second);
        assert!(roster.snapshot().is_empty());
        assert_eq!(
            roster.totals(),
            Totals { sent: 2, dropped: 3, images: Packed::default() },
            "what was given stays given"
        );
    }
}
