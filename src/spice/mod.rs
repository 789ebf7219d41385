//! Serves SPICE clients: sessions, and sockets and tasks around the state machines of the `spice-proto` crate.

mod access;
mod back_off;
mod codecs;
mod devices;
mod driver;
mod exact_images;
mod grant;
pub(crate) mod invitations;
mod lobby;
mod newcomers;
mod places_by_owner;
mod session;
pub(crate) mod users;
mod windows;

pub use access::Access;
pub(crate) use access::{AccessError, Expiry, Lock};
pub(crate) use devices::{DeviceInfo, devices};
pub use driver::{Exchange, OFFERED, Step};
pub(crate) use driver::{PlainChannels, Server, Settings};
pub(crate) use grant::Rights;
pub(crate) use invitations::{Invitation, Invite};
pub(crate) use newcomers::NewcomerError;
pub use newcomers::Newcomers;
pub(crate) use session::{ClientInfo, Sessions};
pub(crate) use spice_proto::agent::Rules as AgentRules;
pub(crate) use spice_proto::auth::Password;
