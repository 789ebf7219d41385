//! Messages of the main channel.

use crate::wire::{ChannelId, ChannelType, Message, Reader, WireError, Writer};

/// Most bytes of one piece of agent data: `VD_AGENT_MAX_DATA_SIZE`.
pub const AGENT_DATA_MAX: u32 = 2048;

/// Most channels of a session that a list may name: types and ids are bytes, and ten types exist.
const CHANNELS_MAX: u32 = 10 * 256;
/// Most bytes of a name.
const NAME_MAX: u32 = 4096;

mod id {
    pub(super) const INIT: u16 = 103;
    pub(super) const CHANNELS_LIST: u16 = 104;
    pub(super) const MOUSE_MODE: u16 = 105;
    pub(super) const MULTI_MEDIA_TIME: u16 = 106;
    pub(super) const AGENT_CONNECTED: u16 = 107;
    pub(super) const AGENT_DISCONNECTED: u16 = 108;
    pub(super) const AGENT_DATA: u16 = 109;
    pub(super) const AGENT_TOKEN: u16 = 110;
    pub(super) const NAME: u16 = 113;
    pub(super) const UUID: u16 = 114;
    pub(super) const AGENT_CONNECTED_TOKENS: u16 = 115;

    pub(super) const CLIENT_INFO: u16 = 101;
    pub(super) const CLIENT_ATTACH_CHANNELS: u16 = 104;
    pub(super) const CLIENT_MOUSE_MODE_REQUEST: u16 = 105;
    pub(super) const CLIENT_AGENT_START: u16 = 106;
    pub(super) const CLIENT_AGENT_DATA: u16 = 107;
    pub(super) const CLIENT_AGENT_TOKEN: u16 = 108;
}

/// From server to client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromServer {
    /// `SPICE_MSG_MAIN_INIT`, the first message.
    Init(Init),
    /// `SPICE_MSG_MAIN_CHANNELS_LIST`: the channels to connect.
    ChannelsList(Vec<ChannelId>),
    /// `SPICE_MSG_MAIN_MOUSE_MODE`.
    MouseMode(MouseModes),
    /// `SPICE_MSG_MAIN_MULTI_MEDIA_TIME`: the server's clock in milliseconds; wraps.
    MultiMediaTime(u32),
    /// `SPICE_MSG_MAIN_AGENT_CONNECTED`.
    AgentConnected,
    /// `SPICE_MSG_MAIN_AGENT_DISCONNECTED`, with a `SPICE_LINK_ERR_*`.
    AgentDisconnected(u32),
    /// `SPICE_MSG_MAIN_AGENT_DATA`, at most [`AGENT_DATA_MAX`] bytes.
    AgentData(Vec<u8>),
    /// `SPICE_MSG_MAIN_AGENT_TOKEN`: so many more pieces may be sent.
    AgentToken(u32),
    /// `SPICE_MSG_MAIN_NAME`: the VM's name; no NUL in it.
    Name(String),
    /// `SPICE_MSG_MAIN_UUID`: the VM's UUID.
    Uuid([u8; 16]),
    /// `SPICE_MSG_MAIN_AGENT_CONNECTED_TOKENS`, with the tokens the client gets.
    AgentConnectedTokens(u32),
    /// Any other type.
    Unknown {
        /// The type.
        id: u16,
    },
}

/// From client to server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromClient {
    /// `SPICE_MSGC_MAIN_CLIENT_INFO`, with a cache size; no client has sent it for long.
    ClientInfo(u64),
    /// `SPICE_MSGC_MAIN_ATTACH_CHANNELS`: asks for the list of channels.
    AttachChannels,
    /// `SPICE_MSGC_MAIN_MOUSE_MODE_REQUEST`.
    MouseModeRequest(MouseMode),
    /// `SPICE_MSGC_MAIN_AGENT_START`, with the tokens the server gets.
    AgentStart(u32),
    /// `SPICE_MSGC_MAIN_AGENT_DATA`, at most [`AGENT_DATA_MAX`] bytes.
    AgentData(Vec<u8>),
    /// `SPICE_MSGC_MAIN_AGENT_TOKEN`: so many more pieces may be sent.
    AgentToken(u32),
    /// Any other type: migration, and the quality indicator.
    Unknown {
        /// The type.
        id: u16,
    },
}

