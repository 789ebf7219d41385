//! Capabilities of display channels (`SPICE_DISPLAY_CAP_*`).

use crate::wire::Cap;

/// `STREAM_DATA_SIZED`.
pub const SIZED_STREAM: Cap = Cap::bit(0);
/// `MONITORS_CONFIG`.
pub const MONITORS_CONFIG: Cap = Cap::bit(1);
/// `DRAW_COMPOSITE`.
pub const COMPOSITE: Cap = Cap::bit(2);
/// Surfaces of 8 bit alpha.
pub const A8_SURFACE: Cap = Cap::bit(3);
/// `STREAM_ACTIVATE_REPORT` and `STREAM_REPORT`.
pub const STREAM_REPORT: Cap = Cap::bit(4);
/// LZ4 images.
pub const LZ4_COMPRESSION: Cap = Cap::bit(5);
/// `PREFERRED_COMPRESSION`.
pub const PREF_COMPRESSION: Cap = Cap::bit(6);
/// `GL_SCANOUT_UNIX`. Clients announce it over TCP too, where it cannot work.
pub const GL_SCANOUT: Cap = Cap::bit(7);
/// Streams in codecs other than MJPEG; the `CODEC_*` bits say which.
pub const MULTI_CODEC: Cap = Cap::bit(8);
/// Decodes MJPEG.
pub const CODEC_MJPEG: Cap = Cap::bit(9);
/// Decodes VP8.
pub const CODEC_VP8: Cap = Cap::bit(10);
/// Decodes H.264.
pub const CODEC_H264: Cap = Cap::bit(11);
/// `PREFERRED_VIDEO_CODEC_TYPE`.
pub const PREF_VIDEO_CODEC_TYPE: Cap = Cap::bit(12);
/// Decodes VP9.
pub const CODEC_VP9: Cap = Cap::bit(13);
/// Decodes H.265.
pub const CODEC_H265: Cap = Cap::bit(14);
/// Scanouts as dmabufs of several planes, with a modifier.
pub const GL_SCANOUT2: Cap = Cap::bit(15);
/// Its decoder of H.264 knows 4:4:4. Not of SPICE but our own, which our page announces: far from the next that SPICE
/// will have.
pub const CODEC_H264_444: Cap = Cap::bit(63);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Caps, Reader};

    #[test]
    fn reads_the_words_of_spice_gtk() {
        let bytes = 0x6fbfu32.to_le_bytes();
        let caps = Caps::decode(&mut Reader::new(&bytes, "caps"), 1).unwrap();
        assert!(caps.has(LZ4_COMPRESSION) && caps.has(CODEC_H264));
        assert!(!caps.has(PREF_VIDEO_CODEC_TYPE) && !caps.has(PREF_COMPRESSION));
    }
}
