//! Our own place on a bus: the name `org.qemu.spice`, under which the [`Relay`] offers the VM's display and
//! `/org/qemu/Spice1` tells how we are doing and who is there; [`status`], which asks for that; and [`certificate`],
//! which makes one.
//!
//! [`Relay`]: crate::relay::Relay

pub(crate) mod certificate;
mod clients;
mod connection_file;
mod control;
mod metrics;
mod presence;
mod screenshot;
mod server;
pub mod status;
pub(crate) mod watch;

pub(crate) use connection_file::ConnectionFile;
pub(crate) use control::{Control, ControlError, Invitation, Picture};
pub(crate) use metrics::Metrics;
pub use presence::{MessageBus, Presence};

/// The name that every qemu-spice on a bus asks for. The first has it, the others are queued: `ListQueuedOwners` of
/// `org.freedesktop.DBus` gives all.
pub(crate) const NAME: &str = "org.qemu.spice";

/// Where our own object is.
const PATH: &str = "/org/qemu/Spice1";

/// The interface of our own object.
const INTERFACE: &str = "org.qemu.Spice1.Server";

/// The interface of a client's object, whose path is [`PATH`] and `Client_` with a number.
const CLIENT_INTERFACE: &str = "org.qemu.Spice1.Client";
