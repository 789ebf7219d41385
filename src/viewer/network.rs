use std::time::Instant;

use super::{Rate, Tiers};
use crate::frame::Tier;
use crate::sys::TcpState;

/// Below this rate, in bits a second, it pays to take longer for exact images that are smaller. Each byte that LZ4
/// would make takes about 25 ns more, and at least a quarter of them is not sent, which takes 62 ns at this rate.
const NARROW: u64 = 32_000_000;

/// What is known of a viewer's network: its rate, and the tier that this puts it in. Pure.
pub(super) struct Network {
    rate: Rate,
    tiers: Tiers,
    max: Option<u64>,
}

impl Network {
    /// Makes the network of a new viewer, which is never sent more than `max` bits a second. A viewer that is
    /// far away by what the kernel knows starts with others whose networks do not carry everything, until
    /// more is known of its own.
    pub(super) fn new(max: Option<u64>, kernel: Option<TcpState>, now: Instant) -> Self {
        let mut network = Self { rate: Rate::new(max), tiers: Tiers::new(Tier::Full), max };
        if let Some(kernel) = kernel {
            network.measured(kernel, now);
        }
        if network.rate.first_bytes().is_some() {
            network.tiers = Tiers::new(Tier::Middle);
        }
        network
    }

    /// Returns whether another picture may be sent now.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.rate.ready_at(now).is_some_and(|at| at <= now)
    }

    /// Returns when to look again: at the kernel, or whether another picture may be sent.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let ready = self.rate.ready_at(now).filter(|at| *at > now);
        [ready, self.rate.look_at()].into_iter().flatten().min()
    }

    /// Takes what the kernel knows now.
    pub(super) fn measured(&mut self, kernel: TcpState, now: Instant) {
        self.rate.measured(kernel, now);
    }

    /// Notes that the viewer has read all up to the question with this number. The kernel was asked just
    /// before.
    pub(super) fn answered(&mut self, id: u32, now: Instant) {
        self.rate.answered(id, now);
    }

    /// Notes that a picture of so many bytes is about to be written. The kernel was asked just before.
    /// Returns the number that the viewer is to be asked to send back.
    pub(super) fn sent(&mut self, bytes: u64, now: Instant) -> Option<u32> {
        self.rate.sent(bytes, now)
    }

    /// Returns the bits a second that the viewer may be sent; `None` if nothing limits it.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rate.bits_per_second()
    }

    /// Returns the most bytes that a frame of its tier should have for this viewer. Those of the full tier
    /// are as large as they get, unless the user says otherwise: others are not to see worse pictures because
    /// of this one.
    pub(super) fn frame_bytes(&self) -> Option<u64> {
        let free = self.tiers.tier() == Tier::Full && self.max.is_none();
        let carried = if free { None } else { self.rate.frame_bytes() };
        [carried, self.rate.first_bytes()].into_iter().flatten().min()
    }

    /// Returns whether it pays to take longer for exact images that are smaller: the network carries little, or is
    /// far and was not tried yet.
    pub(super) fn is_narrow(&self) -> bool {
        self.rate.first_bytes().is_some() || self.rate().is_some_and(|rate| rate < NARROW)
    }

    /// Returns the tier that the viewer is in.
    pub(super) fn tier(&self) -> Tier {
        self.tiers.tier()
    }

    /// Returns the tier to move to, if it is time.
    pub(super) fn moves(&mut self, now: Instant) -> Option<Tier> {
        if self.rate.first_bytes().is_some() {
            return None; // nothing is known yet
        }
        self.tiers.see(self.rate.bits_per_second(), now)
    }

    /// Notes that the viewer missed frames that others were given. Returns the tier to move to, if it is
    /// time.
    pub(super) fn lost(&mut self, now: Instant) -> Option<Tier> {
        self.tiers.lost(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn kernel(min_rtt: Duration) -> TcpState {
        TcpState { acked: 0, outstanding: 0, packet: 1448, refused: Duration::ZERO, min_rtt }
    }

    #[test]
    fn images_are_small_for_whom_the_network_carries_little_or_is_far_and_new() {
        let now = Instant::now();
        let (near, far) = (kernel(Duration::from_micros(90)), kernel(Duration::from_millis(9)));
        for (max, kernel, narrow) in [
            (None, None, false),
            (None, Some(near), false),
            (None, Some(far), true),
            (Some(2_000_000), Some(near), true),
            (Some(100_000_000), Some(near), false),
        ] {
            assert_eq!(Network::new(max, kernel, now).is_narrow(), narrow, "{max:?} {kernel:?}");
        }
    }
}
