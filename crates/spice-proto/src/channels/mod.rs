//! The channels of a session: for each its messages and the state machine of the server's side.
//!
//! Each folder has an enum for what the server sends and one for what a client sends. `encode` makes a
//! [`Message`](crate::wire::Message); `decode` takes the type and body of one and never trusts them. Types without a
//! meaning to us decode as `Unknown`, so that a channel can ignore them. Both follow from one statement of the message
//! (`wire/statements.rs`).
//!
//! Bytes and `now` go into a [`Machine`]; frames, events and deadlines come out. Whoever drives one does this, in any
//! order and as often as it likes:
//!
//! - when bytes arrive, and none are to be read while it `is_full`: `recv` with the same slice until it yields nothing,
//!   acting on each event;
//! - then, and after every other call: write what `poll_frame` yields until it yields nothing;
//! - sleep until `deadline`, then call `handle_timeout`;
//! - on any error: close the connection.

pub mod base;
pub mod cursor;
pub mod display;
mod error;
pub mod inputs;
mod machine;
pub mod main;
pub mod playback;
pub mod port;
pub mod record;
pub mod sound;

pub use error::ChannelError;
pub use machine::Machine;
