//! Which channel of a session.

/// `SPICE_CHANNEL_*`: what a channel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelType {
    /// Session control.
    Main,
    /// One console's picture.
    Display,
    /// Keyboard and pointer.
    Inputs,
    /// Pointer shape and place.
    Cursor,
    /// Sound to the client.
    Playback,
    /// Sound from the client.
    Record,
    /// Smart card reader.
    Smartcard,
    /// USB device.
    Usbredir,
    /// Named stream of bytes.
    Port,
    /// Shared folder.
    Webdav,
    /// A number without a meaning to us.
    Other(u8),
}

/// One channel of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChannelId {
    /// What it is for.
    pub kind: ChannelType,
    /// Which one of that kind; for displays the console's number.
    pub id: u8,
}

impl ChannelType {
    const KNOWN: [Self; 10] = [
        Self::Main,
        Self::Display,
        Self::Inputs,
        Self::Cursor,
        Self::Playback,
        Self::Record,
        Self::Smartcard,
        Self::Usbredir,
        Self::Port,
        Self::Webdav,
    ];

    /// The number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::Main => 1,
            Self::Display => 2,
            Self::Inputs => 3,
            Self::Cursor => 4,
            Self::Playback => 5,
            Self::Record => 6,
            Self::Smartcard => 8,
            Self::Usbredir => 9,
            Self::Port => 10,
            Self::Webdav => 11,
            Self::Other(code) => code,
        }
    }

    /// The type with that number.
    pub fn from_code(code: u8) -> Self {
        Self::KNOWN.into_iter().find(|kind| kind.code() == code).unwrap_or(Self::Other(code))
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
