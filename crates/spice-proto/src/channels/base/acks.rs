//! How much the client has not acknowledged.

use std::time::Instant;

/// Counts what the client has not acknowledged.
#[derive(Debug)]
pub(super) struct AckWindow {
    window: u32,
    unacked: u32,
    /// The client has answered `SET_ACK`; acknowledgements before that mean nothing.
    in_step: bool,
    stalled_since: Option<Instant>,
}

impl AckWindow {
    pub(super) fn new(window: u32) -> Self {
        Self { window, unacked: 0, in_step: false, stalled_since: None }
    }

    /// The client has answered `SET_ACK`.
    pub(super) fn in_step(&mut self) {
        self.in_step = true;
    }

    /// Since when the client has let us wait.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.stalled_since
    }

    pub(super) fn may_send(&self) -> bool {
        self.unacked <= self.window.saturating_mul(2)
    }

    pub(super) fn sent(&mut self, now: Instant) {
        self.unacked = self.unacked.saturating_add(1);
        if !self.may_send() {
            self.stalled_since.get_or_insert(now);
        }
    }

    pub(super) fn acked(&mut self, now: Instant) {
        if self.in_step {
            self.unacked = self.unacked.saturating_sub(self.window);
            self.stalled_since = if self.may_send() { None } else { Some(now) };
        }
    }
}
