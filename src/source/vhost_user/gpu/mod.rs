//! A virtio-gpu device without I/O: a guest's commands go in; answers, and what became of the picture, come out.
//!
//! Follows chapter "GPU Device" of the virtio specification. Every byte of a command is the guest's, and a guest may be
//! hostile: what makes no sense gets an error reply and changes nothing.

mod config;
mod cursor;
mod device;
mod edid;
mod host;
mod outputs;
mod protocol;
mod resources;
mod scanouts;

pub(super) use config::Config;
pub(super) use cursor::CursorChange;
pub(super) use device::{Device, Effect};
pub(super) use host::{Host, Range};
pub(super) use outputs::Outputs;
pub(super) use protocol::{MAX_REQUEST, asks_for_display};
pub(super) use scanouts::Picture;

#[cfg(test)]
mod tests;
