//! The SPICE protocol, server side: wire format, tickets and the channels' state machines.
//!
//! Everything under [`wire`], [`auth`] and [`channel`] is pure: no sockets, no tasks and no clock. Bytes and `now` go
//! in, frames, events and deadlines come out.

pub mod auth;
pub mod channel;
mod driver;
mod images;
mod lobby;
mod places;
mod session;
pub mod wire;

pub use auth::Password;
pub use driver::{Server, Settings};
