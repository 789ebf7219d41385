use std::os::fd::OwnedFd;
use std::sync::MutexGuard;

use super::gpu::GpuRows;
use super::guest_memory::GuestPixels;
use super::placement::Placement;
use super::{PixelFormat, Rect, ScanoutError, Size};
use crate::sys::{ReadSpan, read_at};

/// Approximate bytes read by one system call: enough to hide its cost, few enough to stay in the second-level
/// cache.
const SPAN_BYTES: u32 = 64 << 10;

/// Read access to a scanout's pixels.
pub struct ScanoutReader<'a> {
    pub(super) size: Size,
    pub(super) access: Access<'a>,
}

/// Where the pixels are read from.
pub(super) enum Access<'a> {
    /// Our own packed rows of B, G, R, x.
    Owned(MutexGuard<'a, Vec<u8>>),
    /// Rows of a format, in one or two planes.
    PictureRows(PictureRows<'a>),
    /// What the GPU reads.
    Gpu(GpuRows<'a>),
}

impl ScanoutReader<'_> {
    /// Announces that `rect` will be read in pieces from the top, so that a slow reader can fetch it at once.
    pub fn announce(&mut self, rect: Rect) {
        if let Access::Gpu(rows) = &mut self.access {
            rows.announce(rect);
        }
    }

    /// Copies `rect` as packed rows of B, G, R, x from the top: `rect.width * rect.height * 4` bytes.
    ///
    /// # Errors
    /// If `rect` is not inside the picture, `bgrx` has another length, or the memory is gone.
    pub fn read(&mut self, rect: Rect, bgrx: &mut [u8]) -> Result<(), ScanoutError> {
        if rect.area() == 0 || !self.size.rect().contains(rect) {
            return Err(ScanoutError::Size { width: rect.right(), height: rect.bottom() });
        }
        if u64::try_from(bgrx.len()).ok() != Some(rect.area() * 4) {
            return Err(ScanoutError::Short {
                needed: rect.area() * 4,
                found: u64::try_from(bgrx.len()).unwrap_or(0),
            });
        }
        let packed = bytes(u64::from(rect.width) * 4)?;
        match &mut self.access {
            Access::Owned(data) => {
                let rows = data.chunks_exact(bytes(u64::from(self.size.width) * 4)?);
                let left = bytes(u64::from(rect.x) * 4)?;
                for (row, out) in rows.skip(bytes(rect.y.into())?).zip(bgrx.chunks_exact_mut(packed)) {
                    let from = row.get(left..).and_then(|row| row.get(..packed));
                    out.copy_from_slice(from.ok_or(ScanoutError::Torn)?);
                }
            }
            Access::Gpu(rows) => rows.read(rect, packed, bgrx)?,
            Access::PictureRows(rows) => {
                // A system call for a few rows and the gaps between them costs less than one for each row.
                let at_once = (SPAN_BYTES / rows.first.stride.max(1)).max(1);
                let tall = bytes(at_once.into())?;
                let mut y = rect.y;
                for out in bgrx.chunks_mut(packed.saturating_mul(tall)) {
                    rows.read(rect.x, y, packed, out)?;
                    y = y.saturating_add(at_once);
                }
            }
        }
        Ok(())
    }
}

/// A picture in rows of its format.
///
/// INVARIANT: the format's planes are there, each checked against its memory.
pub(super) struct PictureRows<'a> {
    format: PixelFormat,
    place: Placement,
    first: PlaneRows<'a>,
    chroma: Option<PlaneRows<'a>>,
}

/// One plane of a picture.
pub(super) struct PlaneRows<'a> {
    bytes: PlaneMemory<'a>,
    offset: u32,
    stride: u32,
    buffer: Vec<u8>,
}

