//! What a display tells of itself: EDID 1.4, one block of 128 bytes.

use crate::frame::Size;

/// Dots per inch by which a size in millimetres is made up that is not known.
const DPI: u32 = 96;

/// Refresh rate in Hz.
const REFRESH: u32 = 60;

/// Returns the EDID of an output whose preferred mode has `size`, and which is so many `millimetres` wide and high; 0
/// is not known. The output's number is its serial number.
pub(super) fn edid(output: u32, size: Size, millimetres: (u16, u16)) -> [u8; 128] {
    let mut block = Vec::with_capacity(128);
    block.extend([0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
    block.extend(manufacturer(*b"QSP").to_be_bytes());
    block.extend([1, 0]); // product
    block.extend(output.to_le_bytes());
    block.extend([0, 34, 1, 4]); // made in 2024; EDID 1.4
    // The fields of a detailed timing have 12 bits.
    let side = |known: u16, pixels: u32| match u32::from(known) {
        0 => pixels * 254 / DPI / 10,
        known => known.min(4095),
    };
    let (width_mm, height_mm) = (side(millimetres.0, size.width), side(millimetres.1, size.height));
    block.push(0b1010_0101); // digital, 8 bits a colour, DisplayPort
    block.extend([byte(width_mm / 10), byte(height_mm / 10)]);
    block.extend([120, 0b0000_0110]); // gamma 2.2; sRGB, the first detailed timing is preferred
    // sRGB's chromaticities.
    block.extend([0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54]);
    block.extend([0x21, 0x08, 0]); // 640x480, 800x600 and 1024x768 at 60 Hz
    block.extend([1; 16]); // no standard timings
    block.extend(detailed_timing(size, width_mm, height_mm));
    block.extend(text(0xfc, *b"qemu-spice\n  "));
    // From 50 to 125 Hz, 30 to 160 kHz, up to 2,550 MHz.
    block.extend([0, 0, 0, 0xfd, 0, 50, 125, 30, 160, 255, 1, 10, 32, 32, 32, 32, 32, 32]);
    block.extend([0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // unused
    block.push(0); // no extensions
    let sum = block.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    block.push(sum.wrapping_neg());
    <[u8; 128]>::try_from(block).unwrap_or([0; 128])
}

/// Packs three capital letters into five bits each.
fn manufacturer(letters: [u8; 3]) -> u16 {
    letters.iter().fold(0, |id, letter| id << 5 | u16::from(letter & 0x1f))
}

/// A detailed timing, with the short blanking that flat displays have. A size beyond 4,095 pixels has no timing and
/// gets that of 4,095.
fn detailed_timing(size: Size, width_mm: u32, height_mm: u32) -> [u8; 18] {
    let (width, height) = (size.width.min(4095), size.height.min(4095));
    let (front, sync, blank) = (48, 32, 160);
    let (v_front, v_sync) = (3, 5);
    let v_blank = (height / 28).max(v_front + v_sync + 1);
    let clock = u64::from(width + blank) * u64::from(height + v_blank) * u64::from(REFRESH) / 10_000;
    let [clock_low, clock_high] = u16::try_from(clock).unwrap_or(u16::MAX).to_le_bytes();
    let high = |one: u32, other: u32| byte(((one >> 8) & 0xf) << 4 | ((other >> 8) & 0xf));
    [
        clock_low,
        clock_high,
        low(width),
        low(blank),
        high(width, blank),
        low(height),
        low(v_blank),
        high(height, v_blank),
        low(front),
        low(sync),
        byte((v_front & 0xf) << 4 | (v_sync & 0xf)),
        byte((front >> 8) << 6 | (sync >> 8) << 4 | (v_front >> 4) << 2 | (v_sync >> 4)),
        low(width_mm),
        low(height_mm),
        high(width_mm, height_mm),
        0,
        0,
        0x18,
    ]
}

fn text(tag: u8, text: [u8; 13]) -> Vec<u8> {
    [0, 0, 0, tag, 0].into_iter().chain(text).collect()
}

fn low(number: u32) -> u8 {
    let [low, ..] = number.to_le_bytes();
    low
}

/// A number as one byte; what is too large becomes 255.
fn byte(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_mode_is_the_size_asked_for() {
        for (width, height) in [(1280, 800), (1920, 1080), (3840, 2160), (853, 481), (16, 16)] {
            let edid = edid(3, Size::new(width, height), (0, 0));
            assert_eq!(edid.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0, "checksum");
            let timing: [u8; 18] = edid[54..72].try_into().unwrap();
            let active = |low: u8, high: u8| u32::from(low) | u32::from(high >> 4) << 8;
            assert_eq!((active(timing[2], timing[4]), active(timing[5], timing[7])), (width, height));
            let clock = u32::from(u16::from_le_bytes([timing[0], timing[1]])) * 10_000;
            let blank = |low: u8, high: u8| u32::from(low) | u32::from(high & 0xf) << 8;
            let (total_x, total_y) =
                (width + blank(timing[3], timing[4]), height + blank(timing[6], timing[7]));
            let rate = f64::from(clock) / f64::from(total_x) / f64::from(total_y);
            assert!((rate - 60.0).abs() < 1.0 || width < 100, "{width}x{height} at {rate} Hz");
            assert_eq!(u32::from_le_bytes(edid[12..16].try_into().unwrap()), 3);
        }
    }

    #[test]
    fn no_size_is_too_much_for_it() {
        for side in [1, 4095, 4096, 16_384] {
            assert_eq!(edid(0, Size::new(side, side), (u16::MAX, 1))[126], 0);
        }
    }

    #[test]
    fn it_has_the_size_in_millimetres_where_that_is_known() {
        let timing = |millimetres| {
            let edid = edid(0, Size::new(1920, 1080), millimetres);
            let high = u16::from(edid[68]);
            (edid[21], edid[22], u16::from(edid[66]) | high >> 4 << 8, u16::from(edid[67]) | (high & 15) << 8)
        };
        assert_eq!(timing((600, 340)), (60, 34, 600, 340));
        assert_eq!(timing((0, 0)), (50, 28, 508, 285));
    }
}
