//! Capability bits that both sides announce while linking.

use super::{Reader, WireError, Writer};

/// Capability words we keep; every capability that exists is in the first one.
const KEPT_WORDS: u32 = 2;

/// One capability: its bit number in the common or in a channel's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap(u32);

/// Capabilities for every channel (`SPICE_COMMON_CAP_*`).
pub mod common {
    use super::Cap;

    /// The client says which authentication it uses.
    pub const AUTH_SELECTION: Cap = Cap(0);
    /// Authentication by ticket.
    pub const AUTH_SPICE: Cap = Cap(1);
    /// Authentication by SASL.
    pub const AUTH_SASL: Cap = Cap(2);
    /// 6 byte headers.
    pub const MINI_HEADER: Cap = Cap(3);
}

/// Capabilities of the main channel (`SPICE_MAIN_CAP_*`).
pub mod main {
    use super::Cap;

    /// Migration without a new session.
    pub const SEMI_SEAMLESS_MIGRATE: Cap = Cap(0);
    /// The `NAME` and `UUID` messages.
    pub const NAME_AND_UUID: Cap = Cap(1);
    /// `AGENT_CONNECTED_TOKENS` in place of `AGENT_CONNECTED`.
    pub const AGENT_CONNECTED_TOKENS: Cap = Cap(2);
    /// Migration with the channels' state.
    pub const SEAMLESS_MIGRATE: Cap = Cap(3);
}

/// Capabilities of display channels (`SPICE_DISPLAY_CAP_*`).
pub mod display {
    use super::Cap;

    /// `STREAM_DATA_SIZED`.
    pub const SIZED_STREAM: Cap = Cap(0);
    /// `MONITORS_CONFIG`.
    pub const MONITORS_CONFIG: Cap = Cap(1);
    /// `DRAW_COMPOSITE`.
    pub const COMPOSITE: Cap = Cap(2);
    /// Surfaces of 8 bit alpha.
    pub const A8_SURFACE: Cap = Cap(3);
    /// `STREAM_ACTIVATE_REPORT` and `STREAM_REPORT`.
    pub const STREAM_REPORT: Cap = Cap(4);
    /// LZ4 images.
    pub const LZ4_COMPRESSION: Cap = Cap(5);
    /// `PREFERRED_COMPRESSION`.
    pub const PREF_COMPRESSION: Cap = Cap(6);
    /// `GL_SCANOUT_UNIX`. Clients announce it over TCP too, where it cannot work.
    pub const GL_SCANOUT: Cap = Cap(7);
    /// Streams in codecs other than MJPEG; the `CODEC_*` bits say which.
    pub const MULTI_CODEC: Cap = Cap(8);
    /// Decodes MJPEG.
    pub const CODEC_MJPEG: Cap = Cap(9);
    /// Decodes VP8.
    pub const CODEC_VP8: Cap = Cap(10);
    /// Decodes H.264.
    pub const CODEC_H264: Cap = Cap(11);
    /// `PREFERRED_VIDEO_CODEC_TYPE`.
    pub const PREF_VIDEO_CODEC_TYPE: Cap = Cap(12);
    /// Decodes VP9.
    pub const CODEC_VP9: Cap = Cap(13);
    /// Decodes H.265.
    pub const CODEC_H265: Cap = Cap(14);
    /// Scanouts as dmabufs of several planes, with a modifier.
    pub const GL_SCANOUT2: Cap = Cap(15);
}

/// Capabilities of the inputs channel (`SPICE_INPUTS_CAP_*`).
pub mod inputs {
    use super::Cap;

    /// `KEY_SCANCODE`.
    pub const KEY_SCANCODE: Cap = Cap(0);
}

/// A set of capabilities: the common ones, or those of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caps {
    bits: u64,
}

impl Caps {
    /// No capability.
    pub const NONE: Self = Self { bits: 0 };

    /// The set with these capabilities.
    pub fn of(caps: &[Cap]) -> Self {
        Self { bits: caps.iter().fold(0, |bits, cap| bits | cap.mask()) }
    }

    /// Whether `cap` is in the set.
    pub fn has(self, cap: Cap) -> bool {
        self.bits & cap.mask() != 0
    }

    /// Words on the wire: at least one, as servers always sent.
    pub(super) fn word_count(self) -> u32 {
        if self.bits >> 32 == 0 { 1 } else { KEPT_WORDS }
    }

    pub(super) fn encode(self, w: &mut Writer) {
        let bytes = self.bits.to_le_bytes();
        let (first, second) = bytes.split_at(4);
        w.bytes(first);
        if self.word_count() > 1 {
            w.bytes(second);
        }
    }

    /// Reads `count` words. Words past [`KEPT_WORDS`] hold nothing we know and are skipped.
    pub(super) fn decode(r: &mut Reader<'_>, count: u32) -> Result<Self, WireError> {
        let mut bits = 0;
        for word in 0..count {
            let value = u64::from(r.u32()?);
            if word < KEPT_WORDS {
                bits |= value << (32 * word);
            }
        }
        Ok(Self { bits })
    }
}

impl Cap {
    fn mask(self) -> u64 {
        1u64.checked_shl(self.0).unwrap_or(0)
    }
}

impl From<u32> for Caps {
    fn from(word: u32) -> Self {
        Self { bits: u64::from(word) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_words_of_spice_gtk() {
        let bytes = 0x6fbfu32.to_le_bytes();
        let caps = Caps::decode(&mut Reader::new(&bytes, "caps"), 1).unwrap();
        assert!(caps.has(display::LZ4_COMPRESSION) && caps.has(display::CODEC_H264));
        assert!(!caps.has(display::PREF_VIDEO_CODEC_TYPE) && !caps.has(display::PREF_COMPRESSION));
    }

    #[test]
    fn words_far_out_are_skipped_but_must_be_there() {
        let bytes = [0xff; 4 * 40];
        let mut r = Reader::new(&bytes, "caps");
        assert!(Caps::decode(&mut r, 40).unwrap().has(common::MINI_HEADER));
        assert_eq!(r.remaining(), 0);
        assert!(Caps::decode(&mut Reader::new(&bytes, "caps"), 41).is_err());
    }
}
