//! Motion JPEG: each frame a whole picture (ITU-T T.81), which every client decodes.
//!
//! A frame is passed on as the encoder gave it. Its colours are those of JFIF: BT.601 in full range
//! ([`Pixels::Jpeg`](crate::encode::Pixels)).

use super::{AccessUnit, CodecRow, StreamCheck, StreamError, USUAL_SIDES, check_size};
use crate::frame::Size;

pub(super) const ROW: CodecRow = CodecRow {
    name: "mjpeg",
    title: "MJPEG",
    help: "Motion JPEG, which every viewer decodes: ten times the bytes of H.264",
    decoder_package: "gstreamer1.0-plugins-good",
    caps: "image/jpeg",
    sides: USUAL_SIDES,
    check: |size| Box::new(Check { size }),
};

/// Markers (table B.1): the start of an image, of a frame that every decoder knows, of the data.
const SOI: [u8; 2] = [0xff, 0xd8];
const SOF0: u8 = 0xc0;
const SOS: u8 = 0xda;

/// The other frames that there are, which not every decoder knows. Between them are tables and a reserved marker.
const OTHER_FRAMES: [u8; 12] = [0xc1, 0xc2, 0xc3, 0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcd, 0xce, 0xcf];

struct Check {
    size: Size,
}

impl StreamCheck for Check {
    fn access_unit(&mut self, encoded: &[u8]) -> Result<AccessUnit, StreamError> {
        let mut rest = encoded.strip_prefix(&SOI).ok_or(StreamError::NoPicture)?;
        let mut framed = false;
        loop {
            let (marker, length, tail) = segment(rest).ok_or(StreamError::BadParameters)?;
            let (body, tail) = tail.split_at_checked(length).ok_or(StreamError::BadParameters)?;
            match marker {
                SOF0 => {
                    self.frame(body)?;
                    framed = true;
                }
                SOS if framed => return Ok(AccessUnit { data: encoded.to_vec(), key: true }),
                SOS => return Err(StreamError::NoParameters),
                _ if OTHER_FRAMES.contains(&marker) => return Err(StreamError::NotPlain),
                _ => {}
            }
            rest = tail;
        }
    }
}

impl Check {
    /// Checks a frame's header (B.2.2).
    fn frame(&self, body: &[u8]) -> Result<(), StreamError> {
        let Some(([precision, h1, h0, w1, w0, components], _)) = body.split_first_chunk::<6>() else {
            return Err(StreamError::BadParameters);
        };
        if (*precision, *components) != (8, 3) {
            return Err(StreamError::NotPlain);
        }
        let [height, width] = [[*h1, *h0], [*w1, *w0]].map(|bytes| u32::from(u16::from_be_bytes(bytes)));
        check_size(Size::new(width, height), self.size)
    }
}

/// Reads a marker and the length of what follows it; the bytes after that.
fn segment(bytes: &[u8]) -> Option<(u8, usize, &[u8])> {
    let ([0xff, marker, l1, l0], rest) = bytes.split_first_chunk::<4>()? else { return None };
    let length = usize::from(u16::from_be_bytes([*l1, *l0])).checked_sub(2)?;
    Some((*marker, length, rest))
}
