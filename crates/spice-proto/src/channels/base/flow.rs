//! The machine of what all channels share: framing, acknowledgements and pings.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::acks::AckWindow;
use super::framing::{ClientMessage, Framing};
use super::messages::{FromClient, FromServer, LAST, Ping};
use super::pings::Pings;
use crate::channels::ChannelError;
use crate::wire::{Frame, HeaderForm, Message};

/// Longest time from the first to the last byte of a client's message.
pub const HALF_MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time without an acknowledgement once too much is unacknowledged, as libspice-server.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for the answer to a ping.
pub const PING_TIMEOUT: Duration = Duration::from_secs(30);
/// Most messages that wait to be written. What a server sends unasked is far below; a client that makes us answer and
/// does not read ends here.
pub const QUEUED_FRAMES_MAX: usize = 512;

/// Most answers that wait to be looked at.
const ANSWERS_MAX: usize = 64;

/// The first and only generation: the window never changes.
const ACK_GENERATION: u32 = 1;

/// The part of a channel's connection that all channels share.
///
/// INVARIANT: it holds at most one incoming message, whose body is within the limit, and [`QUEUED_FRAMES_MAX`] outgoing
/// ones, besides the few that open a channel, and its pings.
#[derive(Debug)]
pub struct Flow {
    form: HeaderForm,
    incoming: Framing,
    outbox: VecDeque<Frame>,
    sent: u64,
    acks: Option<AckWindow>,
    pings: Pings,
    /// Numbers of pings that came back, but for those of [`Flow::ping`].
    answers: VecDeque<u32>,
}

impl Flow {
    /// The flow of a connection that has just been linked. Bodies over `body_limit` bytes end it.
    pub fn new(form: HeaderForm, body_limit: u32, now: Instant) -> Self {
        Self {
            form,
            incoming: Framing::new(form, body_limit),
            outbox: VecDeque::new(),
            sent: 0,
            acks: None,
            pings: Pings::new(now),
            answers: VecDeque::new(),
        }
    }

    /// Takes messages of type `id`, over [`LAST`], of any size, and passes on each part of one as it comes.
    pub fn pass_in_parts(&mut self, id: u16) {
        self.incoming.pass_in_parts(id);
    }

    /// Has the client acknowledge every `window` messages from here on. Call it once, before anything is sent.
    pub fn ask_for_acks(&mut self, window: u32, now: Instant) {
        self.queue(FromServer::SetAck { generation: ACK_GENERATION, window }.encode(), now);
        // The client counts what comes after this message.
        self.acks = Some(AckWindow::new(window));
    }

    /// Takes bytes from the front of `input` until a message for the channel is complete, or they are used up.
    ///
    /// Call it again until it yields `None`: `input` may hold several messages.
    ///
    /// # Errors
    /// When the client broke the protocol or left.
    pub fn recv(&mut self, input: &mut &[u8], now: Instant) -> Result<Option<ClientMessage>, ChannelError> {
        while let Some(message) = self.incoming.next(input, now)? {
            if message.id > LAST {
                return Ok(Some(message));
            }
            match FromClient::decode(message.id, &message.body)? {
                FromClient::AckSync { generation } => self.ack_sync(generation),
                FromClient::Ack => self.ack(now),
                FromClient::Pong(pong) => self.take_pong(pong, now),
                FromClient::Disconnecting(_) => return Err(ChannelError::ClientLeft),
                FromClient::Unknown { id } => tracing::debug!(id, "ignored a base message"),
            }
        }
        Ok(None)
    }

    /// Queues a message.
    ///
    /// # Errors
    /// When too many wait already.
    pub fn send(&mut self, message: Message, now: Instant) -> Result<(), ChannelError> {
        if self.outbox.len() >= QUEUED_FRAMES_MAX {
            return Err(ChannelError::NotReading(QUEUED_FRAMES_MAX));
        }
        self.queue(message, now);
        Ok(())
    }

    /// Queues a message whatever waits. For the few that open a channel, and for those that cannot add up.
    pub(in crate::channels) fn queue(&mut self, message: Message, now: Instant) {
        self.sent = self.sent.saturating_add(1);
        self.outbox.push_back(message.into_frame(self.form, self.sent));
        if let Some(acks) = &mut self.acks {
            acks.sent(now);
        }
    }

    /// The next bytes to write.
    pub fn poll_frame(&mut self) -> Option<Frame> {
        self.outbox.pop_front()
    }

    /// How many messages wait to be written.
    pub fn queued(&self) -> usize {
        self.outbox.len()
    }

    /// Whether the client keeps up: no more than two windows of messages are unacknowledged.
    pub fn may_send(&self) -> bool {
        self.acks.as_ref().is_none_or(AckWindow::may_send)
    }

    /// Sends a ping, unless the last one is still to be answered.
    pub fn ping(&mut self, now: Instant) {
        if let Some(ping) = self.pings.next(now) {
            self.queue(FromServer::Ping(ping).encode(), now);
        }
    }

    /// The next number that came back: one that was asked for, if the client is honest.
    pub fn next_answer(&mut self) -> Option<u32> {
        self.answers.pop_front()
    }

    /// How long the last answer to a ping took. It counts the time in our queue.
    pub fn rtt(&self) -> Option<Duration> {
        self.pings.rtt()
    }

    /// Whether a ping is still to be answered.
    pub fn awaits_pong(&self) -> bool {
        self.pings.waiting_since().is_some()
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called at the latest. `None` while nothing is awaited.
    pub fn deadline(&self) -> Option<Instant> {
        self.timeouts().into_iter().flatten().map(|(at, _)| at).min()
    }

    /// Checks the deadlines.
    ///
    /// # Errors
    /// When one has passed.
    pub fn handle_timeout(&self, now: Instant) -> Result<(), ChannelError> {
        match self.timeouts().into_iter().flatten().find(|(at, _)| *at <= now) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    fn take_pong(&mut self, pong: Ping, now: Instant) {
        if self.pings.waiting_since().is_some() {
            self.pings.answered(pong, now);
        } else if self.answers.len() < ANSWERS_MAX {
            self.answers.push_back(pong.id);
        }
    }

    fn ack_sync(&mut self, generation: u32) {
        if let Some(acks) = &mut self.acks
            && generation == ACK_GENERATION
        {
            acks.in_step();
        }
    }

    fn ack(&mut self, now: Instant) {
        if let Some(acks) = &mut self.acks {
            acks.acked(now);
        }
    }

    fn timeouts(&self) -> [Option<(Instant, ChannelError)>; 3] {
        let stalled = self.acks.as_ref().and_then(AckWindow::stalled_since);
        [
            timeout(self.incoming.since(), HALF_MESSAGE_TIMEOUT, ChannelError::HalfMessage),
            timeout(stalled, ACK_TIMEOUT, ChannelError::Stalled),
            timeout(self.pings.waiting_since(), PING_TIMEOUT, ChannelError::PingTimeout),
        ]
    }
}

fn timeout(
    since: Option<Instant>,
    after: Duration,
    error: impl Fn(Duration) -> ChannelError,
) -> Option<(Instant, ChannelError)> {
    since?.checked_add(after).map(|at| (at, error(after)))
}
