//! The remedy for the flips that QEMU 9.0 to 10.0 discard (guests with `blob=true`): when they release the old buffer,
//! they drop messages that are not sent yet, among them the scanout of the new one.
//!
//! [`Serials`] notices the gap in the message numbers. [`LostFlips`] guesses which buffer the guest shows now, from the
//! order in which it took them before, and decides when QEMU has to be asked, because a guess may be wrong.
//! [`connections`] asks, with a further listener, to which QEMU sends the whole picture again.
//!
//! QEMU 10.1 and later discard nothing: once the oldest supported QEMU is one of those, this folder can be deleted.

pub(super) mod connections;
mod guesses;
mod replay;
mod serials;

pub(super) use replay::Drawn;
pub(super) use serials::Serials;

use std::time::Instant;

use crate::frame::Dmabuf;
use guesses::Guesses;
use replay::Replay;

/// What is known of the flips of one console: those that came, and those that were lost.
#[derive(Debug, Default)]
pub(super) struct LostFlips {
    guesses: Guesses,
    replay: Replay,
}

impl LostFlips {
    /// Takes notice of a flip to `dmabuf` that QEMU sent.
    pub(super) fn flipped(&mut self, dmabuf: &Dmabuf) {
        if self.replay.has_lost() {
            self.replay.flipped(self.guesses.would_guess(dmabuf));
        }
        self.replay.told(self.guesses.is_shown(dmabuf));
        self.guesses.flipped(dmabuf);
    }

    /// Takes notice of a scanout: there is no doubt now what the guest shows.
    pub(super) fn settle(&mut self) {
        self.replay.told(false);
    }

    /// Takes notice that the guest drew, and `on` what. Returns whether that is known to be what the console shows.
    pub(super) fn drawn(&mut self, on: Drawn, now: Instant) -> bool {
        self.replay.drawn(on, now);
        !self.replay.is_blind()
    }

    /// Takes notice of a lost flip, and returns the buffer that the guest probably shows now, if one can be guessed.
    /// `one` says that no other flip can have been lost with it.
    pub(super) fn lose(&mut self, one: bool, now: Instant) -> Option<Dmabuf> {
        let guess = self.guesses.guess();
        match guess {
            Some(_) => self.replay.guessed(one, now),
            None => self.replay.blind(now),
        }
        guess
    }

    /// Returns whether a flip was ever lost.
    pub(super) fn has_lost(&self) -> bool {
        self.replay.has_lost()
    }

    /// Takes notice that QEMU was asked in vain to send the picture again.
    pub(super) fn stay_in_doubt(&mut self, now: Instant) {
        self.replay.blind(now);
    }

    /// Forgets the buffers, because the guest stopped showing them.
    pub(super) fn forget(&mut self) {
        self.guesses.forget();
    }

    /// Returns whether QEMU is to be asked now to send the picture again. True once.
    pub(super) fn due(&mut self, now: Instant) -> bool {
        self.replay.due(now)
    }

    /// Returns when to call [`LostFlips::due`] next.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.replay.wake_at()
    }
}
