//! What is known of a viewer's network, asked of its connection.

use std::time::Instant;

use spice_proto::channels::display::DisplayChannel;

use super::connection::Connection;
use crate::frame::Tier;
use crate::transport::TcpState;
use crate::viewer::{KernelSample, Rate, Tiers};

/// A viewer's rate, and the tier that this puts it in.
pub(super) struct Network {
    rate: Rate,
    tiers: Tiers,
    max: Option<u64>,
}

impl Network {
    /// Of a new viewer, which is never sent more than `max` bits a second. One that is far away starts with others whose
    /// networks do not carry everything, until more is known of its own.
    pub(super) fn new(max: Option<u64>, connection: &Connection<DisplayChannel>) -> Self {
        let mut network = Self { rate: Rate::new(max), tiers: Tiers::new(Tier::Full), max };
        network.look(connection);
        if network.rate.first_bytes().is_some() {
            network.tiers = Tiers::new(Tier::Middle);
        }
        network
    }

    /// Whether another picture may be sent now.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.rate.ready_at(now).is_some_and(|at| at <= now)
    }

    /// When to look again: at the kernel, or whether another picture may be sent.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let ready = self.rate.ready_at(now).filter(|at| *at > now);
        [ready, self.rate.look_at()].into_iter().flatten().min()
    }

    /// Asks the kernel what has become of what was sent.
    pub(super) fn look(&mut self, connection: &Connection<DisplayChannel>) {
        if let Some(state) = connection.network() {
            let TcpState { acked, outstanding, packet, refused, min_rtt } = state;
            let sample = KernelSample { acked, outstanding, packet, refused, min_rtt };
            self.rate.measured(sample, Instant::now());
        }
    }

    /// The client has read all up to this question.
    pub(super) fn answered(&mut self, id: u32, connection: &Connection<DisplayChannel>) {
        self.look(connection);
        self.rate.answered(id, Instant::now());
    }

    /// A picture is about to be written: the kernel was asked just before. Gives its size in bytes.
    pub(super) fn send(&mut self, display: &mut DisplayChannel) -> u64 {
        let bytes = display.waiting_bytes();
        if let Some(id) = self.rate.sent(bytes, Instant::now()) {
            display.ask(id);
        }
        bytes
    }

    /// Bits a second that the viewer may be sent; `None` if nothing limits it.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rate.bits_per_second()
    }

    /// The most bytes that a frame of its tier should have for this viewer. Those of the full tier are as large as they
    /// get, unless the user says otherwise: others are not to see worse pictures because of this one.
    pub(super) fn frame_bytes(&self) -> Option<u64> {
        let free = self.tiers.tier() == Tier::Full && self.max.is_none();
        let carried = if free { None } else { self.rate.frame_bytes() };
        [carried, self.rate.first_bytes()].into_iter().flatten().min()
    }

    /// The tier it is in.
    pub(super) fn tier(&self) -> Tier {
        self.tiers.tier()
    }

    /// The tier to move to, if it is time.
    pub(super) fn moves(&mut self) -> Option<Tier> {
        if self.rate.first_bytes().is_some() {
            return None; // nothing is known yet
        }
        self.tiers.see(self.rate.bits_per_second(), Instant::now())
    }

    /// It missed frames that others were given. Gives the tier to move to, if it is time.
    pub(super) fn lost(&mut self) -> Option<Tier> {
        self.tiers.lost(Instant::now())
    }
}
