//! Capability bits that both sides announce while linking.

use super::{Reader, WireError, Writer};

/// Capability words we keep; every capability that exists is in the first one.
const KEPT_WORDS: u32 = 2;

/// One capability: its bit number in the common or in a channel's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap(u32);

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
    pub(crate) fn word_count(self) -> u32 {
        if self.bits >> 32 == 0 { 1 } else { KEPT_WORDS }
    }

    pub(crate) fn encode(self, w: &mut Writer) {
        let bytes = self.bits.to_le_bytes();
        let (first, second) = bytes.split_at(4);
        w.bytes(first);
        if self.word_count() > 1 {
            w.bytes(second);
        }
    }

    /// Reads `count` words. Words past [`KEPT_WORDS`] hold nothing we know and are skipped.
    pub(crate) fn decode(r: &mut Reader<'_>, count: u32) -> Result<Self, WireError> {
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
    /// Names the capability with this bit number.
    pub const fn bit(number: u32) -> Self {
        Self(number)
    }

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
    fn words_far_out_are_skipped_but_must_be_there() {
        let bytes = [0xff; 4 * 40];
        let mut r = Reader::new(&bytes, "caps");
        assert!(Caps::decode(&mut r, 40).unwrap().has(Cap::bit(63)));
        assert_eq!(r.remaining(), 0);
        assert!(Caps::decode(&mut Reader::new(&bytes, "caps"), 41).is_err());
    }
}
