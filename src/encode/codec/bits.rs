/// Reads the bits of a NAL unit's payload, most significant first, stepping over emulation prevention bytes
/// (ITU-T H.264, 7.3.1; H.265, 7.3.1.1). Past the end there is nothing to read: `None`, never a panic.
#[derive(Clone, Debug)]
pub(super) struct BitReader<'a> {
    rest: &'a [u8],
    /// Zero bytes just read; `None` where no byte is stepped over.
    zeros: Option<u8>,
    byte: u8,
    left: u8,
}

impl<'a> BitReader<'a> {
    /// Makes a reader of the bytes after the NAL unit's header.
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload, zeros: Some(0), byte: 0, left: 0 }
    }

    /// Makes a reader of bytes that are what they are: no emulation prevention.
    pub(super) fn plain(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, zeros: None, byte: 0, left: 0 }
    }

    /// Reads one bit.
    pub(super) fn flag(&mut self) -> Option<bool> {
        if self.left == 0 {
            self.byte = self.next_byte()?;
            self.left = 8;
        }
        self.left -= 1;
        Some(self.byte >> self.left & 1 == 1)
    }

    /// Reads up to 32 bits.
    pub(super) fn bits(&mut self, count: u8) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count.min(32) {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    /// Reads `ue(v)`; `None` if the value is over `limit`.
    pub(super) fn ue(&mut self, limit: u32) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let value = (1_u64 << zeros) - 1 + u64::from(self.bits(zeros)?);
        u32::try_from(value).ok().filter(|&value| value <= limit)
    }

    /// Reads `se(v)`; `None` if its magnitude is over `limit`.
    pub(super) fn se(&mut self, limit: u32) -> Option<i32> {
        let code = self.ue(limit.saturating_mul(2))?;
        let size = i32::try_from(code.div_ceil(2)).ok()?;
        Some(if code % 2 == 1 { size } else { -size })
    }

    fn next_byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        let (byte, rest) = match self.zeros {
            Some(2..) if first == 3 => {
                self.zeros = Some(0);
                let (&second, rest) = rest.split_first()?;
                (second, rest)
            }
            _ => (first, rest),
        };
        self.rest = rest;
        self.zeros = self.zeros.map(|zeros| if byte == 0 { zeros.saturating_add(1) } else { 0 });
        Some(byte)
    }
}

/// Writes bits, most significant first.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    byte: u8,
    filled: u8,
}

impl BitWriter {
    /// Writes one bit.
    pub(super) fn flag(&mut self, bit: bool) {
        self.byte = self.byte << 1 | u8::from(bit);
        self.filled += 1;
        if self.filled == 8 {
            self.bytes.push(self.byte);
            (self.byte, self.filled) = (0, 0);
        }
    }

    /// Writes the lowest `count` bits of `value`.
    pub(super) fn bits(&mut self, value: u32, count: u8) {
        for bit in (0..count.min(32)).rev() {
            self.flag(value >> bit & 1 == 1);
        }
    }

    /// Writes `ue(v)`.
    pub(super) fn ue(&mut self, value: u32) {
        let code = u64::from(value) + 1;
        let len = 63 - u8::try_from(code.leading_zeros()).unwrap_or(63);
        for _ in 0..len {
            self.flag(false);
        }
        for bit in (0..=len).rev() {
            self.flag(code >> bit & 1 == 1);
        }
    }

    /// Ends the payload with its trailing bits, and puts in the emulation prevention bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.flag(true);
        while self.filled != 0 {
            self.flag(false);
        }
        let mut escaped = Vec::with_capacity(self.bytes.len() + 4);
        let mut zeros = 0;
        for byte in self.bytes {
            if zeros >= 2 && byte <= 3 {
                escaped.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            escaped.push(byte);
        }
        escaped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(values in proptest::collection::vec((0u32..70_000, 0u8..33, any::<u32>()), 0..60)) {
            let mut out = BitWriter::default();
            for &(ue, count, bits) in &values {
                out.ue(ue);
                out.bits(bits, count);
            }
            let bytes = out.finish();
            prop_assert!(!bytes.windows(3).any(|w| w[0] == 0 && w[1] == 0 && w[2] < 3), "a start code inside");
            let mut reader = BitReader::new(&bytes);
            for &(ue, count, bits) in &values {
                prop_assert_eq!(reader.ue(u32::MAX), Some(ue));
                let kept = if count == 32 { bits } else { bits & ((1 << count) - 1) };
                prop_assert_eq!(reader.bits(count), Some(kept));
            }
        }

        #[test]
        fn random_bytes_end(bytes: Vec<u8>) {
            let mut reader = BitReader::new(&bytes);
            while reader.ue(u32::MAX).is_some() {}
            while reader.flag().is_some() {}
        }
    }
}
