//! The channels that carry bytes to and from a device of the guest: USB redirection, shared folders, and ports by name.

mod machine;
mod messages;

pub use machine::{PORT_QUEUE_MAX, PortChannel, PortEvent};
pub use messages::{Event, FromClient, FromServer, Init};

#[cfg(test)]
mod tests;
