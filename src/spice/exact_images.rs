//! Exact images of what changed on a console, and copies of what moved.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use spice_proto::channels::display::{BitmapFormat, ImageData, Moved, Tile, glz};
use spice_proto::wire::{self, Payload, Point};

use crate::frame::{self, ConsoleId, Rect, ScanoutError, Size};
use crate::hub::Told;
use crate::viewer::{Exact, Images, Packed, ShownExactly};

/// The levels of zlib: for what GLZ made less than a quarter of, as it does of text and windows, and for photographs.
/// The first would make those a thirtieth smaller in three times the time, the other leaves text a fifth larger.
const TEXT_LEVEL: u8 = 4;
const PHOTOGRAPH_LEVEL: u8 = 1;

/// What a client is to draw.
#[derive(Debug)]
pub(crate) struct Drawing {
    /// The size of the picture.
    pub size: Size,
    /// Copies within it, one after the other.
    pub moved: Vec<Moved>,
    /// What is drawn then.
    pub images: Vec<Tile>,
    /// How that is packed.
    pub packed: Packed,
}

/// What a client takes.
#[derive(Clone, Debug)]
pub(crate) struct Takes {
    /// Copies within its picture.
    pub copies: bool,
    /// Images as LZ4.
    pub lz4: bool,
    /// Images as GLZ inside zlib.
    pub glz: Glz,
}

/// What a client takes as GLZ.
#[derive(Clone, Debug)]
pub(crate) struct Glz {
    /// The most pixels of an image; 0 if it takes none.
    pub most: u32,
    /// The console that the images are of.
    pub console: ConsoleId,
    /// Those of all its consoles.
    pub images: Arc<GlzImages>,
}

/// The images in GLZ that a client was sent. All are of one console: their order counts, and another console's come
/// over another connection.
#[derive(Debug, Default)]
pub(crate) struct GlzImages {
    console: OnceLock<ConsoleId>,
    count: AtomicU32,
}

impl GlzImages {
    /// Returns the number of the next image of `console`; `None` if another has them.
    fn next(&self, console: ConsoleId) -> Option<u32> {
        let is_of = *self.console.get_or_init(|| console) == console;
        is_of.then(|| self.count.fetch_add(1, Ordering::Relaxed))
    }
}

/// Makes of an exact update what a client is to draw that `takes` so much, and tells what became of it. Takes
/// milliseconds, and with GLZ tens of them, so it is not for async tasks.
///
/// All pixels are read before any are compressed, so that the guest's release does not wait for that.
///
/// # Errors
/// If the scanout cannot be read.
pub(crate) fn drawing(exact: Exact, takes: &Takes) -> Result<(Option<Drawing>, ShownExactly), ScanoutError> {
    let glz = Some(&takes.glz).filter(|_| exact.narrow);
    let update = match exact.read(takes.copies)? {
        Told::Update(update) => update,
        Told::Areas => return Ok((None, ShownExactly::Areas)),
        Told::TooMuch => return Ok((None, ShownExactly::TooMuch)),
        Told::Gone => return Ok((None, ShownExactly::Failed)),
    };
    let pixels = update.images.iter().map(|(part, _)| part.area()).sum();
    let moved = update.moved.into_iter().map(moved).collect();
    let images = update.images.into_iter().map(|(part, pixels)| tile(part, pixels, takes.lz4, glz));
    let images: Vec<Tile> = images.collect();
    let mut packed = Packed::default();
    images.iter().for_each(|image| packed += packing(image));
    let shown = ShownExactly::Sent { pixels, changed: update.changed };
    Ok((Some(Drawing { size: update.size, moved, images, packed }), shown))
}

fn moved(frame::Moved { x, y, to }: frame::Moved) -> Moved {
    let Rect { width, height, .. } = to;
    let from = wire::Rect::at(x, y, width, height);
    Moved { from: Point { x: from.left, y: from.top }, to: wire::Rect::at(to.x, to.y, width, height) }
}

