use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::gpu::{DmabufReads, GpuRows, ReadPath};
use super::merge::Merge;
use super::reader::{Access, Bytes, Place, Plane, Rows, ScanoutReader};
use super::{Dmabuf, MODIFIER_INVALID, MODIFIER_LINEAR, PixelFormat, Rect, Region, Size};
use crate::sys::GpuError;

/// The largest side of a picture, in pixels: twice what any display has today.
const MAX_SIDE: u32 = 16_384;

/// The most memory one scanout may claim, in bytes: 16384 x 8192 pixels of 32 bits.
const MAX_BYTES: u64 = 512 << 20;

/// The most planes of a buffer, as in DRM.
const MAX_PLANES: usize = 4;

/// The largest picture that is copied to see what changes of memory that is not ours, in bytes: 4096x4096 pixels.
const MAX_COPY: u64 = 64 << 20;

/// The bytes of a picture that are compared at a time: few enough to be still in the cache when they are.
const COMPARED_BYTES: u32 = 64 << 10;

/// What a console shows: a picture's size and the memory its pixels are read from.
///
/// The memory belongs to someone else and changes while it is read, so it is never borrowed as a slice: readers
/// copy rows out of it, already as B, G, R, x from the top.
#[derive(Debug)]
pub struct Scanout {
    size: Size,
    format: PixelFormat,
    memory: Memory,
    /// Packed rows of B, G, R, x that are read in place of the memory; none if that is read itself. What came by value
    /// has no other. See [`Scanout::keep_copy`].
    copy: Mutex<Vec<u8>>,
    /// Its pixels were read.
    read: AtomicBool,
}

#[derive(Debug)]
enum Memory {
    /// None but the copy.
    Owned,
    /// Shared by QEMU, read with `pread`: nothing that happens to the file can hurt more than the read.
    Shared { fd: OwnedFd, offset: u32, stride: u32 },
    /// A GPU's.
    Dmabuf { dmabuf: Dmabuf, reads: DmabufReads },
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
        /// The picture is the whole buffer, not a part of it.
        whole: bool,
        /// The picture starts with the buffer's first byte.
        at_start: bool,
    },
}

