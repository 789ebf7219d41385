//! Messages that every channel has, with types up to [`LAST`].

use crate::wire::{Message, Reader, WireError, Writer};

/// The largest type that belongs to every channel: `SPICE_MSG_BASE_LAST`.
pub const LAST: u16 = 100;

/// Most bytes of a notice's text.
const NOTIFY_TEXT_MAX: u32 = 4096;

mod id {
    pub(super) const SET_ACK: u16 = 3;
    pub(super) const PING: u16 = 4;
    pub(super) const DISCONNECTING: u16 = 6;
    pub(super) const NOTIFY: u16 = 7;

    pub(super) const CLIENT_ACK_SYNC: u16 = 1;
    pub(super) const CLIENT_ACK: u16 = 2;
    pub(super) const CLIENT_PONG: u16 = 3;
    pub(super) const CLIENT_DISCONNECTING: u16 = 6;
}

/// From server to client, on every channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromServer {
    /// `SPICE_MSG_SET_ACK`: acknowledge every `window` messages.
    SetAck {
        /// Echoed by the client, to tell old acknowledgements from new.
        generation: u32,
        /// Messages for each acknowledgement.
        window: u32,
    },
    /// `SPICE_MSG_PING`.
    Ping(Ping),
    /// `SPICE_MSG_DISCONNECTING`.
    Disconnecting(Disconnecting),
    /// `SPICE_MSG_NOTIFY`.
    Notify(Notify),
    /// Any other type.
    Unknown {
        /// The type.
        id: u16,
    },
}

/// From client to server, on every channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromClient {
    /// `SPICE_MSGC_ACK_SYNC`: answers `SetAck`.
    AckSync {
        /// From the `SetAck`.
        generation: u32,
    },
    /// `SPICE_MSGC_ACK`: a window of messages has arrived.
    Ack,
    /// `SPICE_MSGC_PONG`: answers a ping with its own numbers.
    Pong(Ping),
    /// `SPICE_MSGC_DISCONNECTING`.
    Disconnecting(Disconnecting),
    /// Any other type.
    Unknown {
        /// The type.
        id: u16,
    },
}

/// The numbers of a ping and of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping {
    /// Which ping.
    pub id: u32,
    /// The sender's time; only the sender gives it a meaning.
    pub timestamp: u64,
}

/// A polite end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnecting {
    /// The sender's time in nanoseconds.
    pub timestamp: u64,
    /// 0, or a `SPICE_LINK_ERR_*`.
    pub reason: u32,
}

/// A text for the client's log or user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// The sender's time in nanoseconds.
    pub timestamp: u64,
    /// How bad it is.
    pub severity: Severity,
    /// The text; no NUL in it.
    pub text: String,
}

/// `SPICE_NOTIFY_SEVERITY_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// For information.
    Info,
    /// A warning.
    Warn,
    /// An error.
    Error,
}

impl FromServer {
    /// The message to send. `Unknown` becomes an empty message of its type.
    pub fn encode(&self) -> Message {
        let mut w = Writer::new();
        let id = match self {
            Self::SetAck { generation, window } => {
                w.u32(*generation);
                w.u32(*window);
                id::SET_ACK
            }
            Self::Ping(ping) => {
                ping.encode(&mut w);
                id::PING
            }
            Self::Disconnecting(end) => {
                end.encode(&mut w);
                id::DISCONNECTING
            }
            Self::Notify(notify) => {
                notify.encode(&mut w);
                id::NOTIFY
            }
            Self::Unknown { id } => *id,
        };
        Message::new(id, w)
    }

