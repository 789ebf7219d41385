use std::collections::BTreeMap;

use crate::frame::{ConsoleId, Cursor, Pointer};

/// What is known of the VM besides its pictures.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Guest {
    /// Its name, empty where it has none.
    pub name: String,
    /// Its UUID, all zero where it has none.
    pub uuid: [u8; 16],
    /// Its graphic consoles; none while no VM is attached.
    pub consoles: BTreeMap<ConsoleId, ConsoleInfo>,
    /// The lights of its keyboard.
    pub leds: Leds,
}

impl Guest {
    /// Whether the guest takes absolute pointer positions, so that the viewer's own pointer can be shown.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        self.consoles.values().any(|console| console.absolute)
    }

    /// Its UUID in the usual form, of 32 hexadecimal digits and four dashes.
    #[must_use]
    pub fn uuid_text(&self) -> String {
        let mut text = format!("{:032x}", u128::from_be_bytes(self.uuid));
        for at in [20, 16, 12, 8] {
            text.insert(at, '-');
        }
        text
    }
}

/// What is known of one console besides its picture.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConsoleInfo {
    /// QEMU's name for it, such as the device it belongs to.
    pub label: String,
    /// Its pointing device takes absolute positions (`Mouse.IsAbsolute`).
    pub absolute: bool,
}

/// Keyboard lights. Bits as in `Keyboard.Modifiers` and in SPICE's `SPICE_SCROLL_LOCK_MODIFIER` and its neighbours.
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

    /// The lights among these bits; others are not lights.
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        let [bits, ..] = bits.to_le_bytes();
        Self { bits: bits & (Self::SCROLL | Self::NUM | Self::CAPS) }
    }

    /// The bits of the lights that are on.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.bits
    }
}

/// A console's cursor: its shape, once the guest has defined one, and where it is.
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
    fn a_uuid_has_four_dashes() {
        let uuid = std::array::from_fn(|n| n as u8 * 0x11);
        let guest = Guest { uuid, ..Guest::default() };
        assert_eq!(guest.uuid_text(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(Guest::default().uuid_text(), "00000000-0000-0000-0000-000000000000");
    }
}
