//! The record channel: sound from a client's microphone.

pub mod caps;
mod machine;
mod messages;

pub use machine::{OPUS_PACKET_MAX, RECORD_BODY_MAX, RecordChannel, Recorded};
pub use messages::{Data, FromClient, FromServer, Start};

#[cfg(test)]
mod tests;
