//! Messages of the record channel.

use crate::channels::sound::{Mode, SampleFormat, Volumes};
use crate::wire::{Byte, fields, messages};

messages! {
    /// From server to client.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum FromServer, "record message from server" in errors {
        /// `SPICE_MSG_RECORD_START`: the guest wants sound.
        101 => Start(Start),
        /// `SPICE_MSG_RECORD_STOP`: the guest wants none.
        102 => Stop,
        /// `SPICE_MSG_RECORD_VOLUME`: of each channel, from 0 to 65535.
        103 => Volume(Vec<u16> as Volumes),
        /// `SPICE_MSG_RECORD_MUTE`: whether the guest wants silence.
        104 => Mute(bool as Byte),
    }
}

messages! {
    /// From client to server.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum FromClient, "record message from client" in errors {
        /// `SPICE_MSGC_RECORD_DATA`: the next piece of sound.
        101 => Data(Data),
        /// `SPICE_MSGC_RECORD_MODE`: how what follows is compressed.
        102 => Mode {
            /// The client's time in milliseconds.
            time: u32,
            /// How.
            mode: Mode,
            /// Of compressions that are long gone.
            extra: Vec<u8>,
        },
        /// `SPICE_MSGC_RECORD_START_MARK`: the time at which the recording began.
        103 => StartMark(u32),
    }
}

fields! {
    /// What the guest wants.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Start {
        /// Channels.
        pub channels: u32,
        /// What a sample is.
        pub format: SampleFormat,
        /// Samples of each channel a second.
        pub frequency: u32,
    }
}

fields! {
    /// A piece of sound: a packet of Opus, or raw samples.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Data {
        /// The client's time in milliseconds.
        pub time: u32,
        /// Its bytes.
        pub data: Vec<u8>,
    }
}
