//! Where viewers come from: TCP and unix sockets, in the clear or inside TLS, all as one [`Stream`]. Knows bytes, not
//! SPICE.

mod address;
mod listener;
mod peer;
mod security;
mod socket;
mod stream;
mod tls;

pub(crate) use crate::sys::TcpState;
pub(crate) use address::Address;
pub(crate) use listener::Listener;
pub(crate) use peer::{Origin, Peer};
pub(crate) use security::{OpenError, Security};
pub(crate) use socket::{SendQueue, Socket};
pub(crate) use stream::Stream;
pub(crate) use tls::{ClientCertificates, Tls};
