use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;

use super::PipelineError;

/// The bytes a picture may need while it moves, in kbit/s. Far above a desktop's, so that it only bounds films.
const MAX_KBITS: u32 = 20_000;

/// x264's constant rate factor. A desktop's text and gradients have over 44 dB with it, in the first frame already;
/// 4 less make a key frame a sixth larger, 4 more cost 3 dB.
const X264_RATE_FACTOR: u32 = 22;

/// OpenH264's quantizers. It starts a picture with the worst and does not come back to what rests, so the worst must
/// be good: 42 dB of the same desktop.
const OPENH264_QUANTIZERS: [u32; 2] = [18, 24];

/// A key frame comes when it is asked for; x264 takes this for never.
const NEVER: u32 = 1 << 30;

/// The most threads one encoder gets. Each is a slice, and each slice costs a little at its edge.
const MAX_THREADS: usize = 4;

/// An H.264 encoder of GStreamer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Element {
    /// libx264.
    X264,
    /// Cisco's OpenH264.
    OpenH264,
}

impl Element {
    /// All, the best first.
    pub const ALL: [Self; 2] = [Self::X264, Self::OpenH264];

    /// GStreamer's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::X264 => "x264enc",
            Self::OpenH264 => "openh264enc",
        }
    }

    /// The Debian package it is in.
    #[must_use]
    pub fn package(self) -> &'static str {
        match self {
            Self::X264 => "gstreamer1.0-plugins-ugly",
            Self::OpenH264 => "gstreamer1.0-plugins-bad",
        }
    }

    /// Whether GStreamer knows it.
    #[must_use]
    pub fn is_installed(self) -> bool {
        gst::ElementFactory::find(self.name()).is_some()
    }

    /// The largest side and the most pixels of a picture that it takes.
    #[must_use]
    pub fn limits(self) -> (u32, u64) {
        match self {
            Self::X264 => (4096, 4096 * 4096),
            Self::OpenH264 => (4096, 36_864 * 256), // level 5.2, the last it knows
        }
    }

    /// Makes one, set up to give each picture out before it takes the next, for a screen's content.
    pub(super) fn make(self) -> Result<gst::Element, PipelineError> {
        let failed = |reason: String| PipelineError { element: self.name(), reason };
        let element = gst::ElementFactory::make(self.name()).build().map_err(|e| failed(e.to_string()))?;
        for (name, value) in self.settings() {
            let pspec = element.find_property(name).ok_or_else(|| failed(format!("no property {name}")))?;
            let value = glib::Value::deserialize_with_pspec(&value, &pspec)
                .map_err(|_| failed(format!("{name} cannot be {value}")))?;
            element.set_property_from_value(name, &value);
        }
        Ok(element)
    }

    fn settings(self) -> Vec<(&'static str, String)> {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(MAX_THREADS));
        match self {
            Self::X264 => vec![
                ("tune", "zerolatency".into()),
                ("speed-preset", "ultrafast".into()),
                ("pass", "qual".into()),
                ("quantizer", X264_RATE_FACTOR.to_string()),
                ("bitrate", MAX_KBITS.to_string()),
                ("vbv-buf-capacity", "600".into()),
                ("key-int-max", NEVER.to_string()),
                ("bframes", "0".into()),
                ("sliced-threads", "true".into()),
                ("threads", threads.to_string()),
                ("byte-stream", "true".into()),
                ("aud", "false".into()),
                ("option-string", "scenecut=0".into()),
            ],
            Self::OpenH264 => {
                let [best, worst] = OPENH264_QUANTIZERS;
                vec![
                    ("usage-type", "camera".into()), // "screen" takes twice the time, for half the bytes of a scroll
                    ("complexity", "low".into()),
                    ("rate-control", "quality".into()),
                    ("bitrate", (MAX_KBITS * 1000).to_string()),
                    ("qp-min", best.to_string()),
                    ("qp-max", worst.to_string()),
                    ("deblocking", "off".into()),
                    ("adaptive-quantization", "false".into()),
                    ("background-detection", "false".into()),
                    ("scene-change-detection", "false".into()),
                    ("enable-frame-skip", "false".into()),
                    ("gop-size", NEVER.to_string()),
                    ("multi-thread", threads.to_string()),
                    ("slice-mode", "auto".into()),
                ]
            }
        }
    }
}
