//! The main channel: a session's start, its list of channels and the pointer mode.

use std::time::{Duration, Instant};

use super::agent::{AGENT_TOKENS, Agent};
use super::caps;
use super::messages::{FromClient, FromServer, Init, MouseMode, MouseModes};
use crate::channels::base::{self, Flow, Severity};
use crate::channels::{ChannelError, Machine};
use crate::wire::{Caps, ChannelId, ChannelType, Frame, HeaderForm};

/// Most bytes of a client's message: twelve pieces of agent data, as libspice-server.
pub const MAIN_BODY_MAX: u32 = 4096 + 11 * 2048;
/// Messages that may wait for the client before the agent has to.
const AGENT_QUEUE: usize = 16;
/// The first answer is late, for the client is busy starting; the second one is worth something.
const START_PINGS: u32 = 2;

/// The server's side of a session's main channel.
#[derive(Debug)]
pub struct MainChannel {
    pub(super) flow: Flow,
    channels: Vec<ChannelId>,
    /// The client has asked for the list, so it must hear of channels that come later.
    attached: bool,
    mouse: MouseModes,
    agent: Agent,
    /// The client can be told of an agent and its tokens at once.
    takes_tokens: bool,
    pings_left: u32,
}

/// How a session starts.
#[derive(Debug, Clone)]
pub struct MainStart {
    /// The connection id that lets the other channels link. Random, and not 0.
    pub session_id: u32,
    /// What the client can do on this channel.
    pub caps: Caps,
    /// The channels to offer; this one is not among them.
    pub channels: Vec<ChannelId>,
    /// Pointer modes.
    pub mouse: MouseModes,
    /// Whether there is a guest agent for this client.
    pub has_agent: bool,
    /// The server's clock in milliseconds.
    pub multi_media_time: u32,
    /// The VM's name.
    pub name: Option<String>,
    /// The VM's UUID.
    pub uuid: Option<[u8; 16]>,
}

/// What happened on a main channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MainEvent {
    /// The client asked for another pointer mode and has got it.
    MouseMode(MouseMode),
    /// The client begins to speak with the agent, at the start of a message.
    AgentStart,
    /// The client has sent so much more for the agent. Give it room for as much again by
    /// [`MainChannel::grant_agent`] once it is used up.
    AgentData(Vec<u8>),
}

impl MainChannel {
    /// Starts the channel: the first messages wait to be written.
    pub fn new(form: HeaderForm, start: MainStart, now: Instant) -> Self {
        let displays = start.channels.iter().filter(|channel| channel.kind == ChannelType::Display).count();
        let init = Init {
            session_id: start.session_id,
            display_channels_hint: u32::try_from(displays).unwrap_or(u32::MAX),
            mouse: start.mouse,
            agent_connected: start.has_agent,
            agent_tokens: AGENT_TOKENS,
            multi_media_time: start.multi_media_time,
            ram_hint: 0,
        };
        let mut channel = Self {
            flow: Flow::new(form, MAIN_BODY_MAX, now),
            channels: start.channels,
            attached: false,
            mouse: start.mouse,
            agent: Agent::new(start.has_agent),
            takes_tokens: start.caps.has(caps::AGENT_CONNECTED_TOKENS),
            pings_left: START_PINGS,
        };
        channel.flow.queue(FromServer::Init(init).encode(), now);
        if start.caps.has(caps::NAME_AND_UUID) {
            if let Some(name) = start.name {
                channel.flow.queue(FromServer::Name(base::sendable(&name)).encode(), now);
            }
            if let Some(uuid) = start.uuid {
                channel.flow.queue(FromServer::Uuid(uuid).encode(), now);
            }
        }
        channel.start_ping(now);
        channel
    }

    /// Offers more channels, for example of a new console.
    ///
    /// # Errors
    /// When the client does not read.
    pub fn add_channels(&mut self, channels: &[ChannelId], now: Instant) -> Result<(), ChannelError> {
        self.channels.extend_from_slice(channels);
        if self.attached {
            self.send(FromServer::ChannelsList(channels.to_vec()), now)?;
        }
        Ok(())
    }

    /// Takes channels off the list that a client may still ask for. A client that has them is not told: the end of
    /// their connections does that.
    pub fn remove_channels(&mut self, channels: &[ChannelId]) {
        self.channels.retain(|channel| !channels.contains(channel));
    }

    /// Changes the pointer modes; tells the client if they differ from what it knows.
    ///
    /// # Errors
    /// When the client does not read.
    pub fn set_mouse(&mut self, mouse: MouseModes, now: Instant) -> Result<(), ChannelError> {
        if mouse == self.mouse {
            return Ok(());
        }
        self.mouse = mouse;
        self.send(FromServer::MouseMode(mouse), now)
    }

    /// The pointer modes, with the one in use.
    pub fn mouse(&self) -> MouseModes {
        self.mouse
    }

