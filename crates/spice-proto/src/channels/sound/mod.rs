//! What the playback and the record channel have in common: how sound is compressed, and how loud it is.

mod messages;

pub(super) use messages::Volumes;
pub use messages::{Mode, SampleFormat, Volume};

/// Bytes of one frame of raw sound: two channels of 16 bits.
pub const RAW_FRAME_BYTES: usize = 4;
/// Samples a second of all sound here: Opus has no higher rate, and clients in web pages take no other one.
pub const RATE: u32 = 48_000;
/// Channels of all sound here.
pub const CHANNELS: u32 = 2;
