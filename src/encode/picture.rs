use std::sync::Arc;

use yuv::{
    BufferStoreMut, YuvConversionMode, YuvError, YuvPlanarImageMut, YuvRange, YuvStandardMatrix,
    bgra_to_yuv420, bgra_to_yuv444,
};

use crate::frame::{Rect, ScanoutError, ScanoutReader, Size};

/// Bytes of pixels that are read before they are converted: few enough to be still in the second level cache.
const BAND_BYTES: u32 = 64 << 10;

/// A console's picture as the encoder takes it: Y, U and V planes of 8 bits, 4:2:0 or 4:4:4. Kept up to date by reading
/// only what changed.
///
/// Odd sizes are rounded up to even ones, and the pixels beyond the edge repeat the last.
pub struct Picture {
    size: Size,
    /// Where its top left corner is in the scanout, at even numbers.
    corner: (u32, u32),
    planes: Planes,
    band: Vec<u8>,
}

/// The planes of a picture as they were at one time. An encoder reads them where they are: as long as it has them, a
/// picture that changes goes on with others of its own.
#[derive(Clone)]
pub struct Planes {
    layout: Layout,
    /// Returns the bytes of all planes.
    bytes: Arc<Vec<u8>>,
}

/// The order of bytes in which an encoder takes a picture, and what they mean: BT.709 in limited range, if nothing else
/// is said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pixels {
    /// Planes of Y, U and V; one U and V for four pixels.
    I420,
    /// Planes of Y, U and V; each pixel has its own.
    I444,
    /// A plane of Y, and one of U, V pairs.
    Nv12,
    /// As [`Pixels::I420`], in the colours that GStreamer takes for those of a stream that does not name them.
    Unmarked,
    /// As [`Pixels::I420`], in JPEG's colours: BT.601 in full range.
    Jpeg,
}

/// The most rows of a picture whose unnamed colours are BT.601 for GStreamer; those of a larger one are BT.709.
const MAX_STANDARD_ROWS: u32 = 576;

impl Pixels {
    /// Returns what the planes of a picture of this height mean.
    fn colours(self, height: u32) -> (YuvRange, YuvStandardMatrix) {
        match self {
            Self::Jpeg => (YuvRange::Full, YuvStandardMatrix::Bt601),
            Self::Unmarked if height <= MAX_STANDARD_ROWS => (YuvRange::Limited, YuvStandardMatrix::Bt601),
            Self::Unmarked | Self::I420 | Self::I444 | Self::Nv12 => {
                (YuvRange::Limited, YuvStandardMatrix::Bt709)
            }
        }
    }
}

/// How a picture's planes lie in memory: rows padded to four bytes, as GStreamer lays them out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Layout {
    /// Which planes.
    pub(super) pixels: Pixels,
    /// The picture's size, rounded up to even numbers.
    pub(super) coded: Size,
    /// That of U and V.
    pub(super) chroma: Size,
    /// Bytes from one row of Y to the next.
    pub(super) y_stride: usize,
    /// Bytes of Y.
    pub(super) y_len: usize,
    /// Bytes from one row of U, of V, or of both to the next.
    pub(super) c_stride: usize,
    /// Bytes of U, of V, or of both.
    pub(super) c_len: usize,
}

impl Layout {
    /// Lays out a picture of `size`.
    pub(super) fn of(size: Size, pixels: Pixels) -> Self {
        let coded = even(size);
        let y_stride = index(coded.width.next_multiple_of(4));
        let chroma = match pixels {
            Pixels::I444 => coded,
            _ => Size::new(coded.width / 2, coded.height / 2),
        };
        let c_stride = match pixels {
            Pixels::Nv12 => y_stride,
            _ => index(chroma.width.next_multiple_of(4)),
        };
        let (y_len, c_len) = (y_stride * index(coded.height), c_stride * index(chroma.height));
        Self { pixels, coded, chroma, y_stride, y_len, c_stride, c_len }
    }

    /// Returns the bytes of all planes.
    pub(super) fn len(&self) -> usize {
        match self.pixels {
            Pixels::Nv12 => self.y_len + self.c_len,
            _ => self.y_len + self.c_len * 2,
        }
    }
}

