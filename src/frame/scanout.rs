use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Dmabuf, MODIFIER_INVALID, MODIFIER_LINEAR, PixelFormat, Rect, Size};
use crate::sys::{ReadSpan, read_at};

/// The largest side of a picture, in pixels: twice what any display has today.
const MAX_SIDE: u32 = 16_384;

/// The most memory one scanout may claim, in bytes: 16384 x 8192 pixels of 32 bits.
const MAX_BYTES: u64 = 512 << 20;

/// What a console shows: a picture's size and the memory its pixels are read from.
///
/// The memory belongs to someone else and changes while it is read, so it is never borrowed as a slice: readers
/// copy rows out of it, already as B, G, R, x from the top.
#[derive(Debug)]
pub struct Scanout {
    size: Size,
    format: PixelFormat,
    memory: Memory,
}

#[derive(Debug)]
enum Memory {
    /// Ours: packed rows of B, G, R, x.
    Owned(Mutex<Vec<u8>>),
    /// Shared by QEMU, read with `pread`: nothing that happens to the file can hurt more than the read.
    Shared { fd: OwnedFd, offset: u64, stride: u32 },
    /// A GPU's.
    Dmabuf(Dmabuf),
}

/// What matters of a scanout for how it can be delivered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ScanoutInfo {
    /// The picture's size.
    pub size: Size,
    /// Where its pixels are.
    pub memory: MemoryKind,
}

/// Where the pixels of a scanout are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MemoryKind {
    /// In our own memory.
    Owned,
    /// In memory that QEMU shares.
    Shared,
    /// In a GPU's buffer.
    Dmabuf {
        /// How many planes it has.
        planes: usize,
        /// DRM modifier.
        modifier: u64,
        /// The picture is the whole buffer, from its first byte on.
        whole: bool,
    },
}