/// Makes an image of a part, as small as these ways of packing make it.
fn tile(at: Rect, pixels: Vec<u8>, lz4: bool, glz: Option<&Glz>) -> Tile {
    let Rect { x, y, width, height } = at;
    let format = BitmapFormat::Xrgb;
    let lz4 = lz4.then(|| {
        let block = Payload::from(lz4_flex::block::compress(&pixels));
        ImageData::Lz4 { format, block }
    });
    let glz =
        glz.filter(|glz| at.area() <= u64::from(glz.most)).and_then(|glz| zlib_glz(width, &pixels, glz));
    let packed = [lz4, glz].into_iter().flatten().min_by_key(|data| data.payload().len());
    let data = packed.filter(|data| data.payload().len() < pixels.len()).unwrap_or_else(|| {
        ImageData::Bitmap { format, stride: width.saturating_mul(4), pixels: Payload::from(pixels) }
    });
    Tile { x, y, width, height, data }
}

fn zlib_glz(width: u32, pixels: &[u8], client: &Glz) -> Option<ImageData> {
    let stream = glz(width, pixels, client.images.next(client.console)?);
    let is_text = stream.len() < pixels.len() / 4 * 3 / 4;
    let level = if is_text { TEXT_LEVEL } else { PHOTOGRAPH_LEVEL };
    let data = Payload::from(miniz_oxide::deflate::compress_to_vec_zlib(&stream, level));
    Some(ImageData::ZlibGlz { glz_len: u32::try_from(stream.len()).ok()?, data })
}

