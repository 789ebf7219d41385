use super::ScanoutError;
use super::check::{bytes, check_span, to_usize};
use crate::frame::changed_rows::ChangedRows;
use crate::frame::{PixelFormat, Rect, Region, Size};

/// Rows of pixels in a message, checked to be there.
pub(super) struct Packed<'a> {
    size: Size,
    stride: usize,
    format: PixelFormat,
    data: &'a [u8],
}

impl<'a> Packed<'a> {
    pub(super) fn new(
        size: Size,
        stride: u32,
        format: PixelFormat,
        data: &'a [u8],
    ) -> Result<Self, ScanoutError> {
        check_span(size, stride, format, 0, 0, u64::try_from(data.len()).unwrap_or(u64::MAX))?;
        Ok(Self { size, stride: bytes(u64::from(stride))?, format, data })
    }

    /// Writes the pixels as B, G, R, 255 into packed rows of a picture of the same size.
    pub(super) fn copy_into(&self, pixels: &mut [u8]) {
        let rows = pixels.chunks_exact_mut(to_usize(self.size.width) * 4);
        for (from, row) in self.rows().zip(rows) {
            self.format.to_bgrx(false, from, &[], row);
        }
    }

    /// Writes them as B, G, R, 255 where `rect` is in a packed picture of size `picture`; `rect` has their size. Gives
    /// what of it really changed.
    pub(super) fn merge_into(&self, pixels: &mut [u8], picture: Size, rect: Rect) -> Region {
        let mut merge = ChangedRows::new(rect);
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

/// Returns the rows of `part` of a packed picture, for writing.
pub(super) fn rows_of(pixels: &mut [u8], picture: Size, part: Rect) -> impl Iterator<Item = &mut [u8]> {
    let (left, width) = (to_usize(part.x) * 4, to_usize(part.width) * 4);
    let rows = pixels.chunks_exact_mut(to_usize(picture.width) * 4);
    let rows = rows.skip(to_usize(part.y)).take(to_usize(part.height));
    rows.filter_map(move |row| row.get_mut(left..)?.get_mut(..width))
}
