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
//! [`wire`] has what both are made of, and [`agent`] is what the main channel carries for the guest's agent.
//!
//! A connection's first steps, with the bytes that a socket would bring:
//!
//! ```
//! use std::time::Instant;
//!
//! use spice_proto::auth::{Admission, TicketKey};
//! use spice_proto::link::{LINK_MAGIC, LinkEvent, LinkMachine, LinkMess};
//! use spice_proto::wire::{Caps, ChannelId, ChannelType};
//!
//! let main = ChannelId { kind: ChannelType::Main, id: 0 };
//! let hello = LinkMess { connection_id: 0, channel: main, common_caps: Caps::NONE, channel_caps: Caps::NONE };
//! let received = hello.encode();
//!
//! let mut machine = LinkMachine::new(Instant::now());
//! let mut input = received.as_slice();
//! let Some(LinkEvent::Hello(request)) = machine.recv(&mut input)? else { panic!("the hello is complete") };
//! assert_eq!(request.channel, main);
//!
//! // Nothing is asked of the client, so nobody needs the private half of the key.
//! let key = TicketKey::generate()?;
//! machine.greet(Admission::Open(*key.spki()), Caps::NONE);
//! let reply = machine.take_output(); // to be sent
//! assert!(reply.starts_with(&LINK_MAGIC));
//!
//! // A client that has sent no ticket by then is to be disconnected.
//! assert!(machine.deadline().is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/smallest_server.rs` goes on from here: a whole server that spice-gtk accepts, with a picture and input.
#![cfg_attr(test, allow(clippy::as_conversions))] // clippy.toml allows the rest in tests

pub mod agent;
pub mod auth;
pub mod channels;
pub mod link;
pub mod wire;