fn packing(image: &Tile) -> Packed {
    let pixels = u64::from(image.width) * u64::from(image.height);
    let images = Images { pixels, bytes: u64::try_from(image.data.payload().len()).unwrap_or(u64::MAX) };
    match image.data {
        ImageData::Bitmap { .. } => Packed { raw: images, ..Packed::default() },
        ImageData::Lz4 { .. } => Packed { lz4: images, ..Packed::default() },
        ImageData::ZlibGlz { .. } => Packed { zlib_glz: images, ..Packed::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{ConsoleId, Scanout};
    use crate::hub::{Asked, Console, ExactReader, Hub};

    const SIZE: Size = Size::new(1280, 720);

    /// A console, and the pixels that it shows, of which hardly two are the same.
    fn console() -> (Arc<Console>, Vec<u8>) {
        let console = Hub::default().console(ConsoleId(0)).unwrap();
        let number = |n: u32| n.wrapping_mul(2_654_435_761) >> 8;
        let bytes: Vec<u8> = (0..1280 * 720).flat_map(|n| number(n / 3).to_le_bytes()).collect();
        console.show(Some(Scanout::owned(1280, 720, 1280 * 4, 0x2002_0888, &bytes).unwrap()));
        (console, bytes)
    }

    fn takes(copies: bool, lz4: bool, glz: u32) -> Takes {
        Takes { copies, lz4, glz: Glz { most: glz, console: ConsoleId(0), images: Arc::default() } }
    }

    fn exact(reader: &Arc<ExactReader>, narrow: bool) -> Exact {
        let mut exact = Exact::new(reader.clone(), Asked::all(), None);
        exact.narrow = narrow;
        exact
    }

    fn pixels(tile: &Tile) -> Vec<u8> {
        match &tile.data {
            ImageData::Bitmap { pixels, .. } => pixels.bytes().to_vec(),
            ImageData::Lz4 { block, .. } => {
                let len = tile.width as usize * tile.height as usize * 4;
                lz4_flex::block::decompress(block.bytes(), len).unwrap()
            }
            ImageData::ZlibGlz { .. } => panic!("its reader is in spice-proto"),
        }
    }

    #[test]
    fn images_hold_exactly_what_changed_in_bounded_pieces() {
        for lz4 in [false, true] {
            let (console, bytes) = console();
            let exact = exact(&Arc::new(console.read_exactly().unwrap()), false);
            let (drawing, shown) = drawing(exact, &takes(true, lz4, u32::MAX)).unwrap();
            let Drawing { size, moved, images, .. } = drawing.unwrap();
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

    /// How a client gets a page of text that takes images in GLZ of so many pixels.
    fn packed(narrow: bool, most: u32) -> Packed {
        let console = Hub::default().console(ConsoleId(0)).unwrap();
        let letter = |n: u32| ((n % 1280 / 8) ^ (n / 1280 / 16 * 77)).wrapping_mul(2_654_435_761) >> 27;
        let ink = |n: u32| letter(n) >> (n / 1280 % 16 / 4 + n % 3) & 1 == 1;
        let bytes: Vec<u8> = (0..1280 * 720).flat_map(|n| [if ink(n) { 30 } else { 250 }; 4]).collect();
        console.show(Some(Scanout::owned(1280, 720, 1280 * 4, 0x2002_0888, &bytes).unwrap()));
        let reader = Arc::new(console.read_exactly().unwrap());
        let Drawing { images, packed, .. } =
            drawing(exact(&reader, narrow), &takes(true, true, most)).unwrap().0.unwrap();
        for tile in images {
            let ImageData::ZlibGlz { glz_len, data } = &tile.data else { continue };
            let stream = miniz_oxide::inflate::decompress_to_vec_zlib(data.bytes()).unwrap();
            let start = tile.y as usize * 1280 * 4;
            let pixels = &bytes[start..start + tile.height as usize * 1280 * 4];
            assert_eq!(stream.len(), *glz_len as usize);
            assert!((0..9).any(|number| stream == glz(1280, pixels, number)));
        }
        packed
    }

    #[test]
    fn a_page_for_a_narrow_network_is_smaller_where_the_client_takes_that() {
        let pixels = SIZE.area();
        let (near, far, other) = (packed(false, u32::MAX), packed(true, u32::MAX), packed(true, 1000));
        assert_eq!((near.lz4.pixels, near.zlib_glz.pixels, near.raw.pixels), (pixels, 0, 0));
        assert_eq!((far.lz4.pixels, far.zlib_glz.pixels, far.raw.pixels), (0, pixels, 0));
        assert!(far.zlib_glz.bytes * 2 < near.lz4.bytes, "{far:?} {near:?}");
        assert_eq!(other, near, "images of 1000 pixels are the most that it takes");
    }

    #[test]
    fn the_images_in_glz_of_a_client_are_numbered_and_of_one_console() {
        let images = GlzImages::default();
        let numbers = [1, 0, 1, 1].map(|console| images.next(ConsoleId(console)));
        assert_eq!(numbers, [Some(0), None, Some(1), Some(2)]);
    }

    #[test]
    fn what_moved_is_a_copy_for_clients_that_take_it_and_an_image_for_others() {
        for copies in [false, true] {
            let (console, mut bytes) = console();
            let reader = Arc::new(console.read_exactly().unwrap());
            let takes = takes(copies, true, 0);
            drawing(exact(&reader, false), &takes).unwrap();
            bytes.copy_within(1280 * 4 * 16.., 0);
            let scanout = console.shown().unwrap();
            scanout.write(SIZE.rect(), 1280 * 4, 0x2002_0888, &bytes).unwrap();
            console.damage((0, 0, 1280, 720), None);
            let (drawing, shown) = drawing(exact(&reader, false), &takes).unwrap();
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
        let takes = takes(true, true, u32::MAX);
        drawing(exact(&reader, true), &takes).unwrap();
        let part = Rect::new(600, 470, 40, 10);
        console.shown().unwrap().write(part, 160, 0x2002_0888, &[9; 1600]).unwrap();
        console.damage((600, 470, 40, 10), None);
        let images = drawing(exact(&reader, true), &takes).unwrap().0.unwrap().images;
        let [Tile { x, y, width, height, .. }] = images[..] else { panic!("{images:?}") };
        assert_eq!((x, y, width, height), (600, 470, 40, 10));
    }
}
