//! The guest's serial ports that end at QEMU's `-chardev dbus`.

use std::convert::Infallible;
use std::os::fd::OwnedFd;

use tracing::{debug, warn};
use zbus::zvariant::{Fd, ObjectPath};

use super::connect::Qemu;
use crate::display1::{CHARDEV, chardev_path};
use crate::hub::{Hub, PortRequest};

/// The most ports of a VM that are known. QEMU's virtio-serial has 31 for each device.
pub(super) const MAX_PORTS: usize = 64;

/// Connects those who ask for it with the ports of this QEMU.
pub(super) async fn connect(qemu: &Qemu, hub: &Hub) -> Infallible {
    loop {
        let PortRequest { id, socket } = hub.ports().next().await;
        let path = chardev_path(&id);
        if !hub.guest().borrow().ports.contains_key(&id) || ObjectPath::try_from(path.as_str()).is_err() {
            debug!(port = id, "no such port");
            continue;
        }
        if let Err(error) = qemu.call(&path, CHARDEV, "Register", &Fd::from(OwnedFd::from(socket))).await {
            warn!(port = id, %error, "QEMU does not connect the guest's port");
        }
    }
}
