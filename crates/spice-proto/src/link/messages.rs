//! The link stage: how each channel's connection starts.

use crate::auth::PUB_KEY_LEN;
use crate::wire::{Caps, ChannelId, Form, Reader, WireError, Writer, fields, numbers};

/// The first bytes of both sides: `SPICE_MAGIC`.
pub const LINK_MAGIC: [u8; 4] = *b"REDQ";
/// Bytes of a [`LinkHeader`].
pub const LINK_HEADER_LEN: usize = 16;
/// Fewest bytes of a [`LinkMess`], which is one without capabilities.
pub const LINK_MESS_MIN: u32 = 18;
/// Most bytes of a [`LinkMess`] that we read, as libspice-server.
pub const LINK_MESS_MAX: u32 = 4096;

const MAJOR: u32 = 2;
const MINOR: u32 = 2;
const REPLY_MIN: u32 = 178;
/// Most capability words of one kind, as libspice-server.
const CAP_WORDS_MAX: u32 = 1024;

fields! {
    /// `SpiceLinkHeader`: opens the link message and the reply.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct LinkHeader {
        /// The magic that was read; [`LINK_MAGIC`] when it is SPICE at all.
        pub magic: [u8; 4],
        /// Protocol version; we speak 2.
        pub major: u32,
        /// Protocol revision; we speak 2.
        pub minor: u32,
        /// Bytes that follow.
        pub size: u32,
    }
}

/// `SpiceLinkMess`: which channel a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkMess {
    /// 0 for a new session's main channel, else the session's id.
    pub connection_id: u32,
    /// The channel.
    pub channel: ChannelId,
    /// What the client can do on every channel.
    pub common_caps: Caps,
    /// What the client can do on this channel.
    pub channel_caps: Caps,
}

/// `SpiceLinkReply`: the server's key and abilities, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkReply {
    /// [`LinkError::Ok`] or the reason for refusal.
    pub error: LinkError,
    /// DER of the public key the ticket must be encrypted with; zeroes in a refusal.
    pub pub_key: [u8; PUB_KEY_LEN],
    /// What the server can do on every channel.
    pub common_caps: Caps,
    /// What the server can do on this channel.
    pub channel_caps: Caps,
}

numbers! {
    /// `SpiceLinkErr`: the error of a link reply, and the link result after authentication.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
    pub enum LinkError: u32, "error" in errors {
        /// No error.
        #[error("no error")]
        Ok = 0,
        /// Anything without a code of its own.
        #[error("error")]
        Error = 1,
        /// Not SPICE.
        #[error("invalid magic")]
        InvalidMagic = 2,
        /// Malformed.
        #[error("invalid data")]
        InvalidData = 3,
        /// Another version of the protocol.
        #[error("version mismatch")]
        VersionMismatch = 4,
        /// The channel needs TLS.
        #[error("the channel needs TLS")]
        NeedSecured = 5,
        /// The channel needs a connection without TLS.
        #[error("the channel needs a connection without TLS")]
        NeedUnsecured = 6,
        /// Wrong, expired or unset password.
        #[error("permission denied")]
        PermissionDenied = 7,
        /// No session with that connection id.
        #[error("unknown connection id")]
        BadConnectionId = 8,
        /// No such channel, or it is taken.
        #[error("channel not available")]
        ChannelNotAvailable = 9,
    }
}

impl LinkHeader {
    /// The header for `size` bytes of our version.
    pub fn new(size: u32) -> Self {
        Self { magic: LINK_MAGIC, major: MAJOR, minor: MINOR, size }
    }

    /// Whether the version is one we speak.
    pub fn is_our_version(&self) -> bool {
        self.major == MAJOR
    }

    /// The bytes.
    pub fn encode(&self, w: &mut Writer) {
        Self::write(self, w);
    }

    /// Reads a header; magic, version and size are the caller's to judge, since each has its own answer.
    ///
    /// # Errors
    /// When `bytes` is not [`LINK_HEADER_LEN`] long.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes, "SpiceLinkHeader");
        let header = Self::read(&mut r)?;
        r.finish()?;
        Ok(header)
    }
}

impl LinkMess {
    /// The message with its header in front.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        let words = self.common_caps.word_count() + self.channel_caps.word_count();
        LinkHeader::new(LINK_MESS_MIN + 4 * words).encode(&mut w);
        w.u32(self.connection_id);
        ChannelId::write(&self.channel, &mut w);
        encode_caps(&mut w, LINK_MESS_MIN, self.common_caps, self.channel_caps);
        w.into_bytes()
    }

    /// Reads the message after its header.
    ///
    /// # Errors
    /// When it is short, or its capabilities lie outside of it.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes, "SpiceLinkMess");
        let connection_id = r.u32()?;
        let channel = ChannelId::read(&mut r)?;
        let (common_caps, channel_caps) = decode_caps(&mut r, LINK_MESS_MIN)?;
        // What lies after the words is left alone, as libspice-server does: the offset leaves room for new fields.
        Ok(Self { connection_id, channel, common_caps, channel_caps })
    }
}

impl LinkReply {
    /// A refusal.
    pub fn refusal(error: LinkError) -> Self {
        Self { error, pub_key: [0; PUB_KEY_LEN], common_caps: Caps::NONE, channel_caps: Caps::NONE }
    }

