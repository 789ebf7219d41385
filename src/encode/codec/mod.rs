//! The codecs of video streams: one row of [`Codec`] for each, and a file for what its streams look like.
//!
//! A row says what the rest of the program must know of a codec. Which SPICE stream it is, `spice::codecs` says.

mod bits;
mod h264;
mod h265;
mod mjpeg;
mod nal;
mod vp8;
mod vp9;

pub(crate) use nal::nal_units;

use std::ops::RangeInclusive;

use crate::frame::{Rect, Size};

/// How a video is compressed: what the decoder of a viewer must know.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Codec {
    /// H.264 / AVC: 8 bits, 4:2:0, no reordering.
    H264,
    /// The same with a colour for each pixel (4:4:4), which few decoders show.
    H264_444,
    /// H.265 / HEVC: 8 bits, 4:2:0, no reordering.
    H265,
    /// VP8.
    Vp8,
    /// VP9: profile 0, 8 bits, 4:2:0.
    Vp9,
    /// Motion JPEG: each frame a key frame.
    Mjpeg,
}

/// What is to be known of a codec.
struct CodecRow {
    /// Its name in `--video-codec` and `qemu-spice status`.
    name: &'static str,
    /// Its name in sentences.
    title: &'static str,
    /// What `--help` says of it.
    help: &'static str,
    /// The Debian package that has a decoder for GStreamer's clients.
    decoder_package: &'static str,
    /// GStreamer's description of the stream that an encoder is to make.
    caps: &'static str,
    /// The sides of pictures that encoders and decoders can be relied on for, in pixels.
    sides: RangeInclusive<u32>,
    /// Starts checking a stream of pictures of this size.
    check: fn(Size) -> Box<dyn StreamCheck>,
}

/// The sides of a block of H.264, and of what its level 5.2 and software decoders can be relied on for: taken for other
/// codecs, too.
const USUAL_SIDES: RangeInclusive<u32> = 16..=4096;

/// The largest part of a picture that does not fit: every software encoder takes as much, openh264enc no more.
const MAX_PART: Size = Size::new(4096, 2304);

impl Codec {
    /// All there are, the best first: by what a frame costs here, then by its bytes.
    pub(crate) const ALL: [Self; 6] =
        [Self::H264_444, Self::H264, Self::Vp8, Self::Vp9, Self::H265, Self::Mjpeg];

    /// Returns the name in `--video-codec` and `qemu-spice status`.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns the name in sentences.
    #[must_use]
    pub(crate) fn title(self) -> &'static str {
        self.row().title
    }

    /// Returns what `--help` says of it.
    #[must_use]
    pub(crate) fn help(self) -> &'static str {
        self.row().help
    }

    /// Returns the Debian package that has a decoder for GStreamer's clients.
    #[must_use]
    pub(crate) fn decoder_package(self) -> &'static str {
        self.row().decoder_package
    }

    /// Tells whether a picture of this size can be relied on to be encoded and decoded.
    #[must_use]
    pub(crate) fn fits(self, size: Size) -> bool {
        let sides = self.row().sides;
        sides.contains(&size.width) && sides.contains(&size.height)
    }

    /// Returns the parts that a picture of this size is encoded in: one if it fits, else several that do, at even
    /// numbers.
    /// None if it is too small.
    #[must_use]
    pub(crate) fn parts(self, size: Size) -> Vec<Rect> {
        if self.fits(size) {
            return vec![size.rect()];
        }
        let smallest = *self.row().sides.start();
        if size.width < smallest || size.height < smallest {
            return Vec::new();
        }
        let part = |n: u32, all: u32, count: u32| (all.div_ceil(count).next_multiple_of(2) * n).min(all);
        let (columns, rows) = (size.width.div_ceil(MAX_PART.width), size.height.div_ceil(MAX_PART.height));
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let rect = |(row, column)| {
            let (x, y) = (part(column, size.width, columns), part(row, size.height, rows));
            let (right, bottom) = (part(column + 1, size.width, columns), part(row + 1, size.height, rows));
            Rect::new(x, y, right - x, bottom - y)
        };
        places.map(rect).collect()
    }

    /// Returns GStreamer's description of the stream that an encoder is to make.
    pub(super) fn caps(self) -> &'static str {
        self.row().caps
    }

    /// Starts checking a stream whose pictures have this size, after cropping.
    pub fn check(self, size: Size) -> Box<dyn StreamCheck> {
        (self.row().check)(size)
    }

    fn row(self) -> CodecRow {
        match self {
            Self::H264 => h264::ROW,
            Self::H264_444 => h264::FULL_COLOUR,
            Self::H265 => h265::ROW,
            Self::Vp8 => vp8::ROW,
            Self::Vp9 => vp9::ROW,
            Self::Mjpeg => mjpeg::ROW,
        }
    }
}