/// Rounds a size up to even numbers, because 4:2:0 has no odd sizes. 4:4:4 does the same.
pub(super) fn even(size: Size) -> Size {
    Size::new(size.width.next_multiple_of(2), size.height.next_multiple_of(2))
}

/// Why a part of a picture could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The pixels could not be read.
    #[error(transparent)]
    Read(#[from] ScanoutError),
    /// The converter refused.
    #[error("converting the picture: {0}")]
    Convert(#[from] YuvError),
}

impl Picture {
    /// Makes a black picture in three planes.
    pub fn new(size: Size, pixels: Pixels) -> Self {
        Self::of(size.rect(), pixels)
    }

    /// Makes a black picture of an area of a scanout, whose corner is at even numbers.
    pub(super) fn of(area: Rect, pixels: Pixels) -> Self {
        let size = Size::new(area.width, area.height);
        let layout = Layout::of(size, pixels);
        let [u, ..] = Planes::chroma(&layout);
        let black = if pixels == Pixels::Jpeg { 0 } else { 16 };
        let mut bytes = vec![black; u];
        bytes.resize(u + 2 * (layout.c_len + layout.c_stride), 128);
        let planes = Planes { layout, bytes: Arc::new(bytes) };
        Self { size, corner: (area.x, area.y), planes, band: Vec::new() }
    }

    /// Returns the planes as they are now.
    #[must_use]
    pub fn planes(&self) -> Planes {
        self.planes.clone()
    }

    /// Reads a part of the scanout again: `rect` of it, as far as it is in this picture.
    pub fn refresh(&mut self, scanout: &mut ScanoutReader<'_>, rect: Rect) -> Result<(), PictureError> {
        let (left, top) = self.corner;
        let all = Rect { x: left, y: top, ..self.size.rect() };
        let Some(rect) = rect.even().intersection(all) else { return Ok(()) };
        let row_bytes = rect.width.saturating_mul(4);
        let rows = (BAND_BYTES / row_bytes / 2 * 2).max(2);
        scanout.announce(rect);
        let mut y = rect.y;
        while y < rect.bottom() {
            let part = Rect { y, height: rows.min(rect.bottom() - y), ..rect };
            let band = index(part.height) * index(row_bytes);
            if self.band.len() < band {
                self.band.resize(band, 0);
            }
            scanout.read(part, part_of(&mut self.band, 0, band))?;
            self.convert(Rect { x: part.x - left, y: part.y - top, ..part }, row_bytes)?;
            y += rows;
        }
        self.pad(Rect { x: rect.x - left, y: rect.y - top, ..rect });
        Ok(())
    }

    /// Converts what is in `band`: the pixels of `part`, whose corner is even.
    fn convert(&mut self, part: Rect, row_bytes: u32) -> Result<(), PictureError> {
        let Layout { pixels, coded, y_stride, c_stride, .. } = self.planes.layout;
        let (x, y) = (index(part.x), index(part.y));
        let (shared, convert): (_, Converter) = match pixels {
            Pixels::I444 => (1, bgra_to_yuv444),
            _ => (2, bgra_to_yuv420),
        };
        // Exactly the rows of the part: the converter goes by the length of what it gets.
        let y_at = y * y_stride + x;
        let c_at = y / shared * c_stride + x / shared;
        let y_len = index(part.height) * y_stride;
        let c_len = index(part.height).div_ceil(shared) * c_stride;
        let band = part_of(&mut self.band, 0, index(part.height) * index(row_bytes));
        let rows = |plane, at, len| BufferStoreMut::Borrowed(part_of(plane, at, len));
        let [y, u, v] = self.planes.own();
        let mut image = YuvPlanarImageMut {
            y_plane: rows(y, y_at, y_len),
            y_stride: u32::try_from(y_stride).unwrap_or(0),
            u_plane: rows(u, c_at, c_len),
            u_stride: u32::try_from(c_stride).unwrap_or(0),
            v_plane: rows(v, c_at, c_len),
            v_stride: u32::try_from(c_stride).unwrap_or(0),
            width: part.width,
            height: part.height,
        };
        let (range, matrix) = pixels.colours(coded.height);
        convert(&mut image, band, row_bytes, range, matrix, YuvConversionMode::Balanced)?;
        Ok(())
    }

    /// Repeats the last column and row where the picture's size is odd. U and V have no pixel of their own there,
    /// unless each pixel has.
    fn pad(&mut self, rect: Rect) {
        let (width, height) = (index(self.size.width), index(self.size.height));
        if width % 2 == 0 && height % 2 == 0 {
            return;
        }
        let Layout { pixels, y_stride: stride, .. } = self.planes.layout;
        let whole = if pixels == Pixels::I444 { 3 } else { 1 };
        for plane in self.planes.own().into_iter().take(whole) {
            if width % 2 == 1 && rect.right() == self.size.width {
                let rows = plane.chunks_exact_mut(stride).take(height);
                for row in rows.skip(index(rect.y)) {
                    if let Some([last, beyond]) = row.get_mut(width - 1..=width) {
                        *beyond = *last;
                    }
                }
            }
            if height % 2 == 1 && rect.bottom() == self.size.height {
                plane.copy_within((height - 1) * stride..height * stride, height * stride);
            }
        }
    }
}

/// The converter's functions.
type Converter = fn(
    &mut YuvPlanarImageMut<'_, u8>,
    &[u8],
    u32,
    YuvRange,
    YuvStandardMatrix,
    YuvConversionMode,
) -> Result<(), YuvError>;

impl Planes {
    /// All of their bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the layout of the planes.
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Halves the width and height, rounded up to even numbers. Each pixel is the mean of four.
    #[must_use]
    pub fn halved(&self) -> Self {
        let Layout { pixels, coded: from, chroma, y_stride, c_stride, .. } = self.layout;
        let mut half = Picture::new(Size::new(from.width / 2, from.height / 2), pixels).planes;
        let layout = half.layout;
        let [y, u, v] = self.offsets().map(|at| self.bytes.get(at..).unwrap_or_default());
        let [to_y, to_u, to_v] = half.own();
        halve((y, y_stride, from), (to_y, layout.y_stride, layout.coded));
        for (from_c, to_c) in [(u, to_u), (v, to_v)] {
            halve((from_c, c_stride, chroma), (to_c, layout.c_stride, layout.chroma));
        }
        half
    }

    /// Returns the offsets of Y, U and V.
    pub(super) fn offsets(&self) -> [usize; 3] {
        let [u, v] = Self::chroma(&self.layout);
        [0, u, v]
    }

    fn chroma(layout: &Layout) -> [usize; 2] {
        let u = layout.y_len + layout.y_stride;
        [u, u + layout.c_len + layout.c_stride]
    }

    /// Returns Y, U and V for writing, copied first if they are shared.
    fn own(&mut self) -> [&mut [u8]; 3] {
        let [_, u, v] = self.offsets();
        let bytes = Arc::make_mut(&mut self.bytes);
        let (y_and_u, v) = bytes.split_at_mut_checked(v).unwrap_or_default();
        let (y, u) = y_and_u.split_at_mut_checked(u).unwrap_or_default();
        [y, u, v]
    }

    /// Writes the planes one after the other, without anything between them, as `pixels` says; `out` has the length of
    /// that layout.
    pub fn write(&self, pixels: Pixels, out: &mut [u8]) {
        let Layout { y_len, c_len, y_stride, c_stride, .. } = self.layout;
        let [y, u, v] = self.offsets().map(|at| self.bytes.get(at..).unwrap_or_default());
        let Some((luma, chroma)) = out.split_at_mut_checked(y_len) else { return };
        copy(luma, y);
        match pixels {
            Pixels::Nv12 => {
                let from = u.chunks_exact(c_stride).zip(v.chunks_exact(c_stride));
                // A row of pairs has the stride of Y.
                for (to, (u, v)) in chroma.chunks_exact_mut(y_stride).zip(from) {
                    for (pair, (u, v)) in to.as_chunks_mut().0.iter_mut().zip(u.iter().zip(v)) {
                        *pair = [*u, *v];
                    }
                }
            }
            _ => {
                let Some((to_u, to_v)) = chroma.split_at_mut_checked(c_len) else { return };
                copy(to_u, u);
                copy(to_v, v);
            }
        }
    }
}

/// Writes the mean of four bytes of one plane to each byte of another: bytes, stride, size in bytes. The last
/// ones are repeated beyond the edge.
fn halve((from, from_stride, size): (&[u8], usize, Size), (to, to_stride, half): (&mut [u8], usize, Size)) {
    let (width, height) = (index(size.width), index(size.height));
    let row = |y: usize| part(from, y.min(height.saturating_sub(1)) * from_stride, width);
    for (y, to) in to.chunks_exact_mut(to_stride).take(index(half.height)).enumerate() {
        let (above, below) = (row(y * 2), row(y * 2 + 1));
        let pairs = above.as_chunks::<2>().0.iter().zip(below.as_chunks::<2>().0);
        for (to, (above, below)) in to.iter_mut().zip(pairs) {
            let sum = above.iter().chain(below).map(|byte| u16::from(*byte)).sum::<u16>();
            *to = u8::try_from((sum + 2) / 4).unwrap_or(u8::MAX);
        }
        let known = width / 2;
        if let Some(last) = known.checked_sub(1).and_then(|last| to.get(last).copied()) {
            to.iter_mut().skip(known).for_each(|beyond| *beyond = last);
        }
    }
}

fn part(bytes: &[u8], at: usize, len: usize) -> &[u8] {
    bytes.get(at..).and_then(|rest| rest.get(..len)).unwrap_or_default()
}

fn copy(to: &mut [u8], from: &[u8]) {
    if let Some(from) = from.get(..to.len()) {
        to.copy_from_slice(from);
    }
}

/// Returns `len` bytes of a buffer, or none if it is shorter; the caller refuses those.
fn part_of(buffer: &mut [u8], at: usize, len: usize) -> &mut [u8] {
    buffer.get_mut(at..).and_then(|rest| rest.get_mut(..len)).unwrap_or_default()
}

fn index(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Scanout;
    use proptest::prelude::*;

    /// Y, U and V of BT.709 in limited range, by its definition.
    fn expected(bgr: [f64; 3]) -> [f64; 3] {
        let [b, g, r] = bgr;
        let luma = 0.2126 * r + 0.7152 * g + 0.0722 * b;
        let chroma = |c: f64, scale: f64| 128.0 + (c - luma) / scale * 224.0 / 255.0;
        [16.0 + luma * 219.0 / 255.0, chroma(b, 1.8556), chroma(r, 1.5748)]
    }

    fn scanout(size: Size, seed: u32) -> (Scanout, Vec<u8>) {
        let noise = |n: u32| (n.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 23) as u8;
        let bgrx: Vec<u8> = (0..size.width * size.height * 4).map(noise).collect();
        (Scanout::owned(size.width, size.height, size.width * 4, 0x2002_0888, &bgrx).unwrap(), bgrx)
    }

    #[test]
    fn what_an_encoder_has_does_not_change_and_what_it_is_done_with_is_used_again() {
        let size = Size::new(64, 64);
        let mut picture = Picture::new(size, Pixels::I420);
        let mut show = |seed| {
            picture.refresh(&mut scanout(size, seed).0.reader().unwrap(), size.rect()).unwrap();
            picture.planes()
        };
        let first = show(1);
        let (seen, at) = (first.bytes().to_vec(), first.bytes().as_ptr());
        drop(first);
        let second = show(1);
        assert_eq!(second.bytes().as_ptr(), at, "nobody had them");
        let third = show(2);
        assert_eq!(second.bytes(), seen);
        assert_ne!(third.bytes(), seen);
    }

    #[test]
    fn a_halved_picture_has_the_mean_of_four_pixels_for_each() {
        for size in [Size::new(64, 32), Size::new(66, 34), Size::new(61, 31)] {
            let mut picture = Picture::new(size, Pixels::I420);
            picture.refresh(&mut scanout(size, 5).0.reader().unwrap(), size.rect()).unwrap();
            let (whole, half) = (picture.planes(), picture.planes().halved());
            let coded = even(Size::new(even(size).width / 2, even(size).height / 2));
            assert_eq!(half.layout().coded, coded);
            let luma = |planes: &Planes, x: u32, y: u32| {
                let (width, height) = (planes.layout.coded.width, planes.layout.coded.height);
                let (x, y) = (index(x.min(width - 1)), index(y.min(height - 1)));
                u32::from(planes.bytes[y * planes.layout.y_stride + x])
            };
            for (x, y) in (0..coded.width).flat_map(|x| (0..coded.height).map(move |y| (x, y))) {
                let (from_x, from_y) = (x.min(even(size).width / 2 - 1) * 2, y * 2);
                let four =
                    [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(i, j)| luma(&whole, from_x + i, from_y + j));
                assert_eq!(luma(&half, x, y), (four.iter().sum::<u32>() + 2) / 4, "{x}, {y} of {size}");
            }
            let [_, u, v] = half.offsets();
            let chroma = |planes: &Planes, at: usize| {
                let Layout { c_stride, coded, .. } = planes.layout;
                let rows = planes.bytes[at..].chunks(c_stride).take(index(coded.height / 2));
                let all = rows.flat_map(|row| &row[..index(coded.width / 2)]).map(|byte| f64::from(*byte));
                let (sum, count) = all.fold((0.0, 0.0), |(sum, count), byte| (sum + byte, count + 1.0));
                sum / count
            };
            let [_, whole_u, whole_v] = whole.offsets();
            assert!((chroma(&half, u) - chroma(&whole, whole_u)).abs() < 6.0);
            assert!((chroma(&half, v) - chroma(&whole, whole_v)).abs() < 6.0);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn what_is_refreshed_in_parts_is_what_the_scanout_shows(
            width in 16u32..700, height in 16u32..90, seed: u32,
            cuts in (0u32..700, 0u32..90),
        ) {
            let size = Size::new(width, height);
            let (scanout, bgrx) = scanout(size, seed);
            let (x, y) = (cuts.0 % width, cuts.1 % height);
            let mut picture = Picture::new(size, Pixels::I420);
            let parts = [
                Rect::new(0, 0, x, height), Rect::new(x, 0, width - x, y), Rect::new(x, y, width - x, height - y),
            ];
            for part in parts.into_iter().filter(|part| part.area() > 0) {
                picture.refresh(&mut scanout.reader().unwrap(), part).unwrap();
            }
            let layout = picture.planes.layout;
            let mut planes = vec![0; layout.len()];
            picture.planes().write(Pixels::I420, &mut planes);
            let nv12 = Layout::of(size, Pixels::Nv12);
            let mut pairs = vec![0; nv12.len()];
            picture.planes().write(Pixels::Nv12, &mut pairs);
            prop_assert_eq!(&planes[..layout.y_len], &pairs[..nv12.y_len]);
            let pixel = |x: u32, y: u32| {
                let at = (y.min(height - 1) * width + x.min(width - 1)) as usize * 4;
                [0, 1, 2].map(|n| f64::from(bgrx[at + n]))
            };
            for y in 0..layout.coded.height {
                for x in 0..layout.coded.width {
                    let got = planes[y as usize * layout.y_stride + x as usize];
                    let off = f64::from(got) - expected(pixel(x, y))[0];
                    prop_assert!(off.abs() < 1.5, "Y of {x}, {y} is {off} off");
                }
            }
            for y in 0..layout.coded.height / 2 {
                for x in 0..layout.coded.width / 2 {
                    let four = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(i, j)| pixel(x * 2 + i, y * 2 + j));
                    let mean = [0, 1, 2].map(|n| four.iter().map(|p| p[n]).sum::<f64>() / 4.0);
                    let at = layout.y_len + y as usize * layout.c_stride + x as usize;
                    let pair = nv12.y_len + y as usize * nv12.c_stride + x as usize * 2;
                    prop_assert_eq!([planes[at], planes[at + layout.c_len]], [pairs[pair], pairs[pair + 1]]);
                    for (n, got) in [planes[at], planes[at + layout.c_len]].into_iter().enumerate() {
                        let off = f64::from(got) - expected(mean)[n + 1];
                        prop_assert!(off.abs() < 2.0, "chroma {n} of {x}, {y} is {off} off");
                    }
                }
            }
        }
    }
}
