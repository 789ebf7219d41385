//! Messages of the playback channel. Clients send none of their own.

use crate::channels::sound::{Mode, SampleFormat, Volumes};
use crate::wire::{Byte, Payload, fields, messages};

messages! {
    /// From server to client.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum FromServer, "playback message from server" in errors {
        /// `SPICE_MSG_PLAYBACK_DATA`: the next piece of sound.
        101 => Data(Data),
        /// `SPICE_MSG_PLAYBACK_MODE`: how what follows is compressed.
        102 => Mode {
            /// The server's clock in milliseconds.
            time: u32,
            /// How.
            mode: Mode,
        },
        /// `SPICE_MSG_PLAYBACK_START`: sound follows.
        103 => Start(Start),
        /// `SPICE_MSG_PLAYBACK_STOP`: no sound until the next start.
        104 => Stop,
        /// `SPICE_MSG_PLAYBACK_VOLUME`: of each channel, from 0 to 65535.
        105 => Volume(Vec<u16> as Volumes),
        /// `SPICE_MSG_PLAYBACK_MUTE`: whether nothing is to be heard.
        106 => Mute(bool as Byte),
        /// `SPICE_MSG_PLAYBACK_LATENCY`: the milliseconds of sound that a client has to hold at least.
        107 => Latency(u32),
    }
}

fields! {
    /// A piece of sound: a packet of Opus, or raw samples.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Data {
        /// When its first sample was made, by the server's clock in milliseconds.
        pub time: u32,
        /// Its bytes.
        pub data: Payload,
    }
}

fields! {
    /// What the sound is that follows.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Start {
        /// Channels.
        pub channels: u32,
        /// What a sample is.
        pub format: SampleFormat,
        /// Samples of each channel a second.
        pub frequency: u32,
        /// The server's clock in milliseconds.
        pub time: u32,
    }
}
