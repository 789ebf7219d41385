//! The state machine of a channel that carries bytes to and from a device of the guest.

use std::time::Instant;

use super::messages::{Event, FromClient, FromServer, Init};
use crate::channels::base::{self, Flow, Severity};
use crate::channels::{ChannelError, Machine};
use crate::wire::{Frame, HeaderForm, Payload, WireError};

/// Bytes of a client that wait for the guest, after which the client is not read. Those of one read more are taken.
pub const PORT_QUEUE_MAX: usize = 64 << 10;

/// Most bytes of a client's message, but for data, of which each message may have any number: an event has one.
const BODY_MAX: u32 = 64;
/// Type of the messages with data.
const DATA: u16 = 101;
/// Messages that may wait for the client before the guest has to.
const MESSAGES_AHEAD: usize = 4;

/// The server's side of a usbredir, port or webdav channel.
#[derive(Debug)]
pub struct PortChannel {
    flow: Flow,
    /// Whether the guest has it open, if the client is told of that.
    is_open: Option<bool>,
    /// What the client has sent and the guest has not taken.
    ///
    /// INVARIANT: where it is full, the client has no message begun whose rest would be late: data comes in parts.
    to_guest: Vec<u8>,
}

/// What a client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortEvent {
    /// There is more to [take](PortChannel::take) for the guest.
    Data,
    /// It wants a break on the serial line.
    Break,
}

impl PortChannel {
    /// Starts the channel of a stream without a name or a state, as USB redirection is.
    pub fn unnamed(form: HeaderForm, now: Instant) -> Self {
        let mut flow = Flow::new(form, BODY_MAX, now);
        flow.pass_in_parts(DATA);
        Self { flow, is_open: None, to_guest: Vec::new() }
    }

    /// Starts the channel of the port `name`, closed for now. What a client sends to a closed port is dropped.
    pub fn named(form: HeaderForm, name: &str, now: Instant) -> Self {
        let mut channel = Self::unnamed(form, now);
        let init = Init { name: name.replace('\0', ""), is_open: false };
        channel.flow.queue(FromServer::Init(init).encode(), now);
        channel.is_open = Some(false);
        channel
    }

    /// Says that the guest has opened or closed the port. Does nothing for one without a name.
    ///
    /// # Errors
    /// When the client does not read.
    pub fn set_open(&mut self, is_open: bool, now: Instant) -> Result<(), ChannelError> {
        if self.is_open != Some(!is_open) {
            return Ok(());
        }
        self.is_open = Some(is_open);
        if !is_open {
            self.to_guest = Vec::new();
        }
        let event = if is_open { Event::Opened } else { Event::Closed };
        self.flow.send(FromServer::Event(event).encode(), now)
    }

    /// Takes what the client has sent for the guest.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.to_guest)
    }

    /// Whether what the guest writes would leave soon: the client reads.
    pub fn has_room(&self) -> bool {
        self.flow.queued() < MESSAGES_AHEAD
    }

    /// Sends the client what the guest has written.
    ///
    /// # Errors
    /// When the client does not read, though it [had no room](Self::has_room).
    pub fn send(&mut self, data: Payload, now: Instant) -> Result<(), ChannelError> {
        self.flow.send(FromServer::Data(data).encode(), now)
    }

    /// Gives the client a text for its log or its user.
    ///
    /// # Errors
    /// When the client does not read.
    pub fn notify(&mut self, text: &str, now: Instant) -> Result<(), ChannelError> {
        let notify = base::Notify { timestamp: 0, severity: Severity::Info, text: text.to_owned() };
        self.flow.send(base::FromServer::Notify(notify).encode(), now)
    }

    fn is_closed(&self) -> bool {
        self.is_open == Some(false)
    }
}

impl Machine for PortChannel {
    type Event = PortEvent;

    fn recv(&mut self, input: &mut &[u8], now: Instant) -> Result<Option<PortEvent>, ChannelError> {
        while !self.is_full(false)
            && let Some(message) = self.flow.recv(input, now)?
        {
            match FromClient::decode(message.id, &message.body)? {
                FromClient::Data(data) if !data.is_empty() && !self.is_closed() => {
                    self.to_guest.extend_from_slice(data.bytes());
                    return Ok(Some(PortEvent::Data));
                }
                FromClient::Event(Event::Break) if !self.is_closed() => return Ok(Some(PortEvent::Break)),
                FromClient::Compressed(_) => {
                    return Err(WireError::invalid("port message from client", "type", message.id).into());
                }
                FromClient::Data(_) | FromClient::Event(_) => {}
                FromClient::Unknown { id } => tracing::debug!(id, "ignored a port message"),
            }
        }
        Ok(None)
    }

    /// Whether the guest has to take something first. A client that does not read causes no answers, and may be one
    /// that writes before it reads.
    fn is_full(&self, _unread: bool) -> bool {
        self.to_guest.len() >= PORT_QUEUE_MAX
    }

    fn poll_frame(&mut self, _now: Instant) -> Option<Frame> {
        self.flow.poll_frame()
    }

    fn deadline(&self) -> Option<Instant> {
        self.flow.deadline()
    }

    fn handle_timeout(&self, now: Instant) -> Result<(), ChannelError> {
        self.flow.handle_timeout(now)
    }
}
