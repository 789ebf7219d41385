#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};

/// A part of a memfd: whole pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilePages<'a> {
    /// The file.
    pub(crate) fd: BorrowedFd<'a>,
    /// Bytes from its start.
    pub(crate) offset: u64,
    /// Bytes.
    pub(crate) len: u64,
}

/// `struct udmabuf_create_list` of `linux/udmabuf.h` and its items, in units of eight bytes.
struct CreateList(Vec<u64>);

/// Makes one dma-buf of pages of memfds that cannot shrink, in their order.
///
/// # Errors
/// If there is no `/dev/udmabuf` that we may use, or it takes no such pages: not of a memfd, or more pieces than its
/// module parameter `list_limit` (1,024 unless set), or more bytes than `size_limit_mb` (64).
pub(crate) fn udmabuf(pages: &[FilePages<'_>]) -> io::Result<OwnedFd> {
    let device = device()?;
    let list = CreateList::new(pages)?;
    // SAFETY: the ioctl reads the list, whose header says how many items there are, and gives a new file.
    Ok(unsafe { ioctl(device, list) }?)
}

/// Opens the device on the first call.
fn device() -> io::Result<BorrowedFd<'static>> {
    static DEVICE: OnceLock<Result<OwnedFd, rustix::io::Errno>> = OnceLock::new();
    let open = || rustix::fs::open("/dev/udmabuf", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    match DEVICE.get_or_init(open) {
        Ok(device) => Ok(std::os::fd::AsFd::as_fd(device)),
        Err(error) => Err((*error).into()),
    }
}

impl CreateList {
    /// `UDMABUF_FLAGS_CLOEXEC`.
    const CLOEXEC: u32 = 1;

    fn new(pages: &[FilePages<'_>]) -> io::Result<Self> {
        let count = u32::try_from(pages.len()).map_err(io::Error::other)?;
        let mut words = Vec::with_capacity(1 + pages.len() * 3);
        words.push(pair(Self::CLOEXEC, count));
        for part in pages {
            let fd = u32::try_from(part.fd.as_raw_fd()).map_err(io::Error::other)?;
            words.extend([pair(fd, 0), part.offset, part.len]);
        }
        Ok(Self(words))
    }
}

/// Two numbers, the first at the lower address.
fn pair(first: u32, second: u32) -> u64 {
    let [a, b, c, d] = first.to_ne_bytes();
    let [e, f, g, h] = second.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

// SAFETY: `UDMABUF_CREATE_LIST` reads a `struct udmabuf_create_list` and as many items as that says, which is what
// `CreateList::new` makes; it returns a new file descriptor, which nobody else owns.
unsafe impl Ioctl for CreateList {
    type Output = OwnedFd;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        opcode::write::<u64>(b'u', 0x43)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.0.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(fd: IoctlOutput, _: *mut c_void) -> rustix::io::Result<OwnedFd> {
        // SAFETY: as above.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
    use std::os::fd::AsFd;
    use std::sync::Arc;

    #[test]
    fn pages_of_a_memfd_become_one_buffer_in_any_order() {
        let file = memfd_create("memory", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&file, 16_384).unwrap();
        let part = |offset, len| FilePages { fd: file.as_fd(), offset, len };
        let pages = [part(8192, 4096), part(0, 8192)];
        if let Err(error) = device() {
            eprintln!("not tested: /dev/udmabuf: {error}");
            return;
        }
        assert!(udmabuf(&pages).is_err(), "it could shrink");
        fcntl_add_seals(&file, SealFlags::SHRINK).unwrap();
        let buffer = Arc::new(udmabuf(&pages).unwrap());
        assert!(crate::sys::is_dmabuf(&buffer).unwrap());
        assert_eq!(crate::sys::file_size(&buffer).unwrap(), 12_288);
        let map = crate::sys::DmabufMap::new(&buffer, 12_288, true).unwrap();
        // What is written later is seen: it is the same memory.
        rustix::io::pwrite(&file, b"first", 8192).unwrap();
        rustix::io::pwrite(&file, b"second", 4096).unwrap();
        let mut found = [0; 6];
        map.begin_read().unwrap().copy_to(0, &mut found).unwrap();
        assert_eq!(&found[..5], b"first");
        map.begin_read().unwrap().copy_to(8192, &mut found).unwrap();
        assert_eq!(&found, b"second");
        assert!(udmabuf(&[part(0, 100)]).is_err() && udmabuf(&[part(16_384, 4096)]).is_err());
    }
}