/// Why a scanout was refused or could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanoutError {
    /// No area, or larger than any display is.
    #[error("picture of {width}x{height} pixels; a side has 1 to {MAX_SIDE}")]
    Size {
        /// Claimed width.
        width: u32,
        /// Claimed height.
        height: u32,
    },
    /// A pixel format that has no row in our table.
    #[error("pixel format {0:#010x} is not one of those a guest's display is known to have")]
    Format(u32),
    /// A row that is longer than the way to the next.
    #[error("stride of {stride} bytes is shorter than a row of {row}")]
    Stride {
        /// Claimed stride.
        stride: u32,
        /// Bytes of a row.
        row: u64,
    },
    /// Less memory than the picture needs.
    #[error("picture needs {needed} bytes, its memory has {found}")]
    Short {
        /// Bytes needed.
        needed: u64,
        /// Bytes there.
        found: u64,
    },
    /// A buffer whose pixels the CPU cannot read in rows.
    #[error("buffer cannot be read as rows of pixels: {0}")]
    NotLinear(&'static str),
    /// The system refused.
    #[error("reading the picture's memory: {0}")]
    System(#[from] std::io::Error),
}

impl Scanout {
    /// Pixels that came by value (`Listener.Scanout`), copied.
    ///
    /// # Errors
    /// If the numbers do not fit each other or `data`.
    pub fn owned(
        width: u32,
        height: u32,
        stride: u32,
        pixman: u32,
        data: &[u8],
    ) -> Result<Self, ScanoutError> {
        let (size, format) = (checked_size(width, height)?, checked_format(pixman)?);
        let source = Packed::new(size, stride, format, data)?;
        let mut pixels = vec![0; bytes(size.area() * 4)?];
        source.copy_into(&mut pixels, size, size.rect());
        Ok(Self { size, format, memory: Memory::Owned(Mutex::new(pixels)) })
    }

    /// Memory shared by QEMU (`Listener.Unix.Map.ScanoutMap`).
    ///
    /// # Errors
    /// If the numbers do not fit each other or the file's real size.
    pub fn shared(
        fd: OwnedFd,
        offset: u32,
        width: u32,
        height: u32,
        stride: u32,
        pixman: u32,
    ) -> Result<Self, ScanoutError> {
        let (size, format) = (checked_size(width, height)?, checked_format(pixman)?);
        check_span(size, stride, format, u64::from(offset), crate::sys::file_size(&fd)?)?;
        let memory = Memory::Shared { fd, offset: u64::from(offset), stride };
        Ok(Self { size, format, memory })
    }

    /// A GPU's buffer (`Listener.ScanoutDMABUF`). Only one of a single plane in plain rows can be read.
    ///
    /// # Errors
    /// If it cannot be read by the CPU, or its numbers do not fit each other or the buffer's real size.
    pub fn dmabuf(dmabuf: Dmabuf) -> Result<Self, ScanoutError> {
        checked_size(dmabuf.backing.width, dmabuf.backing.height)?;
        let size = checked_size(dmabuf.crop.width, dmabuf.crop.height)?;
        let format = PixelFormat::from_fourcc(dmabuf.fourcc).ok_or(ScanoutError::Format(dmabuf.fourcc))?;
        let [plane] = dmabuf.planes.as_slice() else {
            return Err(ScanoutError::NotLinear("it has several planes"));
        };
        if dmabuf.modifier != MODIFIER_LINEAR && dmabuf.modifier != MODIFIER_INVALID {
            return Err(ScanoutError::NotLinear("its pixels are tiled"));
        }
        if !dmabuf.backing.rect().contains(dmabuf.crop) {
            return Err(ScanoutError::NotLinear("its part to show lies outside it"));
        }
        check_span(dmabuf.backing, plane.stride, format, u64::from(plane.offset), plane.buffer.size())?;
        Ok(Self { size, format, memory: Memory::Dmabuf(dmabuf) })
    }

    /// The picture's size.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// What matters of it for how it can be delivered.
    #[must_use]
    pub fn info(&self) -> ScanoutInfo {
        let memory = match &self.memory {
            Memory::Owned(_) => MemoryKind::Owned,
            Memory::Shared { .. } => MemoryKind::Shared,
            Memory::Dmabuf(dmabuf) => MemoryKind::Dmabuf {
                planes: dmabuf.planes.len(),
                modifier: dmabuf.modifier,
                whole: dmabuf.crop == dmabuf.backing.rect()
                    && dmabuf.planes.first().is_some_and(|plane| plane.offset == 0),
            },
        };
        ScanoutInfo { size: self.size, memory }
    }

    /// The GPU's buffer, if its pixels are in one.
    #[must_use]
    pub fn as_dmabuf(&self) -> Option<&Dmabuf> {
        match &self.memory {
            Memory::Dmabuf(dmabuf) => Some(dmabuf),
            _ => None,
        }
    }

    /// How its pixels lay in memory when it was given.
    #[must_use]
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Replaces a part of pixels that came by value (`Listener.Update`).
    ///
    /// # Errors
    /// If the numbers do not fit each other or `data`, or the scanout's memory is not ours.
    pub fn write(&self, rect: Rect, stride: u32, pixman: u32, data: &[u8]) -> Result<(), ScanoutError> {
        let Memory::Owned(pixels) = &self.memory else {
            return Err(ScanoutError::NotLinear("its pixels are not ours to change"));
        };
        if rect.area() == 0 || !self.size.rect().contains(rect) {
            return Err(ScanoutError::Size { width: rect.right(), height: rect.bottom() });
        }
        let source = Packed::new(Size::new(rect.width, rect.height), stride, checked_format(pixman)?, data)?;
        source.copy_into(&mut lock(pixels), self.size, rect);
        Ok(())
    }

    /// Starts reading: holds off whoever must be held off, until the reader is dropped.
    ///
    /// # Errors
    /// If the buffer's device refuses.
    pub fn reader(&self) -> Result<ScanoutReader<'_>, ScanoutError> {
        let access = match &self.memory {
            Memory::Owned(pixels) => Access::Owned(lock(pixels)),
            Memory::Shared { fd, offset, stride } => Access::File {
                fd,
                offset: *offset,
                stride: *stride,
                crop: self.size.rect(),
                bottom_up: false,
            },
            Memory::Dmabuf(dmabuf) => {
                let Some(plane) = dmabuf.planes.first() else {
                    return Err(ScanoutError::NotLinear("it has no plane"));
                };
                let (offset, stride) = (u64::from(plane.offset), plane.stride);
                let (crop, bottom_up) = (dmabuf.crop, dmabuf.bottom_up);
                match plane.buffer.begin_read()? {
                    Some(span) => Access::Map { span, offset, stride, crop, bottom_up },
                    None => Access::File { fd: plane.buffer.fd(), offset, stride, crop, bottom_up },
                }
            }
        };
        Ok(ScanoutReader { size: self.size, format: self.format, access, row: Vec::new() })
    }
}

/// Read access to a scanout's pixels.
pub struct ScanoutReader<'a> {
    size: Size,
    format: PixelFormat,
    access: Access<'a>,
    row: Vec<u8>,
}

