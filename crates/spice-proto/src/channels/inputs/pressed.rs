//! What a client holds down, so that it can be let go when the client leaves.

use super::event::Button;
use super::scancode::Key;

/// Keys and buttons that are down. Its size is fixed, whatever a client sends.
#[derive(Debug, Default)]
pub(super) struct Pressed {
    /// One bit for each key number.
    keys: [u64; 4],
    /// One bit for each button.
    buttons: u8,
}

impl Pressed {
    /// Notes the key; tells whether it was down before.
    pub(super) fn key(&mut self, key: Key) -> bool {
        let bit = 1u64 << (key.code & 63);
        let Some(word) = self.keys.get_mut(usize::from(key.code >> 6)) else {
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
    pub(super) fn button(&mut self, button: Button, down: bool) {
        let bit = button_bit(button);
        if down {
            self.buttons |= bit;
        } else {
            self.buttons &= !bit;
        }
    }

    /// Lets everything go; yields what was down.
    pub(super) fn take(&mut self) -> (Vec<u8>, Vec<Button>) {
        let held = std::mem::take(self);
        let down = |code: &u8| {
            let word = held.keys.get(usize::from(code >> 6)).copied().unwrap_or_default();
            word >> (code & 63) & 1 == 1
        };
        let buttons = Button::ALL.into_iter().filter(|button| held.buttons & button_bit(*button) != 0);
        ((0..=u8::MAX).filter(down).collect(), buttons.collect())
    }
}

fn button_bit(button: Button) -> u8 {
    1u8.checked_shl(u32::from(button.code())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_down_is_let_go_once() {
        let mut held = Pressed::default();
        for code in [0, 63, 64, 255] {
            assert!(!held.key(Key { code, down: true }));
            assert!(held.key(Key { code, down: true }), "auto repeat");
        }
        assert!(held.key(Key { code: 63, down: false }));
        for button in Button::ALL {
            held.button(button, true);
        }
        held.button(Button::Left, false);
        let (keys, buttons) = held.take();
        assert_eq!(keys, [0, 64, 255]);
        assert_eq!(buttons, Button::ALL[1..]);
        assert_eq!(held.take(), (vec![], vec![]));
    }
}
