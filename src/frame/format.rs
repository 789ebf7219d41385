use drm_fourcc::DrmFourcc;

use super::Size;

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
    /// A plane of Y, and one of U, V pairs for each two by two pixels, all of 8 bits. Read as BT.709 in limited range:
    /// what a video of a screen is today, and nothing in a dmabuf's description says otherwise.
    Nv12,
}

/// The names of a format.
struct FormatRow {
    format: PixelFormat,
    /// Pixman's code (`pixman.h`: bits per pixel, channel order, channel widths).
    pixman: Option<u32>,
    /// DRM's code.
    fourcc: DrmFourcc,
    /// GStreamer's name, where the first byte comes first.
    gst: Option<&'static str>,
    /// SPICE's `SPICE_SURFACE_FMT_`.
    spice: Option<&'static str>,
}

const fn row(
    format: PixelFormat,
    pixman: Option<u32>,
    fourcc: DrmFourcc,
    gst: Option<&'static str>,
    spice: Option<&'static str>,
) -> FormatRow {
    FormatRow { format, pixman, fourcc, gst, spice }
}

/// Returns the number of a fourcc.
#[expect(clippy::as_conversions, reason = "the crate has no other way to its numbers")]
const fn code(fourcc: DrmFourcc) -> u32 {
    fourcc as u32
}

/// Every format that can be read. GStreamer has the two `10x2` since 1.24.
static TABLE: [FormatRow; 19] = [
    row(PixelFormat::Xrgb8888, Some(0x2002_0888), DrmFourcc::Xrgb8888, Some("BGRx"), Some("32_xRGB")),
    row(PixelFormat::Argb8888, Some(0x2002_8888), DrmFourcc::Argb8888, Some("BGRA"), Some("32_ARGB")),
    row(PixelFormat::Xbgr8888, Some(0x2003_0888), DrmFourcc::Xbgr8888, Some("RGBx"), None),
    row(PixelFormat::Abgr8888, Some(0x2003_8888), DrmFourcc::Abgr8888, Some("RGBA"), None),
    row(PixelFormat::Rgbx8888, Some(0x2009_0888), DrmFourcc::Rgbx8888, Some("xBGR"), None),
    row(PixelFormat::Rgba8888, Some(0x2009_8888), DrmFourcc::Rgba8888, Some("ABGR"), None),
    row(PixelFormat::Bgrx8888, Some(0x2008_0888), DrmFourcc::Bgrx8888, Some("xRGB"), None),
    row(PixelFormat::Bgra8888, Some(0x2008_8888), DrmFourcc::Bgra8888, Some("ARGB"), None),
    row(PixelFormat::Rgb888, Some(0x1802_0888), DrmFourcc::Rgb888, Some("BGR"), None),
    row(PixelFormat::Bgr888, Some(0x1803_0888), DrmFourcc::Bgr888, Some("RGB"), None),
    row(PixelFormat::Rgb565, Some(0x1002_0565), DrmFourcc::Rgb565, Some("RGB16"), Some("16_565")),
    row(PixelFormat::Bgr565, Some(0x1003_0565), DrmFourcc::Bgr565, Some("BGR16"), None),
    row(PixelFormat::Xrgb1555, Some(0x1002_0555), DrmFourcc::Xrgb1555, Some("RGB15"), Some("16_555")),
    row(PixelFormat::Argb1555, Some(0x1002_1555), DrmFourcc::Argb1555, None, None),
    row(PixelFormat::Xrgb2101010, Some(0x2002_0aaa), DrmFourcc::Xrgb2101010, Some("BGR10x2_LE"), None),
    row(PixelFormat::Argb2101010, Some(0x2002_2aaa), DrmFourcc::Argb2101010, Some("BGR10A2_LE"), None),
    row(PixelFormat::Xbgr2101010, Some(0x2003_0aaa), DrmFourcc::Xbgr2101010, Some("RGB10x2_LE"), None),
    row(PixelFormat::Abgr2101010, Some(0x2003_2aaa), DrmFourcc::Abgr2101010, Some("RGB10A2_LE"), None),
    row(PixelFormat::Nv12, None, DrmFourcc::Nv12, Some("NV12"), None),
];

