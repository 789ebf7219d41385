//! The encoders of GStreamer: one row of [`Element`] for each, and a file for its settings and limits.

mod jpeg;
mod msdk;
mod nv;
mod openh264;
mod property;
mod qsv;
#[cfg(test)]
mod stand_in;
mod v4l2;
mod va;
mod vpx;
mod x264;
mod x265;

use gstreamer as gst;
use serde::{Deserialize, Serialize};

use super::{Control, PipelineError};
use crate::encode::Codec;
use crate::encode::picture::{Pixels, even};
use crate::frame::Size;

/// The bytes a picture may need while it moves, in kbit/s. Far above a desktop's, so that it only bounds films.
const MAX_KBITS: u32 = 20_000;

/// The quantizer of hardware encoders of H.264, for every frame: the first is as good as the last, and no idea of a
/// frame rate that a screen does not have makes an encoder hold back bits or frames. What x264's rate factor comes to.
const QUANTIZER: u32 = 22;

/// A key frame comes when it is asked for; encoders on the processor take this for never.
const NEVER: u32 = 1 << 30;

/// The most frames between key frames that Intel's libraries and the kernel can be told: 16 bits.
const NEVER_16_BITS: u32 = 0xffff;

/// The most threads one encoder gets. Each is a slice, and each slice costs a little at its edge.
const MAX_THREADS: usize = 4;

/// An encoder of GStreamer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub(crate) enum Element {
    /// VA-API: Intel, AMD.
    Va,
    /// VA-API's low power encoder, the only one of some Intel GPUs.
    VaLowPower,
    /// NVIDIA's NVENC.
    Nv,
    /// Intel Quick Sync.
    Qsv,
    /// Intel Media SDK, its predecessor.
    Msdk,
    /// Video4Linux: the encoders of small boards.
    V4l2,
    /// libx264.
    X264,
    /// … with colours as sharp as brightness: 4:4:4.
    X264Full,
    /// Cisco's OpenH264.
    OpenH264,
    /// VA-API's of H.265.
    VaH265,
    /// NVENC's of H.265.
    NvH265,
    /// Quick Sync's of H.265.
    QsvH265,
    /// libx265.
    X265,
    /// libvpx's of VP8.
    Vp8,
    /// libvpx's of VP9.
    Vp9,
    /// libjpeg.
    Jpeg,
    /// `x264enc`, as if it were a device.
    #[cfg(test)]
    StandIn {
        /// It reads the guest's buffer itself.
        imports: bool,
        /// It breaks after so many frames.
        breaks_after: Option<i32>,
    },
}

/// What an encoder runs on.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum EncoderKind {
    /// A GPU or another device.
    Hardware,
    /// The CPU.
    Software,
}

/// What is to be known of an encoder.
struct ElementRow {
    /// GStreamer's name.
    name: &'static str,
    codec: Codec,
    /// GStreamer's plugin that it is in.
    plugin: &'static str,
    /// The Debian package of that.
    package: &'static str,
    /// What its plugin looks for on the machine, and has no encoder without.
    device: Option<&'static str>,
    /// How pixels lie in memory that it takes best.
    pixels: Pixels,
    import: Option<Import>,
    /// The most pixels of a picture that it takes. What a device does not take, it will tell.
    max_area: u64,
    /// The most pixels of a picture that it encodes without counting bytes.
    max_free_area: u64,
    /// Properties that it is made with: each picture comes out before the next goes in, and is good for a screen.
    settings: fn(Control) -> Properties,
    /// Properties that keep frames to so many kbit/s at the nominal rate, or to what is usual. They can be set while it
    /// is at work.
    limit: fn(Option<u32>) -> Properties,
}

/// Properties and their values. Of several values with `|` between them, the first that the property can have.
type Properties = Vec<(&'static str, String)>;

/// How an encoder gets to read the guest's own buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Import {
    /// The elements before it that convert. The last can turn the picture over.
    pub(super) chain: &'static [&'static str],
    /// The feature of the caps for the buffer; nothing for memory that is mapped, which only tests do.
    pub(super) feature: &'static str,
    /// Caps of what the encoder gets then.
    pub(super) output: &'static str,
    /// Whether the chain can cut out a part.
    pub(super) crops: bool,
}

impl Element {
    /// All there are, the best of each codec first: hardware, then software.
    const ALL: [Self; 16] = [
        Self::Va,
        Self::VaLowPower,
        Self::Nv,
        Self::Qsv,
        Self::Msdk,
        Self::V4l2,
        Self::X264,
        Self::OpenH264,
        Self::X264Full,
        Self::VaH265,
        Self::NvH265,
        Self::QsvH265,
        Self::X265,
        Self::Vp8,
        Self::Vp9,
        Self::Jpeg,
    ];

    /// Returns those that encode with one of these codecs, the best of each codec first.
    #[must_use]
    pub(crate) fn of(codecs: &[Codec]) -> Vec<Self> {
        Self::ALL.into_iter().filter(|element| codecs.contains(&element.codec())).collect()
    }

    /// Returns GStreamer's name.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns the codec that it encodes with.
    #[must_use]
    pub(crate) fn codec(self) -> Codec {
        self.row().codec
    }

