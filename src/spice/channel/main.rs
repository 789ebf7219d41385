//! The main channel: a session's start, its list of channels and the pointer mode.

use std::time::{Duration, Instant};

use super::{ChannelError, Flow, Machine};
use crate::spice::wire::msg::base::{self, Severity};
use crate::spice::wire::msg::main::{FromClient, FromServer, Init, MouseMode, MouseModes};
use crate::spice::wire::{Caps, ChannelId, ChannelType, Frame, HeaderForm, main};

/// Most bytes of a client's message: twelve pieces of agent data, as libspice-server.
pub const MAIN_BODY_MAX: u32 = 4096 + 11 * 2048;
/// Pieces of agent data that a client may send before we ask for more.
const AGENT_TOKENS: u32 = 10;
/// Most characters of a VM's name that we pass on.
const NAME_CHARS_MAX: usize = 255;
/// The first answer is late, for the client is busy starting; the second one is worth something.
const START_PINGS: u32 = 2;

/// The server's side of a session's main channel.
#[derive(Debug)]
pub struct MainChannel {
    flow: Flow,
    channels: Vec<ChannelId>,
    /// The client has asked for the list, so it must hear of channels that come later.
    attached: bool,
    mouse: MouseModes,
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
    /// The server's clock in milliseconds.
    pub multi_media_time: u32,
    /// The VM's name.
    pub name: Option<String>,
    /// The VM's UUID.
    pub uuid: Option<[u8; 16]>,
}

/// What happened on a main channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MainEvent {
    /// The client asked for another pointer mode and has got it.
    MouseMode(MouseMode),
}

