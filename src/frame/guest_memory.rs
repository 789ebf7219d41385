/// Memory of the guest in which a picture lies, in pieces that nobody else can be given as one.
pub(crate) trait GuestPixels: std::fmt::Debug + Send + Sync {
    /// Returns how many bytes there are.
    fn len(&self) -> u64;

    /// Fills `out` from `at` bytes on. The guest may write meanwhile.
    ///
    /// # Errors
    /// If they are not all there.
    fn read_at(&self, at: u64, out: &mut [u8]) -> std::io::Result<()>;
}
