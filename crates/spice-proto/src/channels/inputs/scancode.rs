//! From the scan code bytes a client sends to keys.

use std::time::{Duration, Instant};

/// A key goes down or up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// The code of scan code set 1, with bit 7 for those after `0xe0`.
    pub(super) code: u8,
    /// Down, else up.
    pub(super) down: bool,
}

/// Pause, whose codes start with `0xe1`.
const PAUSE: u8 = 0xc6;
const RELEASED: u8 = 0x80;
const EXTENDED: u8 = 0x80;
/// A sequence that was begun this long ago is not completed any more: its rest was lost.
const SEQUENCE_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads scan codes of set 1, byte by byte. A sequence may span messages.
#[derive(Debug, Default)]
pub(super) struct Scancodes {
    state: Prefix,
    /// When the pending sequence began.
    since: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Prefix {
    #[default]
    Plain,
    /// After `e0`.
    Extended,
    /// After `e1`: Pause, whose make code is `e1 1d 45` and whose break code is `e1 9d c5`.
    Pause,
    /// After `e1 1d` or `e1 9d`.
    PauseEnd,
}

impl Scancodes {
    /// The key that `byte` completes, if it does.
    pub(super) fn push(&mut self, byte: u8, now: Instant) -> Option<Key> {
        if self.since.is_some_and(|since| now.saturating_duration_since(since) > SEQUENCE_TIMEOUT) {
            self.state = Prefix::Plain;
        }
        let (state, key) = step(self.state, byte);
        self.state = state;
        self.since = match state {
            Prefix::Plain => None,
            _ => Some(self.since.unwrap_or(now)),
        };
        key
    }
}

fn step(state: Prefix, byte: u8) -> (Prefix, Option<Key>) {
    let plain = byte & !RELEASED;
    let down = byte & RELEASED == 0;
    match (state, byte) {
        (_, 0xe0) => (Prefix::Extended, None),
        (_, 0xe1) => (Prefix::Pause, None),
        (Prefix::Pause, 0x1d | 0x9d) => (Prefix::PauseEnd, None),
        (Prefix::PauseEnd, 0x45 | 0xc5) => (Prefix::Plain, Some(Key { code: PAUSE, down })),
        // Shifts that a keyboard makes up around PrintScreen and the keys between the blocks. Nobody pressed them.
        (Prefix::Extended, 0x2a | 0xaa | 0x36 | 0xb6) => (Prefix::Plain, None),
        (Prefix::Pause | Prefix::PauseEnd, _) => (Prefix::Plain, None),
        _ if plain == 0 || byte == 0xff => (Prefix::Plain, None), // padding, and a keyboard's overrun
        (Prefix::Extended, _) => (Prefix::Plain, Some(Key { code: plain | EXTENDED, down })),
        (Prefix::Plain, _) => (Prefix::Plain, Some(Key { code: plain, down })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<(u8, bool)> {
        let now = Instant::now();
        let mut codes = Scancodes::default();
        bytes.iter().filter_map(|byte| codes.push(*byte, now)).map(|key| (key.code, key.down)).collect()
    }

    #[test]
    fn each_sequence_makes_its_key() {
        for (bytes, expected) in [
            (&[0x1e, 0x9e][..], &[(0x1e, true), (0x1e, false)][..]), // A
            (&[0xe0, 0x1c, 0xe0, 0x9c], &[(0x9c, true), (0x9c, false)]), // Return on the keypad
            (&[0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5], &[(0xc6, true), (0xc6, false)]), // Pause
            (&[0xe0, 0x46, 0xe0, 0xc6], &[(0xc6, true), (0xc6, false)]), // Pause with Control
            (&[0xe0, 0x2a, 0xe0, 0x37, 0xe0, 0xb7, 0xe0, 0xaa], &[(0xb7, true), (0xb7, false)]), // PrintScreen
            (&[0x54, 0xd4], &[(0x54, true), (0x54, false)]),                                     // SysRq
            (&[0x45, 0xc5], &[(0x45, true), (0x45, false)]),                                     // Num Lock
        ] {
            assert_eq!(keys(bytes), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn broken_sequences_do_not_swallow_what_follows() {
        assert_eq!(keys(&[0xe1, 0x1e, 0x1e]), [(0x1e, true)]);
        assert_eq!(keys(&[0xe0, 0xe0, 0x1c]), [(0x9c, true)]);
        assert_eq!(keys(&[0x00, 0x80, 0xff, 0x1e]), [(0x1e, true)]);
    }

    #[test]
    fn a_prefix_whose_rest_was_lost_is_forgotten() {
        let start = Instant::now();
        let mut codes = Scancodes::default();
        assert_eq!(codes.push(0xe0, start), None);
        let later = start + Duration::from_secs(2);
        assert_eq!(codes.push(0x1c, later), Some(Key { code: 0x1c, down: true }));
    }
}
