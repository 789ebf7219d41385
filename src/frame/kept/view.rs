use crate::frame::Rect;

/// Bytes of a pixel.
pub(super) const PIXEL: usize = 4;

/// Packed rows of B, G, R, x that hold a part of a picture. All coordinates are the picture's.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    bytes: &'a [u8],
    /// The part that the rows hold.
    pub(super) part: Rect,
}

impl<'a> View<'a> {
    pub(super) fn new(bytes: &'a [u8], part: Rect) -> Self {
        Self { bytes, part }
    }

    /// Returns `width` pixels of row `y` from column `x` on; nothing if they are not all there.
    pub(super) fn row(&self, x: u32, y: u32, width: u32) -> &'a [u8] {
        let inside = self.part.contains(Rect::new(x, y, width, 1));
        let start = offset(self.part, x, y);
        let row = self.bytes.get(start..start.saturating_add(count(width).saturating_mul(PIXEL)));
        row.filter(|_| inside).unwrap_or_default()
    }

    /// Returns whether `rect` has the same pixels here as `other` has, `from` where that begins.
    pub(super) fn is_same(&self, rect: Rect, other: Self, from: (u32, u32)) -> bool {
        (0..rect.height).all(|n| {
            let here = self.row(rect.x, rect.y.saturating_add(n), rect.width);
            !here.is_empty() && here == other.row(from.0, from.1.saturating_add(n), rect.width)
        })
    }
}

/// Returns the byte of `part` in packed rows at which the pixel in column `x` and row `y` of the picture begins.
pub(super) fn offset(part: Rect, x: u32, y: u32) -> usize {
    let (x, y) = (count(x.saturating_sub(part.x)), count(y.saturating_sub(part.y)));
    y.saturating_mul(count(part.width)).saturating_add(x).saturating_mul(PIXEL)
}

pub(super) fn count(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
