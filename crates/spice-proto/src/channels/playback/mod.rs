//! The playback channel: the guest's sound.

pub mod caps;
mod machine;
mod messages;

pub use machine::{LAG_MAX, PLAYBACK_BODY_MAX, Packet, PlaybackChannel};
pub use messages::{Data, FromServer, Start};

#[cfg(test)]
mod tests;
