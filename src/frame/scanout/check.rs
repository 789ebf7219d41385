use super::ScanoutError;
use crate::frame::{MODIFIER_INVALID, MODIFIER_LINEAR, PixelFormat, Size};

/// The largest side of a picture, in pixels: twice what any display has today.
pub(super) const MAX_SIDE: u32 = 16_384;

/// The most memory one scanout may claim, in bytes: 16384 x 8192 pixels of 32 bits.
pub(super) const MAX_BYTES: u64 = 512 << 20;

/// The most planes of a buffer, as in DRM.
pub(super) const MAX_PLANES: usize = 4;

pub(super) fn checked_size(width: u32, height: u32) -> Result<Size, ScanoutError> {
    let side = |n: u32| (1..=MAX_SIDE).contains(&n);
    if side(width) && side(height) {
        Ok(Size::new(width, height))
    } else {
        Err(ScanoutError::Size { width, height })
    }
}

pub(super) fn checked_format(pixman: u32) -> Result<PixelFormat, ScanoutError> {
    PixelFormat::from_pixman(pixman).ok_or(ScanoutError::Format(pixman))
}

/// Checks that the rows of one plane of a picture of this size lie inside `found` bytes. The last row needs no padding.
pub(super) fn check_span(
    size: Size,
    stride: u32,
    format: PixelFormat,
    plane: usize,
    offset: u64,
    found: u64,
) -> Result<(), ScanoutError> {
    let (row, rows) = format.plane(plane, size);
    if u64::from(stride) < row {
        return Err(ScanoutError::Stride { stride, row });
    }
    let needed = offset + u64::from(stride) * u64::from(rows.saturating_sub(1)) + row;
    if needed > found || needed - offset > MAX_BYTES {
        return Err(ScanoutError::Short { needed, found: found.min(MAX_BYTES) });
    }
    Ok(())
}

/// Checks one plane of a tiled picture as far as it goes without knowing the tiling: it has a beginning and whole
/// pixels, and a picture's first plane has room for all of them, because no tiling in use packs them tighter.
pub(super) fn check_tiled(
    size: Size,
    stride: u32,
    format: PixelFormat,
    plane: usize,
    offset: u64,
    found: u64,
) -> Result<(), ScanoutError> {
    let (row, rows) = format.plane(plane, size);
    let least = if plane < format.planes() { row * u64::from(rows) } else { 1 };
    if stride == 0 {
        return Err(ScanoutError::Stride { stride, row });
    }
    if offset + least > found || least > MAX_BYTES {
        return Err(ScanoutError::Short { needed: offset + least, found: found.min(MAX_BYTES) });
    }
    Ok(())
}

/// Returns whether a modifier can mean plain rows of pixels.
pub(super) fn is_untiled(modifier: u64) -> bool {
    modifier == MODIFIER_LINEAR || modifier == MODIFIER_INVALID
}

pub(super) fn bytes(n: u64) -> Result<usize, ScanoutError> {
    usize::try_from(n).map_err(|_| ScanoutError::Short { needed: n, found: 0 })
}

pub(super) fn to_usize(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
