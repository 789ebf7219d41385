//! Exact images of what changed on a console, and copies of what moved.

use spice_proto::channels::display::{BitmapFormat, ImageData, Moved, Tile};
use spice_proto::wire::{self, Payload, Point};

use crate::frame::{self, Rect, ScanoutError, Size};
use crate::hub::Told;
use crate::viewer::{Exact, ShownExactly};

/// What a client is to draw.
#[derive(Debug)]
pub(crate) struct Drawing {
    /// The size of the picture.
    pub size: Size,
    /// Copies within it, one after the other.
    pub moved: Vec<Moved>,
    /// What is drawn then.
    pub images: Vec<Tile>,
}

/// Makes of an exact update what a client is to draw that takes `copies` and `lz4`, and tells what became of it. Takes
/// milliseconds, so it is not for async tasks.
///
/// All pixels are read before any are compressed, so that the guest's release does not wait for that.
///
/// # Errors
/// If the scanout cannot be read.
pub(crate) fn drawing(
    exact: Exact,
    copies: bool,
    lz4: bool,
) -> Result<(Option<Drawing>, ShownExactly), ScanoutError> {
    let update = match exact.read(copies)? {
        Told::Update(update) => update,
        Told::Areas => return Ok((None, ShownExactly::Areas)),
        Told::TooMuch => return Ok((None, ShownExactly::TooMuch)),
        Told::Gone => return Ok((None, ShownExactly::Failed)),
    };
    let pixels = update.images.iter().map(|(part, _)| part.area()).sum();
    let moved = update.moved.into_iter().map(moved).collect();
    let images = update.images.into_iter().map(|(part, pixels)| tile(part, pixels, lz4)).collect();
    let shown = ShownExactly::Sent { pixels, changed: update.changed };
    Ok((Some(Drawing { size: update.size, moved, images }), shown))
}

fn moved(frame::Moved { x, y, to }: frame::Moved) -> Moved {
    let Rect { width, height, .. } = to;
    let from = wire::Rect::at(x, y, width, height);
    Moved { from: Point { x: from.left, y: from.top }, to: wire::Rect::at(to.x, to.y, width, height) }
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
    use crate::frame::{ConsoleId, Scanout};
    use crate::hub::{Asked, Console, Hub};
    use std::sync::Arc;

    const SIZE: Size = Size::new(1280, 720);

    /// A console, and the pixels that it shows, of which hardly two are the same.
    fn console() -> (Arc<Console>, Vec<u8>) {
        let console = Hub::default().console(ConsoleId(0)).unwrap();
        let number = |n: u32| n.wrapping_mul(2_654_435_761) >> 8;
        let bytes: Vec<u8> = (0..1280 * 720).flat_map(|n| number(n / 3).to_le_bytes()).collect();
        console.show(Some(Scanout::owned(1280, 720, 1280 * 4, 0x2002_0888, &bytes).unwrap()));
        (console, bytes)
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
    fn images_hold_exactly_what_changed_in_bounded_pieces() {
        for lz4 in [false, true] {
            let (console, bytes) = console();
            let exact = Exact::new(Arc::new(console.read_exactly().unwrap()), Asked::all(), None);
            let (drawing, shown) = drawing(exact, true, lz4).unwrap();
            let Drawing { size, moved, images } = drawing.unwrap();
            assert!(images.len() > 1 && moved.is_empty());
            assert_eq!(
                (size, shown),
                (SIZE, ShownExactly::Sent { pixels: SIZE.area(), changed: SIZE.area() })
            );
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
    fn what_moved_is_a_copy_for_clients_that_take_it_and_an_image_for_others() {
        for copies in [false, true] {
            let (console, mut bytes) = console();
            let reader = Arc::new(console.read_exactly().unwrap());
            let exact = || Exact::new(reader.clone(), Asked::all(), None);
            drawing(exact(), copies, true).unwrap();
            bytes.copy_within(1280 * 4 * 16.., 0);
            let scanout = console.shown().unwrap();
            scanout.write(SIZE.rect(), 1280 * 4, 0x2002_0888, &bytes).unwrap();
            console.damage((0, 0, 1280, 720), None);
            let (drawing, shown) = drawing(exact(), copies, true).unwrap();
            let Drawing { moved, images, .. } = drawing.unwrap();
            if copies {
                let up = Moved { from: Point { x: 0, y: 16 }, to: wire::Rect::at(0, 0, 1280, 704) };
                assert_eq!((moved, images.len()), (vec![up], 0), "{shown:?}");
            } else {
                let pixels = 1280 * 704;
                assert_eq!((moved, shown), (vec![], ShownExactly::Sent { pixels, changed: pixels }));
            }
        }
    }

    #[test]
    fn a_small_change_is_a_small_image() {
        let (console, _) = console();
        let reader = Arc::new(console.read_exactly().unwrap());
        let exact = || Exact::new(reader.clone(), Asked::all(), None);
        drawing(exact(), true, true).unwrap();
        let part = Rect::new(600, 470, 40, 10);
        console.shown().unwrap().write(part, 160, 0x2002_0888, &[9; 1600]).unwrap();
        console.damage((600, 470, 40, 10), None);
        let images = drawing(exact(), true, true).unwrap().0.unwrap().images;
        let [Tile { x, y, width, height, .. }] = images[..] else { panic!("{images:?}") };
        assert_eq!((x, y, width, height), (600, 470, 40, 10));
    }
}