/// `SpiceMsgMainInit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Init {
    /// The connection id for the session's other channels.
    pub session_id: u32,
    /// How many displays to expect.
    pub display_channels_hint: u32,
    /// Pointer modes.
    pub mouse: MouseModes,
    /// Whether a guest agent is there.
    pub agent_connected: bool,
    /// Pieces of agent data the client may send.
    pub agent_tokens: u32,
    /// The server's clock in milliseconds; wraps.
    pub multi_media_time: u32,
    /// The guest's video memory in bytes, or 0.
    pub ram_hint: u32,
}

/// `SPICE_MOUSE_MODE_*`: who moves the pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MouseMode {
    /// The guest, by relative motion.
    Server,
    /// The client, by absolute positions.
    Client,
}

/// The pointer modes a client may ask for and the one in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MouseModes {
    /// Whether [`MouseMode::Server`] may be asked for.
    pub server: bool,
    /// Whether [`MouseMode::Client`] may be asked for.
    pub client: bool,
    /// The mode in use.
    pub current: MouseMode,
}

impl FromServer {
    /// The message to send. `Unknown` becomes an empty message of its type.
    pub fn encode(&self) -> Message {
        let mut w = Writer::new();
        let id = match self {
            Self::Init(init) => {
                init.encode(&mut w);
                id::INIT
            }
            Self::ChannelsList(channels) => {
                w.len32(channels.len());
                for channel in channels {
                    w.u8(channel.kind.code());
                    w.u8(channel.id);
                }
                id::CHANNELS_LIST
            }
            Self::MouseMode(mouse) => {
                w.u16(mouse.supported());
                w.u16(mouse.current.code());
                id::MOUSE_MODE
            }
            Self::MultiMediaTime(time) => {
                w.u32(*time);
                id::MULTI_MEDIA_TIME
            }
            Self::AgentConnected => id::AGENT_CONNECTED,
            Self::AgentDisconnected(error) => {
                w.u32(*error);
                id::AGENT_DISCONNECTED
            }
            Self::AgentData(data) => {
                w.bytes(data);
                id::AGENT_DATA
            }
            Self::AgentToken(tokens) => {
                w.u32(*tokens);
                id::AGENT_TOKEN
            }
            Self::Name(name) => {
                w.len32(name.len().saturating_add(1));
                w.bytes(name.as_bytes());
                w.u8(0);
                id::NAME
            }
            Self::Uuid(uuid) => {
                w.bytes(uuid);
                id::UUID
            }
            Self::AgentConnectedTokens(tokens) => {
                w.u32(*tokens);
                id::AGENT_CONNECTED_TOKENS
            }
            Self::Unknown { id } => *id,
        };
        Message::new(id, w)
    }

