//! GLZ: a picture's pixels, of which those that stood earlier in it are said by where and how many they are.
//!
//! A stream is a header and then, until all pixels are there, either of these, told apart by the first byte:
//!
//! ```text
//! 000 count-1                                          1 to 32 pixels follow, of B, G, R each
//! len far of4   [len8 …]   of8   00 very of5   [of8]   so many pixels as they were that far back
//! ```
//!
//! `len` is in the three highest bits; with 7, bytes are added to it up to the first that is not 255. The distance
//! less one is in `of4` (its lowest bits), `of8`, and if `far` is set `of5`, and if `very` is set too the last byte.
//! The two zero bits and, without `far`, the six after them count the images to go back. Here these are none: each
//! image stands by itself.

mod matches;
#[cfg(test)]
mod tests;

use matches::{Match, Matches};

/// The header's first two numbers: "LZ  " from its end, and version 1.1.
const MAGIC: u32 = 0x2020_5a4c;
const VERSION: u32 = 0x0001_0001;

/// `LZ_IMAGE_TYPE_RGB32`, and that the rows are from the top.
const RGB32_TOP_DOWN: u8 = 8 | 1 << 4;

/// The most pixels behind one control byte.
const MOST_LITERALS: usize = 32;

/// From this length on, bytes of their own say how long a match is.
const LONG: usize = 7;

/// Distances of so many bits need no more than the least bytes.
const NEAR_BITS: u32 = 12;

/// Those of more than these need one byte more still.
const FAR_BITS: u32 = 17;

/// From one image's id to the next. spice-gtk has 16 places for images, and takes an image's place from its id: with
/// multiples of 16 it is always the first.
const STEP: u64 = 16;

/// From an image's id back to the oldest that is still needed, as the header says it. spice-gtk drops what has the
/// places of all ids before that: from the one that the last image said on, these are 16 at least, so that the first
/// place is among them.
const TO_OLDEST: u32 = 15;

/// Makes the GLZ stream of an image: packed rows, from the top, of `width` pixels of B, G, R and a byte that is not
/// looked at. It is at most 30 bytes and a twelfth longer than those of B, G and R alone; the pixels must be fewer
/// than 2^25.
///
/// Images need no others, but clients keep them for those that would, in one place for all display channels of
/// a session, in the order of their numbers. `number` has to be larger for each image of a session, and the images must
/// come in that order: all of them on one channel. Each says that it is not needed itself, so that the client keeps
/// none, and waits for none that are missing.
#[must_use]
pub fn glz(width: u32, pixels: &[u8], number: u32) -> Vec<u8> {
    let pixels: Vec<u32> = pixels.as_chunks::<4>().0.iter().map(colour).collect();
    let row = usize::try_from(width).unwrap_or(usize::MAX).max(1);
    let height = u32::try_from(pixels.len() / row).unwrap_or(u32::MAX);
    let id = u64::from(number).saturating_add(1).saturating_mul(STEP);
    let mut out = Vec::with_capacity(pixels.len() / 4);
    for word in [MAGIC, VERSION] {
        out.extend(word.to_be_bytes());
    }
    out.push(RGB32_TOP_DOWN);
    for word in [width, height, width.saturating_mul(4)] {
        out.extend(word.to_be_bytes());
    }
    out.extend(id.to_be_bytes());
    out.extend(TO_OLDEST.to_be_bytes());
    let mut matches = Matches::new(&pixels, row);
    while let Some((literals, found)) = matches.next() {
        write_literals(literals, &mut out);
        if let Some(found) = found {
            write_match(found, &mut out);
        }
    }
    out
}

fn colour(pixel: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*pixel) & 0x00ff_ffff
}

fn write_literals(pixels: &[u32], out: &mut Vec<u8>) {
    for pixels in pixels.chunks(MOST_LITERALS) {
        out.push(low(pixels.len() - 1));
        for pixel in pixels {
            let [b, g, r, _] = pixel.to_le_bytes();
            out.extend([b, g, r]);
        }
    }
}

fn write_match(Match { distance, length }: Match, out: &mut Vec<u8>) {
    let distance = distance - 1;
    let (is_far, is_very_far) = (distance >> NEAR_BITS > 0, distance >> FAR_BITS > 0);
    out.push(low(length.min(LONG) << 5 | usize::from(is_far) << 4 | distance & 0x0f));
    if let Some(mut more) = length.checked_sub(LONG) {
        while let Some(rest) = more.checked_sub(255) {
            out.push(255);
            more = rest;
        }
        out.push(low(more));
    }
    out.push(low(distance >> 4));
    let very_far = usize::from(is_very_far) << 5;
    out.push(if is_far { low(very_far | distance >> NEAR_BITS & 0x1f) } else { 0 });
    if is_very_far {
        out.push(low(distance >> FAR_BITS));
    }
}

/// Returns the lowest byte of a number.
fn low(number: usize) -> u8 {
    let [byte, ..] = number.to_le_bytes();
    byte
}
