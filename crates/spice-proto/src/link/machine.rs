//! The link stage of a connection: what it wants, whether it may, and how it will speak.

use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::caps;
use super::failure::LinkFailure;
use super::messages::{
    LINK_HEADER_LEN, LINK_MAGIC, LINK_MESS_MAX, LINK_MESS_MIN, LinkError, LinkHeader, LinkMess, LinkReply,
};
use super::sasl::{MECHANISM_SASL, Sasl, SaslMessage};
use crate::auth::{Admission, Proof, TICKET_LEN, TicketKey};
use crate::wire::{Caps, ChannelId, HeaderForm, WireError, take};

/// Longest time from the connection to a whole link message. A client sends it unasked, at once.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(3);

/// Longest time from the connection to an authenticated client.
pub const LINK_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of the authentication mechanism's number.
const MECHANISM_LEN: usize = 4;
/// The number of the ticket mechanism: `SPICE_COMMON_CAP_AUTH_SPICE`.
pub(super) const MECHANISM_TICKET: u32 = 1;

/// The server's side of linking one connection.
///
/// It asks its owner twice: with [`LinkEvent::Hello`] before it answers the client, and with [`LinkEvent::Linked`]
/// before it lets the authenticated client in. It never takes bytes that belong to the data stage.
///
/// INVARIANT: it holds no more than one message of [`LINK_MESS_MAX`] or [`SASL_DATA_MAX`](super::SASL_DATA_MAX) bytes,
/// and one reply.
#[derive(Debug)]
pub struct LinkMachine {
    stage: Stage,
    pub(super) inbox: Vec<u8>,
    pub(super) outbox: Vec<u8>,
    began: Instant,
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkRequest {
    /// The channel.
    pub channel: ChannelId,
    /// 0 for a new session's main channel, else the session's id.
    pub connection_id: u32,
    /// What the client can do on every channel.
    pub common_caps: Caps,
    /// What the client can do on this channel.
    pub channel_caps: Caps,
}

/// What the owner has to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// A client said what it wants. Answer with [`LinkMachine::greet`] or [`LinkMachine::reject`].
    Hello(LinkRequest),
    /// The client is authenticated, by this. Answer with [`LinkMachine::accept`] or [`LinkMachine::refuse`].
    Linked(LinkRequest, Proof),
    /// A client that was greeted with [`Admission::Sasl`] sent this. Answer with [`LinkMachine::continue_sasl`],
    /// [`LinkMachine::finish_sasl`] or [`LinkMachine::refuse_sasl`].
    Sasl(SaslMessage),
}

#[derive(Debug)]
enum Stage {
    /// Awaits the link header.
    Header,
    /// Awaits the link message of that many bytes.
    Mess(usize),
    /// Awaits the owner's greeting.
    Greeting(LinkRequest),
    /// Awaits the number of the authentication mechanism.
    Mechanism(Asked),
    /// Awaits the ticket.
    Ticket(Asked),
    /// Awaits a message of SASL's, or the owner's answer.
    Sasl(LinkRequest, Sasl),
    /// Awaits the owner's decision.
    Decision,
    /// Accepted, or failed.
    Over,
}

/// What was asked for, and what it takes to open the ticket.
#[derive(Debug)]
struct Asked {
    request: LinkRequest,
    admission: Admission,
}

impl LinkMachine {
    /// Starts with a connection that was accepted at `now`.
    pub fn new(now: Instant) -> Self {
        Self { stage: Stage::Header, inbox: Vec::new(), outbox: Vec::new(), began: now }
    }

