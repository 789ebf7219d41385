//! Messages of the inputs channel.

use crate::wire::{Message, Reader, WireError, Writer};

mod id {
    pub(super) const INIT: u16 = 101;
    pub(super) const KEY_MODIFIERS: u16 = 102;
    pub(super) const MOUSE_MOTION_ACK: u16 = 111;

    pub(super) const CLIENT_KEY_DOWN: u16 = 101;
    pub(super) const CLIENT_KEY_UP: u16 = 102;
    pub(super) const CLIENT_KEY_MODIFIERS: u16 = 103;
    pub(super) const CLIENT_KEY_SCANCODE: u16 = 104;
    pub(super) const CLIENT_MOUSE_MOTION: u16 = 111;
    pub(super) const CLIENT_MOUSE_POSITION: u16 = 112;
    pub(super) const CLIENT_MOUSE_PRESS: u16 = 113;
    pub(super) const CLIENT_MOUSE_RELEASE: u16 = 114;
}

/// From server to client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromServer {
    /// `SPICE_MSG_INPUTS_INIT`, the first message: the guest's lock lights.
    Init(LockKeys),
    /// `SPICE_MSG_INPUTS_KEY_MODIFIERS`: the guest's lock lights changed.
    KeyModifiers(LockKeys),
    /// `SPICE_MSG_INPUTS_MOUSE_MOTION_ACK`: four more motions have arrived.
    MouseMotionAck,
    /// Any other type.
    Unknown {
        /// The type.
        id: u16,
    },
}

/// From client to server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromClient {
    /// `SPICE_MSGC_INPUTS_KEY_DOWN`: up to four scan code bytes, the first in the low byte; a zero byte ends them.
    KeyDown(u32),
    /// `SPICE_MSGC_INPUTS_KEY_UP`: as above.
    KeyUp(u32),
    /// `SPICE_MSGC_INPUTS_KEY_MODIFIERS`: how the client's user wants the lock keys.
    KeyModifiers(LockKeys),
    /// `SPICE_MSGC_INPUTS_KEY_SCANCODE`: scan code bytes as a keyboard sends them.
    KeyScancode(Vec<u8>),
    /// `SPICE_MSGC_INPUTS_MOUSE_MOTION`: relative motion.
    MouseMotion {
        /// To the right.
        dx: i32,
        /// Down.
        dy: i32,
        /// Pressed buttons, `SPICE_MOUSE_BUTTON_MASK_*`.
        buttons: u16,
    },
    /// `SPICE_MSGC_INPUTS_MOUSE_POSITION`: absolute position in the display's pixels.
    MousePosition {
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
    MousePress {
        /// `SPICE_MOUSE_BUTTON_*`.
        button: u8,
        /// Pressed buttons, `SPICE_MOUSE_BUTTON_MASK_*`.
        buttons: u16,
    },
    /// `SPICE_MSGC_INPUTS_MOUSE_RELEASE`.
    MouseRelease {
        /// `SPICE_MOUSE_BUTTON_*`.
        button: u8,
        /// Pressed buttons, `SPICE_MOUSE_BUTTON_MASK_*`.
        buttons: u16,
    },
    /// Any other type.
    Unknown {
        /// The type.
        id: u16,
    },
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

impl FromServer {
    /// The message to send. `Unknown` becomes an empty message of its type.
    pub fn encode(&self) -> Message {
        let mut w = Writer::new();
        let id = match self {
            Self::Init(locks) => {
                w.u16(locks.bits());
                id::INIT
            }
            Self::KeyModifiers(locks) => {
                w.u16(locks.bits());
                id::KEY_MODIFIERS
            }
            Self::MouseMotionAck => id::MOUSE_MOTION_ACK,
            Self::Unknown { id } => *id,
        };
        Message::new(id, w)
    }

    /// Reads a message.
    pub fn decode(id: u16, body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body, "inputs message from server");
        let message = match id {
            id::INIT => Self::Init(LockKeys::from_bits(r.u16()?)),
            id::KEY_MODIFIERS => Self::KeyModifiers(LockKeys::from_bits(r.u16()?)),
            id::MOUSE_MOTION_ACK => Self::MouseMotionAck,
            _ => return Ok(Self::Unknown { id }),
        };
        r.finish()?;
        Ok(message)
    }
}

impl FromClient {
    /// The message to send. `Unknown` becomes an empty message of its type.
    pub fn encode(&self) -> Message {
        let mut w = Writer::new();
        let id = match self {
            Self::KeyDown(codes) => {
                w.u32(*codes);
                id::CLIENT_KEY_DOWN
            }
            Self::KeyUp(codes) => {
                w.u32(*codes);
                id::CLIENT_KEY_UP
            }
            Self::KeyModifiers(locks) => {
                w.u16(locks.bits());
                id::CLIENT_KEY_MODIFIERS
            }
            Self::KeyScancode(codes) => {
                w.bytes(codes);
                id::CLIENT_KEY_SCANCODE
            }
            Self::MouseMotion { dx, dy, buttons } => {
                w.i32(*dx);
                w.i32(*dy);
                w.u16(*buttons);
                id::CLIENT_MOUSE_MOTION
            }
            Self::MousePosition { x, y, buttons, display_id } => {
                w.u32(*x);
                w.u32(*y);
                w.u16(*buttons);
                w.u8(*display_id);
                id::CLIENT_MOUSE_POSITION
            }
            Self::MousePress { button, buttons } => {
                w.u8(*button);
                w.u16(*buttons);
                id::CLIENT_MOUSE_PRESS
            }
            Self::MouseRelease { button, buttons } => {
                w.u8(*button);
                w.u16(*buttons);
                id::CLIENT_MOUSE_RELEASE
            }
            Self::Unknown { id } => *id,
        };
        Message::new(id, w)
    }

    /// Reads a message.
    pub fn decode(id: u16, body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body, "inputs message from client");
        let message = match id {
            id::CLIENT_KEY_DOWN => Self::KeyDown(r.u32()?),
            id::CLIENT_KEY_UP => Self::KeyUp(r.u32()?),
            id::CLIENT_KEY_MODIFIERS => Self::KeyModifiers(LockKeys::from_bits(r.u16()?)),
            id::CLIENT_KEY_SCANCODE => Self::KeyScancode(r.rest().to_vec()),
            id::CLIENT_MOUSE_MOTION => Self::MouseMotion { dx: r.i32()?, dy: r.i32()?, buttons: r.u16()? },
            id::CLIENT_MOUSE_POSITION => {
                Self::MousePosition { x: r.u32()?, y: r.u32()?, buttons: r.u16()?, display_id: r.u8()? }
            }
            id::CLIENT_MOUSE_PRESS => Self::MousePress { button: r.u8()?, buttons: r.u16()? },
            id::CLIENT_MOUSE_RELEASE => Self::MouseRelease { button: r.u8()?, buttons: r.u16()? },
            _ => return Ok(Self::Unknown { id }),
        };
        r.finish()?;
        Ok(message)
    }
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
