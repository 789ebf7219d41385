use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use super::{Rect, Size};
use crate::sys::{DmabufMap, FileId, ReadSpan, file_size, is_dmabuf, is_sealed};

/// `DRM_FORMAT_MOD_LINEAR`: rows of pixels, one after the other.
pub const MODIFIER_LINEAR: u64 = 0;

/// `DRM_FORMAT_MOD_INVALID`: the tiling is implicit, known only to the device that made the buffer.
pub const MODIFIER_INVALID: u64 = 0x00ff_ffff_ffff_ffff;

/// Identifies the memory behind an fd. QEMU sends a new fd each time, even for the same memory.
pub(crate) type BufferId = FileId;

/// A GPU buffer as QEMU described it.
///
/// INVARIANT: `crop` lies inside `backing`, and there are one to four planes.
#[derive(Clone, Debug)]
pub struct Dmabuf {
    /// The planes, in the order of the fourcc.
    pub planes: Vec<DmabufPlane>,
    /// DRM fourcc.
    pub fourcc: u32,
    /// DRM modifier: how the pixels are tiled.
    pub modifier: u64,
    /// Size of the whole buffer.
    pub backing: Size,
    /// The part of it that the console shows.
    pub crop: Rect,
    /// Row 0 in memory is the bottom of the picture (what QEMU calls `y0_top`).
    pub bottom_up: bool,
}

/// One plane of a [`Dmabuf`].
#[derive(Clone, Debug)]
pub struct DmabufPlane {
    /// The memory; planes may share one.
    pub buffer: Arc<Buffer>,
    /// Bytes from the start of the memory.
    pub offset: u32,
    /// Bytes from one row to the next.
    pub stride: u32,
}

/// The memory behind a dmabuf's fd. It is mapped on the first read and stays mapped while the value lives, so
/// keep it across flips.
#[derive(Debug)]
pub struct Buffer {
    id: BufferId,
    fd: Arc<OwnedFd>,
    size: u64,
    map: OnceLock<io::Result<Option<DmabufMap>>>,
}

impl Buffer {
    /// Takes `fd`, which QEMU claims to be a dmabuf.
    ///
    /// # Errors
    /// If it is nothing that has a size.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let (id, size) = (FileId::of(&fd)?, file_size(&fd)?);
        Ok(Self { id, fd: Arc::new(fd), size, map: OnceLock::new() })
    }

    /// Returns which memory this is.
    #[must_use]
    pub fn id(&self) -> BufferId {
        self.id
    }

    /// Returns the file descriptor.
    #[must_use]
    pub fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// Returns the memory's real size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Starts a read through the mapping. Returns `None` if the memory is no dmabuf and can be truncated, so
    /// that it must not be mapped.
    ///
    /// # Errors
    /// If its exporter does not let the CPU read it.
    pub(super) fn begin_read(&self) -> io::Result<Option<ReadSpan<'_>>> {
        let map = || {
            let is_dmabuf = is_dmabuf(&self.fd)?;
            // What is sealed has kept the size that it has now, which need not be the one that it came with.
            let keeps_size = is_dmabuf || (is_sealed(&self.fd) && file_size(&self.fd)? >= self.size);
            keeps_size.then(|| DmabufMap::new(&self.fd, self.size, is_dmabuf)).transpose()
        };
        match self.map.get_or_init(map) {
            Ok(map) => map.as_ref().map(DmabufMap::begin_read).transpose(),
            Err(error) => Err(error.kind().into()),
        }
    }
}
