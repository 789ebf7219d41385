//! Key numbers: QEMU's, which are those of PC keyboards, and Linux' (`linux/input-event-codes.h`).

/// QEMU's numbers of keys whose Linux code is another one. With `0x80` added they are PC keyboards' extended keys.
const OTHERS: [(u32, u16); 53] = [
    (0x54, 99),  // SysRq together with Alt
    (0x59, 117), // keypad =
    (0x70, 93),  // katakana and hiragana
    (0x73, 89),  // ro
    (0x79, 92),  // henkan
    (0x7b, 94),  // muhenkan
    (0x7d, 124), // yen
    (0x7e, 121), // keypad comma
    (0x90, 165), // previous song
    (0x99, 163), // next song
    (0x9c, 96),  // keypad enter
    (0x9d, 97),  // right control
    (0xa0, 113), // mute
    (0xa1, 140), // calculator
    (0xa2, 164), // play or pause
    (0xa4, 166), // stop
    (0xae, 114), // quieter
    (0xb0, 115), // louder
    (0xb2, 172), // home page
    (0xb5, 98),  // keypad /
    (0xb7, 99),  // SysRq
    (0xb8, 100), // right Alt
    (0xc6, 119), // pause
    (0xc7, 102), // home
    (0xc8, 103), // up
    (0xc9, 104), // page up
    (0xcb, 105), // left
    (0xcd, 106), // right
    (0xcf, 107), // end
    (0xd0, 108), // down
    (0xd1, 109), // page down
    (0xd2, 110), // insert
    (0xd3, 111), // delete
    (0xdb, 125), // left logo
    (0xdc, 126), // right logo
    (0xdd, 127), // menu
    (0xde, 116), // power
    (0xdf, 142), // sleep
    (0xe3, 143), // wake up
    (0xe5, 217), // search
    (0xe6, 156), // bookmarks
    (0xe7, 173), // refresh
    (0xe8, 128), // stop loading
    (0xe9, 159), // forward
    (0xea, 158), // back
    (0xeb, 157), // computer
    (0xec, 155), // mail
    (0xed, 226), // media
    (0xf1, 123), // hanja
    (0xf2, 122), // hangeul
    (0x55, 118), // keypad + and -
    (0x5d, 183), // F13
    (0x5e, 184), // F14
];

/// The last of the numbers that are the same: F12. 0x54 and 0x55 among them are not.
const LAST_OF_THE_SAME: u32 = 0x58;

/// Finds Linux' code of the key to which QEMU gives `number`.
pub(super) fn linux_code(number: u32) -> Option<u16> {
    let other = OTHERS.iter().find(|(qemu, _)| *qemu == number).map(|(_, linux)| *linux);
    other.or_else(|| u16::try_from(number).ok().filter(|_| (1..=LAST_OF_THE_SAME).contains(&number)))
}

/// Returns all Linux codes that a key can have here.
pub(super) fn all() -> impl Iterator<Item = u16> {
    (1..=0xff).filter_map(linux_code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_key_is_the_same_key_in_linux() {
        let codes = [(0x1e, 30), (0x39, 57), (0x58, 88), (0x56, 86), (0x9d, 97), (0xd3, 111), (0xdb, 125)];
        for (qemu, linux) in codes {
            assert_eq!(linux_code(qemu), Some(linux), "{qemu:#x}");
        }
        for none in [0, 0x5a, 0x80, 0xff, 0x100, u32::MAX] {
            assert_eq!(linux_code(none), None, "{none:#x}");
        }
        let numbers = OTHERS.iter().map(|(qemu, _)| qemu).collect::<BTreeSet<_>>();
        assert_eq!(numbers.len(), OTHERS.len(), "no key twice");
    }
}
