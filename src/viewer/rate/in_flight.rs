use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::sys::TcpState;

/// Packets that a host may leave unacknowledged for a while though it has them, if its program does not read
/// at once. On a machine's own network a packet may have 64 KiB.
const STRAGGLERS: u64 = 2;

/// The most pictures in flight that are followed one by one.
const MAX_IN_FLIGHT: usize = 64;

/// The time from which on a network that was busy counts as slow: below it, clocks and schedulers matter
/// more.
const TELLING_TIME: Duration = Duration::from_millis(20);

/// The time after which a picture that is still under way says something.
const LONG: Duration = Duration::from_millis(100);

/// Tells from what the kernel says now and then how long the network was busy with what was sent.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    last: Option<(TcpState, Instant)>,
    /// Pictures that are not acknowledged: when they were sent, and where they end, counted as
    /// [`TcpState::acked`].
    pictures: VecDeque<(Instant, u64)>,
    /// From when on the network has been busy, with nothing but what comes after this byte.
    busy: Option<(Instant, u64)>,
}

/// What the network did since the kernel was asked before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    /// Nothing to learn from.
    Nothing,
    /// It was busy all of this time, and carried so many bytes.
    Busy(u64, Duration),
    /// It carried so many bytes in this time or less.
    Burst(u64, Duration),
}

impl InFlight {
    /// Records that a picture of `bytes` bytes was written, just after the kernel was asked.
    pub(super) fn sent(&mut self, bytes: u64, now: Instant) {
        if let Some((last, _)) = self.last
            && bytes > 0
            && self.pictures.len() < MAX_IN_FLIGHT
        {
            let written = last.acked.saturating_add(last.outstanding);
            let end =
                self.pictures.back().map_or(written, |(_, end)| written.max(*end)).saturating_add(bytes);
            self.pictures.push_back((now, end));
        }
    }

    /// Takes what the kernel knows now, and returns what that tells of the time since it was last asked.
    pub(super) fn measured(&mut self, sample: TcpState, now: Instant) -> Seen {
        let Some((before, before_at)) = self.last.replace((sample, now)) else { return Seen::Nothing };
        let began = |pictures: &VecDeque<(Instant, u64)>| {
            // Its first bytes can be acknowledged then, if nothing is before them.
            pictures.front().map(|(sent, _)| *sent + sample.min_rtt).filter(|began| *began < now)
        };
        if self.busy.is_none() {
            self.busy = began(&self.pictures).map(|began| (began, before.acked));
        }
        let Some((from, start)) = self.busy else { return Seen::Nothing };
        let took = now.saturating_duration_since(from);
        let refused = sample.refused > before.refused;
        let mut landed = None;
        while let Some(&(_, end)) = self.pictures.front()
            && end <= sample.acked.saturating_add(sample.packet.saturating_mul(STRAGGLERS))
        {
            self.pictures.pop_front();
            landed = Some(end);
        }
        match landed {
            // The network waited for the client.
            _ if refused => {
                self.busy = None;
                Seen::Nothing
            }
            Some(end) => {
                // With the next one waiting already, there was no gap.
                let end = end.min(sample.acked);
                self.busy = began(&self.pictures).map(|_| (now, end));
                let bytes = end.saturating_sub(start);
                // It may have been done soon after the time before, which was long ago.
                let seen_busy = before_at.saturating_duration_since(from) >= TELLING_TIME;
                if seen_busy { Seen::Busy(bytes, took) } else { Seen::Burst(bytes, took) }
            }
            None if took >= LONG => {
                self.busy = Some((now, sample.acked));
                Seen::Busy(sample.acked.saturating_sub(start), took)
            }
            None => Seen::Nothing,
        }
    }

    /// Returns when the kernel was last asked.
    pub(super) fn last_asked(&self) -> Option<Instant> {
        self.last.map(|(_, at)| at)
    }

    /// Returns whether a picture is in flight.
    pub(super) fn is_waiting(&self) -> bool {
        !self.pictures.is_empty()
    }
}
