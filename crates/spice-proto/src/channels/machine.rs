use std::time::Instant;

use super::ChannelError;
use crate::wire::Frame;

/// What the state machines of all channels have in common, for whoever drives them.
pub trait Machine {
    /// What a client can do that its owner must know.
    type Event;

    /// Takes bytes of the client off the front of `input`, until something happened or they are used up.
    ///
    /// # Errors
    /// When the client broke the protocol or left.
    fn recv(&mut self, input: &mut &[u8], now: Instant) -> Result<Option<Self::Event>, ChannelError>;

    /// Whether the client is not to be read for now, because what it has sent has to be used first. `recv` may leave a
    /// part of its `input` then.
    ///
    /// `unread` says that many messages wait for the client. One that makes a server answer is not read then: it could
    /// do so faster than it reads.
    fn is_full(&self, unread: bool) -> bool {
        unread
    }

    /// The next bytes to write, made from the newest state there is.
    fn poll_frame(&mut self, now: Instant) -> Option<Frame>;

    /// When to call [`Machine::handle_timeout`] at the latest.
    fn deadline(&self) -> Option<Instant>;

    /// Checks the deadlines.
    ///
    /// # Errors
    /// When one has passed.
    fn handle_timeout(&self, now: Instant) -> Result<(), ChannelError>;
}