impl PixelFormat {
    /// Finds the format of a pixman code, as in `org.qemu.Display1.Listener.Scanout`.
    #[must_use]
    pub fn from_pixman(code: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.pixman == Some(code)).map(|row| row.format)
    }

    /// Finds the format of a DRM fourcc, as in `org.qemu.Display1.Listener.ScanoutDMABUF`.
    #[must_use]
    pub fn from_fourcc(code: u32) -> Option<Self> {
        let fourcc = DrmFourcc::try_from(code).ok()?;
        TABLE.iter().find(|row| row.fourcc == fourcc).map(|row| row.format)
    }

    /// Returns the DRM fourcc.
    #[must_use]
    pub fn fourcc(self) -> u32 {
        self.row().map_or(0, |row| code(row.fourcc))
    }

    /// Returns the pixman code, if there is one.
    #[must_use]
    pub fn pixman(self) -> Option<u32> {
        self.row()?.pixman
    }

    /// Returns GStreamer's name, if there is one.
    #[must_use]
    pub fn gst_name(self) -> Option<&'static str> {
        self.row()?.gst
    }

    /// Returns the name among SPICE's surface formats (`SPICE_SURFACE_FMT_…`), if there is one.
    #[must_use]
    pub fn spice_name(self) -> Option<&'static str> {
        self.row()?.spice
    }

    fn row(self) -> Option<&'static FormatRow> {
        TABLE.iter().find(|row| row.format == self)
    }

    /// Returns the number of planes.
    #[must_use]
    pub fn planes(self) -> usize {
        if self == Self::Nv12 { 2 } else { 1 }
    }

    /// Returns the bytes of one row of `plane` without padding, and the number of its rows, for a picture of
    /// `size`.
    #[must_use]
    pub fn plane(self, plane: usize, size: Size) -> (u64, u32) {
        match plane {
            0 => (u64::from(size.width) * u64::from(self.bytes_per_pixel()), size.height),
            _ => (u64::from(size.width.div_ceil(2)) * 2, size.height.div_ceil(2)),
        }
    }

    /// Returns the bytes of one pixel in the first plane.
    #[must_use]
    pub fn bytes_per_pixel(self) -> u32 {
        match self {
            Self::Rgb888 | Self::Bgr888 => 3,
            Self::Rgb565 | Self::Bgr565 | Self::Xrgb1555 | Self::Argb1555 => 2,
            Self::Nv12 => 1,
            _ => 4,
        }
    }

    /// Returns whether pixels are stored as B, G, R and an unused byte.
    #[must_use]
    pub fn is_bgrx(self) -> bool {
        matches!(self, Self::Xrgb8888 | Self::Argb8888)
    }

    /// Converts pixels of a row to B, G, R, 255, up to the end of `source` or the last whole pixel of `bgrx`.
    ///
    /// For a format with a second plane, `chroma` is that plane's row, beginning with the pair of the first
    /// pixel; `odd` is true if that pixel is the second of its pair.
    pub fn to_bgrx(self, odd: bool, source: &[u8], chroma: &[u8], bgrx: &mut [u8]) {
        match self {
            Self::Nv12 => nv12(source, chroma, odd, bgrx),
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
        self.row().map_or(Ok(()), |row| row.fourcc.fmt(f))
    }
}

fn each<const N: usize>(source: &[u8], bgrx: &mut [u8], bgr: impl Fn([u8; N]) -> [u8; 3]) {
    for (from, to) in source.as_chunks::<N>().0.iter().zip(bgrx.as_chunks_mut::<4>().0) {
        let [b, g, r] = bgr(*from);
        *to = [b, g, r, 255];
    }
}

/// Converts one row of Y with its row of U, V pairs. If the row starts at an odd column, one pixel uses the
/// first pair.
fn nv12(luma: &[u8], chroma: &[u8], odd: bool, bgrx: &mut [u8]) {
    let pairs = chroma.as_chunks::<2>().0.iter().flat_map(|pair| [pair, pair]).skip(usize::from(odd));
    for ((&y, &[u, v]), to) in luma.iter().zip(pairs).zip(bgrx.as_chunks_mut::<4>().0) {
        // ITU-R BT.709 with Y in 16 to 235, U and V in 16 to 240, in 1/16384.
        let y = (i32::from(y) - 16) * 19_077 + 8192;
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        let byte = |value: i32| u8::try_from((value >> 14).clamp(0, 255)).unwrap_or(u8::MAX);
        *to = [byte(y + u * 34_610), byte(y - u * 3494 - v * 8731), byte(y + v * 29_372), 255];
    }
}

fn words(source: &[u8], bgrx: &mut [u8], bgr: impl Fn(u16) -> [u8; 3]) {
    each(source, bgrx, |word: [u8; 2]| bgr(u16::from_le_bytes(word)));
}

fn long_words(source: &[u8], bgrx: &mut [u8], bgr: impl Fn(u32) -> [u8; 3]) {
    each(source, bgrx, |word: [u8; 4]| bgr(u32::from_le_bytes(word)));
}

/// Expands five bits to eight, so that 31 becomes 255.
fn five(v: u16) -> u8 {
    let [v, _] = (v & 0x1f).to_le_bytes();
    v << 3 | v >> 2
}

/// Expands six bits to eight, so that 63 becomes 255.
fn six(v: u16) -> u8 {
    let [v, _] = (v & 0x3f).to_le_bytes();
    v << 2 | v >> 4
}

