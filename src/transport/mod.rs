//! Where viewers come from: TCP and unix sockets, all as one [`Stream`]. Knows bytes, not SPICE.

mod address;
mod listener;
mod peer;
mod stream;

pub use crate::sys::TcpState;
pub use address::{Address, AddressError};
pub use listener::{BindError, Listener};
pub use peer::{Origin, Peer};
pub use stream::{SendQueue, Stream};
