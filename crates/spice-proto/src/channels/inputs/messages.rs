//! Messages of the inputs channel.

use crate::wire::{Form, Reader, WireError, Writer, messages};

messages! {
    /// From server to client.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum FromServer, "inputs message from server" in errors {
        /// `SPICE_MSG_INPUTS_INIT`, the first message: the guest's lock lights.
        101 => Init(LockKeys),
        /// `SPICE_MSG_INPUTS_KEY_MODIFIERS`: the guest's lock lights changed.
        102 => KeyModifiers(LockKeys),
        /// `SPICE_MSG_INPUTS_MOUSE_MOTION_ACK`: four more motions have arrived.
        111 => MouseMotionAck,
    }
}

messages! {
    /// From client to server.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum FromClient, "inputs message from client" in errors {
        /// `SPICE_MSGC_INPUTS_KEY_DOWN`: up to four scan code bytes, the first in the low byte; a zero byte ends them.
        101 => KeyDown(u32),
        /// `SPICE_MSGC_INPUTS_KEY_UP`: as above.
        102 => KeyUp(u32),
        /// `SPICE_MSGC_INPUTS_KEY_MODIFIERS`: how the client's user wants the lock keys.
        103 => KeyModifiers(LockKeys),
        /// `SPICE_MSGC_INPUTS_KEY_SCANCODE`: scan code bytes as a keyboard sends them.
        104 => KeyScancode(Vec<u8>),
        /// `SPICE_MSGC_INPUTS_MOUSE_MOTION`: relative motion.
        111 => MouseMotion {
            /// To the right.
            dx: i32,
            /// Down.
            dy: i32,
            /// Pressed buttons, `SPICE_MOUSE_BUTTON_MASK_*`.
            buttons: u16,
        },
        /// `SPICE_MSGC_INPUTS_MOUSE_POSITION`: absolute position in the display's pixels.
        112 => MousePosition {
            /// Column.
            x: u32,
            /// Row.
            y: u32,
            /// Pressed buttons, `SPICE_MOUSE_BUTTON_MASK_*`.
            buttons: u16,
            /// Which display.
            display_id: u8,
        },
        /// `SPICE_MSGC_INPUTS_MOUSE_PRESS`.
        113 => MousePress {
            /// `SPICE_MOUSE_BUTTON_*`.
            button: u8,
            /// Pressed buttons, `SPICE_MOUSE_BUTTON_MASK_*`.
            buttons: u16,
        },
        /// `SPICE_MSGC_INPUTS_MOUSE_RELEASE`.
        114 => MouseRelease {
            /// `SPICE_MOUSE_BUTTON_*`.
            button: u8,
            /// Pressed buttons, `SPICE_MOUSE_BUTTON_MASK_*`.
            buttons: u16,
        },
    }
}

/// `SPICE_KEYBOARD_MODIFIER_FLAGS_*`: the locks of a keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LockKeys {
    /// Scroll lock.
    pub scroll: bool,
    /// Num lock.
    pub num: bool,
    /// Caps lock.
    pub caps: bool,
}

impl LockKeys {
    const SCROLL: u16 = 1;
    const NUM: u16 = 2;
    const CAPS: u16 = 4;

    /// The locks in a mask; other bits are dropped.
    pub fn from_bits(bits: u16) -> Self {
        Self { scroll: bits & Self::SCROLL != 0, num: bits & Self::NUM != 0, caps: bits & Self::CAPS != 0 }
    }

    /// The mask.
    pub fn bits(self) -> u16 {
        let bit = |on: bool, mask: u16| if on { mask } else { 0 };
        bit(self.scroll, Self::SCROLL) | bit(self.num, Self::NUM) | bit(self.caps, Self::CAPS)
    }
}

impl Form for LockKeys {
    fn write(value: &Self, w: &mut Writer) {
        w.u16(value.bits());
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        r.u16().map(Self::from_bits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn server_messages_survive_the_wire() {
        let locks = LockKeys { num: true, ..LockKeys::default() };
        for message in [
            FromServer::Init(locks),
            FromServer::KeyModifiers(LockKeys { caps: true, ..locks }),
            FromServer::MouseMotionAck,
            FromServer::Unknown { id: 150 },
        ] {
            let wire = message.encode();
            assert_eq!(FromServer::decode(wire.id(), &wire.body()), Ok(message));
        }
    }

    #[test]
    fn the_bytes_of_a_pointer_position() {
        let message = FromClient::MousePosition { x: 640, y: 3, buttons: 1, display_id: 2 };
        let wire = message.encode();
        assert_eq!((wire.id(), wire.body()), (112, vec![0x80, 2, 0, 0, 3, 0, 0, 0, 1, 0, 2]));
    }

    fn client_message() -> impl Strategy<Value = FromClient> {
        prop_oneof![
            any::<u32>().prop_map(FromClient::KeyDown),
            any::<u32>().prop_map(FromClient::KeyUp),
            (0u16..8).prop_map(|bits| FromClient::KeyModifiers(LockKeys::from_bits(bits))),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(FromClient::KeyScancode),
            any::<(i32, i32, u16)>().prop_map(|(dx, dy, buttons)| FromClient::MouseMotion {
                dx,
                dy,
                buttons
            }),
            any::<(u32, u32, u16, u8)>().prop_map(|(x, y, buttons, display_id)| FromClient::MousePosition {
                x,
                y,
                buttons,
                display_id
            }),
            any::<(u8, u16)>().prop_map(|(button, buttons)| FromClient::MousePress { button, buttons }),
            any::<(u8, u16)>().prop_map(|(button, buttons)| FromClient::MouseRelease { button, buttons }),
        ]
    }

    proptest! {
        #[test]
        fn client_messages_survive_the_wire(message in client_message()) {
            let wire = message.encode();
            prop_assert_eq!(FromClient::decode(wire.id(), &wire.body()), Ok(message));
        }

        #[test]
        fn random_bytes_never_panic(id in 100u16..116, body in proptest::collection::vec(any::<u8>(), 0..32)) {
            let _ = FromServer::decode(id, &body);
            let _ = FromClient::decode(id, &body);
        }
    }
}
