use std::os::fd::OwnedFd;

use super::{Rect, Size};
use crate::sys::FileId;

/// `DRM_FORMAT_MOD_LINEAR`: rows of pixels, one after the other.
pub const MODIFIER_LINEAR: u64 = 0;

/// `DRM_FORMAT_MOD_INVALID`: whatever the device that made the buffer agreed with itself.
pub const MODIFIER_INVALID: u64 = 0x00ff_ffff_ffff_ffff;

/// Which buffer an fd stands for: QEMU sends a new fd each time, even for the same memory.
pub type BufferId = FileId;

/// A GPU buffer as QEMU described it.
///
/// INVARIANT: `crop` lies inside `backing`, and there are one to four planes.
#[derive(Debug)]
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
#[derive(Debug)]
pub struct DmabufPlane {
    /// The memory; planes may share one.
    pub fd: std::sync::Arc<OwnedFd>,
    /// Bytes from the start of the memory.
    pub offset: u32,
    /// Bytes from one row to the next.
    pub stride: u32,
}
