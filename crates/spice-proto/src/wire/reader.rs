//! A cursor that reads fields from bytes a peer sent.

use super::{Form, WireError, WireErrorKind};

/// Reads little-endian fields in order and never past the end.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    context: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`; `context` names the thing being decoded in errors.
    pub fn new(bytes: &'a [u8], context: &'static str) -> Self {
        Self { rest: bytes, context }
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// A 16 bit unsigned number.
    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_le_bytes)
    }

    /// A 32 bit unsigned number.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_le_bytes)
    }

    /// A 64 bit unsigned number.
    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A 16 bit signed number.
    pub fn i16(&mut self) -> Result<i16, WireError> {
        self.array().map(i16::from_le_bytes)
    }

    /// A 32 bit signed number.
    pub fn i32(&mut self) -> Result<i32, WireError> {
        self.array().map(i32::from_le_bytes)
    }

    /// A 64 bit signed number.
    pub fn i64(&mut self) -> Result<i64, WireError> {
        self.array().map(i64::from_le_bytes)
    }

    /// `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let Some((head, tail)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.not_enough(N));
        };
        self.rest = tail;
        Ok(*head)
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let Some((head, tail)) = self.rest.split_at_checked(len) else {
            return Err(self.not_enough(len));
        };
        self.rest = tail;
        Ok(head)
    }

    /// The next bytes, as many as a 32 bit length field said.
    pub fn bytes32(&mut self, len: u32) -> Result<&'a [u8], WireError> {
        self.bytes(usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// A reader over the next `len` bytes alone.
    pub fn sub(&mut self, len: usize) -> Result<Self, WireError> {
        let context = self.context;
        Ok(Self { rest: self.bytes(len)?, context })
    }

    /// Everything that is left; the reader is empty afterwards.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Bytes that are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// When bytes are left: a message longer than its fields is malformed.
    pub fn finish(self) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(WireError { context: self.context, kind: WireErrorKind::TrailingBytes { left } }),
        }
    }

    /// The error for `value` in `field`, in this reader's context.
    pub fn invalid(&self, field: &'static str, value: impl Into<u64>) -> WireError {
        WireError::invalid(self.context, field, value)
    }

    /// Passes `value` on if it is at most `limit`.
    ///
    /// # Errors
    /// `TooLarge` otherwise.
    pub fn at_most(&self, field: &'static str, value: u32, limit: u32) -> Result<u32, WireError> {
        if value > limit {
            return Err(WireError::too_large(self.context, field, value, limit));
        }
        Ok(value)
    }

    /// Reads a field that always holds `value`.
    ///
    /// # Errors
    /// When it holds another one.
    pub(crate) fn constant<T>(&mut self, field: &'static str, value: T) -> Result<(), WireError>
    where
        T: Form + PartialEq + Into<u64>,
    {
        match T::read(self)? {
            found if found == value => Ok(()),
            found => Err(self.invalid(field, found)),
        }
    }

    fn not_enough(&self, needed: usize) -> WireError {
        WireError {
            context: self.context,
            kind: WireErrorKind::NotEnoughBytes { needed, have: self.rest.len() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_in_order_and_refuses_what_is_left() {
        let bytes = [1, 2, 0, 3, 0, 0, 0, 0xff, 0xff, 9];
        let mut r = Reader::new(&bytes, "thing");
        assert_eq!(r.u8(), Ok(1));
        assert_eq!(r.u16(), Ok(2));
        assert_eq!(r.u32(), Ok(3));
        assert_eq!(r.i16(), Ok(-1));
        assert_eq!(r.finish().unwrap_err().to_string(), "thing: 1 bytes after the last field");
    }

    #[test]
    fn a_short_field_takes_nothing() {
        let mut r = Reader::new(&[1, 2], "thing");
        assert_eq!(r.u32().unwrap_err().to_string(), "thing: 4 bytes needed, 2 left");
        assert_eq!(r.bytes32(u32::MAX).unwrap_err().context, "thing");
        assert_eq!(r.rest(), [1, 2]);
    }

    #[test]
    fn a_sub_reader_ends_at_its_own_length() {
        let mut r = Reader::new(&[1, 2, 3], "thing");
        let mut sub = r.sub(2).unwrap();
        assert_eq!(sub.u16(), Ok(0x201));
        assert!(sub.u8().is_err());
        assert_eq!(r.u8(), Ok(3));
        assert_eq!(r.finish(), Ok(()));
    }
}
