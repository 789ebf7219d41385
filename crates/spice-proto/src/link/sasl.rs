//! SASL within the link stage: its messages and their limits. What is in them is between the client and the owner.
//!
//! As libspice-server and spice-gtk have it: after the client chose [`MECHANISM_SASL`] the server sends the names of
//! SASL's mechanisms; the client answers with the name of one and the first data, and then data alternate until the
//! server says that it is complete, and how it ended. The length of data counts a NUL after them; 0 is none.

use zeroize::Zeroizing;

use super::failure::LinkFailure;
use crate::wire::{Reader, WireError, Writer};

/// The number of SASL among the authentication mechanisms: `SPICE_COMMON_CAP_AUTH_SASL`.
pub(super) const MECHANISM_SASL: u32 = 2;

/// Most bytes of data in a message. Those of SCRAM have some hundreds; libspice-server takes 1 MiB.
pub const SASL_DATA_MAX: u32 = 4096;

/// Most messages of a client. Those of SCRAM are two, and an empty one.
pub const SASL_MESSAGES_MAX: u32 = 8;

/// Most bytes of a mechanism's name, from RFC 4422.
const NAME_MAX: u32 = 20;

/// What a client is told that is refused, with its NUL.
const REFUSAL: &[u8] = b"Authentication failed\0";

/// Bytes of a length.
const LENGTH: usize = 4;

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslMessage {
    /// The mechanism that it chose, in the first message: one of those that were offered.
    pub mechanism: Option<String>,
    /// The data; `None` is not the same as none.
    pub data: Option<Zeroizing<Vec<u8>>>,
}

/// One exchange, seen from the server.
#[derive(Debug)]
pub(super) struct Sasl {
    offered: String,
    mechanism: Option<String>,
    awaits: Awaits,
    messages: u32,
}

#[derive(Debug, Clone, Copy)]
enum Awaits {
    NameLength,
    Name(usize),
    DataLength,
    Data(usize),
    /// The owner's answer.
    Answer,
}

impl Sasl {
    /// Starts with the names of mechanisms, with commas between them, and writes them to `out`.
    pub(super) fn start(offered: String, out: &mut Vec<u8>) -> Self {
        let mut w = Writer::new();
        w.len32(offered.len());
        w.bytes(offered.as_bytes());
        out.extend(w.into_bytes());
        Self { offered, mechanism: None, awaits: Awaits::NameLength, messages: 0 }
    }

    /// Returns how many bytes come next; `None` while the owner has to answer.
    pub(super) fn wanted(&self) -> Option<usize> {
        match self.awaits {
            Awaits::NameLength | Awaits::DataLength => Some(LENGTH),
            Awaits::Name(len) | Awaits::Data(len) => Some(len),
            Awaits::Answer => None,
        }
    }

    /// Takes the bytes that were wanted; returns a message if that was its end.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Option<SaslMessage>, LinkFailure> {
        match self.awaits {
            Awaits::NameLength => match length(bytes, "mechnamelen", NAME_MAX)? {
                0 => return Err(LinkFailure::SaslMechanism),
                len => self.awaits = Awaits::Name(len),
            },
            Awaits::Name(_) => {
                let name = self.offered.split(',').find(|name| name.as_bytes() == bytes);
                self.mechanism = Some(name.ok_or(LinkFailure::SaslMechanism)?.to_owned());
                self.awaits = Awaits::DataLength;
            }
            Awaits::DataLength => match length(bytes, "datalen", SASL_DATA_MAX)? {
                0 => return self.message(None).map(Some),
                len => self.awaits = Awaits::Data(len),
            },
            Awaits::Data(_) => {
                let data = bytes.split_last().map_or(&[][..], |(_nul, data)| data);
                return self.message(Some(Zeroizing::new(data.to_vec()))).map(Some);
            }
            Awaits::Answer => {}
        }
        Ok(None)
    }

    /// Writes the owner's answer to `out`, and awaits another message.
    pub(super) fn go_on(&mut self, data: &[u8], out: &mut Vec<u8>) {
        out.extend(answer(Some(data), false).into_bytes());
        self.awaits = Awaits::DataLength;
    }

    /// Writes the owner's last answer to `out`: the client is who it says.
    pub(super) fn accept(data: Option<&[u8]>, out: &mut Vec<u8>) {
        let mut w = answer(data, true);
        w.u32(0);
        out.extend(w.into_bytes());
    }

    /// Writes the owner's last answer to `out`: the client is nobody.
    pub(super) fn refuse(data: Option<&[u8]>, out: &mut Vec<u8>) {
        let mut w = answer(data, true);
        w.u32(1);
        w.len32(REFUSAL.len());
        w.bytes(REFUSAL);
        out.extend(w.into_bytes());
    }

    fn message(&mut self, data: Option<Zeroizing<Vec<u8>>>) -> Result<SaslMessage, LinkFailure> {
        self.messages = self.messages.saturating_add(1);
        if self.messages > SASL_MESSAGES_MAX {
            return Err(LinkFailure::SaslEndless);
        }
        self.awaits = Awaits::Answer;
        Ok(SaslMessage { mechanism: self.mechanism.take(), data })
    }
}

fn answer(data: Option<&[u8]>, complete: bool) -> Writer {
    let mut w = Writer::new();
    match data {
        Some(data) => {
            w.len32(data.len().saturating_add(1));
            w.bytes(data);
            w.u8(0);
        }
        None => w.u32(0),
    }
    w.u8(u8::from(complete));
    w
}

fn length(bytes: &[u8], field: &'static str, most: u32) -> Result<usize, WireError> {
    let mut r = Reader::new(bytes, "SASL message");
    let len = r.u32()?;
    r.at_most(field, len, most)?;
    Ok(usize::try_from(len).unwrap_or(usize::MAX))
}
