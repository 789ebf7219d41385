//! VP9 (the bitstream specification's version 0.6), profile 0: 8 bits, 4:2:0.
//!
//! A frame is passed on as the encoder gave it.

use super::bits::BitReader;
use super::{AccessUnit, CodecRow, StreamCheck, StreamError, USUAL_SIDES, check_size};
use crate::frame::Size;

pub(super) const ROW: CodecRow = CodecRow {
    name: "vp9",
    title: "VP9",
    help: "VP9 by libvpx: fewer bytes than VP8, for more work",
    decoder_package: "gstreamer1.0-plugins-good",
    caps: "video/x-vp9,profile=(string)0",
    sides: USUAL_SIDES,
    check: |size| Box::new(Check { size }),
};

/// `frame_sync_code` (7.2).
const SYNC_CODE: u32 = 0x49_8342;

/// `CS_RGB`, which profile 0 does not have.
const RGB: u32 = 7;

struct Check {
    size: Size,
}

impl StreamCheck for Check {
    fn access_unit(&mut self, encoded: &[u8]) -> Result<AccessUnit, StreamError> {
        let key = self.read(encoded)?;
        Ok(AccessUnit { data: encoded.to_vec(), key })
    }
}

impl Check {
    /// Reads `uncompressed_header()` (6.2) as far as it matters. Returns whether it is a key frame.
    fn read(&self, encoded: &[u8]) -> Result<bool, StreamError> {
        let mut r = BitReader::plain(encoded);
        let mut bits = |count| r.bits(count).ok_or(StreamError::NoPicture);
        if bits(2)? != 2 {
            return Err(StreamError::BadParameters); // frame_marker
        }
        if bits(2)? != 0 {
            return Err(StreamError::NotPlain); // profile
        }
        if bits(1)? == 1 {
            return Err(StreamError::Reorders); // show_existing_frame
        }
        let key = bits(1)? == 0;
        if bits(1)? == 0 {
            return Err(StreamError::Reorders); // show_frame
        }
        bits(1)?; // error_resilient_mode
        if key {
            if bits(24)? != SYNC_CODE || bits(3)? == RGB {
                return Err(StreamError::BadParameters);
            }
            if bits(1)? == 1 {
                return Err(StreamError::NotPlain); // color_range: full
            }
            let (width, height) = (bits(16)? + 1, bits(16)? + 1);
            check_size(Size::new(width, height), self.size)?;
        }
        Ok(key)
    }
}