    /// Returns GStreamer's plugin that it is in.
    #[must_use]
    pub(crate) fn plugin(self) -> &'static str {
        self.row().plugin
    }

    /// Returns the Debian package that it is in.
    #[must_use]
    pub(crate) fn package(self) -> &'static str {
        self.row().package
    }

    /// Tells whether GStreamer has it. Where it runs on a device, GStreamer has it only with the device.
    #[must_use]
    pub(crate) fn is_installed(self) -> bool {
        gst::ElementFactory::find(self.name()).is_some()
    }

    /// Returns what it runs on.
    #[must_use]
    pub(crate) fn kind(self) -> EncoderKind {
        if self.row().device.is_some() { EncoderKind::Hardware } else { EncoderKind::Software }
    }

    /// Returns what the machine must have for it, if that is more than GStreamer.
    #[must_use]
    pub(crate) fn device(self) -> Option<&'static str> {
        self.row().device
    }

    /// Tells whether it takes pictures of this size.
    pub(in crate::encode) fn fits(self, size: Size) -> bool {
        self.codec().fits(size) && even(size).area() <= self.row().max_area
    }

    /// Returns how pixels lie in memory that it takes best.
    pub(in crate::encode) fn pixels(self) -> Pixels {
        self.row().pixels
    }

    /// Returns how the CPU writes pictures for it, to be copied into what it takes best where that is something else.
    pub(in crate::encode) fn planes(self) -> Pixels {
        match self.pixels() {
            Pixels::Nv12 => Pixels::I420,
            same => same,
        }
    }

    /// Returns how it reads the guest's own buffer, if it can.
    pub(super) fn import(self) -> Option<Import> {
        self.row().import
    }

    /// Returns how it is to be set up for pictures of this size, and this limit of a frame's bytes. It is made for one
    /// or the other.
    pub(in crate::encode) fn control(self, size: Size, frame_bytes: Option<u64>) -> Control {
        match frame_bytes {
            _ if size.area() > self.row().max_free_area => Control::LargeBytes,
            Some(_) => Control::Bytes,
            None => Control::Quality,
        }
    }

    /// Makes one, set up to give each picture out before it takes the next, for a screen's content.
    pub(super) fn make(self, control: Control) -> Result<gst::Element, PipelineError> {
        let made = gst::ElementFactory::make(self.name()).build();
        let element = made.map_err(|error| self.failed(error.to_string()))?;
        self.set(&element, (self.row().settings)(control))?;
        Ok(element)
    }

    /// Keeps frames to so many bytes, or to what is usual, from now on.
    pub(super) fn limit(self, element: &gst::Element, frame_bytes: Option<u64>) -> Result<(), PipelineError> {
        self.set(element, (self.row().limit)(frame_bytes.map(super::control::kbits)))
    }

    fn set(self, element: &gst::Element, settings: Properties) -> Result<(), PipelineError> {
        for (name, values) in settings {
            match property::set(element, name, &values) {
                // A device's encoder has what the device has, which changes from one GPU and version to the next.
                // What matters of it shows in what comes out, which is checked.
                Err(reason) if self.kind() == EncoderKind::Hardware => {
                    tracing::debug!(element = self.name(), reason, "setting left out");
                }
                done => done.map_err(|reason| self.failed(reason))?,
            }
        }
        Ok(())
    }

    fn failed(self, reason: String) -> PipelineError {
        PipelineError { element: self.name(), reason }
    }

    fn row(self) -> ElementRow {
        match self {
            Self::Va => va::H264,
            Self::VaLowPower => va::H264_LOW_POWER,
            Self::Nv => nv::H264,
            Self::Qsv => qsv::H264,
            Self::Msdk => msdk::H264,
            Self::V4l2 => v4l2::H264,
            Self::X264 => x264::H264,
            Self::X264Full => x264::H264_444,
            Self::OpenH264 => openh264::H264,
            Self::VaH265 => va::H265,
            Self::NvH265 => nv::H265,
            Self::QsvH265 => qsv::H265,
            Self::X265 => x265::H265,
            Self::Vp8 => vpx::VP8,
            Self::Vp9 => vpx::VP9,
            Self::Jpeg => jpeg::MJPEG,
            #[cfg(test)]
            Self::StandIn { imports, .. } => stand_in::row(imports),
        }
    }
}

/// Returns the number of threads of a software encoder.
fn threads() -> String {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(MAX_THREADS)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A misspelt setting of a device's encoder would only be left out: these are looked at where there is no device.
    #[test]
    fn hardware_is_tried_before_software_and_no_encoder_reorders_or_repeats_keys() {
        for codec in Codec::ALL {
            let elements = Element::of(&[codec]);
            assert!(!elements.is_empty(), "nothing encodes {codec:?}");
            assert!(
                elements.is_sorted_by_key(|element| element.kind() == EncoderKind::Software),
                "{elements:?}"
            );
        }
        for element in Element::ALL.into_iter().filter(|element| element.codec() != Codec::Mjpeg) {
            let settings = (element.row().settings)(Control::Quality);
            let text = settings.iter().map(|(name, value)| format!("{name}={value} ")).collect::<String>();
            // OpenH264 has none.
            let no_b = ["b-frames=0 ", "bframes=0", "b_frames=0", "usage-type=camera ", "lag-in-frames=0 "];
            assert!(no_b.iter().any(|setting| text.contains(setting)), "{element:?}: {text}");
            let keys = ["gop-size", "key-int-max", "gop_size", "keyframe-max-dist"];
            assert!(keys.iter().any(|setting| text.contains(setting)), "{element:?}: {text}");
        }
    }

    #[test]
    fn bytes_count_where_there_is_a_limit_and_in_large_pictures_of_x264() {
        let (usual, large) = (Size::new(1280, 720), Size::new(3840, 2160));
        for (element, size, limit, control) in [
            (Element::X264, usual, None, Control::Quality),
            (Element::X264, usual, Some(20_000), Control::Bytes),
            (Element::X264, large, None, Control::LargeBytes),
            (Element::X264, large, Some(20_000), Control::LargeBytes),
            (Element::OpenH264, large, None, Control::Quality),
            (Element::Va, large, Some(20_000), Control::Bytes),
        ] {
            assert_eq!(element.control(size, limit), control, "{element:?}, {size}, {limit:?}");
        }
    }
}
