//! What there is to know of the guest's devices that viewers can have.

use spice_proto::wire::{ChannelId, ChannelType};

use crate::hub::{Device, Hub};

/// A device of the guest, and who has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct DeviceInfo {
    /// The channel of a client that has it.
    pub channel: ChannelId,
    /// The name of its port.
    pub name: String,
    /// Whether the guest has it open.
    pub is_open: bool,
    /// The numbers of the clients that want it: of the one that has it, and of those that wait, in their order.
    pub clients: Vec<u64>,
}

/// Returns the devices of the guest, sorted by kind and number.
#[must_use]
pub(crate) fn devices(hub: &Hub) -> Vec<DeviceInfo> {
    let guest = hub.guest();
    let guest = guest.borrow();
    let known = guest.ports.values().filter_map(|port| {
        let device = Device::of_port(&port.name)?;
        let channel = ChannelId { kind: channel(device), id: port.number };
        let clients = hub.device(device, port.number).clients();
        Some(DeviceInfo { channel, name: port.name.clone(), is_open: port.is_open, clients })
    });
    let mut devices: Vec<_> = known.collect();
    devices.sort_by_key(|device| (device.channel.kind.code(), device.channel.id));
    devices
}

/// Returns the kind of channel that a client has to a device.
pub(super) const fn channel(device: Device) -> ChannelType {
    match device {
        Device::Usb => ChannelType::Usbredir,
        Device::Folder => ChannelType::Webdav,
        Device::Stream => ChannelType::Port,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::PortInfo;

    #[test]
    fn devices_are_told_with_those_who_want_them() {
        let hub = Hub::default();
        hub.change_guest(|guest| {
            for (id, name) in
                [("a", "org.qemu.monitor.hmp.0"), ("b", "com.example"), ("c", "org.qemu.usbredir")]
            {
                let port = PortInfo { name: name.to_owned(), is_open: id == "b", ..PortInfo::default() };
                guest.add_port(id.to_owned(), port);
            }
        });
        let turns = [7, 9].map(|client| hub.device(Device::Stream, 0).enter(client));
        let told = devices(&hub)
            .into_iter()
            .map(|device| (device.channel.to_string(), device.is_open, device.clients));
        let wanted = [("usbredir:0".to_owned(), false, vec![]), ("port:0".to_owned(), true, vec![7, 9])];
        assert_eq!(told.collect::<Vec<_>>(), wanted);
        drop(turns);
    }
}