enum Access<'a> {
    Owned(MutexGuard<'a, Vec<u8>>),
    File { fd: &'a OwnedFd, offset: u64, stride: u32, crop: Rect, bottom_up: bool },
    Map { span: ReadSpan<'a>, offset: u64, stride: u32, crop: Rect, bottom_up: bool },
}

impl ScanoutReader<'_> {
    /// Copies a part of the picture as packed rows of B, G, R, x from the top: `rect.width * rect.height * 4` bytes.
    ///
    /// # Errors
    /// If `rect` is not inside the picture, `bgrx` has another length, or the memory is gone.
    pub fn read(&mut self, rect: Rect, bgrx: &mut [u8]) -> Result<(), ScanoutError> {
        if rect.area() == 0 || !self.size.rect().contains(rect) {
            return Err(ScanoutError::Size { width: rect.right(), height: rect.bottom() });
        }
        let packed = bytes(u64::from(rect.width) * 4)?;
        if u64::try_from(bgrx.len()).ok() != Some(rect.area() * 4) {
            return Err(ScanoutError::Short {
                needed: rect.area() * 4,
                found: u64::try_from(bgrx.len()).unwrap_or(0),
            });
        }
        for (y, out) in (rect.y..rect.bottom()).zip(bgrx.chunks_exact_mut(packed)) {
            self.read_row(rect.x, y, out)?;
        }
        Ok(())
    }

    /// Reads pixels of row `y` from column `x` on, as many as `out` holds.
    fn read_row(&mut self, x: u32, y: u32, out: &mut [u8]) -> Result<(), ScanoutError> {
        let pixels = out.len() / 4;
        let bytes_per_pixel = u64::from(self.format.bytes_per_pixel());
        // Where the row starts, from the numbers checked when the scanout was made.
        let start = |offset: u64, stride: u32, crop: Rect, bottom_up: bool, height: u32| {
            let row = if bottom_up { height.saturating_sub(1).saturating_sub(y) } else { y };
            let row = u64::from(crop.y) + u64::from(row);
            offset + row * u64::from(stride) + (u64::from(crop.x) + u64::from(x)) * bytes_per_pixel
        };
        let height = self.size.height;
        let direct = self.format.is_bgrx();
        if !direct {
            self.row.resize(pixels * bytes(bytes_per_pixel)?, 0);
        }
        match &mut self.access {
            Access::Owned(data) => {
                let at = bytes((u64::from(y) * u64::from(self.size.width) + u64::from(x)) * 4)?;
                let from = data.get(at..).and_then(|rest| rest.get(..out.len()));
                out.copy_from_slice(from.ok_or(ScanoutError::NotLinear("its rows end early"))?);
                return Ok(());
            }
            Access::File { fd, offset, stride, crop, bottom_up } => {
                let at = start(*offset, *stride, *crop, *bottom_up, height);
                read_at(fd, at, if direct { &mut *out } else { &mut self.row })?;
            }
            Access::Map { span, offset, stride, crop, bottom_up } => {
                let at = start(*offset, *stride, *crop, *bottom_up, height);
                span.copy_to(at, if direct { &mut *out } else { &mut self.row })?;
            }
        }
        if !direct {
            self.format.to_bgrx(&self.row, out);
        }
        Ok(())
    }
}

/// Rows of pixels in a message, checked to be there.
struct Packed<'a> {
    size: Size,
    stride: usize,
    format: PixelFormat,
    data: &'a [u8],
}

impl<'a> Packed<'a> {
    fn new(size: Size, stride: u32, format: PixelFormat, data: &'a [u8]) -> Result<Self, ScanoutError> {
        check_span(size, stride, format, 0, u64::try_from(data.len()).unwrap_or(u64::MAX))?;
        Ok(Self { size, stride: bytes(u64::from(stride))?, format, data })
    }

    /// Writes them as B, G, R, 255 where `rect` is in a packed picture of size `picture`; `rect` has their size.
    fn copy_into(&self, pixels: &mut [u8], picture: Size, rect: Rect) {
        let to = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let (width, left) = (to(self.size.width) * 4, to(rect.x) * 4);
        let rows = pixels.chunks_exact_mut(to(picture.width) * 4).skip(to(rect.y));
        for (from, row) in self.data.chunks(self.stride).zip(rows).take(to(self.size.height)) {
            if let Some(out) = row.get_mut(left..).and_then(|row| row.get_mut(..width)) {
                self.format.to_bgrx(from, out);
            }
        }
    }
}

fn checked_size(width: u32, height: u32) -> Result<Size, ScanoutError> {
    let side = |n: u32| (1..=MAX_SIDE).contains(&n);
    if side(width) && side(height) {
        Ok(Size::new(width, height))
    } else {
        Err(ScanoutError::Size { width, height })
    }
}

fn checked_format(pixman: u32) -> Result<PixelFormat, ScanoutError> {
    PixelFormat::from_pixman(pixman).ok_or(ScanoutError::Format(pixman))
}