    /// Takes bytes from the front of `input` until the owner has to decide something, or they are used up.
    ///
    /// What is left in `input` must be passed in again after the owner has decided; once accepted, it belongs to the
    /// channel.
    ///
    /// # Errors
    /// When the client cannot be linked.
    pub fn recv(&mut self, input: &mut &[u8]) -> Result<Option<LinkEvent>, LinkFailure> {
        loop {
            let wanted = match &self.stage {
                Stage::Header => LINK_HEADER_LEN,
                Stage::Mess(size) => *size,
                Stage::Mechanism(_) => MECHANISM_LEN,
                Stage::Ticket(_) => TICKET_LEN,
                Stage::Sasl(_, sasl) => match sasl.wanted() {
                    Some(wanted) => wanted,
                    None => return Ok(None),
                },
                Stage::Greeting(_) | Stage::Decision | Stage::Over => return Ok(None),
            };
            let complete = take(&mut self.inbox, input, wanted);
            if matches!(self.stage, Stage::Header) && !starts_like_magic(&self.inbox) {
                return Err(self.reply_failure(LinkError::InvalidMagic, LinkFailure::NotSpice));
            }
            if !complete {
                return Ok(None);
            }
            let bytes = Zeroizing::new(std::mem::take(&mut self.inbox));
            match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Header => self.stage = Stage::Mess(self.header(&bytes)?),
                Stage::Mess(_) => return self.mess(&bytes).map(Some),
                Stage::Mechanism(asked) => self.stage = self.mechanism(&bytes, asked)?,
                Stage::Ticket(asked) => return self.ticket(&bytes, asked).map(Some),
                Stage::Sasl(request, sasl) => {
                    if let Some(message) = self.sasl(&bytes, request, sasl)? {
                        return Ok(Some(LinkEvent::Sasl(message)));
                    }
                }
                stage @ (Stage::Greeting(_) | Stage::Decision | Stage::Over) => self.stage = stage,
            }
        }
    }

    /// Answers [`LinkEvent::Hello`]: sends the key of `admission` and what we can do on this channel, and expects a
    /// ticket that satisfies it. Does nothing at any other time.
    pub fn greet(&mut self, admission: Admission, channel_caps: Caps) {
        let Stage::Greeting(request) = self.stage else {
            return;
        };
        let mechanism = match admission {
            Admission::Sasl(_) => caps::AUTH_SASL,
            Admission::Open(_) | Admission::OneOf(..) => caps::AUTH_SPICE,
        };
        let reply = LinkReply {
            error: LinkError::Ok,
            pub_key: *admission.public_key(),
            common_caps: Caps::of(&[caps::AUTH_SELECTION, mechanism, caps::MINI_HEADER]),
            channel_caps,
        };
        self.outbox.extend(reply.encode());
        let asked = Asked { request, admission };
        // Clients that do not announce the selection send their ticket at once.
        self.stage = if request.common_caps.has(caps::AUTH_SELECTION) {
            Stage::Mechanism(asked)
        } else {
            Stage::Ticket(asked)
        };
    }

    /// Answers [`LinkEvent::Hello`]: turns the client away before it authenticates.
    pub fn reject(&mut self, error: LinkError) -> LinkFailure {
        self.reply_failure(error, LinkFailure::TurnedAway(error))
    }

    /// Answers [`LinkEvent::Linked`]: lets the client in. Afterwards the data stage starts, in the form the request
    /// says. Does nothing at any other time.
    pub fn accept(&mut self) {
        if matches!(self.stage, Stage::Decision) {
            self.stage = Stage::Over;
            self.result(LinkError::Ok);
        }
    }

    /// Answers [`LinkEvent::Linked`]: turns the client away after all.
    pub fn refuse(&mut self, error: LinkError) -> LinkFailure {
        self.result_failure(error, LinkFailure::TurnedAway(error))
    }

    /// Answers [`LinkEvent::Sasl`]: sends `data`, and expects the client's next message. Does nothing at any other
    /// time.
    pub fn continue_sasl(&mut self, data: &[u8]) {
        if let Stage::Sasl(_, sasl) = &mut self.stage {
            sasl.go_on(data, &mut self.outbox);
        }
    }

    /// Answers [`LinkEvent::Sasl`]: the client is who it says. Returns what is to be decided then. Sends the last
    /// `data`, if there are any.
    pub fn finish_sasl(&mut self, data: Option<&[u8]>) -> Option<LinkEvent> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Sasl(request, _) => {
                Sasl::accept(data, &mut self.outbox);
                self.stage = Stage::Decision;
                Some(LinkEvent::Linked(request, Proof::Sasl))
            }
            stage => {
                self.stage = stage;
                None
            }
        }
    }

    /// Answers [`LinkEvent::Sasl`]: the client is nobody. Sends the last `data`, if there are any.
    pub fn refuse_sasl(&mut self, data: Option<&[u8]>) -> LinkFailure {
        if let Stage::Sasl(..) = std::mem::replace(&mut self.stage, Stage::Over) {
            Sasl::refuse(data, &mut self.outbox);
        }
        LinkFailure::WrongPassword
    }

    /// Takes back the key of a ticket that has not come, and ends.
    pub fn unused_key(&mut self) -> Option<TicketKey> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Mechanism(asked) | Stage::Ticket(asked) => asked.admission.into_key(),
            stage => {
                self.stage = stage;
                None
            }
        }
    }

    /// Bytes to write; empty when there are none.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outbox)
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Header | Stage::Mess(_) => self.began.checked_add(HELLO_TIMEOUT),
            Stage::Over => None,
            _ => self.began.checked_add(LINK_TIMEOUT),
        }
    }

    /// Checks the deadline. The owner's own time to decide counts.
    ///
    /// # Errors
    /// When it has passed.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), LinkFailure> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let after = match self.stage {
            Stage::Header | Stage::Mess(_) => HELLO_TIMEOUT,
            _ => LINK_TIMEOUT,
        };
        Err(LinkFailure::Deadline(after))
    }

    fn header(&mut self, bytes: &[u8]) -> Result<usize, LinkFailure> {
        let header = LinkHeader::decode(bytes)?;
        if !header.is_our_version() {
            return Err(self.reply_failure(LinkError::VersionMismatch, LinkFailure::Version(header.major)));
        }
        let size = header.size;
        if !(LINK_MESS_MIN..=LINK_MESS_MAX).contains(&size) {
            let error = WireError::too_large("SpiceLinkHeader", "size", size, LINK_MESS_MAX);
            return Err(self.reply_failure(LinkError::InvalidData, error.into()));
        }
        Ok(usize::try_from(size).unwrap_or(usize::MAX))
    }

    fn mess(&mut self, bytes: &[u8]) -> Result<LinkEvent, LinkFailure> {
        let mess = match LinkMess::decode(bytes) {
            Ok(mess) => mess,
            Err(error) => return Err(self.reply_failure(LinkError::InvalidData, error.into())),
        };
        let request = LinkRequest {
            channel: mess.channel,
            connection_id: mess.connection_id,
            common_caps: mess.common_caps,
            channel_caps: mess.channel_caps,
        };
        self.stage = Stage::Greeting(request);
        Ok(LinkEvent::Hello(request))
    }

    fn mechanism(&mut self, bytes: &[u8], asked: Asked) -> Result<Stage, LinkFailure> {
        let mechanism = bytes.try_into().map(u32::from_le_bytes).unwrap_or_default();
        match (asked, mechanism) {
            (Asked { request, admission: Admission::Sasl(offered) }, MECHANISM_SASL) => {
                Ok(Stage::Sasl(request, Sasl::start(offered, &mut self.outbox)))
            }
            (
                asked @ Asked { admission: Admission::Open(_) | Admission::OneOf(..), .. },
                MECHANISM_TICKET,
            ) => Ok(Stage::Ticket(asked)),
            _ => Err(self.result_failure(LinkError::InvalidData, LinkFailure::Mechanism(mechanism))),
        }
    }

    /// Takes a piece of SASL. A client that is refused awaits an answer to it first.
    fn sasl(
        &mut self,
        bytes: &[u8],
        request: LinkRequest,
        mut sasl: Sasl,
    ) -> Result<Option<SaslMessage>, LinkFailure> {
        match sasl.take(bytes) {
            Ok(message) => {
                self.stage = Stage::Sasl(request, sasl);
                Ok(message)
            }
            Err(failure) => {
                Sasl::refuse(None, &mut self.outbox);
                Err(failure)
            }
        }
    }

    fn ticket(&mut self, bytes: &[u8], asked: Asked) -> Result<LinkEvent, LinkFailure> {
        let Asked { request, admission } = asked;
        let Some(proof) = bytes.try_into().ok().and_then(|ticket| admission.admits(ticket)) else {
            return Err(self.result_failure(LinkError::PermissionDenied, LinkFailure::WrongPassword));
        };
        self.stage = Stage::Decision;
        Ok(LinkEvent::Linked(request, proof))
    }

    /// A failure that the client learns from the link reply.
    fn reply_failure(&mut self, error: LinkError, failure: LinkFailure) -> LinkFailure {
        self.stage = Stage::Over;
        self.outbox.extend(LinkReply::refusal(error).encode());
        failure
    }

    /// A failure that the client learns from the link result.
    fn result_failure(&mut self, error: LinkError, failure: LinkFailure) -> LinkFailure {
        self.stage = Stage::Over;
        self.result(error);
        failure
    }

    fn result(&mut self, error: LinkError) {
        self.outbox.extend(error.code().to_le_bytes());
    }
}

impl LinkRequest {
    /// The header both sides use in the data stage. We announce the mini header always.
    pub fn header_form(&self) -> HeaderForm {
        if self.common_caps.has(caps::MINI_HEADER) { HeaderForm::Mini } else { HeaderForm::Full }
    }
}

fn starts_like_magic(bytes: &[u8]) -> bool {
    bytes.iter().zip(LINK_MAGIC).all(|(byte, magic)| *byte == magic)
}