/// Memory that QEMU shares, with the picture in it: checked against the file's size when it was given.
#[derive(Clone, Copy, Debug)]
pub struct SharedMemory<'a> {
    /// The file.
    pub fd: &'a OwnedFd,
    /// Bytes from the start of the file to the picture's first row.
    pub offset: u32,
    /// Bytes from one row to the next.
    pub stride: u32,
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
    /// Another number of planes than its format has.
    #[error("buffer of {found} planes, which its format does not have")]
    Planes {
        /// Planes there are.
        found: usize,
    },
    /// A part to show that is not there.
    #[error("the part of the buffer to show is not inside it")]
    Crop,
    /// Pixels that are not ours to change.
    #[error("an update by value of a picture that did not come by value")]
    NotOurs,
    /// Rows that end before the picture does.
    #[error("the picture's rows end early")]
    Torn,
    /// A buffer that only a GPU can read, and it cannot.
    #[error("reading the buffer through the GPU: {0}")]
    Gpu(#[from] GpuError),
    /// A buffer that neither the CPU nor a GPU can read.
    #[error("the CPU cannot read the buffer ({cpu}), nor can a GPU: {gpu}")]
    Nobody {
        /// Why the CPU cannot.
        cpu: String,
        /// Why a GPU cannot.
        gpu: GpuError,
    },
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
        source.copy_into(&mut pixels);
        Ok(Self { copy: Mutex::new(pixels), ..Self::new(size, format, Memory::Owned) })
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
        check_span(size, stride, format, 0, u64::from(offset), crate::sys::file_size(&fd)?)?;
        Ok(Self::new(size, format, Memory::Shared { fd, offset, stride }))
    }

    /// A GPU's buffer (`Listener.ScanoutDMABUF`), of up to four planes in any tiling. `reads` is how its pixels are
    /// read if anyone asks for them; whether they can be is seen then.
    ///
    /// # Errors
    /// If its numbers do not fit each other, its format or the buffer's real size.
    pub fn dmabuf(dmabuf: Dmabuf, reads: &DmabufReads) -> Result<Self, ScanoutError> {
        checked_size(dmabuf.backing.width, dmabuf.backing.height)?;
        let size = checked_size(dmabuf.crop.width, dmabuf.crop.height)?;
        let format = PixelFormat::from_fourcc(dmabuf.fourcc).ok_or(ScanoutError::Format(dmabuf.fourcc))?;
        if !dmabuf.backing.rect().contains(dmabuf.crop) {
            return Err(ScanoutError::Crop);
        }
        let untiled = is_untiled(dmabuf.modifier);
        // A tiled buffer may have more planes than its format: those of its compression.
        let (found, least) = (dmabuf.planes.len(), format.planes());
        if found < least || found > if untiled { least } else { MAX_PLANES } {
            return Err(ScanoutError::Planes { found });
        }
        for (index, plane) in dmabuf.planes.iter().enumerate() {
            let (offset, found) = (u64::from(plane.offset), plane.buffer.size());
            if untiled {
                check_span(dmabuf.backing, plane.stride, format, index, offset, found)?;
            } else {
                check_tiled(dmabuf.backing, plane.stride, format, index, offset, found)?;
            }
        }
        Ok(Self::new(size, format, Memory::Dmabuf { dmabuf, reads: reads.clone() }))
    }

    fn new(size: Size, format: PixelFormat, memory: Memory) -> Self {
        Self { size, format, memory, copy: Mutex::default(), read: AtomicBool::new(false) }
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
            Memory::Owned => MemoryKind::Owned,
            Memory::Shared { .. } => MemoryKind::Shared,
            Memory::Dmabuf { dmabuf, .. } => MemoryKind::Dmabuf {
                planes: dmabuf.planes.len(),
                modifier: dmabuf.modifier,
                whole: dmabuf.crop == dmabuf.backing.rect(),
                at_start: dmabuf.planes.first().is_some_and(|plane| plane.offset == 0),
            },
        };
        ScanoutInfo { size: self.size, memory }
    }

    /// The GPU's buffer, if its pixels are in one.
    #[must_use]
    pub fn as_dmabuf(&self) -> Option<&Dmabuf> {
        match &self.memory {
            Memory::Dmabuf { dmabuf, .. } => Some(dmabuf),
            _ => None,
        }
    }

    /// QEMU's memory, if its pixels are in some that it shares.
    #[must_use]
    pub fn as_shared(&self) -> Option<SharedMemory<'_>> {
        match &self.memory {
            Memory::Shared { fd, offset, stride } => {
                Some(SharedMemory { fd, offset: *offset, stride: *stride })
            }
            _ => None,
        }
    }

    /// How its pixels lay in memory when it was given.
    #[must_use]
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Whether its pixels were ever read: they are not where it passes through, or a device takes them.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.read.load(Ordering::Relaxed)
    }

    /// Replaces a part of pixels that came by value (`Listener.Update`). Gives what of it really changed.
    ///
    /// # Errors
    /// If the numbers do not fit each other or `data`, or the scanout's memory is not ours.
    pub fn write(&self, rect: Rect, stride: u32, pixman: u32, data: &[u8]) -> Result<Region, ScanoutError> {
        let Memory::Owned = &self.memory else {
            return Err(ScanoutError::NotOurs);
        };
        if rect.area() == 0 || !self.size.rect().contains(rect) {
            return Err(ScanoutError::Size { width: rect.right(), height: rect.bottom() });
        }
        let source = Packed::new(Size::new(rect.width, rect.height), stride, checked_format(pixman)?, data)?;
        Ok(source.merge_into(&mut lock(&self.copy), self.size, rect))
    }

    /// Copies all of memory that is not ours. From now on the copy is what is read, and [`Scanout::take_in`] tells what
    /// changes of it. Readers that read before may have seen what is not in the copy: they are to read all of it again.
    ///
    /// # Errors
    /// If the picture is too large for that, or the CPU cannot read it.
    pub fn keep_copy(&self) -> Result<(), ScanoutError> {
        let needed = self.size.area() * 4;
        if needed > MAX_COPY {
            return Err(ScanoutError::Short { needed, found: MAX_COPY });
        }
        let mut pixels = vec![0; bytes(needed)?];
        self.memory_by_cpu()?.read(self.size.rect(), &mut pixels)?;
        *lock(&self.copy) = pixels;
        Ok(())
    }

    /// Takes a part of the memory into the copy of it. Gives what of it really changed.
    ///
    /// INVARIANT: what was compared is what is read afterwards, whatever the guest writes into the memory meanwhile.
    ///
    /// # Errors
    /// If there is no copy, or the memory cannot be read: then the copy is of no use any more.
    pub fn take_in(&self, part: Rect) -> Result<Region, ScanoutError> {
        let mut memory = self.memory_by_cpu()?;
        let mut copy = lock(&self.copy);
        if copy.is_empty() || !self.size.rect().contains(part) {
            return Err(ScanoutError::Torn);
        }
        let row = bytes(u64::from(part.width) * 4)?;
        let at_once = (COMPARED_BYTES / 4).checked_div(part.width).unwrap_or(1).clamp(1, part.height.max(1));
        let mut buffer = vec![0; row.saturating_mul(bytes(at_once.into())?)];
        let mut merge = Merge::new(part);
        let mut rows = rows_of(&mut copy, self.size, part);
        let mut y = part.y;
        while y < part.bottom() {
            let band = Rect { y, height: at_once.min(part.bottom() - y), ..part };
            let now = buffer.get_mut(..row.saturating_mul(bytes(band.height.into())?));
            let now = now.ok_or(ScanoutError::Torn)?;
            memory.read(band, now)?;
            for (now, before) in now.chunks_exact(row).zip(&mut rows) {
                merge.row(before, now);
            }
            y = band.bottom();
        }
        Ok(merge.end())
    }

    /// Forgets the copy of memory that is not ours, which is read itself again.
    pub fn drop_copy(&self) {
        if !matches!(self.memory, Memory::Owned) {
            *lock(&self.copy) = Vec::new();
        }
    }

    /// Starts reading: holds off whoever must be held off, until the reader is dropped.
    ///
    /// # Errors
    /// If the buffer's device refuses.
    pub fn reader(&self) -> Result<ScanoutReader<'_>, ScanoutError> {
        self.read.store(true, Ordering::Relaxed);
        let copy = lock(&self.copy);
        let access = if copy.is_empty() { self.access()? } else { Access::Owned(copy) };
        Ok(ScanoutReader { size: self.size, access })
    }

    /// Starts reading the memory itself, if that takes no more than the CPU.
    fn memory_by_cpu(&self) -> Result<ScanoutReader<'_>, ScanoutError> {
        match self.access()? {
            access @ Access::Rows(_) => Ok(ScanoutReader { size: self.size, access }),
            _ => Err(ScanoutError::NotOurs),
        }
    }

    fn access(&self) -> Result<Access<'_>, ScanoutError> {
        match &self.memory {
            Memory::Owned => Err(ScanoutError::Torn), // it has a copy, always
            Memory::Shared { fd, offset, stride } => {
                let place = Place { crop: self.size.rect(), bottom_up: false };
                let plane = Plane::new(Bytes::File(fd), *offset, *stride);
                Ok(Access::Rows(Rows::new(self.format, place, plane, None)))
            }
            Memory::Dmabuf { dmabuf, reads } => self.dmabuf_access(dmabuf, reads),
        }
    }

    /// By the CPU where the buffer lies in rows and its exporter allows it, else by the GPU.
    ///
    /// A buffer without a modifier is taken to lie in rows where the CPU may read it. That holds for QEMU's blobs
    /// (udmabuf), for which it stopped saying so in 10.1. It is an open question for a GPU's own memory: some drivers
    /// let the CPU see it as it is tiled.
    fn dmabuf_access<'a>(
        &self,
        dmabuf: &'a Dmabuf,
        reads: &'a DmabufReads,
    ) -> Result<Access<'a>, ScanoutError> {
        let cpu = match reads.path() {
            ReadPath::Auto if is_untiled(dmabuf.modifier) => match self.rows(dmabuf) {
                Ok(rows) => return Ok(Access::Rows(rows)),
                Err(error) => Some(error),
            },
            _ => None,
        };
        match (reads.gpu(), cpu) {
            (Ok(gpu), _) => Ok(Access::Gpu(GpuRows::new(gpu, dmabuf))),
            (Err(gpu), Some(cpu)) => Err(ScanoutError::Nobody { cpu: cpu.to_string(), gpu }),
            (Err(gpu), None) => Err(gpu.into()),
        }
    }

    /// A buffer whose pixels are read by the CPU.
    fn rows<'a>(&self, dmabuf: &'a Dmabuf) -> Result<Rows<'a>, ScanoutError> {
        let mut planes = dmabuf.planes.iter().map(|plane| {
            let bytes = match plane.buffer.begin_read()? {
                Some(span) => Bytes::Map(span),
                None => Bytes::File(plane.buffer.fd()),
            };
            Ok::<_, ScanoutError>(Plane::new(bytes, plane.offset, plane.stride))
        });
        let first = planes.next().ok_or(ScanoutError::Planes { found: 0 })??;
        let chroma = planes.next().transpose()?;
        let place = Place { crop: dmabuf.crop, bottom_up: dmabuf.bottom_up };
        Ok(Rows::new(self.format, place, first, chroma))
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
        check_span(size, stride, format, 0, 0, u64::try_from(data.len()).unwrap_or(u64::MAX))?;
        Ok(Self { size, stride: bytes(u64::from(stride))?, format, data })
    }

    /// Writes them as B, G, R, 255 into packed rows of a picture that has their size.
    fn copy_into(&self, pixels: &mut [u8]) {
        let rows = pixels.chunks_exact_mut(to_usize(self.size.width) * 4);
        for (from, row) in self.rows().zip(rows) {
            self.format.to_bgrx(false, from, &[], row);
        }
    }

    /// Writes them as B, G, R, 255 where `rect` is in a packed picture of size `picture`; `rect` has their size. Gives
    /// what of it really changed.
    fn merge_into(&self, pixels: &mut [u8], picture: Size, rect: Rect) -> Region {
        let mut merge = Merge::new(rect);
        let mut now = vec![0; to_usize(rect.width) * 4];
        for (from, before) in self.rows().zip(rows_of(pixels, picture, rect)) {
            if merge.is_most() {
                self.format.to_bgrx(false, from, &[], before);
            } else {
                self.format.to_bgrx(false, from, &[], &mut now);
                merge.row(before, &now);
            }
        }
        merge.end()
    }

    fn rows(&self) -> impl Iterator<Item = &[u8]> {
        self.data.chunks(self.stride).take(to_usize(self.size.height))
    }
}

