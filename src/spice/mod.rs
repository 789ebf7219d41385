//! Serves SPICE clients: sessions, and sockets and tasks around the state machines of the `spice-proto` crate.

mod access;
mod codecs;
mod driver;
mod exact_images;
mod lobby;
mod newcomers;
mod places_by_owner;
mod session;

pub use access::Access;
pub(crate) use access::{AccessError, Expiry};
pub(crate) use driver::{PlainChannels, Server, Settings};
pub(crate) use newcomers::NewcomerError;
pub use newcomers::Newcomers;
pub(crate) use session::{ClientInfo, Sessions};
pub(crate) use spice_proto::auth::Password;
