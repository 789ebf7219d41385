//! What the guest draws into: 2D resources, whose pixels are copied here, and blobs, which are guest memory.

use std::collections::BTreeMap;

use super::host::{Host, Range};
use super::protocol::{BlobLayout, Ranges, Refusal, pixel_format};
use super::scanouts::Picture;
use crate::frame::{PixelFormat, Rect, Size};

/// The most memory of ours that a guest's resources have together, in bytes, as QEMU's `max_hostmem`.
const MAX_BYTES: u64 = 256 << 20;

/// The most resources of a guest. Each is a file of ours.
const MAX_RESOURCES: usize = 1024;

/// The most ranges of guest memory that all resources have together: 16 MiB of ours.
const MAX_RANGES: usize = 1 << 20;

/// The largest side of a resource, in pixels.
const MAX_SIDE: u32 = 16_384;

/// Bytes of a pixel: the same for all formats that virtio-gpu has.
pub(super) const PIXEL: u32 = 4;

/// The unit in which memory is counted, in bytes.
const PAGE: u64 = 4096;

/// All resources of a guest, by the numbers that it chose.
#[derive(Debug)]
pub(super) struct Resources<P> {
    all: BTreeMap<u32, Resource<P>>,
    bytes: u64,
    ranges: usize,
}

#[derive(Debug)]
struct Resource<P> {
    kind: Kind,
    /// The pixels; none of a blob that was not shown yet.
    pixels: Option<P>,
    /// Bytes of ours that are counted for it.
    charge: u64,
    backing: Option<Backing>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// Pixels that the guest transfers.
    Copied { size: Size, format: PixelFormat },
    /// Guest memory of this many bytes, which readers have in place.
    Blob { bytes: u64 },
}

/// Ranges of guest memory that are one after the other in a resource.
#[derive(Debug, Default)]
struct Backing {
    ranges: Vec<Range>,
    len: u64,
}

impl<P> Default for Resources<P> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), bytes: 0, ranges: 0 }
    }
}

impl<P: Clone> Resources<P> {
    /// Makes a resource of black pixels.
    pub(super) fn create(
        &mut self,
        id: u32,
        size: Size,
        format: u32,
        host: &impl Host<Pixels = P>,
    ) -> Result<(), Refusal> {
        self.check_new(id)?;
        let format = pixel_format(format)?;
        let side = |n: u32| (1..=MAX_SIDE).contains(&n);
        if !side(size.width) || !side(size.height) {
            return Err(Refusal::Parameter);
        }
        let (pixels, charge) = self.allocate(size.area() * u64::from(PIXEL), host)?;
        let kind = Kind::Copied { size, format };
        self.all.insert(id, Resource { kind, pixels: Some(pixels), charge, backing: None });
        Ok(())
    }

    /// Makes a resource that is guest memory.
    pub(super) fn create_blob(&mut self, id: u32, bytes: u64, ranges: Ranges<'_>) -> Result<(), Refusal> {
        self.check_new(id)?;
        let backing = self.backing(ranges)?;
        if bytes == 0 || bytes > backing.len {
            return Err(Refusal::Parameter);
        }
        let kind = Kind::Blob { bytes };
        self.ranges += backing.ranges.len();
        self.all.insert(id, Resource { kind, pixels: None, charge: 0, backing: Some(backing) });
        Ok(())
    }

    /// Forgets a resource.
    pub(super) fn remove(&mut self, id: u32) -> Result<(), Refusal> {
        let resource = self.all.remove(&id).ok_or(Refusal::Resource)?;
        self.bytes = self.bytes.saturating_sub(resource.charge);
        self.ranges = self.ranges.saturating_sub(resource.backing.map_or(0, |backing| backing.ranges.len()));
        Ok(())
    }

    /// Says where in guest memory the pixels of a resource are transferred from.
    pub(super) fn attach(&mut self, id: u32, ranges: Ranges<'_>) -> Result<(), Refusal> {
        if self.find(id)?.backing.is_some() {
            return Err(Refusal::Unspecified);
        }
        let backing = self.backing(ranges)?;
        self.ranges += backing.ranges.len();
        self.find_mut(id)?.backing = Some(backing);
        Ok(())
    }

    /// Takes the guest memory of a resource away.
    pub(super) fn detach(&mut self, id: u32) -> Result<(), Refusal> {
        let backing = self.find_mut(id)?.backing.take().ok_or(Refusal::Unspecified)?;
        self.ranges = self.ranges.saturating_sub(backing.ranges.len());
        Ok(())
    }

