//! Messages of the port channel, of which the usbredir channel has the first two alone (`SPICE_MSG_SPICEVMC_*`).

use crate::wire::{Byte, Form, Payload, Reader, WireError, Writer, messages, numbers};

/// Most bytes of a port's name.
const NAME_MAX: u32 = 1024;
/// Where a name begins in [`Init`].
const NAME_AT: u32 = 9;

messages! {
    /// From server to client.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum FromServer, "port message from server" in errors {
        /// `SPICE_MSG_SPICEVMC_DATA`: what the guest has written.
        101 => Data(Payload),
        /// `SPICE_MSG_PORT_INIT`: first of all, of what has a name.
        201 => Init(Init),
        /// `SPICE_MSG_PORT_EVENT`: the guest has opened or closed it.
        202 => Event(Event),
    }
}

messages! {
    /// From client to server.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum FromClient, "port message from client" in errors {
        /// `SPICE_MSGC_SPICEVMC_DATA`: for the guest to read.
        101 => Data(Payload),
        /// `SPICE_MSGC_SPICEVMC_COMPRESSED_DATA`: of a client that was told that the server can do that.
        102 => Compressed(Payload),
        /// `SPICE_MSGC_PORT_EVENT`.
        201 => Event(Event),
    }
}

numbers! {
    /// `SPICE_PORT_EVENT_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Event: u8, "port event" in errors {
        /// The other side has opened it.
        Opened = 0,
        /// The other side has closed it.
        Closed = 1,
        /// A break, as on a serial line.
        Break = 2,
    }
}

/// What a port is. The form on the wire has the place of the name in it, and the name last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    /// Its name; no NUL in it.
    pub name: String,
    /// Whether the guest has it open.
    pub is_open: bool,
}

impl Form for Init {
    fn write(value: &Self, w: &mut Writer) {
        w.len32(value.name.len().saturating_add(1));
        w.u32(NAME_AT);
        Byte::write(&value.is_open, w);
        w.bytes(value.name.as_bytes());
        w.u8(0);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let size = r.u32()?;
        r.at_most("name_size", size, NAME_MAX)?;
        r.constant("name", NAME_AT)?;
        let is_open = Byte::read(r)?;
        let Some((0, name)) = r.bytes32(size)?.split_last() else { return Err(r.invalid("name_size", size)) };
        Ok(Self { name: String::from_utf8_lossy(name).into_owned(), is_open })
    }
}