    /// Reads a message.
    pub fn decode(id: u16, body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body, "main message from server");
        let message = match id {
            id::INIT => Self::Init(Init::decode(&mut r)?),
            id::CHANNELS_LIST => {
                let count = r.u32()?;
                r.at_most("num_of_channels", count, CHANNELS_MAX)?;
                let mut channels = Vec::new();
                for _ in 0..count {
                    let kind = ChannelType::from_code(r.u8()?);
                    channels.push(ChannelId { kind, id: r.u8()? });
                }
                Self::ChannelsList(channels)
            }
            id::MOUSE_MODE => {
                let supported = u32::from(r.u16()?);
                let current = u32::from(r.u16()?);
                Self::MouseMode(MouseModes::from_codes(&r, supported, current)?)
            }
            id::MULTI_MEDIA_TIME => Self::MultiMediaTime(r.u32()?),
            id::AGENT_CONNECTED => Self::AgentConnected,
            id::AGENT_DISCONNECTED => Self::AgentDisconnected(r.u32()?),
            id::AGENT_DATA => Self::AgentData(decode_agent_data(&mut r)?),
            id::AGENT_TOKEN => Self::AgentToken(r.u32()?),
            id::NAME => {
                let len = r.u32()?;
                r.at_most("name_len", len, NAME_MAX)?;
                let name = r.bytes32(len)?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                Self::Name(String::from_utf8_lossy(name).into_owned())
            }
            id::UUID => Self::Uuid(r.array()?),
            id::AGENT_CONNECTED_TOKENS => Self::AgentConnectedTokens(r.u32()?),
            _ => return Ok(Self::Unknown { id }),
        };
        r.finish()?;
        Ok(message)
    }
}

impl FromClient {
    /// The message to send. `Unknown` becomes an empty message of its type.
    pub fn encode(&self) -> Message {
        let mut w = Writer::new();
        let id = match self {
            Self::ClientInfo(cache) => {
                w.u64(*cache);
                id::CLIENT_INFO
            }
            Self::AttachChannels => id::CLIENT_ATTACH_CHANNELS,
            Self::MouseModeRequest(mode) => {
                w.u16(mode.code());
                id::CLIENT_MOUSE_MODE_REQUEST
            }
            Self::AgentStart(tokens) => {
                w.u32(*tokens);
                id::CLIENT_AGENT_START
            }
            Self::AgentData(data) => {
                w.bytes(data);
                id::CLIENT_AGENT_DATA
            }
            Self::AgentToken(tokens) => {
                w.u32(*tokens);
                id::CLIENT_AGENT_TOKEN
            }
            Self::Unknown { id } => *id,
        };
        Message::new(id, w)
    }

    /// Reads a message.
    pub fn decode(id: u16, body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body, "main message from client");
        let message = match id {
            id::CLIENT_INFO => Self::ClientInfo(r.u64()?),
            id::CLIENT_ATTACH_CHANNELS => Self::AttachChannels,
            id::CLIENT_MOUSE_MODE_REQUEST => {
                let mode = r.u16()?;
                let mode =
                    MouseMode::from_code(u32::from(mode)).ok_or_else(|| r.invalid("mouse_mode", mode))?;
                Self::MouseModeRequest(mode)
            }
            id::CLIENT_AGENT_START => Self::AgentStart(r.u32()?),
            id::CLIENT_AGENT_DATA => Self::AgentData(decode_agent_data(&mut r)?),
            id::CLIENT_AGENT_TOKEN => Self::AgentToken(r.u32()?),
            _ => return Ok(Self::Unknown { id }),
        };
        r.finish()?;
        Ok(message)
    }
}

impl Init {
    fn encode(self, w: &mut Writer) {
        w.u32(self.session_id);
        w.u32(self.display_channels_hint);
        w.u32(u32::from(self.mouse.supported()));
        w.u32(u32::from(self.mouse.current.code()));
        w.u32(u32::from(self.agent_connected));
        w.u32(self.agent_tokens);
        w.u32(self.multi_media_time);
        w.u32(self.ram_hint);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let session_id = r.u32()?;
        let display_channels_hint = r.u32()?;
        let supported = r.u32()?;
        let current = r.u32()?;
        Ok(Self {
            session_id,
            display_channels_hint,
            mouse: MouseModes::from_codes(r, supported, current)?,
            agent_connected: r.u32()? != 0,
            agent_tokens: r.u32()?,
            multi_media_time: r.u32()?,
            ram_hint: r.u32()?,
        })
    }
}

impl MouseMode {
    fn code(self) -> u16 {
        match self {
            Self::Server => 1,
            Self::Client => 2,
        }
    }

