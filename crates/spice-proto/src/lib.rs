//! The SPICE remote-desktop protocol, without I/O: what a server needs to speak it, and the messages of both sides.
//!
//! Nothing here opens a socket, starts a thread or asks for the time. Bytes and `now` go in; messages, events and
//! deadlines come out.
//!
//! A client opens one connection for each channel of its session. Each goes through two stages:
//!
//! 1. [`link`]: the client names the channel, the server shows a key, the client sends a ticket ([`auth`]), the server
//!    lets it in.
//! 2. [`channels`]: messages both ways, until either side closes the connection.
//!
//! [`wire`] has what both are made of.
#![cfg_attr(
    test,
    allow(
        clippy::as_conversions,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used,
        clippy::expect_used
    )
)]

pub mod auth;
pub mod channels;
pub mod link;
pub mod wire;
