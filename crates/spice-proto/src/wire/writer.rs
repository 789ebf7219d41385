//! Writes the fields of a message.

use super::Payload;

/// Writes little-endian fields one after another.
#[derive(Debug, Default, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
    /// Follows `bytes`.
    payload: Option<Payload>,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty writer with room for `len` bytes.
    pub fn with_capacity(len: usize) -> Self {
        Self { bytes: Vec::with_capacity(len), payload: None }
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    /// A 16 bit unsigned number.
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    /// A 32 bit unsigned number.
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    /// A 64 bit unsigned number.
    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    /// A 16 bit signed number.
    pub fn i16(&mut self, value: i16) {
        self.bytes(&value.to_le_bytes());
    }

    /// A 32 bit signed number.
    pub fn i32(&mut self, value: i32) {
        self.bytes(&value.to_le_bytes());
    }

    /// A 64 bit signed number.
    pub fn i64(&mut self, value: i64) {
        self.bytes(&value.to_le_bytes());
    }

    /// A length or count as 32 bits.
    ///
    /// INVARIANT: nothing we send reaches 4 GiB (the largest picture is a quarter of that), so no length saturates.
    pub fn len32(&mut self, len: usize) {
        self.u32(saturated_u32(len));
    }

    /// The bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.copy_payload();
        self.bytes.extend_from_slice(bytes);
    }

    /// Bulk bytes. They are not copied if nothing is written after them.
    pub fn payload(&mut self, payload: Payload) {
        self.copy_payload();
        self.payload = Some(payload);
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.bytes.len().saturating_add(self.payload.as_ref().map_or(0, Payload::len))
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was written.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.copy_payload();
        self.bytes
    }

    /// What was written: the bytes, and the bulk bytes that end it.
    pub(super) fn into_parts(self) -> (Vec<u8>, Option<Payload>) {
        (self.bytes, self.payload)
    }

    fn copy_payload(&mut self) {
        if let Some(payload) = self.payload.take() {
            self.bytes.extend_from_slice(payload.bytes());
        }
    }
}

/// `len` as 32 bits, or the largest number there is.
pub(super) fn saturated_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_bytes_that_end_a_body_are_not_copied() {
        let bulk = Payload::from(vec![7; 9]);
        let mut w = Writer::new();
        w.u8(1);
        w.payload(bulk.clone());
        assert_eq!(w.len(), 10);
        let (bytes, payload) = w.into_parts();
        assert_eq!(bytes, [1]);
        assert!(std::ptr::eq(payload.unwrap().bytes(), bulk.bytes()));
    }

    #[test]
    fn what_is_written_after_bulk_bytes_comes_after_them() {
        let mut w = Writer::new();
        w.payload(Payload::from(vec![1, 2]));
        w.u8(3);
        w.payload(Payload::from(vec![4]));
        w.payload(Payload::from(vec![5]));
        assert_eq!((w.len(), w.into_bytes()), (5, vec![1, 2, 3, 4, 5]));
    }
}
