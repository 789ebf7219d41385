mod check;
mod error;
mod packed;

pub use error::ScanoutError;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::changed_rows::ChangedRows;
use super::gpu::{DmabufReads, GpuRows, ReadPath};
use super::guest_memory::GuestPixels;
use super::placement::Placement;
use super::reader::{Access, PictureRows, PlaneMemory, PlaneRows, ScanoutReader};
use super::{Dmabuf, PixelFormat, Rect, Region, Size};
use check::{MAX_PLANES, bytes, check_span, check_tiled, checked_format, checked_size, is_untiled};
use packed::{Packed, rows_of};

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
    copy: Arc<Mutex<Vec<u8>>>,
    /// Its pixels were read.
    read: AtomicBool,
}

#[derive(Debug)]
enum Memory {
    /// None but the copy.
    Owned,
    /// Shared by QEMU, read with `pread`: nothing that happens to the file can hurt more than the read.
    Shared { fd: OwnedFd, offset: u32, stride: u32 },
    /// The guest's own.
    Guest { pixels: Arc<dyn GuestPixels>, offset: u32, stride: u32 },
    /// A GPU's.
    Dmabuf { dmabuf: Dmabuf, reads: DmabufReads },
}

/// What matters of a scanout for how it can be delivered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ScanoutInfo {
    /// Returns the picture's size.
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
    /// In the guest's own memory, which is read in place.
    Guest,
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

