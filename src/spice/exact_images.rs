//! Exact images of what changed on a console, for clients that get no video.

use spice_proto::channels::display::{BitmapFormat, ImageData, Tile};
use spice_proto::wire::Payload;

use crate::frame::{Rect, ScanoutError};
use crate::hub::Change;

/// The most bytes of pixels in one image: a client allocates it whole, and draws it as soon as it is there.
const MAX_IMAGE: u32 = 1 << 20;

/// Makes images of the damage of `change`, from the top. Takes milliseconds, so it is not for async tasks.
///
/// All pixels are read before any are compressed, so that the guest's release does not wait for that.
///
/// # Errors
/// If the scanout cannot be read.
pub(crate) fn images(change: Change, lz4: bool) -> Result<Vec<Tile>, ScanoutError> {
    let Some(scanout) = &change.scanout else { return Ok(Vec::new()) };
    let mut reader = scanout.reader()?;
    let mut bands = Vec::new();
    for band in change.damage.rects().iter().flat_map(|&rect| bands_of(rect)) {
        let len = band.area().saturating_mul(4);
        let mut pixels = vec![0; usize::try_from(len).unwrap_or(0)];
        reader.read(band, &mut pixels)?;
        bands.push((band, pixels));
    }
    drop(reader);
    drop(change.release);
    Ok(bands.into_iter().map(|(band, pixels)| tile(band, pixels, lz4)).collect())
}

/// Cuts `rect` into bands of whole rows, each of at most [`MAX_IMAGE`] bytes.
fn bands_of(rect: Rect) -> impl Iterator<Item = Rect> {
    let rows = (MAX_IMAGE / 4).checked_div(rect.width).unwrap_or(1).max(1);
    (0..rect.height.div_ceil(rows)).map(move |band| {
        let y = band * rows;
        Rect::new(rect.x, rect.y + y, rect.width, rows.min(rect.height - y))
    })
}

fn tile(at: Rect, pixels: Vec<u8>, lz4: bool) -> Tile {
    let Rect { x, y, width, height } = at;
    Tile { x, y, width, height, data: image_data(width, pixels, lz4) }
}

fn image_data(width: u32, pixels: Vec<u8>, lz4: bool) -> ImageData {
    let format = BitmapFormat::Xrgb;
    if lz4 {
        let block = lz4_flex::block::compress(&pixels);
        if block.len() < pixels.len() {
            return ImageData::Lz4 { format, block: Payload::from(block) };
        }
    }
    ImageData::Bitmap { format, stride: width.saturating_mul(4), pixels: Payload::from(pixels) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Region, Scanout, Size};
    use std::sync::Arc;

    fn change(size: Size, damage: Region) -> (Vec<u8>, Change) {
        let bytes: Vec<u8> = (0..size.area() * 4).map(|n| (n / 7) as u8).collect();
        let scanout = Scanout::owned(size.width, size.height, size.width * 4, 0x2002_0888, &bytes).unwrap();
        (bytes, Change { scanout: Some(Arc::new(scanout)), replaced: true, damage, release: None, missed: 0 })
    }

    fn pixels(tile: &Tile) -> Vec<u8> {
        match &tile.data {
            ImageData::Bitmap { pixels, .. } => pixels.bytes().to_vec(),
            ImageData::Lz4 { block, .. } => {
                let len = tile.width as usize * tile.height as usize * 4;
                lz4_flex::block::decompress(block.bytes(), len).unwrap()
            }
        }
    }

    #[test]
    fn images_hold_exactly_the_damage_in_bounded_pieces() {
        for lz4 in [false, true] {
            let size = Size::new(1280, 720);
            let (bytes, change) = change(size, size.rect().into());
            let images = images(change, lz4).unwrap();
            assert!(images.len() > 1);
            let mut y = 0;
            for at in images {
                assert_eq!((at.x, at.y, at.width), (0, y, 1280));
                let pixels = pixels(&at);
                assert!(pixels.len() <= 1 << 20);
                let start = at.y as usize * 1280 * 4;
                for (there, here) in pixels.chunks(4).zip(bytes[start..].chunks(4)) {
                    assert_eq!(there[..3], here[..3]);
                }
                y += at.height;
            }
            assert_eq!(y, 720);
        }
    }

    #[test]
    fn a_small_change_is_a_small_image() {
        let (_, change) = change(Size::new(640, 480), Rect::new(600, 470, 40, 10).into());
        let images = images(change, true).unwrap();
        assert_eq!(images.len(), 1);
        let Tile { x, y, width, height, .. } = images[0];
        assert_eq!((x, y, width, height), (600, 470, 40, 10));
    }
}
