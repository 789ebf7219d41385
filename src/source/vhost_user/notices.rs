//! Notices for the VMM, on the socket where a device speaks first. The crate `vhost` has no call for this one.

use std::os::fd::OwnedFd;
use std::sync::Mutex;

use rustix::net::{SendFlags, send};
use tracing::debug;

use super::hold::lock;
use super::messages::Header;

/// `VHOST_USER_BACKEND_CONFIG_CHANGE_MSG`: the device's configuration changed.
const CONFIG_CHANGE: u32 = 2;

/// The socket for notices, if the VMM has given one.
#[derive(Debug, Default)]
pub(super) struct Notices(Mutex<Option<OwnedFd>>);

impl Notices {
    /// Takes the socket that the VMM gave.
    pub(super) fn connect(&self, socket: OwnedFd) {
        *lock(&self.0) = Some(socket);
    }

    /// Gives the socket up.
    pub(super) fn disconnect(&self) {
        *lock(&self.0) = None;
    }

    /// Notifies the VMM, and so the guest, that the configuration changed. Waits for nobody: a VMM that reads none of
    /// its notices gets no more.
    pub(super) fn config_changed(&self) {
        let socket = lock(&self.0);
        let Some(socket) = socket.as_ref() else {
            return debug!("the VMM takes no notices: its guest keeps its size");
        };
        let notice = Header::new(CONFIG_CHANGE, 0).encode();
        if let Err(error) = send(socket, &notice, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            debug!(%error, "the VMM does not take a notice");
        }
    }
}