/// Codecs in an order of preference, none twice.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Codecs([Option<Codec>; Codec::ALL.len()]);

impl Codecs {
    /// Returns them, the preferred first.
    pub(crate) fn iter(self) -> impl Iterator<Item = Codec> {
        self.0.into_iter().flatten()
    }

    /// Tells whether `codec` is one of them.
    #[must_use]
    pub(crate) fn contains(self, codec: Codec) -> bool {
        self.0.contains(&Some(codec))
    }
}

impl FromIterator<Codec> for Codecs {
    fn from_iter<T: IntoIterator<Item = Codec>>(codecs: T) -> Self {
        let mut all = Self::default();
        for codec in codecs {
            let free = all.0.iter_mut().find(|place| place.is_none_or(|taken| taken == codec));
            if let Some(place) = free {
                *place = Some(codec);
            }
        }
        all
    }
}

/// Checks one encoder's output, frame by frame, before any viewer gets it.
pub trait StreamCheck: Send {
    /// Makes the one form that the codec defines for viewers out of what the encoder gave for one picture.
    ///
    /// # Errors
    /// If it is not one frame that a viewer can show at once.
    fn access_unit(&mut self, encoded: &[u8]) -> Result<AccessUnit, StreamError>;
}

/// One frame as every viewer may get it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessUnit {
    /// Its bytes, in the form that its codec's file defines.
    pub data: Vec<u8>,
    /// It can be decoded alone, and what follows it without what came before. Codecs without key frames have no other.
    pub key: bool,
}

/// Why an encoder's output is not passed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StreamError {
    /// There is no picture in it.
    #[error("frame without a picture")]
    NoPicture,
    /// A key frame that lacks what it needs to be decoded alone.
    #[error("key frame without parameters")]
    NoParameters,
    /// A header or parameter set that cannot be read.
    #[error("parameters make no sense")]
    BadParameters,
    /// Pictures of another size than was asked for.
    #[error("stream is {found}, not {expected}")]
    Size {
        /// What the stream says.
        found: Size,
        /// What was asked for.
        expected: Size,
    },
    /// Not 8 bits, progressive, with the colours that were asked for.
    #[error("stream is not 8 bits, progressive, and of the colours that were asked for")]
    NotPlain,
    /// Frames that overtake others cost a viewer their delay.
    #[error("stream has frames out of order")]
    Reorders,
}

/// Checks that a stream's pictures have the size that was asked for.
fn check_size(found: Size, expected: Size) -> Result<(), StreamError> {
    if found == expected { Ok(()) } else { Err(StreamError::Size { found, expected }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn codecs_keep_their_order_and_none_is_there_twice() {
        let codecs: Codecs = [Codec::H264_444, Codec::H264, Codec::H264_444].into_iter().collect();
        assert_eq!(codecs.iter().collect::<Vec<_>>(), [Codec::H264_444, Codec::H264]);
        assert!(codecs.contains(Codec::H264) && !Codecs::default().contains(Codec::H264));
    }

    proptest! {
        #[test]
        fn a_picture_of_any_size_is_encoded_whole_or_in_parts_that_fit(
            width in 1u32..=16_384, height in 1u32..=16_384,
        ) {
            let size = Size::new(width, height);
            let parts = Codec::H264.parts(size);
            prop_assert_eq!(parts.is_empty(), width < 16 || height < 16);
            prop_assert_eq!(parts.len() == 1, Codec::H264.fits(size));
            prop_assert!(parts.len() <= 32);
            let pixels: u64 = parts.iter().map(|part| part.area()).sum();
            prop_assert!(parts.is_empty() || pixels == size.area());
            for (n, part) in parts.iter().enumerate() {
                prop_assert!(Codec::H264.fits(Size::new(part.width, part.height)) && size.rect().contains(*part));
                prop_assert!(part.x % 2 == 0 && part.y % 2 == 0);
                prop_assert!(parts[n + 1..].iter().all(|other| other.intersection(*part).is_none()));
            }
        }
    }

    #[test]
    fn each_codec_has_a_name_of_its_own_and_caps_that_gstreamer_reads() {
        gstreamer::init().unwrap();
        for (n, codec) in Codec::ALL.into_iter().enumerate() {
            assert!(Codec::ALL[..n].iter().all(|other| other.name() != codec.name()), "{codec:?}");
            assert!(codec.caps().parse::<gstreamer::Caps>().is_ok(), "{codec:?}");
        }
    }
}
