/// How the pixels of a scanout lie in memory, named as in `drm_fourcc.h`: the letters go from the most
/// significant bit of a little-endian word to the least.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PixelFormat {
    /// Bytes B, G, R, x.
    Xrgb8888,
    /// Bytes B, G, R, A.
    Argb8888,
    /// Bytes R, G, B, x.
    Xbgr8888,
    /// Bytes R, G, B, A.
    Abgr8888,
    /// Bytes x, B, G, R.
    Rgbx8888,
    /// Bytes A, B, G, R.
    Rgba8888,
    /// Bytes x, R, G, B.
    Bgrx8888,
    /// Bytes A, R, G, B.
    Bgra8888,
    /// Bytes B, G, R.
    Rgb888,
    /// Bytes R, G, B.
    Bgr888,
    /// 16-bit words, red on top.
    Rgb565,
    /// 16-bit words, blue on top.
    Bgr565,
    /// 16-bit words, one bit unused, red on top.
    Xrgb1555,
    /// 16-bit words, one bit of alpha, red on top.
    Argb1555,
    /// 32-bit words, two bits unused, ten of red on top.
    Xrgb2101010,
    /// 32-bit words, two bits of alpha, ten of red below.
    Argb2101010,
    /// 32-bit words, two bits unused, ten of blue on top.
    Xbgr2101010,
    /// 32-bit words, two bits of alpha, ten of blue below.
    Abgr2101010,
}

/// Format, pixman's code (`pixman.h`: bits per pixel, channel order, channel widths), DRM's fourcc (`drm_fourcc.h`).
const TABLE: [(PixelFormat, u32, u32); 18] = [
    (PixelFormat::Xrgb8888, 0x2002_0888, fourcc(b"XR24")),
    (PixelFormat::Argb8888, 0x2002_8888, fourcc(b"AR24")),
    (PixelFormat::Xbgr8888, 0x2003_0888, fourcc(b"XB24")),
    (PixelFormat::Abgr8888, 0x2003_8888, fourcc(b"AB24")),
    (PixelFormat::Rgbx8888, 0x2009_0888, fourcc(b"RX24")),
    (PixelFormat::Rgba8888, 0x2009_8888, fourcc(b"RA24")),
    (PixelFormat::Bgrx8888, 0x2008_0888, fourcc(b"BX24")),
    (PixelFormat::Bgra8888, 0x2008_8888, fourcc(b"BA24")),
    (PixelFormat::Rgb888, 0x1802_0888, fourcc(b"RG24")),
    (PixelFormat::Bgr888, 0x1803_0888, fourcc(b"BG24")),
    (PixelFormat::Rgb565, 0x1002_0565, fourcc(b"RG16")),
    (PixelFormat::Bgr565, 0x1003_0565, fourcc(b"BG16")),
    (PixelFormat::Xrgb1555, 0x1002_0555, fourcc(b"XR15")),
    (PixelFormat::Argb1555, 0x1002_1555, fourcc(b"AR15")),
    (PixelFormat::Xrgb2101010, 0x2002_0aaa, fourcc(b"XR30")),
    (PixelFormat::Argb2101010, 0x2002_2aaa, fourcc(b"AR30")),
    (PixelFormat::Xbgr2101010, 0x2003_0aaa, fourcc(b"XB30")),
    (PixelFormat::Abgr2101010, 0x2003_2aaa, fourcc(b"AB30")),
];

const fn fourcc(name: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*name)
}

