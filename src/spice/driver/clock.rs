//! The server's multimedia clock.

use std::time::Instant;

/// Frames are stamped this far in the past, for clients to show them at once: spice-gtk takes its idea of our
/// clock from a message that took its time to arrive, and would hold a frame stamped with now back by as
/// much.
const SHOW_AT_ONCE: u32 = 200;

/// MJPEG's frames are stamped this far in the future: spice-gtk drops those that come late, and shows the others when
/// their time has come. Less than it takes until a picture counts as resting: what is drawn then must be the last.
const SHOW_SOON: u32 = 100;

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
        self.past(Instant::now()).wrapping_add(SHOW_AT_ONCE)
    }

    /// Returns the time of a picture that must not come late.
    pub(super) fn soon(self) -> u32 {
        self.now().wrapping_add(SHOW_SOON)
    }

    /// Returns the time of a picture or sound of `moment`: it has passed for every client. Both of one moment have the
    /// same, so that a client that plays sound late shows its pictures as late.
    pub(super) fn past(self, moment: Instant) -> u32 {
        let [a, b, c, d, ..] = moment.saturating_duration_since(self.start).as_millis().to_le_bytes();
        u32::from_le_bytes([a, b, c, d]).wrapping_add(1) // the past starts after 0
    }
}