/// Checks that rows of this size and stride lie inside `found` bytes. The last row needs no padding.
fn check_span(
    size: Size,
    stride: u32,
    format: PixelFormat,
    offset: u64,
    found: u64,
) -> Result<(), ScanoutError> {
    let row = u64::from(size.width) * u64::from(format.bytes_per_pixel());
    if u64::from(stride) < row {
        return Err(ScanoutError::Stride { stride, row });
    }
    let needed = offset + u64::from(stride) * u64::from(size.height.saturating_sub(1)) + row;
    if needed > found || needed - offset > MAX_BYTES {
        return Err(ScanoutError::Short { needed, found: found.min(MAX_BYTES) });
    }
    Ok(())
}

fn bytes(n: u64) -> Result<usize, ScanoutError> {
    usize::try_from(n).map_err(|_| ScanoutError::Short { needed: n, found: 0 })
}

/// A thread that panicked while writing pixels left pixels behind, nothing worse.
fn lock(pixels: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    pixels.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::sync::Arc;

    const XRGB: u32 = 0x2002_0888;

    fn memfd(bytes: &[u8]) -> OwnedFd {
        let fd = rustix::fs::memfd_create("scanout", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        std::fs::File::from(fd.try_clone().unwrap()).write_all(bytes).unwrap();
        fd
    }

    fn all(scanout: &Scanout) -> Vec<u8> {
        let size = scanout.size();
        let mut out = vec![0; size.area() as usize * 4];
        scanout.reader().unwrap().read(size.rect(), &mut out).unwrap();
        out
    }

    fn linear(fd: OwnedFd, bottom_up: bool) -> Dmabuf {
        use crate::frame::{Buffer, DmabufPlane};
        Dmabuf {
            planes: vec![DmabufPlane { buffer: Arc::new(Buffer::new(fd).unwrap()), offset: 0, stride: 8 }],
            fourcc: u32::from_le_bytes(*b"XR24"),
            modifier: MODIFIER_LINEAR,
            backing: Size::new(1, 2),
            crop: Rect::new(0, 0, 1, 2),
            bottom_up,
        }
    }

    #[test]
    fn padded_rows_are_read_without_their_padding() {
        let bytes = [1, 2, 3, 0, 9, 9, 9, 9, 4, 5, 6, 0];
        let owned = Scanout::owned(1, 2, 8, XRGB, &bytes).unwrap();
        assert_eq!(all(&owned), [1, 2, 3, 255, 4, 5, 6, 255]);
        let shared = Scanout::shared(memfd(&bytes), 0, 1, 2, 8, XRGB).unwrap();
        assert_eq!(all(&shared), [1, 2, 3, 0, 4, 5, 6, 0]);
    }

    #[test]
    fn a_bottom_up_buffer_is_read_from_the_top() {
        let bytes = [1, 2, 3, 0, 9, 9, 9, 9, 4, 5, 6, 0];
        assert_eq!(all(&Scanout::dmabuf(linear(memfd(&bytes), true)).unwrap()), [4, 5, 6, 0, 1, 2, 3, 0]);
        assert_eq!(all(&Scanout::dmabuf(linear(memfd(&bytes), false)).unwrap()), [1, 2, 3, 0, 4, 5, 6, 0]);
    }

    #[test]
    fn an_update_changes_its_rectangle_alone() {
        let scanout = Scanout::owned(2, 2, 8, XRGB, &[0; 16]).unwrap();
        scanout.write(Rect::new(1, 1, 1, 1), 4, XRGB, &[7, 8, 9, 0]).unwrap();
        assert_eq!(all(&scanout)[..12], [0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255]);
        assert_eq!(all(&scanout)[12..], [7, 8, 9, 255]);
        assert!(scanout.write(Rect::new(1, 1, 2, 1), 8, XRGB, &[0; 8]).is_err());
    }

    #[test]
    fn a_file_cut_short_after_it_was_checked_fails_the_read_alone() {
        let fd = memfd(&[0; 4096 * 4]);
        let scanout = Scanout::shared(fd.try_clone().unwrap(), 0, 64, 64, 256, XRGB).unwrap();
        rustix::fs::ftruncate(&fd, 100).unwrap();
        let mut out = vec![0; 64 * 64 * 4];
        assert!(scanout.reader().unwrap().read(Size::new(64, 64).rect(), &mut out).is_err());
    }

    proptest! {
        #[test]
        fn numbers_that_lie_are_refused_or_readable(
            width in 0u32..40_000, height in 0u32..40_000, stride: u32, offset: u32, len in 0usize..10_000,
        ) {
            if let Ok(scanout) = Scanout::shared(memfd(&vec![0; len]), offset, width, height, stride, XRGB) {
                all(&scanout);
            }
            if let Ok(scanout) = Scanout::owned(width, height, stride, XRGB, &vec![0; len]) {
                all(&scanout);
            }
        }
    }
}
