//! Where the machine is, by the options: QEMU's display, our own devices, and the bus to offer the display on.

use std::io;
use std::path::Path;

use anyhow::Context;

use crate::admin::{self, MessageBus};
use crate::cli::{DeviceSocket, Pointer, RelayBus, Serve};
use crate::source::{Attach, PointingDevice, VhostUserInput};

/// The way to QEMU's display. Whoever is the guest's graphics card needs none.
pub(super) fn attach(options: &Serve, domain: Option<Attach>) -> anyhow::Result<Option<Attach>> {
    if domain.is_some() {
        return Ok(domain);
    }
    Ok(Some(match (&options.qmp, options.dbus_p2p_fd, &options.dbus_address) {
        (Some(path), _, _) => Attach::Qmp(path.clone()),
        (_, Some(number), _) => Attach::Peer(crate::sys::inherited_fd(number).with_context(|| {
            format!("--dbus-p2p-fd: fd {number} was not left open by the parent process")
        })?),
        (_, _, Some(address)) => Attach::Bus(address.clone()),
        _ if options.vhost_user_gpu.is_some() => return Ok(None),
        _ => Attach::SessionBus,
    }))
}

/// Makes the keyboard and pointer that a VMM finds at a socket.
pub(super) fn input(options: &Serve) -> anyhow::Result<Option<VhostUserInput>> {
    let pointer = match options.vhost_user_pointer {
        Pointer::Tablet => PointingDevice::Tablet,
        Pointer::Mouse => PointingDevice::Mouse,
    };
    let input = device(VhostUserInput::bind, VhostUserInput::inherit, options.vhost_user_input.as_ref())?;
    Ok(input.map(|input| input.with_pointer(pointer)))
}

/// Makes a device that a VMM finds at a socket.
pub(super) fn device<T>(
    bind: fn(&Path) -> io::Result<T>,
    inherit: fn(i32) -> io::Result<T>,
    socket: Option<&DeviceSocket>,
) -> anyhow::Result<Option<T>> {
    Ok(match socket {
        None => None,
        Some(DeviceSocket::Path(path)) => Some(
            bind(path)
                .with_context(|| format!("cannot listen on {} for a virtual machine", path.display()))?,
        ),
        Some(DeviceSocket::Fd(number)) => Some(
            inherit(*number)
                .with_context(|| format!("fd {number} is no socket for or of a virtual machine"))?,
        ),
    })
}

/// The bus to offer the display on: as the user says, else the one QEMU is on. What another qemu-spice offers there is
/// not offered a third time: it would be ours in the end.
pub(super) fn relay_bus(options: &Serve, attach: Option<&Attach>) -> Option<MessageBus> {
    match (&options.relay_bus, attach) {
        (Some(RelayBus::None), _)
        | (None, None | Some(Attach::Peer(_) | Attach::Qmp(_) | Attach::Libvirt { .. })) => None,
        (None, _) if options.bus_name == admin::NAME => None,
        (Some(RelayBus::Session), _) | (None, Some(Attach::SessionBus)) => Some(MessageBus::Session),
        (Some(RelayBus::Address(address)), _) | (None, Some(Attach::Bus(address))) => {
            Some(MessageBus::Address(address.clone()))
        }
    }
}