    /// The reply with its header in front. A refusal ends after the fixed fields, all zero but the error.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        if self.error == LinkError::Ok {
            let words = self.common_caps.word_count() + self.channel_caps.word_count();
            LinkHeader::new(REPLY_MIN + 4 * words).encode(&mut w);
        } else {
            LinkHeader::new(REPLY_MIN).encode(&mut w);
        }
        LinkError::write(&self.error, &mut w);
        w.bytes(&self.pub_key);
        if self.error == LinkError::Ok {
            encode_caps(&mut w, REPLY_MIN, self.common_caps, self.channel_caps);
        } else {
            w.bytes(&[0; 12]);
        }
        w.into_bytes()
    }

    /// Reads a reply after its header.
    ///
    /// # Errors
    /// When it is short, has an unknown error, or its capabilities lie outside of it.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes, "SpiceLinkReply");
        let error = LinkError::read(&mut r)?;
        let pub_key = r.array()?;
        if error != LinkError::Ok {
            return Ok(Self { error, pub_key, common_caps: Caps::NONE, channel_caps: Caps::NONE });
        }
        let (common_caps, channel_caps) = decode_caps(&mut r, REPLY_MIN)?;
        Ok(Self { error, pub_key, common_caps, channel_caps })
    }
}

/// Counts, offset and words; the words follow the `fixed` bytes directly.
fn encode_caps(w: &mut Writer, fixed: u32, common: Caps, channel: Caps) {
    w.u32(common.word_count());
    w.u32(channel.word_count());
    w.u32(fixed);
    common.encode(w);
    channel.encode(w);
}

/// Counts, offset and words, when the reader stands at the counts, the last fields of the `fixed` bytes.
fn decode_caps(r: &mut Reader<'_>, fixed: u32) -> Result<(Caps, Caps), WireError> {
    let common = r.u32()?;
    r.at_most("num_common_caps", common, CAP_WORDS_MAX)?;
    let channel = r.u32()?;
    r.at_most("num_channel_caps", channel, CAP_WORDS_MAX)?;
    let offset = r.u32()?;
    let gap = offset.checked_sub(fixed).ok_or_else(|| r.invalid("caps_offset", offset))?;
    r.bytes32(gap)?;
    Ok((Caps::decode(r, common)?, Caps::decode(r, channel)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::caps;
    use super::*;
    use crate::wire::ChannelType;

    /// The first bytes spice-gtk 0.42 sends on its main channel.
    const SPICE_GTK_MAIN: [u8; 42] = [
        b'R', b'E', b'D', b'Q', 2, 0, 0, 0, 2, 0, 0, 0, 26, 0, 0, 0, // header
        0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 18, 0, 0, 0, // fixed fields
        0x0d, 0, 0, 0, 0x0f, 0, 0, 0, // words
    ];

    #[test]
    fn reads_what_spice_gtk_sends() {
        let (header, mess) = SPICE_GTK_MAIN.split_at(LINK_HEADER_LEN);
        let header = LinkHeader::decode(header).unwrap();
        assert_eq!(header, LinkHeader::new(26));
        let mess = LinkMess::decode(mess).unwrap();
        assert_eq!(mess.channel, ChannelId { kind: ChannelType::Main, id: 0 });
        assert!(mess.common_caps.has(caps::MINI_HEADER) && !mess.common_caps.has(caps::AUTH_SPICE));
        assert_eq!(mess.channel_caps, Caps::from(0xf));
        assert_eq!(mess.encode(), SPICE_GTK_MAIN);
    }

    #[test]
    fn capabilities_outside_the_message_are_refused() {
        for (at, bytes) in [(6, 2u32), (6, 1025), (10, u32::MAX), (14, 17), (14, 19), (14, u32::MAX)] {
            let mut mess = SPICE_GTK_MAIN[16..].to_vec();
            mess[at..at + 4].copy_from_slice(&bytes.to_le_bytes());
            assert!(LinkMess::decode(&mess).is_err(), "{bytes} at {at}");
        }
    }

    #[test]
    fn a_refusal_is_178_bytes_of_zero_but_the_error() {
        let bytes = LinkReply::refusal(LinkError::BadConnectionId).encode();
        assert_eq!(bytes.len(), 16 + 178);
        assert_eq!(bytes[12..16], 178u32.to_le_bytes());
        assert_eq!(bytes[16..20], 8u32.to_le_bytes());
        assert!(bytes[20..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn the_reply_holds_the_key_and_the_words() {
        let reply = LinkReply {
            error: LinkError::Ok,
            pub_key: [7; PUB_KEY_LEN],
            common_caps: Caps::from(0b1011),
            channel_caps: Caps::from(0xf),
        };
        let bytes = reply.encode();
        assert_eq!(bytes[12..16], 186u32.to_le_bytes());
        assert_eq!(LinkReply::decode(&bytes[LINK_HEADER_LEN..]), Ok(reply));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = LinkHeader::decode(&bytes);
            let _ = LinkMess::decode(&bytes);
            let _ = LinkReply::decode(&bytes);
        }

        #[test]
        fn a_link_message_survives_the_wire(connection_id: u32, kind: u8, id: u8, common: u32, channel: u32) {
            let mess = LinkMess {
                connection_id,
                channel: ChannelId { kind: ChannelType::from_code(kind), id },
                common_caps: Caps::from(common),
                channel_caps: Caps::from(channel),
            };
            prop_assert_eq!(LinkMess::decode(&mess.encode()[LINK_HEADER_LEN..]), Ok(mess));
        }
    }
}
