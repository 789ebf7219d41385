//! The SPICE protocol, server side: wire format, tickets and the channels' state machines.
//!
//! Everything under [`wire`], [`auth`] and [`channel`] is pure: no sockets, no tasks and no clock. Bytes and `now` go
//! in, frames, events and deadlines come out.

// These three are as in a crate of their own: public, and with clients' halves, which tests use.
#[allow(unreachable_pub, dead_code, unused_imports)]
pub mod auth;
#[allow(unreachable_pub, dead_code, unused_imports)]
pub mod channel;
mod driver;
mod images;
mod lobby;
mod places;
mod session;
#[allow(unreachable_pub, dead_code, unused_imports)]
pub mod wire;

pub(crate) use auth::Password;
pub(crate) use driver::{Server, Settings};
