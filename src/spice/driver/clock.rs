//! The server's multimedia clock.

use std::time::Instant;

/// Frames are stamped this far in the past, for clients to show them at once: spice-gtk takes its idea of our
/// clock from a message that took its time to arrive, and would hold a frame stamped with now back by as
/// much.
const SHOW_AT_ONCE: u32 = 200;

/// Milliseconds that count from an arbitrary start and wrap after 49 days.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Returns the time now, for clients to set their clocks by.
    pub(super) fn now(self) -> u32 {
        let [a, b, c, d, ..] = self.start.elapsed().as_millis().to_le_bytes();
        u32::from_le_bytes([a, b, c, d]).wrapping_add(SHOW_AT_ONCE + 1) // the past starts after 0
    }

    /// Returns a time that has passed for every client.
    pub(super) fn past(self) -> u32 {
        self.now().wrapping_sub(SHOW_AT_ONCE)
    }
}
