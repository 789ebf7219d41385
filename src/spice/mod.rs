//! Serves SPICE clients: sessions, and sockets and tasks around the state machines of the `spice-proto` crate.

mod driver;
mod images;
mod lobby;
mod places;
mod session;

pub(crate) use driver::{Server, Settings};
pub(crate) use spice_proto::auth::Password;