    /// Copies `part` out of guest memory, where its rows begin `offset` bytes into the resource's ranges. A blob needs
    /// no copy: Linux transfers those as well.
    pub(super) fn transfer(
        &self,
        id: u32,
        part: Rect,
        offset: u64,
        host: &impl Host<Pixels = P>,
    ) -> Result<(), Refusal> {
        let resource = self.find(id)?;
        let Kind::Copied { size, .. } = resource.kind else { return Ok(()) };
        let (Some(pixels), Some(backing)) = (&resource.pixels, &resource.backing) else {
            return Err(Refusal::Unspecified);
        };
        check_inside(part, size)?;
        let stride = u64::from(size.width) * u64::from(PIXEL);
        let at = u64::from(part.y) * stride + u64::from(part.x) * u64::from(PIXEL);
        let rows =
            Rows { from: offset, to: at, stride, row: u64::from(part.width * PIXEL), rows: part.height };
        backing.copy_rows(rows, pixels, host)
    }

    /// Returns the picture that `part` of a 2D resource is.
    pub(super) fn picture(&self, id: u32, part: Rect) -> Result<Picture<P>, Refusal> {
        let resource = self.find(id)?;
        let (Kind::Copied { size, format }, Some(pixels)) = (resource.kind, &resource.pixels) else {
            return Err(Refusal::Resource);
        };
        check_inside(part, size)?;
        let stride = size.width * PIXEL;
        Ok(Picture { pixels: pixels.clone(), offset: 0, stride, whole: size, part, format })
    }

    /// Returns the picture that `part` of a blob is.
    pub(super) fn blob_picture(
        &mut self,
        id: u32,
        part: Rect,
        layout: BlobLayout,
        host: &impl Host<Pixels = P>,
    ) -> Result<Picture<P>, Refusal> {
        let Kind::Blob { bytes } = self.find(id)?.kind else { return Err(Refusal::Resource) };
        let format = pixel_format(layout.format)?;
        check_inside(part, layout.size)?;
        let is_too_large = layout.size.width > MAX_SIDE || layout.size.height > MAX_SIDE;
        let row = u64::from(layout.size.width) * u64::from(PIXEL);
        if is_too_large || u64::from(layout.stride) < row {
            return Err(Refusal::Parameter);
        }
        let rows_before_the_last = u64::from(layout.size.height) - 1;
        if u64::from(layout.offset) + rows_before_the_last * u64::from(layout.stride) + row > bytes {
            return Err(Refusal::Parameter);
        }
        let pixels = match &self.find(id)?.pixels {
            Some(pixels) => pixels.clone(),
            None => self.share(id, host)?,
        };
        let BlobLayout { size: whole, stride, offset, .. } = layout;
        Ok(Picture { pixels, offset, stride, whole, part, format })
    }

    /// Makes a blob readable that is shown for the first time.
    fn share(&mut self, id: u32, host: &impl Host<Pixels = P>) -> Result<P, Refusal> {
        let backing = self.find(id)?.backing.as_ref();
        let pixels = backing.and_then(|backing| host.share(&backing.ranges)).ok_or(Refusal::Parameter)?;
        self.find_mut(id)?.pixels = Some(pixels.clone());
        Ok(pixels)
    }

    /// Returns the size of the picture in a 2D resource, and its pixels.
    pub(super) fn pixels(&self, id: u32) -> Result<(Size, PixelFormat, &P), Refusal> {
        let resource = self.find(id)?;
        match (resource.kind, &resource.pixels) {
            (Kind::Copied { size, format }, Some(pixels)) => Ok((size, format, pixels)),
            _ => Err(Refusal::Resource),
        }
    }

    /// Reads `out.len()` bytes from the start of a blob's guest memory.
    pub(super) fn read_blob(
        &self,
        id: u32,
        out: &mut [u8],
        host: &impl Host<Pixels = P>,
    ) -> Result<(), Refusal> {
        let backing = self.find(id)?.backing.as_ref().ok_or(Refusal::Resource)?;
        let mut rest = out;
        for range in &backing.ranges {
            let len = usize::try_from(range.len).unwrap_or(usize::MAX).min(rest.len());
            let (now, after) = rest.split_at_mut_checked(len).ok_or(Refusal::Parameter)?;
            host.read_guest(range.address, now).ok_or(Refusal::Parameter)?;
            rest = after;
        }
        if rest.is_empty() { Ok(()) } else { Err(Refusal::Parameter) }
    }

