//! Bulk bytes that several viewers send without copying them.

use std::fmt;
use std::sync::Arc;

/// Shared, read-only bytes: one encoded frame that every viewer's message ends with.
///
/// Whatever owns the bytes is kept alive, so a mapped encoder buffer needs no copy.
///
/// INVARIANT: the owner's `as_ref` yields the same bytes each time; their length stands in headers sent before them.
#[derive(Clone)]
pub struct Payload {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
}

impl Payload {
    /// Shares the bytes of `owner`.
    pub fn new(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self { owner: Arc::new(owner) }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        (*self.owner).as_ref()
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes.to_vec())
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Payload {}
