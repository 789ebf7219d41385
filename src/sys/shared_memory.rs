#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// What nobody can do any more with the file of a [`WrittenMemory`]: change its size, or write to it in another way
/// than through the map there is.
const SEALS: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE).union(SealFlags::SEAL);

/// Memory that this process alone can write, and others can read.
#[derive(Debug)]
pub(crate) struct WrittenMemory {
    map: Map,
    fd: OwnedFd,
}

/// Memory of another process that it alone can write, for us to read.
#[derive(Debug)]
pub(crate) struct ReadMemory(Map);

#[derive(Debug)]
struct Map {
    start: NonNull<c_void>,
    len: usize,
}

// SAFETY: a map is an address of this process, the same on all of its threads; who may write is said by its owners.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl WrittenMemory {
    /// Makes `len` bytes of zeros.
    ///
    /// # Errors
    /// If the system refuses; Linux before 5.1 does.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let fd = memfd_create("picture", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, u64::try_from(len).map_err(io::Error::other)?)?;
        let map = Map::new(&fd, len, ProtFlags::READ | ProtFlags::WRITE)?;
        fcntl_add_seals(&fd, SEALS)?;
        Ok(Self { map, fd })
    }

    /// Returns the file, for others to read.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Returns the bytes.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is as long, stays for as long as `self`, and cannot be cut short. It is the only one that
        // can be written through, as it was made before the seals were, and nobody else here has it.
        unsafe { std::slice::from_raw_parts_mut(self.map.start.as_ptr().cast(), self.map.len) }
    }
}

impl ReadMemory {
    /// Maps `len` bytes of what another process made as a [`WrittenMemory`].
    ///
    /// # Errors
    /// If it is not that, or shorter.
    pub(crate) fn new(fd: impl AsFd, len: usize) -> io::Result<Self> {
        let is_kept = fcntl_get_seals(&fd).is_ok_and(|seals| seals.contains(SEALS));
        let size = super::file_size(&fd)?;
        if !is_kept || usize::try_from(size).is_ok_and(|size| size < len) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Map::new(&fd, len, ProtFlags::READ).map(Self)
    }
}

impl AsRef<[u8]> for ReadMemory {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the mapping is as long, stays for as long as `self`, and cannot be cut short. The other process,
        // which is this program too, writes only when it has what was made of the bytes.
        unsafe { std::slice::from_raw_parts(self.0.start.as_ptr().cast(), self.0.len) }
    }
}

impl Map {
    fn new(fd: impl AsFd, len: usize, protection: ProtFlags) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let start = unsafe { mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, fd, 0)? };
        Ok(Self { start: NonNull::new(start).ok_or(io::ErrorKind::InvalidData)?, len })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and what borrowed it is gone.
        // A failure leaves it mapped, which nothing here can mend.
        let _ = unsafe { munmap(self.start.as_ptr(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_writes_another_reads_and_cannot_write_or_cut_short() {
        let mut written = WrittenMemory::new(10_000).unwrap();
        let read = ReadMemory::new(written.fd(), 10_000).unwrap();
        written.bytes_mut()[9_999] = 7;
        assert_eq!(read.as_ref()[9_999], 7);
        assert!(ftruncate(written.fd(), 100).is_err());
        assert!(rustix::io::pwrite(written.fd(), b"x", 0).is_err());
        assert!(Map::new(written.fd(), 10_000, ProtFlags::READ | ProtFlags::WRITE).is_err());
        assert!(ReadMemory::new(written.fd(), 10_001).is_err(), "shorter than that");
        let loose = memfd_create("picture", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&loose, 10_000).unwrap();
        assert!(ReadMemory::new(&loose, 10_000).is_err(), "it could be cut short");
    }
}