impl Scanout {
    /// Copies pixels that came by value (`Listener.Scanout`).
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
        Ok(Self { copy: Arc::new(Mutex::new(pixels)), ..Self::new(size, format, Memory::Owned) })
    }

    /// Makes a scanout of memory shared by QEMU (`Listener.Unix.Map.ScanoutMap`).
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

    /// Makes a scanout of the guest's own memory, whose first row begins `offset` bytes into `pixels`.
    ///
    /// # Errors
    /// If the numbers do not fit each other or the memory's size.
    pub(crate) fn guest(
        pixels: Arc<dyn GuestPixels>,
        offset: u32,
        size: Size,
        stride: u32,
        format: PixelFormat,
    ) -> Result<Self, ScanoutError> {
        let size = checked_size(size.width, size.height)?;
        check_span(size, stride, format, 0, u64::from(offset), pixels.len())?;
        Ok(Self::new(size, format, Memory::Guest { pixels, offset, stride }))
    }

    /// Makes a black picture, which takes no memory: what a screen shows that was switched off.
    ///
    /// # Errors
    /// If there is no picture of this size, or the system refuses.
    pub fn black(size: Size) -> Result<Self, ScanoutError> {
        let Size { width, height } = checked_size(size.width, size.height)?;
        let format = PixelFormat::Xrgb8888;
        let memory = crate::sys::sealed_memory(size.area() * 4)?;
        let pixman = format.pixman().ok_or(ScanoutError::Format(format.fourcc()))?;
        Self::shared(memory, 0, width, height, width * 4, pixman)
    }

    /// Makes a scanout of a GPU buffer (`Listener.ScanoutDMABUF`) of up to four planes in any tiling. `reads`
    /// reads its pixels if they are needed; whether that works shows only then.
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
        Self { size, format, memory, copy: Arc::default(), read: AtomicBool::new(false) }
    }

    /// The picture's size.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// Returns the facts that decide how the scanout can be delivered.
    #[must_use]
    pub fn info(&self) -> ScanoutInfo {
        let memory = match &self.memory {
            Memory::Owned => MemoryKind::Owned,
            Memory::Shared { .. } => MemoryKind::Shared,
            Memory::Guest { .. } => MemoryKind::Guest,
            Memory::Dmabuf { dmabuf, .. } => MemoryKind::Dmabuf {
                planes: dmabuf.planes.len(),
                modifier: dmabuf.modifier,
                whole: dmabuf.crop == dmabuf.backing.rect(),
                at_start: dmabuf.planes.first().is_some_and(|plane| plane.offset == 0),
            },
        };
        ScanoutInfo { size: self.size, memory }
    }

    /// Returns the GPU buffer, if the pixels are in one.
    #[must_use]
    pub fn as_dmabuf(&self) -> Option<&Dmabuf> {
        match &self.memory {
            Memory::Dmabuf { dmabuf, .. } => Some(dmabuf),
            _ => None,
        }
    }

    /// Returns QEMU's memory, if the pixels are in shared memory.
    #[must_use]
    pub fn as_shared(&self) -> Option<SharedMemory<'_>> {
        match &self.memory {
            Memory::Shared { fd, offset, stride } => {
                Some(SharedMemory { fd, offset: *offset, stride: *stride })
            }
            _ => None,
        }
    }

    /// Returns the pixel format in which the scanout was given.
    #[must_use]
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Returns whether the pixels were ever read. They are not if the buffer is passed through or imported by
    /// a device.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.read.load(Ordering::Relaxed)
    }

    /// Replaces a part of pixels that came by value (`Listener.Update`). Returns the real damage.
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

    /// Copies all of memory that QEMU can write to. From now on readers read the copy, and
    /// [`Scanout::take_in`] finds the damage. Readers must read all of it again, because they may have seen
    /// pixels that are not in the copy.
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

    /// Updates a part of the copy from the memory. Returns the real damage.
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
        let mut merge = ChangedRows::new(part);
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

    /// Takes the place of another of the same kind: who has read that reads this. Both have one copy, which is to be
    /// brought up to date by [`Scanout::take_in`].
    ///
    /// INVARIANT: who still reads the other reads the copy too. It is compared with what comes, and the other's memory
    /// is not: the guest may draw there again.
    pub(super) fn after(mut self, before: &Self) -> Self {
        self.read = AtomicBool::new(before.is_read());
        if self.info() == before.info() && !matches!(self.memory, Memory::Owned) {
            self.copy = before.copy.clone();
        }
        self
    }

    /// Drops the copy, so that the memory itself is read again.
    pub fn drop_copy(&self) {
        if !matches!(self.memory, Memory::Owned) {
            *lock(&self.copy) = Vec::new();
        }
    }

    /// Starts a read. Writers that must wait do so until the reader is dropped.
    ///
    /// # Errors
    /// If the buffer's device refuses.
    pub fn reader(&self) -> Result<ScanoutReader<'_>, ScanoutError> {
        self.read.store(true, Ordering::Relaxed);
        let copy = lock(&self.copy);
        let access = if copy.is_empty() { self.access()? } else { Access::Owned(copy) };
        Ok(ScanoutReader { size: self.size, access })
    }

    /// Starts a read of the memory itself, if the CPU alone can do it.
    fn memory_by_cpu(&self) -> Result<ScanoutReader<'_>, ScanoutError> {
        match self.access()? {
            access @ Access::PictureRows(_) => Ok(ScanoutReader { size: self.size, access }),
            _ => Err(ScanoutError::NotOurs),
        }
    }

    fn access(&self) -> Result<Access<'_>, ScanoutError> {
        match &self.memory {
            Memory::Owned => Err(ScanoutError::Torn), // it has a copy, always
            Memory::Shared { fd, offset, stride } => {
                let place = Placement { crop: self.size.rect(), bottom_up: false };
                let plane = PlaneRows::new(PlaneMemory::File(fd), *offset, *stride);
                Ok(Access::PictureRows(PictureRows::new(self.format, place, plane, None)))
            }
            Memory::Guest { pixels, offset, stride } => {
                let place = Placement { crop: self.size.rect(), bottom_up: false };
                let plane = PlaneRows::new(PlaneMemory::Guest(pixels.as_ref()), *offset, *stride);
                Ok(Access::PictureRows(PictureRows::new(self.format, place, plane, None)))
            }
            Memory::Dmabuf { dmabuf, reads } => self.dmabuf_access(dmabuf, reads),
        }
    }

    /// Reads by the CPU if the buffer is in rows and its exporter allows it, else by the GPU.
    ///
    /// A buffer without a modifier counts as rows if the CPU may read it. That holds for QEMU's blobs
    /// (udmabuf), for which QEMU 10.1 and later send no modifier. It is an open question for a GPU's own
    /// memory: some drivers show it to the CPU as it is tiled.
    fn dmabuf_access<'a>(
        &self,
        dmabuf: &'a Dmabuf,
        reads: &'a DmabufReads,
    ) -> Result<Access<'a>, ScanoutError> {
        let cpu = match reads.path() {
            ReadPath::Auto if is_untiled(dmabuf.modifier) => match self.rows(dmabuf) {
                Ok(rows) => return Ok(Access::PictureRows(rows)),
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

    /// Starts a read by the CPU.
    fn rows<'a>(&self, dmabuf: &'a Dmabuf) -> Result<PictureRows<'a>, ScanoutError> {
        let mut planes = dmabuf.planes.iter().map(|plane| {
            let bytes = match plane.buffer.begin_read()? {
                Some(span) => PlaneMemory::Map(span),
                None => PlaneMemory::File(plane.buffer.fd()),
            };
            Ok::<_, ScanoutError>(PlaneRows::new(bytes, plane.offset, plane.stride))
        });
        let first = planes.next().ok_or(ScanoutError::Planes { found: 0 })??;
        let chroma = planes.next().transpose()?;
        let place = Placement { crop: dmabuf.crop, bottom_up: dmabuf.bottom_up };
        Ok(PictureRows::new(self.format, place, first, chroma))
    }
}

/// Locks `pixels` even if a thread panicked while writing them, because any pixels are valid.
fn lock(pixels: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    pixels.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