impl PixelFormat {
    /// The format of pixman's code, as in `org.qemu.Display1.Listener.Scanout`; `None` if we cannot read it.
    #[must_use]
    pub fn from_pixman(code: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == code).map(|row| row.0)
    }

    /// The format of a DRM fourcc, as in `org.qemu.Display1.Listener.ScanoutDMABUF`; `None` if we cannot read it.
    #[must_use]
    pub fn from_fourcc(code: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.2 == code).map(|row| row.0)
    }

    /// The DRM fourcc.
    #[must_use]
    pub fn fourcc(self) -> u32 {
        TABLE.iter().find(|row| row.0 == self).map_or(0, |row| row.2)
    }

    /// Pixman's code.
    #[must_use]
    pub fn pixman(self) -> u32 {
        TABLE.iter().find(|row| row.0 == self).map_or(0, |row| row.1)
    }

    /// Bytes of one pixel.
    #[must_use]
    pub fn bytes_per_pixel(self) -> u32 {
        match self {
            Self::Rgb888 | Self::Bgr888 => 3,
            Self::Rgb565 | Self::Bgr565 | Self::Xrgb1555 | Self::Argb1555 => 2,
            _ => 4,
        }
    }

    /// Whether its pixels already lie as B, G, R and a byte that nobody reads.
    #[must_use]
    pub fn is_bgrx(self) -> bool {
        matches!(self, Self::Xrgb8888 | Self::Argb8888)
    }

    /// Writes pixels as B, G, R, 255: as many as both slices hold whole.
    pub fn to_bgrx(self, source: &[u8], bgrx: &mut [u8]) {
        match self {
            Self::Xrgb8888 | Self::Argb8888 => each(source, bgrx, |[b, g, r, _]: [u8; 4]| [b, g, r]),
            Self::Xbgr8888 | Self::Abgr8888 => each(source, bgrx, |[r, g, b, _]: [u8; 4]| [b, g, r]),
            Self::Rgbx8888 | Self::Rgba8888 => each(source, bgrx, |[_, b, g, r]: [u8; 4]| [b, g, r]),
            Self::Bgrx8888 | Self::Bgra8888 => each(source, bgrx, |[_, r, g, b]: [u8; 4]| [b, g, r]),
            Self::Rgb888 => each(source, bgrx, |bgr: [u8; 3]| bgr),
            Self::Bgr888 => each(source, bgrx, |[r, g, b]: [u8; 3]| [b, g, r]),
            Self::Rgb565 => words(source, bgrx, |v| [five(v), six(v >> 5), five(v >> 11)]),
            Self::Bgr565 => words(source, bgrx, |v| [five(v >> 11), six(v >> 5), five(v)]),
            Self::Xrgb1555 | Self::Argb1555 => {
                words(source, bgrx, |v| [five(v), five(v >> 5), five(v >> 10)]);
            }
            Self::Xrgb2101010 | Self::Argb2101010 => {
                long_words(source, bgrx, |v| [ten(v), ten(v >> 10), ten(v >> 20)]);
            }
            Self::Xbgr2101010 | Self::Abgr2101010 => {
                long_words(source, bgrx, |v| [ten(v >> 20), ten(v >> 10), ten(v)]);
            }
        }
    }
}

/// The four letters of its DRM fourcc, such as `XR24`.
impl std::fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.fourcc().to_le_bytes().into_iter().try_for_each(|letter| write!(f, "{}", char::from(letter)))
    }
}

fn each<const N: usize>(source: &[u8], bgrx: &mut [u8], bgr: impl Fn([u8; N]) -> [u8; 3]) {
    for (from, to) in source.as_chunks::<N>().0.iter().zip(bgrx.as_chunks_mut::<4>().0) {
        let [b, g, r] = bgr(*from);
        *to = [b, g, r, 255];
    }
}

fn words(source: &[u8], bgrx: &mut [u8], bgr: impl Fn(u16) -> [u8; 3]) {
    each(source, bgrx, |word: [u8; 2]| bgr(u16::from_le_bytes(word)));
}

fn long_words(source: &[u8], bgrx: &mut [u8], bgr: impl Fn(u32) -> [u8; 3]) {
    each(source, bgrx, |word: [u8; 4]| bgr(u32::from_le_bytes(word)));
}

