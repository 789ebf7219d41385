//! Messages of the main channel.

use crate::agent::PIECE_MAX;
use crate::wire::{ChannelId, Form, Reader, WireError, Writer, fields, messages, numbers};

/// Most channels of a session that a list may name: types and ids are bytes, and ten types exist.
const CHANNELS_MAX: u32 = 10 * 256;
/// Most bytes of a name.
const NAME_MAX: u32 = 4096;

messages! {
    /// From server to client.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum FromServer, "main message from server" in errors {
        /// `SPICE_MSG_MAIN_INIT`, the first message.
        103 => Init(Init),
        /// `SPICE_MSG_MAIN_CHANNELS_LIST`: the channels to connect.
        104 => ChannelsList(Vec<ChannelId> as CountedList),
        /// `SPICE_MSG_MAIN_MOUSE_MODE`.
        105 => MouseMode(MouseModes),
        /// `SPICE_MSG_MAIN_MULTI_MEDIA_TIME`: the server's clock in milliseconds; wraps.
        106 => MultiMediaTime(u32),
        /// `SPICE_MSG_MAIN_AGENT_CONNECTED`.
        107 => AgentConnected,
        /// `SPICE_MSG_MAIN_AGENT_DISCONNECTED`, with a `SPICE_LINK_ERR_*`.
        108 => AgentDisconnected(u32),
        /// `SPICE_MSG_MAIN_AGENT_DATA`, at most [`PIECE_MAX`] bytes.
        109 => AgentData(Vec<u8> as PieceOfAgentData),
        /// `SPICE_MSG_MAIN_AGENT_TOKEN`: so many more pieces may be sent.
        110 => AgentToken(u32),
        /// `SPICE_MSG_MAIN_NAME`: the VM's name; no NUL in it.
        113 => Name(String as CountedName),
        /// `SPICE_MSG_MAIN_UUID`: the VM's UUID.
        114 => Uuid([u8; 16]),
        /// `SPICE_MSG_MAIN_AGENT_CONNECTED_TOKENS`, with the tokens the client gets.
        115 => AgentConnectedTokens(u32),
    }
}

messages! {
    /// From client to server. Migration and the quality indicator are not among them.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum FromClient, "main message from client" in errors {
        /// `SPICE_MSGC_MAIN_CLIENT_INFO`, with a cache size; no client has sent it for long.
        101 => ClientInfo(u64),
        /// `SPICE_MSGC_MAIN_ATTACH_CHANNELS`: asks for the list of channels.
        104 => AttachChannels,
        /// `SPICE_MSGC_MAIN_MOUSE_MODE_REQUEST`.
        105 => MouseModeRequest(MouseMode),
        /// `SPICE_MSGC_MAIN_AGENT_START`, with the tokens the server gets.
        106 => AgentStart(u32),
        /// `SPICE_MSGC_MAIN_AGENT_DATA`, at most [`PIECE_MAX`] bytes.
        107 => AgentData(Vec<u8> as PieceOfAgentData),
        /// `SPICE_MSGC_MAIN_AGENT_TOKEN`: so many more pieces may be sent.
        108 => AgentToken(u32),
    }
}

fields! {
    /// `SpiceMsgMainInit`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Init {
        /// The connection id for the session's other channels.
        pub session_id: u32,
        /// How many displays to expect.
        pub display_channels_hint: u32,
        /// Pointer modes.
        pub mouse: MouseModes as ModesOf32Bits,
        /// Whether a guest agent is there.
        pub agent_connected: bool,
        /// Pieces of agent data the client may send.
        pub agent_tokens: u32,
        /// The server's clock in milliseconds; wraps.
        pub multi_media_time: u32,
        /// The guest's video memory in bytes, or 0.
        pub ram_hint: u32,
    }
}

numbers! {
    /// `SPICE_MOUSE_MODE_*`: who moves the pointer.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum MouseMode: u16, "mouse_mode" in errors {
        /// The guest, by relative motion.
        Server = 1,
        /// The client, by absolute positions.
        Client = 2,
    }
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

impl MouseModes {
    /// Whether a client may ask for `mode`.
    pub fn supports(self, mode: MouseMode) -> bool {
        match mode {
            MouseMode::Server => self.server,
            MouseMode::Client => self.client,
        }
    }

    /// Returns the mask of the modes that may be asked for.
    fn mask(self) -> u16 {
        let bit = |mode: MouseMode| if self.supports(mode) { mode.code() } else { 0 };
        bit(MouseMode::Server) | bit(MouseMode::Client)
    }

    fn from_codes(r: &Reader<'_>, mask: u32, current: u32) -> Result<Self, WireError> {
        let known = u16::try_from(current).ok().and_then(MouseMode::from_code);
        let current = known.ok_or_else(|| r.invalid("current_mouse_mode", current))?;
        let has = |mode: MouseMode| mask & u32::from(mode.code()) != 0;
        Ok(Self { server: has(MouseMode::Server), client: has(MouseMode::Client), current })
    }
}

/// 16 bits for the mask, and as many for the current mode.
impl Form for MouseModes {
    fn write(modes: &Self, w: &mut Writer) {
        w.u16(modes.mask());
        w.u16(modes.current.code());
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (mask, current) = (r.u16()?, r.u16()?);
        Self::from_codes(r, u32::from(mask), u32::from(current))
    }
}

/// 32 bits for the mask, and as many for the current mode.
struct ModesOf32Bits;

impl Form<MouseModes> for ModesOf32Bits {
    fn write(modes: &MouseModes, w: &mut Writer) {
        w.u32(u32::from(modes.mask()));
        w.u32(u32::from(modes.current.code()));
    }

    fn read(r: &mut Reader<'_>) -> Result<MouseModes, WireError> {
        let (mask, current) = (r.u32()?, r.u32()?);
        MouseModes::from_codes(r, mask, current)
    }
}

/// How many channels, and the channels.
struct CountedList;

impl Form<Vec<ChannelId>> for CountedList {
    fn write(channels: &Vec<ChannelId>, w: &mut Writer) {
        w.len32(channels.len());
        for channel in channels {
            ChannelId::write(channel, w);
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Vec<ChannelId>, WireError> {
        let count = r.u32()?;
        r.at_most("num_of_channels", count, CHANNELS_MAX)?;
        (0..count).map(|_| ChannelId::read(r)).collect()
    }
}

/// The rest of the body, which has a limit.
struct PieceOfAgentData;

impl Form<Vec<u8>> for PieceOfAgentData {
    fn write(data: &Vec<u8>, w: &mut Writer) {
        w.bytes(data);
    }

    fn read(r: &mut Reader<'_>) -> Result<Vec<u8>, WireError> {
        let [len, limit] = [r.remaining(), PIECE_MAX].map(|len| u32::try_from(len).unwrap_or(u32::MAX));
        r.at_most("agent data", len, limit)?;
        Vec::read(r)
    }
}

/// The length of a name, the name, and a NUL, which is counted.
struct CountedName;

impl Form<String> for CountedName {
    fn write(name: &String, w: &mut Writer) {
        w.len32(name.len().saturating_add(1));
        w.bytes(name.as_bytes());
        w.u8(0);
    }

    fn read(r: &mut Reader<'_>) -> Result<String, WireError> {
        let len = r.u32()?;
        r.at_most("name_len", len, NAME_MAX)?;
        let name = r.bytes32(len)?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(name).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::ChannelType;

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
