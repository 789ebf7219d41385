use crate::frame::{Rect, Size};

/// A picture to show, and one that was seen.
#[derive(Clone)]
pub(super) struct Screen {
    pub(super) size: Size,
    pub(super) bgrx: Vec<u8>,
}

/// Rows of five pixels of a few letters: enough to look like text to an encoder.
const LETTERS: [[u8; 7]; 8] = [
    [0b01110, 0b10001, 0b10001, 0b11111, 0b10001, 0b10001, 0b10001],
    [0b11110, 0b10001, 0b11110, 0b10001, 0b10001, 0b10001, 0b11110],
    [0b00000, 0b00000, 0b01110, 0b10000, 0b10000, 0b10001, 0b01110],
    [0b00001, 0b00001, 0b01101, 0b10011, 0b10001, 0b10001, 0b01111],
    [0b00000, 0b00000, 0b01110, 0b10001, 0b11111, 0b10000, 0b01110],
    [0b00110, 0b01001, 0b01000, 0b11100, 0b01000, 0b01000, 0b01000],
    [0b00100, 0b00000, 0b01100, 0b00100, 0b00100, 0b00100, 0b01110],
    [0b00000, 0b00000, 0b00000, 0b00000, 0b00000, 0b00000, 0b00000],
];

impl Screen {
    /// One colour everywhere: B, G, R.
    pub(super) fn plain(size: Size, [b, g, r]: [u8; 3]) -> Self {
        Self { size, bgrx: [b, g, r, 0].repeat(size.area() as usize) }
    }

    /// A desktop: a gradient, and windows of text that has scrolled by `scroll` pixels.
    pub(super) fn desktop(size: Size, scroll: u32) -> Self {
        let mut screen = Self::plain(size, [0, 0, 0]);
        screen.each(size.rect(), |x, y| {
            let part = |at: u32, of: u32| u8::try_from(at * 255 / of).unwrap();
            [part(x, size.width) / 2 + 90, part(y, size.height) / 2 + 60, 70]
        });
        let (w, h) = (size.width, size.height);
        let dark = Rect::new(w / 20, h / 15, w * 2 / 5, h * 4 / 5);
        screen.each(dark, |x, y| if is_ink(x, y + scroll) { [0xd0; 3] } else { [0x20; 3] });
        let light = Rect::new(w / 2, h / 8, w * 2 / 5, h * 3 / 5);
        screen.each(light, |x, y| if is_ink(x, y + scroll) { [0x18; 3] } else { [0xf4; 3] });
        screen
    }

    /// What Y, U and V of BT.709 in limited range look like, computed without short cuts. Bytes and stride of each
    /// plane, and how many pixels each way have a U and V together.
    pub(super) fn decoded(size: Size, planes: [(&[u8], usize); 3], shared: u32) -> Self {
        let mut screen = Self::plain(size, [0, 0, 0]);
        let sample = |n: usize, x: u32, y: u32| f64::from(planes[n].0[y as usize * planes[n].1 + x as usize]);
        screen.each(size.rect(), |x, y| {
            let luma = (sample(0, x, y) - 16.0) * 255.0 / 219.0;
            let [cb, cr] = [1, 2].map(|n| (sample(n, x / shared, y / shared) - 128.0) * 255.0 / 224.0);
            let (b, r) = (luma + 1.8556 * cb, luma + 1.5748 * cr);
            [b, (luma - 0.2126 * r - 0.0722 * b) / 0.7152, r].map(|n| n.round().clamp(0.0, 255.0) as u8)
        });
        screen
    }

    /// At half the size each way: the mean of four pixels for each.
    pub(super) fn halved(&self) -> Self {
        let mut half = Self::plain(Size::new(self.size.width / 2, self.size.height / 2), [0, 0, 0]);
        half.each(half.size.rect(), |x, y| {
            let four = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(i, j)| self.pixel(x * 2 + i, y * 2 + j));
            [0, 1, 2].map(|n| (four.iter().map(|pixel| u16::from(pixel[n])).sum::<u16>() / 4) as u8)
        });
        half
    }

    pub(super) fn each(&mut self, rect: Rect, colour: impl Fn(u32, u32) -> [u8; 3]) {
        for y in rect.y..rect.bottom() {
            for x in rect.x..rect.right() {
                let at = self.at(x, y);
                self.bgrx[at..at + 3].copy_from_slice(&colour(x, y));
            }
        }
    }

    pub(super) fn pixel(&self, x: u32, y: u32) -> [u8; 3] {
        let at = self.at(x, y);
        self.bgrx[at..at + 3].try_into().unwrap()
    }

    pub(super) fn part(&self, rect: Rect) -> Vec<u8> {
        (rect.y..rect.bottom())
            .flat_map(|y| &self.bgrx[self.at(rect.x, y)..self.at(rect.x, y) + rect.width as usize * 4])
            .copied()
            .collect()
    }

    /// Peak signal to noise ratio in dB, over B, G and R of a part that both have.
    pub(super) fn psnr(&self, other: &Self, rect: Rect) -> f64 {
        let mut sum = 0_u64;
        for y in rect.y..rect.bottom() {
            for x in rect.x..rect.right() {
                for (a, b) in self.pixel(x, y).into_iter().zip(other.pixel(x, y)) {
                    sum += u64::from(a.abs_diff(b)).pow(2);
                }
            }
        }
        let mean = sum as f64 / (rect.area() * 3) as f64;
        10.0 * (255.0 * 255.0 / mean.max(1e-9)).log10()
    }

    fn at(&self, x: u32, y: u32) -> usize {
        (y as usize * self.size.width as usize + x as usize) * 4
    }
}

/// Whether a letter of an endless text covers this pixel: cells of 7 by 12.
fn is_ink(x: u32, y: u32) -> bool {
    let (column, line) = (x / 7, y / 12);
    let letter = (column * 7 + line * 13 + column * line) % 11;
    let row = LETTERS[letter.min(7) as usize].get(y as usize % 12).copied().unwrap_or(0);
    x % 7 < 5 && row >> (4 - x % 7) & 1 == 1
}
