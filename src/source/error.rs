use std::path::PathBuf;
use std::time::Duration;

use super::{Obstacle, QmpError};
use crate::frame::ConsoleId;

/// Why a [`Source`](super::Source) could not attach, or could not stay. Each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is no session bus to look for QEMU on.
    #[error("no D-Bus session bus ({0}): start under dbus-run-session, or give --dbus-address or --qmp")]
    NoSessionBus(zbus::Error),
    /// The bus of a given address cannot be reached.
    #[error("no D-Bus bus at {address}: {error}")]
    NoBus {
        /// The address.
        address: String,
        /// What happened.
        error: zbus::Error,
    },
    /// No bus of a libvirt domain has QEMU on it.
    #[error("{bus} is not there, or not of this domain: start the domain, or give --wait", bus = bus.display())]
    NoDomainBus {
        /// Where it would be, with a `*` for its number.
        bus: PathBuf,
    },
    /// The buses of libvirt's domains cannot be looked for.
    #[error("cannot look for the domain's bus in {}: {error}; see docs/libvirt.md for who may", folder.display())]
    DomainBuses {
        /// Where they are.
        folder: PathBuf,
        /// What happened.
        error: std::io::Error,
    },
    /// The bus of a libvirt domain does not let us in.
    #[error("{} is for user number {owner}: run as that one, or let libvirt's hook (docs/libvirt.md)", bus.display())]
    ForeignBus {
        /// Its socket.
        bus: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// A name that no program could own.
    #[error("{name} is no name a program can own on a bus: give another --bus-name ({error})")]
    BusName {
        /// The name.
        name: String,
        /// What is wrong with it.
        error: zbus::Error,
    },
    /// No QEMU has the name.
    #[error("nobody owns {name} on this bus: start QEMU with -display dbus, or give --wait")]
    NoOwner {
        /// The name.
        name: String,
    },
    /// QEMU could not be asked for a connection.
    #[error("QMP socket {path}: {error}", path = path.display())]
    Qmp {
        /// The socket.
        path: PathBuf,
        /// What happened.
        error: QmpError,
    },
    /// A socket that QEMU should have the other end of did not become a D-Bus connection.
    #[error("no D-Bus display at the other end of the socket: {0}")]
    Handshake(zbus::Error),
    /// QEMU, or the bus, took too long.
    #[error("QEMU did not answer within {} s ({what}): is it stopped, or busy with something else?", after.as_secs())]
    Deadline {
        /// What we waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// QEMU answered in a way no QEMU does.
    #[error("QEMU's answer to {what} makes no sense: {error}")]
    Answer {
        /// The call.
        what: &'static str,
        /// What is wrong with the answer.
        error: String,
    },
    /// QEMU refused a call.
    #[error("QEMU refuses {what}: {error}")]
    Refused {
        /// The call.
        what: &'static str,
        /// Its reason.
        error: zbus::Error,
    },
    /// QEMU went away before it was attached.
    #[error("QEMU closed the connection while we attached")]
    Left,
    /// The VM has nothing to show.
    #[error("this VM has no graphic console: give QEMU a display device, such as -device virtio-vga")]
    NoConsole,
    /// QEMU would end if we asked to see a console, or could.
    #[error("console {console} ({label:?}) is not shown, as QEMU could end when asked for it: {obstacle}")]
    Obstacle {
        /// The console.
        console: ConsoleId,
        /// What QEMU calls it.
        label: String,
        /// Why.
        obstacle: Obstacle,
    },
    /// QEMU does not let us see a console.
    #[error(
        "QEMU refuses to show console {console}: {error}; QEMU before 9.2 shows it to one program at a time"
    )]
    Register {
        /// The console.
        console: ConsoleId,
        /// Its reason.
        error: zbus::Error,
    },
    /// The socket for a VMM cannot be made.
    #[error("cannot listen on {path} for a VMM: {error}", path = path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What happened.
        error: std::io::Error,
    },
    /// No picture comes any more, from a QEMU that still runs.
    #[error("QEMU closed all its display connections but still runs: start this program again")]
    NoListener,
}

impl SourceError {
    /// Whether it says no more than that QEMU is not there, so that one can wait for it.
    pub(super) fn is_absence(&self) -> bool {
        match self {
            Self::NoBus { .. } | Self::NoDomainBus { .. } | Self::NoOwner { .. } | Self::Left => true,
            Self::Qmp { error, .. } => error.is_absence(),
            _ => false,
        }
    }
}
