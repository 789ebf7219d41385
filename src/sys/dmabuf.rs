#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::fs::SealFlags;
use rustix::ioctl::{Setter, ioctl, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// `DMA_BUF_MAGIC` of `linux/magic.h`: the file system every dma-buf is in.
const DMA_BUF_MAGIC: u64 = 0x444d_4142;

/// `DMA_BUF_SYNC_*` of `linux/dma-buf.h`.
const SYNC_READ: u64 = 1;
const SYNC_END: u64 = 4;

/// Returns whether `fd` is a dma-buf. Other files that QEMU sends as one must not be mapped, because they can
/// be truncated.
///
/// # Errors
/// If the system refuses to tell.
pub(crate) fn is_dmabuf(fd: impl AsFd) -> io::Result<bool> {
    Ok(u64::try_from(rustix::fs::fstatfs(fd)?.f_type).ok() == Some(DMA_BUF_MAGIC))
}

/// Returns whether `fd` is shared memory that cannot shrink any more (`F_SEAL_SHRINK`). Its present size can
/// be mapped.
pub(crate) fn is_sealed(fd: impl AsFd) -> bool {
    rustix::fs::fcntl_get_seals(fd).is_ok_and(|seals| seals.contains(SealFlags::SHRINK))
}

/// A dma-buf's memory, mapped to be read.
#[derive(Debug)]
pub(crate) struct DmabufMap {
    /// Of a dma-buf; shared memory needs no synchronizing.
    fd: Option<Arc<OwnedFd>>,
    start: NonNull<c_void>,
    len: usize,
}

// SAFETY: the mapping is only read, through `copy_to`, and belongs to this value until it is dropped.
unsafe impl Send for DmabufMap {}
// SAFETY: as above; concurrent reads of a mapping are independent.
unsafe impl Sync for DmabufMap {}

impl DmabufMap {
    /// Maps all `size` bytes of a dma-buf, or of sealed memory if `is_dmabuf` is false. Neither can shrink.
    ///
    /// # Errors
    /// If its exporter does not let the CPU read it.
    pub(crate) fn new(fd: &Arc<OwnedFd>, size: u64, is_dmabuf: bool) -> io::Result<Self> {
        let len = usize::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let start = unsafe { mmap(std::ptr::null_mut(), len, ProtFlags::READ, MapFlags::SHARED, fd, 0)? };
        let start = NonNull::new(start).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { fd: is_dmabuf.then(|| fd.clone()), start, len })
    }

    /// Waits until the device has written what it was told to, and keeps its caches in step until the span ends.
    ///
    /// # Errors
    /// If the device refuses.
    pub(crate) fn begin_read(&self) -> io::Result<ReadSpan<'_>> {
        self.fd.as_ref().map(|fd| sync(fd.as_fd(), SYNC_READ)).transpose()?;
        Ok(ReadSpan { map: self })
    }
}

impl Drop for DmabufMap {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no `ReadSpan` outlives it.
        // A failure leaves it mapped, which nothing here can mend.
        let _ = unsafe { munmap(self.start.as_ptr(), self.len) };
    }
}

/// The time during which a [`DmabufMap`] may be read.
#[derive(Debug)]
pub(crate) struct ReadSpan<'a> {
    map: &'a DmabufMap,
}

impl ReadSpan<'_> {
    /// Copies bytes out, starting `at` bytes into the buffer.
    ///
    /// # Errors
    /// If they are not all inside the buffer.
    pub(crate) fn copy_to(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        if at.checked_add(out.len()).is_none_or(|end| end > self.map.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: the range was just checked to lie inside the mapping, `out` is ours alone, and the two cannot
        // overlap. The guest may write meanwhile: any bytes are valid pixels.
        unsafe {
            std::ptr::copy_nonoverlapping(
                self.map.start.as_ptr().cast::<u8>().add(at),
                out.as_mut_ptr(),
                out.len(),
            );
        }
        Ok(())
    }
}

impl Drop for ReadSpan<'_> {
    fn drop(&mut self) {
        // What was read stays read; an end that fails has no consequence here.
        let _ = self.map.fd.as_ref().map(|fd| sync(fd.as_fd(), SYNC_READ | SYNC_END));
    }
}

fn sync(fd: BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    const DMA_BUF_IOCTL_SYNC: rustix::ioctl::Opcode = opcode::write::<u64>(b'b', 0);
    loop {
        // SAFETY: the ioctl reads one `struct dma_buf_sync`, which is a single u64.
        match unsafe { ioctl(fd, Setter::<DMA_BUF_IOCTL_SYNC, u64>::new(flags)) } {
            // The kernel documents both as "try again".
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            done => return Ok(done?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, fcntl_add_seals, memfd_create};

    #[test]
    fn memory_that_keeps_its_size_is_mapped_and_read() {
        let fd = memfd_create("pixels", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::io::write(&fd, b"abcdef").unwrap();
        assert!(!is_sealed(&fd));
        fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
        assert!(is_sealed(&fd) && !is_dmabuf(&fd).unwrap());
        let map = DmabufMap::new(&Arc::new(fd), 6, false).unwrap();
        let mut out = [0; 4];
        map.begin_read().unwrap().copy_to(2, &mut out).unwrap();
        assert_eq!(&out, b"cdef");
        assert!(map.begin_read().unwrap().copy_to(3, &mut out).is_err());
    }
}
