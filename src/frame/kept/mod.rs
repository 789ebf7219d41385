//! A picture as its viewers have it, and what of the next one is the same in another place.

mod anchors;
mod differences;
mod moved;
#[cfg(test)]
mod tests;
mod view;

pub use moved::Moved;

use super::{Rect, Region, ScanoutError, Size};
use view::{View, count, offset};

/// Fewer changed pixels than this are not searched for what moved: sending them costs about as much.
const LEAST_SEARCHED: u64 = 128 * 128;

/// The least width and height of what is searched: a few letters, and a line of text.
const LEAST_SIDE: u32 = 64;

/// The largest picture that is kept, in bytes: 4096x4096 pixels.
const MAX_KEPT: u64 = 64 << 20;

/// A video is taken to need a byte for so many pixels that changed: of text that scrolls further than the encoder
/// searches, x264 needs a byte for three.
const PIXELS_OF_A_VIDEO_BYTE: u64 = 4;

/// A copy of a picture: packed rows of B, G, R, x.
#[derive(Debug)]
pub struct Kept {
    size: Size,
    bytes: Vec<u8>,
}

/// What became of a picture.
///
/// INVARIANT: a picture as it was before, to which the copies are applied in their order, is as it is now everywhere
/// but in the rest. That is found by comparing each pixel, so that no coincidence of hashes can do harm.
#[derive(Clone, Debug, Default)]
pub struct TakenIn {
    /// What moved.
    pub moved: Vec<Moved>,
    /// What is to be sent beside the copies.
    pub rest: Region,
    /// What changed, which a video would show. Nothing if copies, and the rest exactly, are known to need fewer bytes.
    pub motion: Region,
}

impl TakenIn {
    /// Returns how many pixels of motion that is: those that copies do not make.
    #[must_use]
    pub fn moving_pixels(&self) -> u64 {
        self.motion.area().min(self.rest.area())
    }
}

impl Kept {
    /// Makes a black picture; none if it is too large to be kept.
    #[must_use]
    pub fn new(size: Size) -> Option<Self> {
        let bytes = size.area().saturating_mul(4);
        let len = usize::try_from(bytes).ok().filter(|_| bytes <= MAX_KEPT)?;
        Some(Self { size, bytes: vec![0; len] })
    }

    /// Makes a picture of these packed rows.
    #[must_use]
    pub fn of(size: Size, bytes: Vec<u8>) -> Self {
        Self { size, bytes }
    }

    /// Returns the picture's size.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// Copies `part` into packed rows, `part.area() * 4` bytes.
    ///
    /// # Errors
    /// If it is not inside the picture, or `out` has another length.
    pub fn read(&self, part: Rect, out: &mut [u8]) -> Result<(), ScanoutError> {
        let picture = View::new(&self.bytes, self.size.rect());
        let rows = out.chunks_mut(count(part.width).saturating_mul(4).max(1));
        for (y, to) in (part.y..).zip(rows) {
            let from = picture.row(part.x, y, part.width);
            if from.len() != to.len() {
                return Err(ScanoutError::Size { width: part.right(), height: part.bottom() });
            }
            to.copy_from_slice(from);
        }
        Ok(())
    }

    /// Takes in the pixels of `part` as they are `now`, in packed rows. Returns what became of it; with `search`, parts
    /// that moved are told.
    pub fn take_in(&mut self, part: Rect, now: &[u8], search: bool) -> TakenIn {
        let now = View::new(now, part);
        let changed = self.differences(now, part);
        let Some(bounds) = changed.rects().iter().copied().reduce(Rect::union) else {
            return TakenIn::default();
        };
        let (moved, rest) =
            if search { self.move_parts(now, bounds, &changed) } else { (Vec::new(), changed.clone()) };
        self.overwrite(now, &rest);
        if moved.is_empty() {
            return TakenIn { moved, rest, motion: changed };
        }
        let bytes: u64 = rest.rects().iter().map(|&rect| literals(now, rect)).sum::<u64>() * 4;
        let is_cheap = bytes * PIXELS_OF_A_VIDEO_BYTE <= changed.area();
        TakenIn { moved, rest, motion: if is_cheap { Region::new() } else { changed } }
    }

    /// Copies parts of the picture to where they are `now`. Returns them, and what is to be sent beside that.
    fn move_parts(&mut self, now: View<'_>, bounds: Rect, changed: &Region) -> (Vec<Moved>, Region) {
        let (mut found, mut rest) = (Vec::new(), changed.clone());
        if rest.area() < LEAST_SEARCHED || bounds.width.min(bounds.height) < LEAST_SIDE {
            return (found, rest);
        }
        for way in anchors::ways(self.view(), now, bounds) {
            if let Some(moved) = moved::moved(self.view(), now, bounds, way) {
                self.copy(moved);
                found.push(moved);
                rest = self.differences(now, bounds);
                if rest.area() < LEAST_SEARCHED {
                    break;
                }
            }
        }
        (found, rest)
    }

    /// Copies a part as clients do.
    pub(crate) fn copy(&mut self, moved: Moved) {
        let Moved { x, y, to } = moved;
        let picture = self.size.rect();
        if !picture.contains(to) || !picture.contains(moved.from()) {
            return;
        }
        let width = count(to.width).saturating_mul(4);
        let mut row = |n: u32| {
            let start = offset(picture, x, y.saturating_add(n));
            self.bytes.copy_within(
                start..start.saturating_add(width),
                offset(picture, to.x, to.y.saturating_add(n)),
            );
        };
        if to.y > y { (0..to.height).rev().for_each(&mut row) } else { (0..to.height).for_each(&mut row) }
    }

    fn view(&self) -> View<'_> {
        View::new(&self.bytes, self.size.rect())
    }

    fn differences(&self, now: View<'_>, part: Rect) -> Region {
        differences::differences(self.view(), now, part)
    }

    fn overwrite(&mut self, now: View<'_>, parts: &Region) {
        let picture = self.size.rect();
        for part in parts.rects() {
            for y in part.y..part.bottom() {
                let from = now.row(part.x, y, part.width);
                let start = offset(picture, part.x, y);
                if let Some(to) = self.bytes.get_mut(start..start.saturating_add(from.len())) {
                    to.copy_from_slice(from);
                }
            }
        }
    }
}

/// Returns how many pixels of `part` are neither as the one to the left nor as the one above: what no compression finds
/// nearby.
fn literals(view: View<'_>, part: Rect) -> u64 {
    let mut above: &[[u8; 4]] = &[];
    let mut all = 0;
    for y in part.y..part.bottom() {
        let (row, _) = view.row(part.x, y, part.width).as_chunks::<4>();
        let mut left = None;
        for (x, pixel) in row.iter().enumerate() {
            all += u64::from(left != Some(pixel) && above.get(x) != Some(pixel));
            left = Some(pixel);
        }
        above = row;
    }
    all
}