/// Five low bits as eight, so that 31 is 255.
fn five(v: u16) -> u8 {
    let [v, _] = (v & 0x1f).to_le_bytes();
    v << 3 | v >> 2
}

/// Six low bits as eight, so that 63 is 255.
fn six(v: u16) -> u8 {
    let [v, _] = (v & 0x3f).to_le_bytes();
    v << 2 | v >> 4
}

/// The upper eight of ten low bits.
fn ten(v: u32) -> u8 {
    let [v, ..] = ((v & 0x3ff) >> 2).to_le_bytes();
    v
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One pixel of R 0xff, G 0x80, B 0x00, as each format holds it.
    #[test]
    fn each_format_shows_the_same_colour() {
        let cases: [(PixelFormat, &[u8], [u8; 3]); 18] = [
            (PixelFormat::Xrgb8888, &[0x00, 0x80, 0xff, 7], [0x00, 0x80, 0xff]),
            (PixelFormat::Argb8888, &[0x00, 0x80, 0xff, 7], [0x00, 0x80, 0xff]),
            (PixelFormat::Xbgr8888, &[0xff, 0x80, 0x00, 7], [0x00, 0x80, 0xff]),
            (PixelFormat::Abgr8888, &[0xff, 0x80, 0x00, 7], [0x00, 0x80, 0xff]),
            (PixelFormat::Rgbx8888, &[7, 0x00, 0x80, 0xff], [0x00, 0x80, 0xff]),
            (PixelFormat::Rgba8888, &[7, 0x00, 0x80, 0xff], [0x00, 0x80, 0xff]),
            (PixelFormat::Bgrx8888, &[7, 0xff, 0x80, 0x00], [0x00, 0x80, 0xff]),
            (PixelFormat::Bgra8888, &[7, 0xff, 0x80, 0x00], [0x00, 0x80, 0xff]),
            (PixelFormat::Rgb888, &[0x00, 0x80, 0xff], [0x00, 0x80, 0xff]),
            (PixelFormat::Bgr888, &[0xff, 0x80, 0x00], [0x00, 0x80, 0xff]),
            (PixelFormat::Rgb565, &[0x00, 0xfc], [0x00, 0x82, 0xff]),
            (PixelFormat::Bgr565, &[0x1f, 0x04], [0x00, 0x82, 0xff]),
            (PixelFormat::Xrgb1555, &[0x00, 0x7e], [0x00, 0x84, 0xff]),
            (PixelFormat::Argb1555, &[0x00, 0xfe], [0x00, 0x84, 0xff]),
            (PixelFormat::Xrgb2101010, &[0x00, 0x00, 0xf8, 0x3f], [0x00, 0x80, 0xff]),
            (PixelFormat::Argb2101010, &[0x00, 0x00, 0xf8, 0xff], [0x00, 0x80, 0xff]),
            (PixelFormat::Xbgr2101010, &[0xff, 0x03, 0x08, 0x00], [0x00, 0x80, 0xff]),
            (PixelFormat::Abgr2101010, &[0xff, 0x03, 0x08, 0xc0], [0x00, 0x80, 0xff]),
        ];
        for (format, bytes, [b, g, r]) in cases {
            let mut out = [0; 4];
            format.to_bgrx(bytes, &mut out);
            assert_eq!(out, [b, g, r, 255], "{format:?}");
            assert_eq!(bytes.len(), format.bytes_per_pixel() as usize, "{format:?}");
        }
    }

    #[test]
    fn codes_are_unambiguous() {
        for (format, pixman, fourcc) in TABLE {
            assert_eq!(PixelFormat::from_pixman(pixman), Some(format));
            assert_eq!(PixelFormat::from_fourcc(fourcc), Some(format));
            assert_eq!((format.pixman(), format.fourcc()), (pixman, fourcc));
            assert_eq!(format.fourcc(), fourcc);
            assert_eq!(pixman >> 24, format.bytes_per_pixel() * 8, "{format:?}");
        }
    }
}