impl MainChannel {
    /// Starts the channel: the first messages wait to be written.
    pub fn new(form: HeaderForm, start: MainStart, now: Instant) -> Self {
        let displays = start.channels.iter().filter(|channel| channel.kind == ChannelType::Display).count();
        let init = Init {
            session_id: start.session_id,
            display_channels_hint: u32::try_from(displays).unwrap_or(u32::MAX),
            mouse: start.mouse,
            agent_connected: false,
            agent_tokens: AGENT_TOKENS,
            multi_media_time: start.multi_media_time,
            ram_hint: 0,
        };
        let mut channel = Self {
            flow: Flow::new(form, MAIN_BODY_MAX, now),
            channels: start.channels,
            attached: false,
            mouse: start.mouse,
            pings_left: START_PINGS,
        };
        channel.flow.queue(FromServer::Init(init).encode(), now);
        if start.caps.has(main::NAME_AND_UUID) {
            if let Some(name) = start.name {
                channel.flow.queue(FromServer::Name(sendable(&name)).encode(), now);
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
        let notify = base::Notify { timestamp: 0, severity, text: sendable(text) };
        self.flow.send(base::FromServer::Notify(notify).encode(), now)
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
                // No agent was announced. A client that sends to one all the same may have met one just before.
                FromClient::AgentStart(_) | FromClient::AgentData(_) | FromClient::AgentToken(_) => {}
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

/// A text as the protocol can carry it: no NUL, and not endless.
fn sendable(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(NAME_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spice::channel::QUEUED_FRAMES_MAX;
    use crate::spice::wire::msg::base::Ping;

    const DISPLAY: ChannelId = ChannelId { kind: ChannelType::Display, id: 0 };
    const INPUTS: ChannelId = ChannelId { kind: ChannelType::Inputs, id: 0 };
    const RELATIVE: MouseModes = MouseModes { server: true, client: false, current: MouseMode::Server };
    const ABSOLUTE: MouseModes = MouseModes { server: true, client: true, current: MouseMode::Client };

    fn start() -> MainStart {
        MainStart {
            session_id: 42,
            caps: Caps::from(0xf),
            channels: vec![DISPLAY, INPUTS],
            mouse: RELATIVE,
            multi_media_time: 1000,
            name: Some("v\0m".to_owned()),
            uuid: Some([1; 16]),
        }
    }

    fn channel(start: MainStart) -> MainChannel {
        MainChannel::new(HeaderForm::Mini, start, Instant::now())
    }

    /// The messages that wait, pings left out.
    fn sent(channel: &mut MainChannel) -> Vec<FromServer> {
        let mut messages = Vec::new();
        while let Some(frame) = channel.poll_frame(Instant::now()) {
            let bytes = frame.slices().concat();
            let id = u16::from_le_bytes([bytes[0], bytes[1]]);
            if id > base::LAST {
                messages.push(FromServer::decode(id, &bytes[6..]).unwrap());
            }
        }
        messages
    }

    fn from_client(channel: &mut MainChannel, message: FromClient) -> Option<MainEvent> {
        let bytes = message.encode().into_frame(HeaderForm::Mini, 1).head;
        channel.recv(&mut &bytes[..], Instant::now()).unwrap()
    }

    #[test]
    fn the_session_starts_with_init_and_lists_channels_only_when_asked() {
        let mut channel = channel(start());
        let opening = sent(&mut channel);
        let FromServer::Init(init) = &opening[0] else { panic!("{opening:?}") };
        assert_eq!((init.session_id, init.display_channels_hint), (42, 1));
        assert_eq!(opening[1..], [FromServer::Name("vm".to_owned()), FromServer::Uuid([1; 16])]);
        assert_eq!(from_client(&mut channel, FromClient::AttachChannels), None);
        assert_eq!(sent(&mut channel), [FromServer::ChannelsList(vec![DISPLAY, INPUTS])]);
    }

    #[test]
    fn clients_without_the_capability_get_no_name() {
        let mut channel = channel(MainStart { caps: Caps::NONE, ..start() });
        assert_eq!(sent(&mut channel).len(), 1);
    }

    #[test]
    fn a_later_console_is_told_once() {
        let second = ChannelId { id: 1, ..DISPLAY };
        let mut early = channel(start());
        sent(&mut early);
        early.add_channels(&[second], Instant::now()).unwrap();
        assert_eq!(sent(&mut early), []);
        from_client(&mut early, FromClient::AttachChannels);
        assert_eq!(sent(&mut early), [FromServer::ChannelsList(vec![DISPLAY, INPUTS, second])]);
        let third = ChannelId { id: 2, ..DISPLAY };
        early.add_channels(&[third], Instant::now()).unwrap();
        assert_eq!(sent(&mut early), [FromServer::ChannelsList(vec![third])]);
    }

    #[test]
    fn a_pointer_mode_is_given_if_it_is_supported() {
        let mut channel = channel(start());
        sent(&mut channel);
        let wants_client = FromClient::MouseModeRequest(MouseMode::Client);
        assert_eq!(from_client(&mut channel, wants_client.clone()), None);
        assert_eq!(sent(&mut channel), []);

        channel.set_mouse(MouseModes { current: MouseMode::Server, ..ABSOLUTE }, Instant::now()).unwrap();
        assert_eq!(sent(&mut channel).len(), 1);
        assert_eq!(from_client(&mut channel, wants_client), Some(MainEvent::MouseMode(MouseMode::Client)));
        assert_eq!(sent(&mut channel), [FromServer::MouseMode(ABSOLUTE)]);
        channel.set_mouse(ABSOLUTE, Instant::now()).unwrap();
        assert_eq!(sent(&mut channel), [], "the client knows");
    }

    #[test]
    fn agent_messages_without_an_agent_do_no_harm() {
        let mut channel = channel(start());
        sent(&mut channel);
        for message in [
            FromClient::AgentStart(u32::MAX),
            FromClient::AgentData(vec![0; 2048]),
            FromClient::AgentToken(1),
            FromClient::Unknown { id: 112 },
        ] {
            assert_eq!(from_client(&mut channel, message), None);
        }
        assert_eq!(sent(&mut channel), []);
    }

    #[test]
    fn two_pings_measure_and_then_there_is_silence() {
        let start_time = Instant::now();
        let mut channel = MainChannel::new(HeaderForm::Mini, start(), start_time);
        for (id, ms) in [(1, 50), (2, 70)] {
            let pong = base::FromClient::Pong(Ping { id, timestamp: 0 }).encode();
            let bytes = pong.into_frame(HeaderForm::Mini, 1).head;
            channel.recv(&mut &bytes[..], start_time + Duration::from_millis(ms)).unwrap();
        }
        assert_eq!(channel.rtt(), Some(Duration::from_millis(20)));
        assert_eq!(channel.deadline(), None);
    }

    proptest! {
        #[test]
        fn random_messages_never_panic_nor_pile_up(
            messages in proptest::collection::vec(
                (prop_oneof![0u16..8, 100u16..114], proptest::collection::vec(any::<u8>(), 0..12)),
                0..600,
            ),
            chunk in 1usize..100,
        ) {
            let now = Instant::now();
            let mut channel = channel(start());
            let mut wire = Vec::new();
            for (id, body) in messages {
                wire.extend(id.to_le_bytes());
                wire.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
                wire.extend(body);
            }
            'wire: for mut piece in wire.chunks(chunk) {
                loop {
                    match channel.recv(&mut piece, now) {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'wire,
                    }
                }
                prop_assert!(channel.flow.queued() <= QUEUED_FRAMES_MAX);
            }
        }
    }
}
