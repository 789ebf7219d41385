use crate::frame::{Rect, Scanout, Size};

/// A character of QEMU's console, in pixels.
const CHARACTER: Size = Size { width: 8, height: 16 };
/// Characters of the longest text that QEMU shows in the place of a picture.
const LONGEST: u32 = 44;
/// Characters of the shortest, each of which has some pixels.
const SHORTEST: usize = 20;
/// Colours of a text.
const BLACK: [u8; 3] = [0; 3];

/// Returns whether a picture is QEMU's own, which it shows where the guest shows nothing: a line of text in the middle
/// of black ("Display output is not active."). QEMU 7.2 to 11 do not say so in another way.
///
/// It is for the processor to read, so only pictures in shared memory or by value are looked at. The pixels of almost
/// any other picture say so within its first rows.
pub(super) fn is_placeholder(scanout: &Scanout) -> bool {
    let size = scanout.size();
    if scanout.as_dmabuf().is_some() || size.width < CHARACTER.width * LONGEST {
        return false;
    }
    // As QEMU places it (`qemu_create_placeholder_surface` in `ui/console.c`).
    let top = (size.height / CHARACTER.height).saturating_sub(1) / 2 * CHARACTER.height;
    let left = (size.width / CHARACTER.width).saturating_sub(LONGEST) / 2 * CHARACTER.width;
    let text = Rect::new(left, top, (LONGEST + 1) * CHARACTER.width, CHARACTER.height);
    pixels_of_a_text(scanout, size, text).is_some_and(|pixels| pixels > SHORTEST)
}

/// Returns how many pixels of one colour are on black inside of `text`; `None` if there is anything else.
fn pixels_of_a_text(scanout: &Scanout, size: Size, text: Rect) -> Option<usize> {
    let mut reader = scanout.reader().ok()?;
    let bytes = usize::try_from(u64::from(size.width) * 4).ok()?;
    let (mut row, mut count, mut colour) = (vec![0; bytes], 0usize, BLACK);
    for y in 0..size.height {
        reader.read(Rect::new(0, y, size.width, 1), &mut row).ok()?;
        let pixels = (0..).zip(row.as_chunks::<4>().0);
        for (x, [blue, green, red, _]) in pixels {
            let found = [*blue, *green, *red];
            if found == BLACK {
                continue;
            }
            let is_first = colour == BLACK;
            if is_first {
                colour = found;
            }
            if colour != found || !text.contains(Rect::new(x, y, 1, 1)) {
                return None;
            }
            count = count.saturating_add(1);
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const XRGB: u32 = 0x2002_0888;

    fn picture(width: u32, height: u32, paint: impl Fn(u32, u32) -> u32) -> Scanout {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let data: Vec<u8> = pixels.flat_map(|(x, y)| paint(x, y).to_le_bytes()).collect();
        Scanout::owned(width, height, width * 4, XRGB, &data).unwrap()
    }

    /// A line of 29 characters of which every second column is set, as QEMU places it.
    fn message(width: u32, height: u32, colour: u32) -> impl Fn(u32, u32) -> u32 {
        let (left, top) = ((width / 8 - 29) / 2 * 8, (height / 16 - 1) / 2 * 16);
        move |x, y| {
            let is_text = (left..left + 29 * 8).contains(&x) && (top..top + 16).contains(&y) && x % 2 == 0;
            if is_text { colour } else { 0 }
        }
    }

    #[test]
    fn a_line_of_text_in_the_middle_of_black_is_none_of_the_guests() {
        for (width, height) in [(640, 480), (1280, 720), (1104, 600), (808, 601)] {
            let text = message(width, height, 0xff_ffff);
            assert!(is_placeholder(&picture(width, height, &text)), "{width}x{height}");
            let moved = |x: u32, y: u32| text(x, y.wrapping_sub(16));
            assert!(!is_placeholder(&picture(width, height, moved)));
            let coloured = |x: u32, y: u32| if x.is_multiple_of(4) { text(x, y) & 0xff } else { text(x, y) };
            assert!(!is_placeholder(&picture(width, height, coloured)));
        }
        assert!(!is_placeholder(&picture(640, 480, |_, _| 0)), "a guest may show black");
        assert!(!is_placeholder(&picture(640, 480, |x, y| x ^ y)));
        assert!(!is_placeholder(&picture(64, 32, |_, _| 0)));
    }
}