/// The rows of a part of a packed picture, to be written to.
fn rows_of(pixels: &mut [u8], picture: Size, part: Rect) -> impl Iterator<Item = &mut [u8]> {
    let (left, width) = (to_usize(part.x) * 4, to_usize(part.width) * 4);
    let rows = pixels.chunks_exact_mut(to_usize(picture.width) * 4);
    let rows = rows.skip(to_usize(part.y)).take(to_usize(part.height));
    rows.filter_map(move |row| row.get_mut(left..)?.get_mut(..width))
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

/// Checks that the rows of one plane of a picture of this size lie inside `found` bytes. The last row needs no padding.
fn check_span(
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
fn check_tiled(
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

/// Whether a modifier can mean plain rows of pixels.
fn is_untiled(modifier: u64) -> bool {
    modifier == MODIFIER_LINEAR || modifier == MODIFIER_INVALID
}

fn bytes(n: u64) -> Result<usize, ScanoutError> {
    usize::try_from(n).map_err(|_| ScanoutError::Short { needed: n, found: 0 })
}

fn to_usize(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
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
        assert_eq!(
            all(&Scanout::dmabuf(linear(memfd(&bytes), true), &DmabufReads::default()).unwrap()),
            [4, 5, 6, 0, 1, 2, 3, 0]
        );
        assert_eq!(
            all(&Scanout::dmabuf(linear(memfd(&bytes), false), &DmabufReads::default()).unwrap()),
            [1, 2, 3, 0, 4, 5, 6, 0]
        );
    }

    #[test]
    fn a_part_is_the_same_part_of_the_whole_however_it_is_stored() {
        let (width, height, stride, gap) = (300_u32, 90_u32, 1300_u32, 100);
        let pixels: Vec<u8> =
            (0..stride * height).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let file = |offset: usize| memfd(&[&vec![9; offset], pixels.as_slice()].concat());
        let buffer = |bottom_up| {
            let mut dmabuf = linear(file(gap), bottom_up);
            (dmabuf.planes[0].offset, dmabuf.planes[0].stride) = (100, stride);
            (dmabuf.backing, dmabuf.crop) = (Size::new(width + 25, height), Rect::new(5, 0, width, height));
            Scanout::dmabuf(dmabuf, &DmabufReads::default()).unwrap()
        };
        let by_value = |data: &[u8]| Scanout::owned(width, height, stride, XRGB, data).unwrap();
        let upside_down: Vec<u8> = pixels.chunks(stride as usize).rev().flatten().copied().collect();
        let pairs = [
            (by_value(&pixels), Scanout::shared(file(gap), 100, width, height, stride, XRGB).unwrap()),
            (by_value(&pixels[20..].iter().copied().chain([0; 20]).collect::<Vec<_>>()), buffer(false)),
            (by_value(&upside_down[20..].iter().copied().chain([0; 20]).collect::<Vec<_>>()), buffer(true)),
        ];
        for (expected, other) in pairs {
            for part in [Rect::new(0, 0, width, height), Rect::new(7, 3, 120, 80), Rect::new(299, 0, 1, 90)] {
                let read = |scanout: &Scanout| {
                    let mut out = vec![0; part.area() as usize * 4];
                    scanout.reader().unwrap().read(part, &mut out).unwrap();
                    out.chunks(4).flat_map(|p| [p[0], p[1], p[2]]).collect::<Vec<_>>()
                };
                assert!(read(&expected) == read(&other), "{part:?} of {other:?}");
            }
        }
    }

    /// Of two planes in one file of 64 bytes, tiled as no GPU does it.
    fn tiled(planes: &[(u32, u32)], backing: Size) -> Result<Scanout, ScanoutError> {
        let mut dmabuf = linear(memfd(&[7; 64]), true);
        let buffer = dmabuf.planes[0].buffer.clone();
        let plane = |&(offset, stride)| crate::frame::DmabufPlane { buffer: buffer.clone(), offset, stride };
        dmabuf.planes = planes.iter().map(plane).collect();
        (dmabuf.modifier, dmabuf.backing) = (0x7f00_0000_0000_0001, backing);
        Scanout::dmabuf(dmabuf, &DmabufReads::new(ReadPath::Auto, Some("/nowhere/renderD128".into())))
    }

    #[test]
    fn a_tiled_buffer_is_taken_but_never_read_as_if_it_lay_in_rows() {
        let scanout = tiled(&[(0, 16), (60, 1)], Size::new(4, 4)).unwrap();
        let MemoryKind::Dmabuf { planes: 2, modifier: 0x7f00_0000_0000_0001, .. } = scanout.info().memory
        else {
            panic!()
        };
        assert!(matches!(scanout.reader(), Err(ScanoutError::Gpu(_))));
    }

    #[test]
    fn a_tiled_buffer_that_cannot_be_is_refused() {
        let (whole, large) = (Size::new(4, 4), Size::new(4, 5));
        for (what, planes, size) in [
            ("too few bytes", &[(0, 16)][..], large),
            ("offset", &[(1, 16)], whole),
            ("offset of a second", &[(0, 16), (64, 1)], whole),
            ("far offset of a second", &[(0, 16), (u32::MAX, 1)], whole),
            ("stride", &[(0, 0)], whole),
            ("no planes", &[], whole),
            ("five planes", &[(0, 16); 5], whole),
        ] {
            assert!(tiled(planes, size).is_err(), "{what}");
        }
    }

    #[test]
    fn a_buffer_in_rows_has_as_many_planes_as_its_format() {
        let mut dmabuf = linear(memfd(&[7; 64]), true);
        let plane = &dmabuf.planes[0];
        let again = crate::frame::DmabufPlane { buffer: plane.buffer.clone(), offset: 0, stride: 8 };
        dmabuf.planes.push(again);
        let refused = Scanout::dmabuf(dmabuf, &DmabufReads::default());
        assert!(matches!(refused, Err(ScanoutError::Planes { found: 2 })));
    }

    #[test]
    fn what_the_gpu_alone_may_read_the_cpu_does_not() {
        let reads = DmabufReads::new(ReadPath::Gpu, Some("/nowhere/renderD128".into()));
        let scanout = Scanout::dmabuf(linear(memfd(&[7; 16]), true), &reads).unwrap();
        assert!(matches!(scanout.reader(), Err(ScanoutError::Gpu(_))));
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
