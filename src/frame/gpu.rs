use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use super::placement::Placement;
use super::{Dmabuf, MODIFIER_INVALID, Rect, ScanoutError};
use crate::sys::{Gpu, GpuError, GpuImage, GpuPlane, GpuWindow};

/// The most bytes that are read back from a GPU at a time, rows longer than that aside.
const BLOCK_BYTES: u32 = 16 << 20;

/// How pixels of dmabufs are read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ReadPath {
    /// By the CPU where it can, else by the GPU.
    #[default]
    Auto,
    /// By the GPU alone: for tests on machines whose buffers the CPU can read.
    Gpu,
}

/// Reads pixels of dmabufs, for all consoles. The GPU is opened when the first buffer needs it.
#[derive(Clone, Debug, Default)]
pub struct DmabufReads(Arc<Reads>);

#[derive(Debug, Default)]
struct Reads {
    path: ReadPath,
    render_node: Option<PathBuf>,
    gpu: OnceLock<Result<Gpu, GpuError>>,
}

impl DmabufReads {
    /// Makes reads by `path`, with the GPU of `render_node`; without one, with any GPU that can import the
    /// buffer.
    #[must_use]
    pub fn new(path: ReadPath, render_node: Option<PathBuf>) -> Self {
        Self(Arc::new(Reads { path, render_node, gpu: OnceLock::new() }))
    }

    /// Returns how pixels are read.
    pub(super) fn path(&self) -> ReadPath {
        self.0.path
    }

    /// Returns the GPU, opened on the first call. Logs once why there is none.
    pub(super) fn gpu(&self) -> Result<&Gpu, GpuError> {
        let open = || {
            Gpu::open(self.0.render_node.as_deref()).inspect_err(|error| {
                tracing::warn!(%error, "no GPU can be used: buffers that only a GPU can read stay unread");
            })
        };
        self.0.gpu.get_or_init(open).as_ref().map_err(Clone::clone)
    }
}

/// A buffer that is read by the GPU.
pub(super) struct GpuRows<'a> {
    gpu: &'a Gpu,
    image: Arc<GpuImage>,
    place: Placement,
    /// What was announced to be read.
    announced: Option<Rect>,
    /// The part of the picture that was read last, and its pixels.
    block: Option<(Rect, Vec<u8>)>,
}

impl<'a> GpuRows<'a> {
    pub(super) fn new(gpu: &'a Gpu, dmabuf: &Dmabuf) -> Self {
        let planes = dmabuf.planes.iter().map(|plane| GpuPlane {
            fd: plane.buffer.fd().clone(),
            id: plane.buffer.id(),
            offset: plane.offset,
            stride: plane.stride,
        });
        let image = GpuImage {
            planes: planes.collect(),
            fourcc: dmabuf.fourcc,
            modifier: Some(dmabuf.modifier).filter(|&modifier| modifier != MODIFIER_INVALID),
            width: dmabuf.backing.width,
            height: dmabuf.backing.height,
        };
        let place = Placement { crop: dmabuf.crop, bottom_up: dmabuf.bottom_up };
        Self { gpu, image: Arc::new(image), place, announced: None, block: None }
    }

    /// Announces that `rect` will be read in pieces from the top, so that it can be fetched in few blocks.
    pub(super) fn announce(&mut self, rect: Rect) {
        (self.announced, self.block) = (Some(rect), None);
    }

    /// Copies a part of the picture as packed rows of B, G, R, 255.
    pub(super) fn read(&mut self, rect: Rect, packed: usize, bgrx: &mut [u8]) -> Result<(), ScanoutError> {
        for (y, out) in (rect.y..rect.bottom()).zip(bgrx.chunks_exact_mut(packed)) {
            let row = Rect::new(rect.x, y, rect.width, 1);
            if !self.block.as_ref().is_some_and(|(block, _)| block.contains(row)) {
                self.block = None; // before the next is there
                let block = next_block(rect, self.announced, y);
                let pixels = self.gpu.read(self.image.clone(), window(self.place, block))?;
                self.block = Some((block, pixels));
            }
            let from = self.block.as_ref().and_then(|(block, pixels)| row_of(*block, pixels, row));
            out.copy_from_slice(from.ok_or(ScanoutError::Torn)?);
        }
        Ok(())
    }
}

/// Returns the rectangle to fetch for row `y` of `rect`: that row and the rows below that will be needed
/// next.
fn next_block(rect: Rect, announced: Option<Rect>, y: u32) -> Rect {
    let whole = announced.filter(|whole| whole.contains(rect)).unwrap_or(rect);
    let rows = (BLOCK_BYTES / 4).checked_div(whole.width).unwrap_or(1).max(1);
    Rect { y, height: rows.min(whole.bottom().saturating_sub(y)), ..whole }
}

/// Returns where `rect` of the picture is in the buffer.
fn window(place: Placement, rect: Rect) -> GpuWindow {
    GpuWindow {
        x: place.column(rect.x),
        y: place.lowest(rect.y, rect.height),
        width: rect.width,
        height: rect.height,
        bottom_up: place.bottom_up,
    }
}

fn row_of(block: Rect, pixels: &[u8], row: Rect) -> Option<&[u8]> {
    let bytes = |n: u32| usize::try_from(n).ok()?.checked_mul(4);
    let mut rows = pixels.chunks_exact(bytes(block.width)?);
    let from = rows.nth(usize::try_from(row.y.checked_sub(block.y)?).ok()?)?;
    from.get(bytes(row.x.checked_sub(block.x)?)?..)?.get(..bytes(row.width)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Size;
    use proptest::prelude::*;

    #[test]
    fn a_picture_that_is_announced_is_read_in_few_large_parts() {
        let whole = Rect::new(0, 0, 4096, 2160);
        let first = next_block(Rect { height: 4, ..whole }, Some(whole), 0);
        assert_eq!(first, Rect { height: 1024, ..whole });
        let last = next_block(Rect { y: 2048, height: 4, ..whole }, Some(whole), 2048);
        assert_eq!(last, Rect { y: 2048, height: 112, ..whole });
        // Another part is not held up by it.
        let other = Rect::new(5000, 0, 10, 10);
        assert_eq!(next_block(other, Some(whole), 0), other);
    }

    proptest! {
        /// The windows of a picture's parts, put together, are the picture turned over or not.
        #[test]
        fn the_parts_of_a_picture_come_from_their_rows(
            height in 1u32..200, top in 0u32..50, y in 0u32..200, rows in 1u32..200, bottom_up: bool,
        ) {
            let y = y % height;
            let rows = rows.min(height - y);
            let place = Placement { crop: Rect::new(3, top, 40, height), bottom_up };
            let part = window(place, Rect::new(2, y, 10, rows));
            prop_assert_eq!((part.x, part.width, part.height), (5, 10, rows));
            let memory_row = |row: u32| if bottom_up { top + height - 1 - row } else { top + row };
            let first = if bottom_up { part.y + part.height - 1 } else { part.y };
            prop_assert_eq!(first, memory_row(y));
        }

        #[test]
        fn every_block_starts_with_its_row_and_stays_in_the_picture(
            (width, height) in (1u32..=16_384, 1u32..=16_384), y in 0u32..16_384, announce: bool,
        ) {
            let whole = Size::new(width, height).rect();
            let y = y % height;
            let rect = Rect { y, height: 1, ..whole };
            let block = next_block(rect, announce.then_some(whole), y);
            prop_assert!(block.y == y && block.height > 0 && whole.contains(block));
            prop_assert!(block.area() * 4 <= u64::from(BLOCK_BYTES) || block.height == 1);
        }
    }
}
