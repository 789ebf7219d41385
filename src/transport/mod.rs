//! Where viewers come from: TCP and unix sockets, all as one [`Stream`]. Knows bytes, not SPICE.

mod address;
mod listener;
mod peer;
mod stream;

pub(crate) use crate::sys::TcpState;
pub(crate) use address::Address;
pub(crate) use listener::Listener;
pub(crate) use peer::{Origin, Peer};
pub(crate) use stream::{SendQueue, Stream};
