//! Where viewers come from: TCP and unix sockets, in the clear or inside TLS, WebSockets or not, all as one [`Stream`],
//! from clients or from proxies in front of us. Knows bytes, not SPICE.

mod address;
mod carrier;
mod http;
mod listener;
mod peeked;
mod peer;
mod proxy;
mod route;
mod security;
mod socket;
mod stream;
mod tls;
mod traffic;
mod web_socket;

pub(crate) use crate::sys::TcpState;
pub(crate) use address::Address;
pub(crate) use http::{HttpError, Origins};
pub(crate) use listener::Listener;
pub(crate) use peer::{Origin, Peer};
pub(crate) use proxy::{TrustedProxies, TrustedProxy};
pub(crate) use route::Route;
pub(crate) use security::{OpenError, Security, Sign};
pub(crate) use socket::{HandedError, SendQueue, Socket};
pub(crate) use stream::Stream;
pub(crate) use tls::{ClientCertificates, Tls, TlsError};
pub(crate) use traffic::Traffic;
