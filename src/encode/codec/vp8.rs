//! VP8 (RFC 6386): what spice-gtk decodes where H.264's decoders may not be installed.
//!
//! A frame is passed on as the encoder gave it. A stream does not say what its colours are, and GStreamer's clients go
//! by the rows of a frame: so do the pictures that are encoded ([`Pixels::Unmarked`](crate::encode::Pixels)).

use super::{AccessUnit, CodecRow, StreamCheck, StreamError, USUAL_SIDES, check_size};
use crate::frame::Size;

pub(super) const ROW: CodecRow = CodecRow {
    name: "vp8",
    title: "VP8",
    help: "VP8 by libvpx, for viewers without a decoder of H.264",
    decoder_package: "gstreamer1.0-plugins-good",
    caps: "video/x-vp8",
    sides: USUAL_SIDES,
    check: |size| Box::new(Check { size }),
};

/// What begins the second part of a key frame's header (9.1).
const START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];

/// The last version of the bitstream: the others are for decoders that skip work.
const LAST_VERSION: u8 = 3;

struct Check {
    size: Size,
}

impl StreamCheck for Check {
    fn access_unit(&mut self, encoded: &[u8]) -> Result<AccessUnit, StreamError> {
        let (tag, rest) = encoded.split_first_chunk::<3>().ok_or(StreamError::NoPicture)?;
        let [first, ..] = *tag;
        let (key, version, shown) = (first & 1 == 0, first >> 1 & 7, first >> 4 & 1 == 1);
        if version > LAST_VERSION {
            return Err(StreamError::BadParameters);
        }
        if !shown {
            return Err(StreamError::Reorders);
        }
        if key {
            let (start, rest) = rest.split_first_chunk::<3>().ok_or(StreamError::NoParameters)?;
            let ([w0, w1, h0, h1], _) = rest.split_first_chunk::<4>().ok_or(StreamError::NoParameters)?;
            if *start != START_CODE {
                return Err(StreamError::BadParameters);
            }
            // 14 bits of the size; two above them say how it is to be scaled.
            let [width, height] = [[*w0, *w1], [*h0, *h1]].map(u16::from_le_bytes);
            check_size(Size::new(u32::from(width & 0x3fff), u32::from(height & 0x3fff)), self.size)?;
            if width >> 14 != 0 || height >> 14 != 0 {
                return Err(StreamError::NotPlain);
            }
        }
        Ok(AccessUnit { data: encoded.to_vec(), key })
    }
}
