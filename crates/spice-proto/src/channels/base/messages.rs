//! Messages that every channel has, with types up to [`LAST`].

use crate::wire::{Form, Reader, WireError, Writer, fields, messages, numbers};

/// The largest type that belongs to every channel: `SPICE_MSG_BASE_LAST`.
pub const LAST: u16 = 100;

/// Most characters of a text that we send, such as a VM's name.
const TEXT_CHARS_MAX: usize = 255;
/// Most bytes of a notice's text.
const NOTIFY_TEXT_MAX: u32 = 4096;

messages! {
    /// From server to client, on every channel.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum FromServer, "base message from server" in errors {
        /// `SPICE_MSG_SET_ACK`: acknowledge every `window` messages.
        3 => SetAck {
            /// Echoed by the client, to tell old acknowledgements from new.
            generation: u32,
            /// Messages for each acknowledgement.
            window: u32,
        },
        /// `SPICE_MSG_PING`.
        4 => Ping(Ping as Padded),
        /// `SPICE_MSG_DISCONNECTING`.
        6 => Disconnecting(Disconnecting),
        /// `SPICE_MSG_NOTIFY`.
        7 => Notify(Notify),
    }
}

messages! {
    /// From client to server, on every channel.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum FromClient, "base message from client" in errors {
        /// `SPICE_MSGC_ACK_SYNC`: answers `SetAck`.
        1 => AckSync {
            /// From the `SetAck`.
            generation: u32,
        },
        /// `SPICE_MSGC_ACK`: a window of messages has arrived.
        2 => Ack,
        /// `SPICE_MSGC_PONG`: answers a ping with its own numbers.
        3 => Pong(Ping),
        /// `SPICE_MSGC_DISCONNECTING`.
        6 => Disconnecting(Disconnecting),
    }
}

fields! {
    /// The numbers of a ping and of its answer.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Ping {
        /// Which ping.
        pub id: u32,
        /// The sender's time; only the sender gives it a meaning.
        pub timestamp: u64,
    }
}

fields! {
    /// A polite end.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Disconnecting {
        /// The sender's time in nanoseconds.
        pub timestamp: u64,
        /// 0, or a `SPICE_LINK_ERR_*`.
        pub reason: u32,
    }
}

fields! {
    /// A text for the client's log or user.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Notify {
        /// The sender's time in nanoseconds.
        pub timestamp: u64,
        /// How bad it is.
        pub severity: Severity,
        _: u32 = 2, // visibility: high
        _: u32 = 0, // what: nothing in particular
        /// The text; no NUL in it.
        pub text: String as CountedText,
    }
}

numbers! {
    /// `SPICE_NOTIFY_SEVERITY_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Severity: u32, "severity" in errors {
        /// For information.
        Info = 0,
        /// A warning.
        Warn = 1,
        /// An error.
        Error = 2,
    }
}

impl Notify {
    /// Makes one of a `text`, as far as the protocol can carry it.
    pub fn of(severity: Severity, text: &str) -> Self {
        Self { timestamp: 0, severity, text: sendable(text) }
    }
}

/// Returns a text as the protocol can carry it: no NUL, and not endless.
pub(in crate::channels) fn sendable(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(TEXT_CHARS_MAX).collect()
}

/// A ping, and after it any number of bytes that measure the bandwidth. We send none.
struct Padded;

impl Form<Ping> for Padded {
    fn write(ping: &Ping, w: &mut Writer) {
        Ping::write(ping, w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Ping, WireError> {
        let ping = Ping::read(r)?;
        r.rest();
        Ok(ping)
    }
}

/// The length of a text, the text, and a NUL that is not counted.
struct CountedText;

impl Form<String> for CountedText {
    fn write(text: &String, w: &mut Writer) {
        w.len32(text.len());
        w.bytes(text.as_bytes());
        w.u8(0);
    }

    fn read(r: &mut Reader<'_>) -> Result<String, WireError> {
        let len = r.u32()?;
        r.at_most("message_len", len, NOTIFY_TEXT_MAX)?;
        let text = String::from_utf8_lossy(r.bytes32(len)?).into_owned();
        r.u8()?;
        Ok(text)
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
