//! What an encoder gives for some frames: refused, or an access unit that would be taken as it is.
//!
//! The input: width, height, whether each pixel has its colour; then frames, each with its length in two bytes
//! before it. Numbers have their little end first.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qemu_spice::internals::{Codec, Size};

fuzz_target!(|input: (u16, u16, bool, &[u8])| {
    let (width, height, full_chroma, mut rest) = input;
    let codec = if full_chroma { Codec::H264_444 } else { Codec::H264 };
    let mut check = codec.check(Size::new(width.into(), height.into()));
    while let Some((&len, tail)) = rest.split_first_chunk() {
        let (frame, tail) = tail.split_at(tail.len().min(u16::from_le_bytes(len).into()));
        if let Ok(unit) = check.access_unit(frame) {
            let again = check.access_unit(&unit.data);
            assert_eq!(again.as_ref(), Ok(&unit), "what was passed on is refused, or is changed once more");
        }
        rest = tail;
    }
});
