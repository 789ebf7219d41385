//! What a client holds down, so that it can be let go when the client leaves.

use super::scancode::Key;
use crate::frame::PointerButton;

/// Keys and buttons that are down. Its size is fixed, whatever a client sends.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// One bit for each key number.
    keys: [u64; 4],
    /// One bit for each button.
    buttons: u8,
}

pub(super) const BUTTONS: [PointerButton; 7] = [
    PointerButton::Left,
    PointerButton::Middle,
    PointerButton::Right,
    PointerButton::WheelUp,
    PointerButton::WheelDown,
    PointerButton::Side,
    PointerButton::Extra,
];

impl Held {
    /// Notes the key; tells whether it was down before.
    pub(super) fn key(&mut self, key: Key) -> bool {
        let bit = 1u64 << (key.qnum & 63);
        let Some(word) = self.keys.get_mut(usize::from(key.qnum >> 6)) else {
            return false;
        };
        let before = *word & bit != 0;
        if key.down {
            *word |= bit;
        } else {
            *word &= !bit;
        }
        before
    }

    /// Notes the button.
    pub(super) fn button(&mut self, button: PointerButton, down: bool) {
        let bit = button_bit(button);
        if down {
            self.buttons |= bit;
        } else {
            self.buttons &= !bit;
        }
    }

    /// Lets everything go; yields what was down.
    pub(super) fn take(&mut self) -> (Vec<u8>, Vec<PointerButton>) {
        let held = std::mem::take(self);
        let down = |qnum: &u8| {
            let word = held.keys.get(usize::from(qnum >> 6)).copied().unwrap_or_default();
            word >> (qnum & 63) & 1 == 1
        };
        let buttons = BUTTONS.into_iter().filter(|button| held.buttons & button_bit(*button) != 0);
        ((0..=u8::MAX).filter(down).collect(), buttons.collect())
    }
}

fn button_bit(button: PointerButton) -> u8 {
    1u8.checked_shl(button.qemu_number()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_down_is_let_go_once() {
        let mut held = Held::default();
        for qnum in [0, 63, 64, 255] {
            assert!(!held.key(Key { qnum, down: true }));
            assert!(held.key(Key { qnum, down: true }), "auto repeat");
        }
        assert!(held.key(Key { qnum: 63, down: false }));
        for button in BUTTONS {
            held.button(button, true);
        }
        held.button(PointerButton::Left, false);
        let (keys, buttons) = held.take();
        assert_eq!(keys, [0, 64, 255]);
        assert_eq!(buttons, BUTTONS[1..]);
        assert_eq!(held.take(), (vec![], vec![]));
    }
}