    /// Reads a message.
    pub fn decode(id: u16, body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body, "base message from server");
        let message = match id {
            id::SET_ACK => Self::SetAck { generation: r.u32()?, window: r.u32()? },
            id::PING => {
                let ping = Ping::decode(&mut r)?;
                r.rest(); // padding that measures the bandwidth
                Self::Ping(ping)
            }
            id::DISCONNECTING => Self::Disconnecting(Disconnecting::decode(&mut r)?),
            id::NOTIFY => Self::Notify(Notify::decode(&mut r)?),
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
            Self::AckSync { generation } => {
                w.u32(*generation);
                id::CLIENT_ACK_SYNC
            }
            Self::Ack => id::CLIENT_ACK,
            Self::Pong(ping) => {
                ping.encode(&mut w);
                id::CLIENT_PONG
            }
            Self::Disconnecting(end) => {
                end.encode(&mut w);
                id::CLIENT_DISCONNECTING
            }
            Self::Unknown { id } => *id,
        };
        Message::new(id, w)
    }

    /// Reads a message.
    pub fn decode(id: u16, body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body, "base message from client");
        let message = match id {
            id::CLIENT_ACK_SYNC => Self::AckSync { generation: r.u32()? },
            id::CLIENT_ACK => Self::Ack,
            id::CLIENT_PONG => Self::Pong(Ping::decode(&mut r)?),
            id::CLIENT_DISCONNECTING => Self::Disconnecting(Disconnecting::decode(&mut r)?),
            _ => return Ok(Self::Unknown { id }),
        };
        r.finish()?;
        Ok(message)
    }
}

impl Ping {
    fn encode(self, w: &mut Writer) {
        w.u32(self.id);
        w.u64(self.timestamp);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { id: r.u32()?, timestamp: r.u64()? })
    }
}

impl Disconnecting {
    fn encode(self, w: &mut Writer) {
        w.u64(self.timestamp);
        w.u32(self.reason);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { timestamp: r.u64()?, reason: r.u32()? })
    }
}

impl Notify {
    fn encode(&self, w: &mut Writer) {
        w.u64(self.timestamp);
        w.u32(self.severity.code());
        w.u32(2); // visibility: high
        w.u32(0); // what: nothing in particular
        w.len32(self.text.len()); // the NUL is not counted
        w.bytes(self.text.as_bytes());
        w.u8(0);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let timestamp = r.u64()?;
        let severity = r.u32()?;
        let severity = Severity::from_code(severity).ok_or_else(|| r.invalid("severity", severity))?;
        r.u32()?; // visibility
        r.u32()?; // what
        let len = r.u32()?;
        r.at_most("message_len", len, NOTIFY_TEXT_MAX)?;
        let text = String::from_utf8_lossy(r.bytes32(len)?).into_owned();
        r.u8()?;
        Ok(Self { timestamp, severity, text })
    }
}

impl Severity {
    fn code(self) -> u32 {
        match self {
            Self::Info => 0,
            Self::Warn => 1,
            Self::Error => 2,
        }
    }

    fn from_code(code: u32) -> Option<Self> {
        [Self::Info, Self::Warn, Self::Error].into_iter().find(|severity| severity.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn server_messages_survive_the_wire() {
        for message in [
            FromServer::SetAck { generation: 1, window: 20 },
            FromServer::Ping(Ping { id: 3, timestamp: u64::MAX }),
            FromServer::Disconnecting(Disconnecting { timestamp: 5, reason: 0 }),
            FromServer::Notify(Notify { timestamp: 9, severity: Severity::Warn, text: "späť".to_owned() }),
            FromServer::Unknown { id: 99 },
        ] {
            let wire = message.encode();
            assert_eq!(FromServer::decode(wire.id(), &wire.body()), Ok(message));
        }
    }

    #[test]
    fn client_messages_survive_the_wire() {
        for message in [
            FromClient::AckSync { generation: 1 },
            FromClient::Ack,
            FromClient::Pong(Ping { id: 3, timestamp: 7 }),
            FromClient::Disconnecting(Disconnecting { timestamp: 5, reason: 0 }),
            FromClient::Unknown { id: 4 },
        ] {
            let wire = message.encode();
            assert_eq!(FromClient::decode(wire.id(), &wire.body()), Ok(message));
        }
    }

    #[test]
    fn the_bytes_of_set_ack() {
        let message = FromServer::SetAck { generation: 1, window: 20 }.encode();
        assert_eq!((message.id(), message.body()), (3, vec![1, 0, 0, 0, 20, 0, 0, 0]));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(id in 0u16..10, body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = FromServer::decode(id, &body);
            let _ = FromClient::decode(id, &body);
        }
    }
}