    /// Tells the client that it has an agent from now on, or none any more.
    ///
    /// # Errors
    /// When the client does not read.
    pub fn set_agent(&mut self, is_there: bool, now: Instant) -> Result<(), ChannelError> {
        if is_there == self.agent.is_there() {
            return Ok(());
        }
        self.agent = Agent::new(is_there);
        let message = match (is_there, self.takes_tokens) {
            (true, true) => FromServer::AgentConnectedTokens(AGENT_TOKENS),
            (true, false) => FromServer::AgentConnected,
            (false, _) => FromServer::AgentDisconnected(0),
        };
        self.send(message, now)
    }

    /// Whether a piece for the client would leave soon: it has asked for it, and reads.
    pub fn has_room_for_agent(&self) -> bool {
        self.agent.may_send() && self.flow.queued() < AGENT_QUEUE
    }

    /// Sends the client a piece of what the agent says, of [`PIECE_MAX`](crate::agent::PIECE_MAX) bytes at most. It
    /// is left out if there is no agent for this client.
    ///
    /// # Errors
    /// When the client does not read.
    pub fn send_agent(&mut self, piece: Vec<u8>, now: Instant) -> Result<(), ChannelError> {
        if !self.agent.take_for_client() {
            return Ok(());
        }
        self.send(FromServer::AgentData(piece), now)
    }

    /// Lets the client send `pieces` more for the agent.
    ///
    /// # Errors
    /// When the client does not read.
    pub fn grant_agent(&mut self, pieces: u32, now: Instant) -> Result<(), ChannelError> {
        match self.agent.grant(pieces) {
            0 => Ok(()),
            granted => self.send(FromServer::AgentToken(granted), now),
        }
    }

    /// Sets the client's clock, in milliseconds. Rarely: it interrupts what plays.
    ///
    /// # Errors
    /// When the client does not read.
    pub fn set_multi_media_time(&mut self, time: u32, now: Instant) -> Result<(), ChannelError> {
        self.send(FromServer::MultiMediaTime(time), now)
    }

    /// Gives the client a text for its log or its user.
    ///
    /// # Errors
    /// When the client does not read.
    pub fn notify(&mut self, severity: Severity, text: &str, now: Instant) -> Result<(), ChannelError> {
        self.flow.send(base::FromServer::Notify(base::Notify::of(severity, text)).encode(), now)
    }

    /// Says goodbye. Write what waits, then close the session's connections.
    ///
    /// # Errors
    /// When the client does not read.
    pub fn disconnect(&mut self, now: Instant) -> Result<(), ChannelError> {
        let end = base::Disconnecting { timestamp: 0, reason: 0 };
        self.flow.send(base::FromServer::Disconnecting(end).encode(), now)
    }

    /// Measures [`rtt`](Self::rtt) again.
    pub fn ping(&mut self, now: Instant) {
        self.flow.ping(now);
    }

    /// Time to the client and back, once it is known.
    pub fn rtt(&self) -> Option<Duration> {
        self.flow.rtt()
    }

    fn send(&mut self, message: FromServer, now: Instant) -> Result<(), ChannelError> {
        self.flow.send(message.encode(), now)
    }

    fn start_ping(&mut self, now: Instant) {
        if self.pings_left > 0 && !self.flow.awaits_pong() {
            self.pings_left = self.pings_left.saturating_sub(1);
            self.flow.ping(now);
        }
    }

    /// The channels the client has been told of, or will be when it asks.
    pub fn channels(&self) -> &[ChannelId] {
        &self.channels
    }
}

impl Machine for MainChannel {
    type Event = MainEvent;

    fn recv(&mut self, input: &mut &[u8], now: Instant) -> Result<Option<MainEvent>, ChannelError> {
        while let Some(message) = self.flow.recv(input, now)? {
            match FromClient::decode(message.id, &message.body)? {
                FromClient::AttachChannels => {
                    self.attached = true;
                    self.send(FromServer::ChannelsList(self.channels.clone()), now)?;
                }
                FromClient::MouseModeRequest(mode) => {
                    if self.mouse.supports(mode) && self.mouse.current != mode {
                        self.set_mouse(MouseModes { current: mode, ..self.mouse }, now)?;
                        return Ok(Some(MainEvent::MouseMode(mode)));
                    }
                }
                FromClient::AgentStart(tokens) => {
                    if self.agent.start(tokens) {
                        return Ok(Some(MainEvent::AgentStart));
                    }
                }
                FromClient::AgentData(data) => {
                    if self.agent.take_for_guest()? {
                        return Ok(Some(MainEvent::AgentData(data)));
                    }
                }
                FromClient::AgentToken(tokens) => self.agent.granted(tokens),
                FromClient::ClientInfo(_) => {}
                FromClient::Unknown { id } => tracing::debug!(id, "ignored a main message"),
            }
        }
        self.start_ping(now);
        Ok(None)
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