    /// Returns whether `id` is a resource.
    pub(super) fn contains(&self, id: u32) -> bool {
        self.all.contains_key(&id)
    }

    fn check_new(&self, id: u32) -> Result<(), Refusal> {
        if id == 0 || self.contains(id) {
            return Err(Refusal::Resource);
        }
        if self.all.len() >= MAX_RESOURCES { Err(Refusal::OutOfMemory) } else { Ok(()) }
    }

    /// Allocates `bytes`, if the guest may have as many.
    fn allocate(&mut self, bytes: u64, host: &impl Host<Pixels = P>) -> Result<(P, u64), Refusal> {
        let charge = bytes.checked_next_multiple_of(PAGE).ok_or(Refusal::OutOfMemory)?;
        let total = self.bytes.checked_add(charge).filter(|&total| total <= MAX_BYTES);
        let total = total.ok_or(Refusal::OutOfMemory)?;
        let pixels = host.allocate(bytes).ok_or(Refusal::OutOfMemory)?;
        self.bytes = total;
        Ok((pixels, charge))
    }

    /// Checks `ranges` and joins neighbours.
    fn backing(&self, ranges: Ranges<'_>) -> Result<Backing, Refusal> {
        let mut backing = Backing::default();
        for (address, len) in ranges.iter().filter(|(_, len)| *len > 0) {
            let len = u64::from(len);
            address.checked_add(len).ok_or(Refusal::Parameter)?;
            match backing.ranges.last_mut() {
                Some(last) if last.address + last.len == address => last.len += len,
                _ => backing.ranges.push(Range { at: backing.len, address, len }),
            }
            backing.len += len;
        }
        if self.ranges + backing.ranges.len() > MAX_RANGES {
            return Err(Refusal::OutOfMemory);
        }
        Ok(backing)
    }

    fn find(&self, id: u32) -> Result<&Resource<P>, Refusal> {
        self.all.get(&id).ok_or(Refusal::Resource)
    }

    fn find_mut(&mut self, id: u32) -> Result<&mut Resource<P>, Refusal> {
        self.all.get_mut(&id).ok_or(Refusal::Resource)
    }
}

/// Rows to copy: `row` bytes each, `stride` bytes from one to the next, from an offset in guest memory to one in
/// pixels.
#[derive(Clone, Copy, Debug)]
struct Rows {
    from: u64,
    to: u64,
    stride: u64,
    row: u64,
    rows: u32,
}

impl Backing {
    /// Copies rows into `pixels`, all or, if they are not all there, none.
    fn copy_rows<H: Host>(&self, rows: Rows, pixels: &H::Pixels, host: &H) -> Result<(), Refusal> {
        let Rows { from, to, stride, row, rows } = rows;
        let span = stride * u64::from(rows.saturating_sub(1)) + row;
        if from.checked_add(span).is_none_or(|end| end > self.len) {
            return Err(Refusal::Parameter);
        }
        if row == stride {
            return self.copy(from, to, span, pixels, host);
        }
        (0..u64::from(rows))
            .try_for_each(|y| self.copy(from + y * stride, to + y * stride, row, pixels, host))
    }

    /// Copies `len` bytes that begin `from` bytes into the ranges.
    fn copy<H: Host>(
        &self,
        from: u64,
        to: u64,
        len: u64,
        pixels: &H::Pixels,
        host: &H,
    ) -> Result<(), Refusal> {
        let first = self.ranges.partition_point(|range| range.at + range.len <= from);
        let mut done = 0;
        for range in self.ranges.iter().skip(first) {
            if done >= len {
                break;
            }
            let skipped = (from + done).saturating_sub(range.at);
            let now = (range.len - skipped).min(len - done);
            host.copy(range.address + skipped, now, pixels, to + done).ok_or(Refusal::Parameter)?;
            done += now;
        }
        if done == len { Ok(()) } else { Err(Refusal::Parameter) }
    }
}

/// Checks that `part` has an area and is inside a picture of `size`.
fn check_inside(part: Rect, size: Size) -> Result<(), Refusal> {
    let inside = |at: u32, len: u32, side: u32| len > 0 && at.checked_add(len).is_some_and(|end| end <= side);
    if inside(part.x, part.width, size.width) && inside(part.y, part.height, size.height) {
        Ok(())
    } else {
        Err(Refusal::Parameter)
    }
}
