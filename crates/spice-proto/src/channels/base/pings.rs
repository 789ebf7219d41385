//! Time to the client and back.

use std::time::{Duration, Instant};

use super::messages::Ping;

/// Measures the time there and back.
#[derive(Debug)]
pub(super) struct Pings {
    epoch: Instant,
    last_id: u32,
    /// Id of the ping that is to be answered, and when it was sent.
    waiting: Option<(u32, Instant)>,
    rtt: Option<Duration>,
}

impl Pings {
    pub(super) fn new(now: Instant) -> Self {
        Self { epoch: now, last_id: 0, waiting: None, rtt: None }
    }

    /// How long the last answer took.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// When the ping was sent that is to be answered.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.waiting.map(|(_, since)| since)
    }

    pub(super) fn next(&mut self, now: Instant) -> Option<Ping> {
        if self.waiting.is_some() {
            return None;
        }
        self.last_id = self.last_id.wrapping_add(1);
        self.waiting = Some((self.last_id, now));
        let age = now.saturating_duration_since(self.epoch);
        let timestamp = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        Some(Ping { id: self.last_id, timestamp })
    }

    /// The time is taken from our own note, for the client may echo any timestamp.
    pub(super) fn answered(&mut self, pong: Ping, now: Instant) {
        if let Some((id, sent)) = self.waiting
            && id == pong.id
        {
            self.waiting = None;
            self.rtt = Some(now.saturating_duration_since(sent));
        }
    }
}
