/// The memory that a device works on: the guest's, and its own.
pub(in super::super) trait Host {
    /// Memory for pixels. Clones are the same memory.
    type Pixels: Clone;

    /// Makes memory of `bytes` zeros; `None` if there is no more.
    fn allocate(&self, bytes: u64) -> Option<Self::Pixels>;

    /// Makes ranges of guest memory readable as they are; `None` if that is not possible.
    fn share(&self, ranges: &[Range]) -> Option<Self::Pixels>;

    /// Copies `len` bytes at a guest address to `at` bytes into `pixels`; `None` if either is not there.
    fn copy(&self, address: u64, len: u64, pixels: &Self::Pixels, at: u64) -> Option<()>;

    /// Fills `out` from the start of `pixels`; `None` if they are fewer.
    fn read(&self, pixels: &Self::Pixels, out: &mut [u8]) -> Option<()>;

    /// Fills `out` from a guest address; `None` if the memory is not there.
    fn read_guest(&self, address: u64, out: &mut [u8]) -> Option<()>;
}

/// A range of guest memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in super::super) struct Range {
    /// Where it begins in the resource.
    pub at: u64,
    /// Guest address.
    pub address: u64,
    /// Bytes.
    pub len: u64,
}
