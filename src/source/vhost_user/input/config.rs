//! What the device says of itself: the guest selects a question, and reads the answer.

use super::events::{
    ABS_X, ABS_Y, BUTTONS, EV_ABS, EV_KEY, EV_LED, EV_REL, EV_REP, MAX_PLACE, REL_WHEEL, REL_X, REL_Y,
};
use super::{PointingDevice, keys};

/// Bytes of an answer's header, and of the longest answer.
const HEADER: usize = 8;
const ANSWER: usize = 128;

/// Bus, vendor, product and version: virtual, and virtio's number of such a device.
const IDS: [u16; 4] = [6, 0x1af4, 0x1052, 1];

/// What the device is, and the question that the guest has selected.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Config {
    pointer: PointingDevice,
    select: u8,
    detail: u8,
}

impl Config {
    /// Describes a keyboard with this pointer.
    pub(super) fn new(pointer: PointingDevice) -> Self {
        Self { pointer, select: 0, detail: 0 }
    }

    /// Takes bytes that the guest wrote at `offset`. QEMU writes all bytes for each that changed.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        for (at, byte) in (offset..).zip(bytes) {
            match at {
                0 => self.select = *byte,
                1 => self.detail = *byte,
                _ => {}
            }
        }
    }

    /// Returns `len` bytes from `offset` on.
    pub(super) fn read(self, offset: usize, len: usize) -> Vec<u8> {
        let answer = self.answer();
        let size = u8::try_from(answer.len()).unwrap_or(0);
        let header = [self.select, self.detail, size, 0, 0, 0, 0, 0];
        let all = header.into_iter().chain(answer).chain(std::iter::repeat(0));
        all.skip(offset.min(HEADER + ANSWER)).take(len).collect()
    }

    /// Answers by `VIRTIO_INPUT_CFG_` numbers; what there is not has no bytes.
    fn answer(self) -> Vec<u8> {
        let is_tablet = self.pointer == PointingDevice::Tablet;
        match (self.select, u16::from(self.detail)) {
            // What the guest's system calls the device.
            (1, 0) if is_tablet => b"qemu-spice keyboard and tablet".into(),
            (1, 0) => b"qemu-spice keyboard and mouse".into(),
            (3, 0) => IDS.iter().flat_map(|id| id.to_le_bytes()).collect(),
            (0x11, EV_KEY) => bits(keys::all().chain(BUTTONS)),
            (0x11, EV_REL) if is_tablet => bits([REL_WHEEL]),
            (0x11, EV_REL) => bits([REL_X, REL_Y, REL_WHEEL]),
            (0x11, EV_ABS) if is_tablet => bits([ABS_X, ABS_Y]),
            (0x11, EV_LED) => bits(0..3),
            (0x11, EV_REP) => bits(0..2),
            (0x12, ABS_X | ABS_Y) if is_tablet => {
                [0, MAX_PLACE, 0, 0, 0].iter().flat_map(|n| n.to_le_bytes()).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Returns a bitmap in which `codes` are set.
fn bits(codes: impl IntoIterator<Item = u16>) -> Vec<u8> {
    let mut map = [0_u8; ANSWER];
    for code in codes {
        if let Some(byte) = map.get_mut(usize::from(code / 8)) {
            *byte |= 1 << (code % 8);
        }
    }
    let len = map.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    map.into_iter().take(len).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(select: u8, detail: u8) -> Vec<u8> {
        ask_of(PointingDevice::Tablet, select, detail)
    }

    fn ask_of(pointer: PointingDevice, select: u8, detail: u8) -> Vec<u8> {
        let mut config = Config::new(pointer);
        let mut image = config.read(0, 136);
        image[0] = select;
        config.write(0, &image);
        config.write(1, &[detail]);
        let answer = config.read(0, 136);
        assert_eq!((answer.len(), answer[0], answer[1]), (136, select, detail));
        answer[8..][..answer[2].into()].to_vec()
    }

    #[test]
    fn the_guest_learns_what_the_device_has() {
        assert_eq!(ask(1, 0), b"qemu-spice keyboard and tablet");
        let mouse = |select, detail| ask_of(PointingDevice::Mouse, select, detail);
        assert_eq!(mouse(1, 0), b"qemu-spice keyboard and mouse");
        assert_eq!((mouse(0x11, 1), mouse(0x11, 2)), (ask(0x11, 1), vec![3, 1]));
        assert!(mouse(0x11, 3).is_empty() && mouse(0x12, 0).is_empty());
        let keys = ask(0x11, 1);
        let has = |code: usize| keys[code / 8] & 1 << (code % 8) != 0;
        assert!(has(30) && has(57) && has(125) && has(0x110) && has(0x114) && !has(0) && !has(0x115));
        assert_eq!((ask(0x11, 2), ask(0x11, 3), ask(0x11, 0x11)), (vec![0, 1], vec![3], vec![7]));
        assert_eq!(ask(0x12, 1)[..8], [0, 0, 0, 0, 0xff, 0x7f, 0, 0]);
        for (select, detail) in [(0, 0), (2, 0), (0x11, 4), (0x12, 2), (0xff, 0xff)] {
            assert!(ask(select, detail).is_empty());
        }
        assert_eq!(Config::default().read(135, 4), [0; 4]);
        assert_eq!(Config::default().read(usize::MAX, 4), [0; 4]);
    }
}
