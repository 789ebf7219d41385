//! Which channel of a session.

use std::fmt;

use super::{fields, numbers};

numbers! {
    /// `SPICE_CHANNEL_*`: what a channel is for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum ChannelType: u8 or Other {
        /// Session control.
        Main = 1,
        /// One console's picture.
        Display = 2,
        /// Keyboard and pointer.
        Inputs = 3,
        /// Pointer shape and place.
        Cursor = 4,
        /// Sound to the client.
        Playback = 5,
        /// Sound from the client.
        Record = 6,
        /// Smart card reader.
        Smartcard = 8,
        /// USB device.
        Usbredir = 9,
        /// Named stream of bytes.
        Port = 10,
        /// Shared folder.
        Webdav = 11,
    }
}

fields! {
    /// One channel of a session.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct ChannelId {
        /// What it is for.
        pub kind: ChannelType,
        /// Which one of that kind; for displays the console's number.
        pub id: u8,
    }
}

impl fmt::Display for ChannelType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Main => "main",
            Self::Display => "display",
            Self::Inputs => "inputs",
            Self::Cursor => "cursor",
            Self::Playback => "playback",
            Self::Record => "record",
            Self::Smartcard => "smartcard",
            Self::Usbredir => "usbredir",
            Self::Port => "port",
            Self::Webdav => "webdav",
            Self::Other(code) => return write!(f, "channel-{code}"),
        })
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_number_survives() {
        for code in 0..=u8::MAX {
            assert_eq!(ChannelType::from_code(code).code(), code);
        }
    }
}
