//! What an encoder gives for some frames: refused, or an access unit that would be taken as it is.
//!
//! The input: width, height, which codec; then frames, each with its length in two bytes
//! before it. Numbers have their little end first.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qemu_spice::internals::{Codec, Size};

const CODECS: [Codec; 6] =
    [Codec::H264, Codec::H264_444, Codec::H265, Codec::Vp8, Codec::Vp9, Codec::Mjpeg];

fuzz_target!(|input: (u16, u16, u8, &[u8])| {
    let (width, height, codec, mut rest) = input;
    let codec = CODECS[usize::from(codec) % CODECS.len()];
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
