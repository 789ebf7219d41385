//! The messages of the data stage, one file for each channel.
//!
//! Each file has an enum for what the server sends and one for what a client sends. `encode` makes a
//! [`Message`](super::Message); `decode` takes the type and body of one and never trusts them. Types without a meaning
//! to us decode as `Unknown`, so that a channel can ignore them.

pub mod base;
pub mod cursor;
pub mod display;
pub mod inputs;
pub mod main;
