//! The channels' state machines.
//!
//! Bytes and `now` go in; frames, events and deadlines come out. Whoever drives a machine does this, in any order and
//! as often as it likes:
//!
//! - when bytes arrive: `recv` with the same slice until it yields nothing, acting on each event;
//! - then, and after every other call: write what `poll_frame` yields until it yields nothing;
//! - sleep until `deadline`, then call `handle_timeout`;
//! - on any error: close the connection.

mod cursor;
mod display;
mod error;
mod flow;
mod inputs;
mod link;
mod machine;
mod main;

pub use cursor::{CURSOR_BODY_MAX, CursorChannel};
pub use display::{DISPLAY_BODY_MAX, DisplayChannel, DisplayEvent, Video};
pub use error::ChannelError;
pub use flow::{ACK_TIMEOUT, ClientMessage, Flow, HALF_MESSAGE_TIMEOUT, PING_TIMEOUT, QUEUED_FRAMES_MAX};
pub use inputs::{INPUTS_BODY_MAX, InputsChannel};
pub use link::{HELLO_TIMEOUT, LINK_TIMEOUT, LinkEvent, LinkFailure, LinkMachine, LinkRequest};
pub use machine::Machine;
pub use main::{MAIN_BODY_MAX, MainChannel, MainEvent, MainStart};

#[cfg(test)]
mod tests;