/// A plane's memory.
pub(super) enum PlaneMemory<'a> {
    /// Read with `pread`.
    File(&'a OwnedFd),
    /// Mapped.
    Map(ReadSpan<'a>),
    /// The guest's, in pieces.
    Guest(&'a dyn GuestPixels),
}

impl<'a> PictureRows<'a> {
    pub(super) fn new(
        format: PixelFormat,
        place: Placement,
        first: PlaneRows<'a>,
        chroma: Option<PlaneRows<'a>>,
    ) -> Self {
        Self { format, place, first, chroma }
    }

    /// Reads picture rows from row `y` and column `x` on: as many as `out` holds, `packed` bytes each.
    fn read(&mut self, x: u32, y: u32, packed: usize, out: &mut [u8]) -> Result<(), ScanoutError> {
        let count = u32::try_from(out.len() / packed).unwrap_or(u32::MAX);
        let lowest = self.place.lowest(y, count);
        let (x, width) = (self.place.column(x), u32::try_from(packed / 4).unwrap_or(u32::MAX));
        let direct = self.format.is_bgrx();
        let pixel = self.format.bytes_per_pixel();
        let row = bytes(u64::from(width) * u64::from(pixel))?;
        let at = u64::from(x) * u64::from(pixel);
        if direct && !self.place.bottom_up && self.first.read_packed(at, lowest, row, out)? {
            return Ok(());
        }
        let (first, stride) = self.first.rows(at, lowest, row, count)?;
        let odd = x % 2;
        let (chroma, chroma_stride) = match &mut self.chroma {
            // A pair of bytes for two pixels of two rows.
            Some(plane) => {
                let (top, bottom) = (lowest / 2, lowest.saturating_add(count).div_ceil(2));
                let row = bytes(u64::from(odd.saturating_add(width).div_ceil(2)) * 2)?;
                plane.rows(u64::from(x / 2) * 2, top, row, bottom - top)?
            }
            None => (&[][..], 0),
        };
        // The first row of chroma that was read is that of `lowest`, maybe only of its own second row.
        let chroma_of = |y: usize| chroma.get(y / 2 * chroma_stride..).unwrap_or_default();
        let starts_below = bytes(u64::from(lowest % 2))?;
        let copy = |(y, (from, to)): (usize, (&[u8], &mut [u8]))| match from.get(..row) {
            Some(from) if direct => to.copy_from_slice(from),
            _ => self.format.to_bgrx(odd == 1, from, chroma_of(y + starts_below), to),
        };
        let (from, to) = (first.chunks(stride), out.chunks_exact_mut(packed));
        if self.place.bottom_up {
            from.zip(to.rev()).enumerate().for_each(copy);
        } else {
            from.zip(to).enumerate().for_each(copy);
        }
        Ok(())
    }
}

impl<'a> PlaneRows<'a> {
    pub(super) fn new(bytes: PlaneMemory<'a>, offset: u32, stride: u32) -> Self {
        Self { bytes, offset, stride, buffer: Vec::new() }
    }

    /// Returns `count` memory rows from row `y` and byte `x` on, `row` bytes each, and the distance between
    /// two of them.
    fn rows(&mut self, x: u64, y: u32, row: usize, count: u32) -> Result<(&[u8], usize), ScanoutError> {
        let (mut at, stride) = (self.at(x, y), bytes(self.stride.into())?);
        let count = bytes(count.into())?;
        match &self.bytes {
            PlaneMemory::File(fd) => {
                let buffer = first(&mut self.buffer, stride.saturating_mul(count.saturating_sub(1)) + row);
                read_at(fd, at, buffer)?;
                Ok((buffer, stride))
            }
            PlaneMemory::Map(map) => {
                // A device's memory may be slow to read: no byte more than needed.
                let buffer = first(&mut self.buffer, row.saturating_mul(count));
                for to in buffer.chunks_exact_mut(row) {
                    map.copy_to(at, to)?;
                    at += u64::from(self.stride);
                }
                Ok((buffer, row))
            }
            PlaneMemory::Guest(pixels) => {
                let buffer = first(&mut self.buffer, row.saturating_mul(count));
                for to in buffer.chunks_exact_mut(row) {
                    pixels.read_at(at, to)?;
                    at += u64::from(self.stride);
                }
                Ok((buffer, row))
            }
        }
    }

    /// Fills `out` with one read if the rows are contiguous in a file. Returns whether they are.
    fn read_packed(&self, x: u64, y: u32, row: usize, out: &mut [u8]) -> Result<bool, ScanoutError> {
        let packed = row == bytes(self.stride.into())? || row == out.len();
        match &self.bytes {
            PlaneMemory::File(fd) if packed => read_at(fd, self.at(x, y), out)?,
            PlaneMemory::Guest(pixels) if packed => pixels.read_at(self.at(x, y), out)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Returns the offset of byte `x` of row `y`. It cannot overflow because the scanout's numbers were
    /// checked when it was made.
    fn at(&self, x: u64, y: u32) -> u64 {
        u64::from(self.offset) + u64::from(y) * u64::from(self.stride) + x
    }
}

/// Returns the first `len` bytes of `buffer`, which grows if needed and never shrinks.
fn first(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    buffer.get_mut(..len).unwrap_or_default()
}

fn bytes(n: u64) -> Result<usize, ScanoutError> {
    usize::try_from(n).map_err(|_| ScanoutError::Short { needed: n, found: 0 })
}

#[cfg(test)]
mod tests {
    use super::super::{
        Buffer, Dmabuf, DmabufPlane, DmabufReads, MODIFIER_INVALID, MODIFIER_LINEAR, Scanout,
    };
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::sync::Arc;

    const FOURCCS: [&[u8; 4]; 6] = [b"XR24", b"AB24", b"BG24", b"RG16", b"AR30", b"NV12"];

    /// A buffer of random bytes, how it is said to lie, and a part of its picture to read.
    #[derive(Debug)]
    struct Case {
        format: PixelFormat,
        bytes: Vec<u8>,
        planes: Vec<(u32, u32)>,
        modifier: u64,
        backing: Size,
        crop: Rect,
        bottom_up: bool,
        part: Rect,
    }

    fn cases() -> impl Strategy<Value = Case> {
        let numbers = (0..FOURCCS.len(), 1u32..24, 1u32..24, 0u32..20, 0u32..40, any::<(u64, bool, bool)>());
        let inside = |width: u32, height: u32| {
            (0..width, 0..height).prop_flat_map(move |(x, y)| {
                (1..=width - x, 1..=height - y).prop_map(move |(w, h)| Rect::new(x, y, w, h))
            })
        };
        let crops = numbers.prop_flat_map(move |n| (Just(n), inside(n.1, n.2)));
        let parts =
            crops.prop_flat_map(move |(n, crop)| (Just(n), Just(crop), inside(crop.width, crop.height)));
        parts.prop_map(|((fourcc, width, height, pad, gap, (seed, bottom_up, linear)), crop, part)| {
            let format = PixelFormat::from_fourcc(u32::from_le_bytes(*FOURCCS[fourcc])).unwrap();
            let (mut len, mut planes) = (0, Vec::new());
            for plane in 0..format.planes() {
                let (row, rows) = format.plane(plane, Size::new(width, height));
                let stride = row as u32 + pad;
                planes.push((len + gap, stride));
                // The last row ends with its last pixel.
                len += gap + stride * (rows - 1) + row as u32;
            }
            let bytes = (0..u64::from(len)).map(|n| (n.wrapping_mul(seed | 1) >> 5) as u8).collect();
            let modifier = if linear { MODIFIER_LINEAR } else { MODIFIER_INVALID };
            let backing = Size::new(width, height);
            Case { format, bytes, planes, modifier, backing, crop, bottom_up, part }
        })
    }

    fn scanout(case: &Case, bytes: &[u8]) -> Result<Scanout, ScanoutError> {
        let fd = rustix::fs::memfd_create("planes", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        std::fs::File::from(fd.try_clone().unwrap()).write_all(bytes).unwrap();
        let buffer = Arc::new(Buffer::new(fd).unwrap());
        let plane = |&(offset, stride)| DmabufPlane { buffer: buffer.clone(), offset, stride };
        let dmabuf = Dmabuf {
            planes: case.planes.iter().map(plane).collect(),
            fourcc: case.format.fourcc(),
            modifier: case.modifier,
            backing: case.backing,
            crop: case.crop,
            bottom_up: case.bottom_up,
        };
        Scanout::dmabuf(dmabuf, &DmabufReads::default())
    }

    /// One pixel, the slow way.
    fn pixel(case: &Case, x: u32, y: u32) -> [u8; 4] {
        let y = if case.bottom_up { case.crop.height - 1 - y } else { y };
        let (x, y) = ((case.crop.x + x) as usize, (case.crop.y + y) as usize);
        let each = case.format.bytes_per_pixel() as usize;
        let (offset, stride) = case.planes[0];
        let first = &case.bytes[offset as usize + y * stride as usize + x * each..][..each];
        let chroma = case.planes.get(1).map_or(&[][..], |&(offset, stride)| {
            &case.bytes[offset as usize + y / 2 * stride as usize + x / 2 * 2..][..2]
        });
        let mut out = [0; 4];
        case.format.to_bgrx(false, first, chroma, &mut out);
        if case.format.is_bgrx() {
            out[3] = first[3];
        }
        out
    }

    proptest! {
        #[test]
        fn every_part_of_every_layout_is_read_right(case in cases()) {
            let scanout = scanout(&case, &case.bytes).unwrap();
            prop_assert_eq!(scanout.size(), Size::new(case.crop.width, case.crop.height));
            let mut read = vec![0; case.part.area() as usize * 4];
            scanout.reader().unwrap().read(case.part, &mut read).unwrap();
            let part = case.part;
            let expected: Vec<u8> = (part.y..part.bottom())
                .flat_map(|y| (part.x..part.right()).map(move |x| (x, y)))
                .flat_map(|(x, y)| pixel(&case, x, y))
                .collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn a_buffer_one_byte_too_short_is_refused(case in cases()) {
            let short = &case.bytes[..case.bytes.len() - 1];
            let refused = matches!(scanout(&case, short), Err(ScanoutError::Short { .. }));
            prop_assert!(refused);
        }
    }
}