    fn from_code(code: u32) -> Option<Self> {
        [Self::Server, Self::Client].into_iter().find(|mode| u32::from(mode.code()) == code)
    }
}

impl MouseModes {
    /// Whether a client may ask for `mode`.
    pub fn supports(self, mode: MouseMode) -> bool {
        match mode {
            MouseMode::Server => self.server,
            MouseMode::Client => self.client,
        }
    }

    fn supported(self) -> u16 {
        let bit = |mode: MouseMode| if self.supports(mode) { mode.code() } else { 0 };
        bit(MouseMode::Server) | bit(MouseMode::Client)
    }

    fn from_codes(r: &Reader<'_>, supported: u32, current: u32) -> Result<Self, WireError> {
        let current =
            MouseMode::from_code(current).ok_or_else(|| r.invalid("current_mouse_mode", current))?;
        let has = |mode: MouseMode| supported & u32::from(mode.code()) != 0;
        Ok(Self { server: has(MouseMode::Server), client: has(MouseMode::Client), current })
    }
}

fn decode_agent_data(r: &mut Reader<'_>) -> Result<Vec<u8>, WireError> {
    let data = r.rest();
    let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
    r.at_most("agent data", len, AGENT_DATA_MAX)?;
    Ok(data.to_vec())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOUSE: MouseModes = MouseModes { server: true, client: true, current: MouseMode::Client };
    const INIT: Init = Init {
        session_id: 0x1122_3344,
        display_channels_hint: 1,
        mouse: MOUSE,
        agent_connected: false,
        agent_tokens: 10,
        multi_media_time: 5000,
        ram_hint: 0,
    };

    #[test]
    fn the_bytes_of_init() {
        let words = [0x1122_3344u32, 1, 3, 2, 0, 10, 5000, 0];
        let message = FromServer::Init(INIT).encode();
        assert_eq!((message.id(), message.body()), (103, words.map(u32::to_le_bytes).concat()));
    }

    #[test]
    fn the_bytes_of_name_end_with_a_counted_nul() {
        let message = FromServer::Name("vm".to_owned()).encode();
        assert_eq!(message.body(), b"\x03\0\0\0vm\0");
    }

    #[test]
    fn server_messages_survive_the_wire() {
        for message in [
            FromServer::Init(INIT),
            FromServer::ChannelsList(vec![
                ChannelId { kind: ChannelType::Display, id: 1 },
                ChannelId { kind: ChannelType::Other(77), id: 255 },
            ]),
            FromServer::MouseMode(MouseModes { client: false, current: MouseMode::Server, ..MOUSE }),
            FromServer::MultiMediaTime(u32::MAX),
            FromServer::AgentConnected,
            FromServer::AgentDisconnected(1),
            FromServer::AgentData(vec![7; 2048]),
            FromServer::AgentToken(1),
            FromServer::Name("fedora".to_owned()),
            FromServer::Uuid([9; 16]),
            FromServer::AgentConnectedTokens(10),
            FromServer::Unknown { id: 116 },
        ] {
            let wire = message.encode();
            assert_eq!(FromServer::decode(wire.id(), &wire.body()), Ok(message));
        }
    }

    #[test]
    fn client_messages_survive_the_wire() {
        for message in [
            FromClient::ClientInfo(u64::MAX),
            FromClient::AttachChannels,
            FromClient::MouseModeRequest(MouseMode::Client),
            FromClient::AgentStart(u32::MAX),
            FromClient::AgentData(vec![1, 2, 3]),
            FromClient::AgentToken(2),
            FromClient::Unknown { id: 112 },
        ] {
            let wire = message.encode();
            assert_eq!(FromClient::decode(wire.id(), &wire.body()), Ok(message));
        }
    }

    #[test]
    fn agent_data_over_the_protocols_limit_is_refused() {
        assert!(FromClient::decode(107, &[0; 2049]).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(id in 100u16..120, body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = FromServer::decode(id, &body);
            let _ = FromClient::decode(id, &body);
        }
    }
}