/// Returns the upper eight of ten bits.
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
            format.to_bgrx(false, bytes, &[], &mut out);
            assert_eq!(out, [b, g, r, 255], "{format:?}");
            assert_eq!(bytes.len(), format.bytes_per_pixel() as usize, "{format:?}");
        }
    }

    #[test]
    fn codes_are_unambiguous() {
        for &FormatRow { format, pixman, fourcc, .. } in &TABLE {
            let fourcc = code(fourcc);
            assert_eq!(PixelFormat::from_fourcc(fourcc), Some(format));
            assert_eq!((format.pixman(), format.fourcc()), (pixman, fourcc));
            if let Some(pixman) = pixman {
                assert_eq!(PixelFormat::from_pixman(pixman), Some(format));
                assert_eq!(pixman >> 24, format.bytes_per_pixel() * 8, "{format:?}");
            }
        }
    }

    #[test]
    fn other_formats_are_refused() {
        // Three more of `drm_fourcc.h`: half floats, packed YUV, one byte of red.
        for other in [b"XR4H", b"YUYV", b"R8  ", &[0; 4]] {
            assert_eq!(PixelFormat::from_fourcc(u32::from_le_bytes(*other)), None);
        }
        // Eight bits of grey, and the code that NV12 lacks.
        for other in [0x0804_0000, 0, u32::from_le_bytes(*b"NV12")] {
            assert_eq!(PixelFormat::from_pixman(other), None);
        }
    }

    /// GStreamer reads the same bytes, under the name in the table, as the same colour.
    #[test]
    fn gstreamer_means_the_same_by_its_names() {
        use gstreamer_video::prelude::*;
        use gstreamer_video::{VideoColorimetry, VideoConverter, VideoFormat, VideoFrame, VideoInfo};
        gstreamer::init().unwrap();
        let size = Size::new(4, 2);
        let mut known = 0;
        for &FormatRow { format, gst, .. } in &TABLE {
            let Some(name) = gst else { continue };
            let theirs = VideoFormat::from_string(name);
            if theirs == VideoFormat::Unknown {
                continue;
            }
            known += 1;
            let info = |format, colours: &str| {
                let colours = colours.parse::<VideoColorimetry>().unwrap();
                let info = VideoInfo::builder(format, size.width, size.height).colorimetry(&colours);
                info.build().unwrap()
            };
            let from = info(theirs, if format == PixelFormat::Nv12 { "bt709" } else { "sRGB" });
            let to = info(VideoFormat::Bgrx, "sRGB");
            // All rows alike: whatever GStreamer does between two rows of chroma changes nothing.
            let mut row: Vec<u8> = (0..16u8).map(|n| n.wrapping_mul(53) ^ 0x5a).collect();
            let (luma, chroma) = ([40, 90, 170, 220], [100, 170, 100, 170]);
            if format == PixelFormat::Nv12 {
                row = luma.to_vec();
            }
            let mut source =
                VideoFrame::from_buffer_writable(gstreamer::Buffer::with_size(from.size()).unwrap(), &from)
                    .unwrap();
            for plane in 0..source.n_planes() {
                let stride = source.plane_stride()[plane as usize] as usize;
                let bytes = if plane == 0 { &row } else { &chroma.to_vec() };
                for line in source.plane_data_mut(plane).unwrap().chunks_mut(stride) {
                    let len = line.len().min(bytes.len());
                    line[..len].copy_from_slice(&bytes[..len]);
                }
            }
            let mut dest =
                VideoFrame::from_buffer_writable(gstreamer::Buffer::with_size(to.size()).unwrap(), &to)
                    .unwrap();
            VideoConverter::new(&from, &to, None).unwrap().frame(&source, &mut dest);
            // GStreamer's conversion of YUV counts in 8 bits.
            let close = if format == PixelFormat::Nv12 { 5 } else { 3 };
            let mut ours = [0; 16];
            format.to_bgrx(false, &row, &chroma, &mut ours);
            let theirs = &dest.plane_data(0).unwrap()[..16];
            for (pixel, (ours, theirs)) in ours.as_chunks::<4>().0.iter().zip(theirs.chunks(4)).enumerate() {
                for channel in 0..3 {
                    let (ours, theirs) = (ours[channel], theirs[channel]);
                    assert!(
                        ours.abs_diff(theirs) <= close,
                        "{name}, pixel {pixel}: {ours} here, {theirs} there"
                    );
                }
            }
        }
        assert!(known >= 16, "GStreamer knows {known} of the names");
    }

    #[test]
    fn an_odd_column_has_the_colour_of_its_pair() {
        let (luma, chroma) = ([81, 145, 41, 210], [90, 240, 54, 34]);
        let (mut all, mut part) = ([0; 16], [0; 8]);
        PixelFormat::Nv12.to_bgrx(false, &luma, &chroma, &mut all);
        PixelFormat::Nv12.to_bgrx(true, &luma[1..], &chroma, &mut part);
        assert_eq!(part, all[4..12]);
        assert_ne!(all[4..8], all[8..12]);
    }
}
