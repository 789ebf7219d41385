//! Where viewers come from: TCP and unix sockets, all as one [`Stream`]. Knows bytes, not SPICE.

mod address;
mod listener;
mod stream;

pub use crate::sys::TcpState;
pub use address::{Address, AddressError};
pub use listener::{BindError, Listener};
pub use stream::{Peer, SendQueue, Stream};
