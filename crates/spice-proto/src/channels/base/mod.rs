//! What every channel has: messages of its own, framing, acknowledgements and pings.

mod acks;
mod flow;
mod framing;
mod messages;
mod pings;

pub use flow::{ACK_TIMEOUT, Flow, HALF_MESSAGE_TIMEOUT, PING_TIMEOUT, QUEUED_FRAMES_MAX};
pub use framing::ClientMessage;
pub(in crate::channels) use messages::sendable;
pub use messages::{Disconnecting, FromClient, FromServer, LAST, Notify, Ping, Severity};

#[cfg(test)]
mod tests;
