use std::collections::BTreeMap;

use super::ports::{Device, PortInfo};
use crate::frame::{ConsoleId, Cursor, Pointer};

/// Facts about the VM other than its pictures.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Guest {
    /// The VM's name; empty if it has none.
    pub name: String,
    /// The VM's UUID; all zero if it has none.
    pub uuid: [u8; 16],
    /// The graphic consoles; empty while no VM is attached.
    pub consoles: BTreeMap<ConsoleId, ConsoleInfo>,
    /// The LEDs of the guest's keyboard.
    pub leds: Leds,
    /// The serial ports that the VMM passes on, by its name for each.
    pub ports: BTreeMap<String, PortInfo>,
    /// Whether it has a sound card.
    pub sound: bool,
    /// Whether its VMM carries clipboards between it and us.
    pub clipboard: bool,
}

impl Guest {
    /// Returns whether the guest takes absolute pointer positions. If so, viewers can show their own pointer.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        self.consoles.values().any(|console| console.absolute)
    }

    /// Adds a port, and gives it the first number that no other of its kind has. It is left out if there is none.
    pub(crate) fn add_port(&mut self, id: String, mut port: PortInfo) {
        let device = Device::of_port(&port.name);
        let taken = |number| device.is_some_and(|device| self.device(device, number).is_some());
        if let Some(number) = (0..=u8::MAX).find(|number| !taken(*number)) {
            port.number = number;
            self.ports.insert(id, port);
        }
    }

    /// Finds a device among the ports, by the VMM's name for it.
    #[must_use]
    pub(crate) fn device(&self, device: Device, number: u8) -> Option<(&str, &PortInfo)> {
        let mut ports = self.ports.iter().filter(|(_, port)| Device::of_port(&port.name) == Some(device));
        ports.find(|(_, port)| port.number == number).map(|(id, port)| (id.as_str(), port))
    }

    /// Formats the UUID as 32 hexadecimal digits and four dashes.
    #[must_use]
    pub fn uuid_text(&self) -> String {
        let mut text = format!("{:032x}", u128::from_be_bytes(self.uuid));
        for at in [20, 16, 12, 8] {
            text.insert(at, '-');
        }
        text
    }
}

/// Facts about a console other than its picture.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConsoleInfo {
    /// QEMU's label, such as the device's name.
    pub label: String,
    /// The pointing device takes absolute positions (`Mouse.IsAbsolute`).
    pub absolute: bool,
}

/// LED state of a keyboard. Bits as in `Keyboard.Modifiers`, and as SPICE's `SPICE_SCROLL_LOCK_MODIFIER`,
/// `SPICE_NUM_LOCK_MODIFIER` and `SPICE_CAPS_LOCK_MODIFIER`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Leds {
    bits: u8,
}

impl Leds {
    /// Scroll lock.
    pub const SCROLL: u8 = 1;
    /// Num lock.
    pub const NUM: u8 = 2;
    /// Caps lock.
    pub const CAPS: u8 = 4;

    /// Reads the LED state from `bits`; other bits are ignored.
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        let [bits, ..] = bits.to_le_bytes();
        Self { bits: bits & (Self::SCROLL | Self::NUM | Self::CAPS) }
    }

    /// Returns the LED state as bits.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.bits
    }
}

/// A console's cursor: its shape, once the guest has defined one, and its position.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CursorState {
    /// The shape.
    pub shape: Option<Cursor>,
    /// The place, and whether it shows.
    pub pointer: Pointer,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_numbered_by_kind_and_keep_their_numbers() {
        let mut guest = Guest::default();
        let mut add = |id: &str, name: &str| {
            guest.add_port(id.to_owned(), PortInfo { name: name.to_owned(), ..PortInfo::default() });
        };
        add("u1", "org.qemu.usbredir");
        add("tty", "org.qemu.console.serial.0");
        add("u2", "org.qemu.usbredir");
        add("mon", "org.qemu.monitor.hmp.0");
        let id = |guest: &Guest, device, number| guest.device(device, number).map(|(id, _)| id.to_owned());
        assert_eq!([0, 1, 2].map(|n| id(&guest, Device::Usb, n).unwrap_or_default()), ["u1", "u2", ""]);
        assert_eq!([0, 1].map(|n| id(&guest, Device::Stream, n).unwrap_or_default()), ["tty", ""]);
        guest.ports.remove("u1");
        guest.add_port(
            "u3".to_owned(),
            PortInfo { name: "org.qemu.usbredir".to_owned(), ..PortInfo::default() },
        );
        assert_eq!([0, 1].map(|n| id(&guest, Device::Usb, n).unwrap()), ["u3", "u2"]);
    }

    #[test]
    fn a_uuid_has_four_dashes() {
        let uuid = std::array::from_fn(|n| n as u8 * 0x11);
        let guest = Guest { uuid, ..Guest::default() };
        assert_eq!(guest.uuid_text(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(Guest::default().uuid_text(), "00000000-0000-0000-0000-000000000000");
    }
}
