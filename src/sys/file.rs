use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

/// Which file an fd stands for, whatever its number.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Identifies the file behind `fd`.
    ///
    /// # Errors
    /// If the system refuses to tell.
    pub fn of(fd: impl AsFd) -> io::Result<Self> {
        let stat = rustix::fs::fstat(fd)?;
        Ok(Self { device: stat.st_dev, inode: stat.st_ino })
    }
}

/// Returns the size in bytes of the file behind `fd`, by seeking: `fstat` gives no size for a dma-buf.
///
/// # Errors
/// If the fd has no end to seek to (a pipe, a socket).
pub(crate) fn file_size(fd: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::seek(fd, rustix::fs::SeekFrom::End(0))?)
}

/// Fills `out` from `at` bytes into the file. A truncated file is an error, not a signal.
///
/// # Errors
/// If the file ends before `out` is full, or the system refuses.
pub(crate) fn read_at(fd: impl AsFd, at: u64, out: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(&fd, rest, at + u64::try_from(done).unwrap_or(u64::MAX)) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => done += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Makes shared memory of `bytes` zeros, which keeps its size. What nobody writes to takes no memory.
///
/// # Errors
/// If the system refuses.
pub(crate) fn sealed_memory(bytes: u64) -> io::Result<OwnedFd> {
    let file = memfd_create("pixels", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, bytes)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}
