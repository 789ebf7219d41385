//! The guest agent's protocol, which the main channel carries in pieces: what passes between a client and the agent,
//! and an agent of our own for guests that have none.
//!
//! The stream of each direction is made of messages: a header and a body that may be far larger than a piece.
//! [`Filter`] cuts a stream into messages again and passes on what the [`Rules`] allow, piece by piece: of a large body
//! it never holds more than one piece. [`GuestPort`] is how the same stream looks at the guest's serial port.

mod error;
mod filter;
mod guest_port;
mod messages;
mod own_agent;
mod pieces;
mod rules;
mod stream;

pub use error::AgentError;
pub use filter::{Filter, Found};
pub use guest_port::GuestPort;
pub use messages::{
    AgentCaps, Announcement, ClipboardType, Grab, HEADER_LEN, Header, MessageKind, Monitor, MonitorsConfig,
    MouseState, PIECE_MAX, TransferResult, caps,
};
pub use own_agent::{OwnAgent, OwnEvent};
pub use pieces::Pieces;
pub use rules::{Direction, Rules};

#[cfg(test)]
mod tests;
