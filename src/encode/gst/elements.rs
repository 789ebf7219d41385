use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;

use super::{Control, PipelineError};
use crate::encode::picture::Pixels;

/// The bytes a picture may need while it moves, in kbit/s. Far above a desktop's, so that it only bounds films.
pub(super) const MAX_KBITS: u32 = 20_000;

/// x264's quantizer where bytes do not count. Text that scrolls has over 45 dB with it, and a film no less than with
/// a rate factor of [`X264_RATE_FACTOR`].
const X264_QUANTIZER: u32 = 24;

/// x264's constant rate factor where bytes count. A desktop's text and gradients have over 44 dB with it, in the first
/// frame already; 4 less make a key frame a sixth larger, 4 more cost 3 dB.
const X264_RATE_FACTOR: u32 = 22;

/// How far x264 looks for what moved where bytes count, in pixels: a window that is dragged or a page that scrolls goes
/// further from frame to frame than the 16 that it looks at otherwise. Text that scrolls by 37 pixels has 27 dB in 20,000
/// bytes of a 720p frame with it, and 18 without; a film's frame takes a third longer.
const X264_REACH: u32 = 32;

/// OpenH264's quantizers. It starts a picture with the worst and does not come back to what rests, so the worst must
/// be good: 42 dB of the same desktop.
pub(super) const OPENH264_QUANTIZERS: [u32; 2] = [18, 24];

/// The quantizer of hardware encoders, for every frame: the first is as good as the last, and no idea of a frame rate
/// that a screen does not have makes an encoder hold back bits or frames. What x264's rate factor comes to.
const QUANTIZER: u32 = 22;

/// A key frame comes when it is asked for; x264 takes this for never.
const NEVER: u32 = 1 << 30;

/// The most frames between key frames that Intel's libraries can be told: 16 bits.
const INTEL_NEVER: u32 = 0xffff;

/// The most that GStreamer's VA-API encoders can be told.
const VA_NEVER: u32 = 1024;

/// The most threads one encoder gets. Each is a slice, and each slice costs a little at its edge.
const MAX_THREADS: usize = 4;

/// An H.264 encoder of GStreamer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
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
pub(crate) enum Kind {
    /// A GPU or another device.
    Hardware,
    /// The CPU.
    Software,
}

/// What is to be known of an encoder but its settings.
struct Row {
    name: &'static str,
    plugin: &'static str,
    package: &'static str,
    /// What its plugin looks for on the machine, and has no encoder without.
    device: Option<&'static str>,
    pixels: Pixels,
    import: Option<Import>,
}

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

/// Whatever way a VA-API surface takes, its colours must be those that viewers are told.
const VA_IMPORT: Import = Import {
    chain: &["vapostproc"],
    feature: "memory:DMABuf",
    output: "video/x-raw(memory:VAMemory),format=NV12,colorimetry=bt709",
    crops: true,
};

#[cfg(test)]
const MAPPING: Import = Import {
    chain: &["videoconvert", "videoflip"],
    feature: "",
    output: "video/x-raw,format=I420,colorimetry=bt709",
    crops: false,
};

const VA: Row = Row {
    name: "vah264enc",
    plugin: "va",
    package: "gstreamer1.0-plugins-bad",
    device: Some("a GPU in /dev/dri and its VA-API driver (mesa-va-drivers or intel-media-va-driver)"),
    pixels: Pixels::Nv12,
    import: Some(VA_IMPORT),
};

const QSV: Row = Row {
    name: "qsvh264enc",
    plugin: "qsv",
    device: Some("an Intel GPU in /dev/dri and its oneVPL library (libmfx-gen1.2)"),
    ..VA
};

const NV: Row = Row {
    name: "nvh264enc",
    plugin: "nvcodec",
    device: Some("an NVIDIA GPU and its driver (libnvidia-encode1)"),
    import: None, // CUDA takes no dmabuf
    ..VA
};

const X264: Row = Row {
    name: "x264enc",
    plugin: "x264",
    package: "gstreamer1.0-plugins-ugly",
    device: None,
    pixels: Pixels::I420,
    import: None,
};

impl Element {
    /// All that make what every viewer of H.264 shows, the best first: hardware, then software.
    pub(crate) const ALL: [Self; 8] =
        [Self::Va, Self::VaLowPower, Self::Nv, Self::Qsv, Self::Msdk, Self::V4l2, Self::X264, Self::OpenH264];

    /// GStreamer's name.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        self.row().name
    }

    /// GStreamer's plugin that it is in.
    #[must_use]
    pub(crate) fn plugin(self) -> &'static str {
        self.row().plugin
    }

    /// The Debian package it is in.
    #[must_use]
    pub(crate) fn package(self) -> &'static str {
        self.row().package
    }

    /// What it runs on.
    #[must_use]
    pub(crate) fn kind(self) -> Kind {
        if self.row().device.is_some() { Kind::Hardware } else { Kind::Software }
    }

    /// What the machine must have for it, if that is more than GStreamer.
    #[must_use]
    pub(crate) fn device(self) -> Option<&'static str> {
        self.row().device
    }

    /// The largest side and the most pixels of a picture that it takes. What a device does not take, it will tell.
    #[must_use]
    pub(crate) fn limits(self) -> (u32, u64) {
        match self {
            Self::OpenH264 => (4096, 36_864 * 256), // level 5.2, the last it knows
            _ => (4096, 4096 * 4096),
        }
    }

    /// How the pixels lie in memory that it takes best.
    pub(in crate::encode) fn pixels(self) -> Pixels {
        self.row().pixels
    }

    /// How the CPU writes pictures for it, to be copied into what it takes best where that is something else.
    pub(in crate::encode) fn planes(self) -> Pixels {
        match self.pixels() {
            Pixels::I444 => Pixels::I444,
            Pixels::I420 | Pixels::Nv12 => Pixels::I420,
        }
    }

    /// How it reads the guest's own buffer, if it can.
    pub(super) fn import(self) -> Option<Import> {
        self.row().import
    }

    /// Makes one, set up to give each picture out before it takes the next, for a screen's content.
    pub(super) fn make(self, control: Control) -> Result<gst::Element, PipelineError> {
        let failed = |reason: String| PipelineError { element: self.name(), reason };
        let element = gst::ElementFactory::make(self.name()).build().map_err(|e| failed(e.to_string()))?;
        for (name, value) in self.settings().into_iter().chain(self.control_settings(control)) {
            self.set(&element, name, &value).map_err(failed)?;
        }
        Ok(element)
    }

    /// Has it keep to so many bytes a frame, or to none, from now on.
    pub(super) fn limit(self, element: &gst::Element, frame_bytes: Option<u64>) -> Result<(), PipelineError> {
        let settings = self.limit_settings(frame_bytes);
        let mut all = settings.iter().map(|(name, value)| self.set(element, name, value));
        all.try_for_each(|done| done.map_err(|reason| PipelineError { element: self.name(), reason }))
    }

    fn set(self, element: &gst::Element, name: &str, values: &str) -> Result<(), String> {
        match set(element, name, values) {
            // A device's encoder has what the device has, which changes from one GPU and version to the next.
            // What matters of it shows in what comes out, which is checked.
            Err(reason) if self.kind() == Kind::Hardware => {
                tracing::debug!(element = self.name(), reason, "setting left out");
                Ok(())
            }
            done => done,
        }
    }

    fn row(self) -> Row {
        match self {
            Self::Va => VA,
            Self::VaLowPower => Row { name: "vah264lpenc", ..VA },
            Self::Nv => NV,
            Self::Qsv => QSV,
            Self::Msdk => Row {
                name: "msdkh264enc",
                plugin: "msdk",
                device: Some("an Intel GPU in /dev/dri and its Media SDK library (libmfx1)"),
                ..VA
            },
            Self::V4l2 => Row {
                name: "v4l2h264enc",
                plugin: "video4linux2",
                package: "gstreamer1.0-plugins-good",
                device: Some("a Video4Linux encoder in /dev/video*"),
                import: None, // which formats it imports differs from one board to the next
                ..VA
            },
            Self::X264 => X264,
            Self::X264Full => Row { pixels: Pixels::I444, ..X264 },
            Self::OpenH264 => {
                Row { name: "openh264enc", plugin: "openh264", package: "gstreamer1.0-plugins-bad", ..X264 }
            }
            #[cfg(test)]
            Self::StandIn { imports, .. } => Row { import: imports.then_some(MAPPING), ..X264 },
        }
    }

    /// Properties and their values. Of several values with `|` between them, the first that the property can have.
    fn settings(self) -> Vec<(&'static str, String)> {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(MAX_THREADS));
        match self {
            Self::Va | Self::VaLowPower => vec![
                ("rate-control", "cqp|icq|qvbr|cbr".into()),
                ("qpi", QUANTIZER.to_string()),
                ("qpp", QUANTIZER.to_string()),
                ("bitrate", MAX_KBITS.to_string()),
                ("key-int-max", VA_NEVER.to_string()),
                ("b-frames", "0".into()),
                ("ref-frames", "1".into()),
                ("target-usage", "7".into()),
                ("aud", "false".into()),
                ("cc-insert", "false".into()),
            ],
            Self::Nv => vec![
                ("preset", "low-latency-hq|p3|default".into()),
                ("tune", "ultra-low-latency".into()),
                ("rc-mode", "constqp".into()),
                ("qp-const", QUANTIZER.to_string()),
                ("qp-const-i", QUANTIZER.to_string()),
                ("qp-const-p", QUANTIZER.to_string()),
                ("gop-size", "-1".into()),
                ("bframes", "0".into()),
                ("rc-lookahead", "0".into()),
                ("zerolatency", "true".into()),
                ("aud", "false".into()),
                ("repeat-sequence-header", "true".into()),
            ],
            Self::Qsv => vec![
                ("rate-control", "cqp".into()),
                ("qp-i", QUANTIZER.to_string()),
                ("qp-p", QUANTIZER.to_string()),
                ("gop-size", INTEL_NEVER.to_string()),
                ("b-frames", "0".into()),
                ("ref-frames", "1".into()),
                ("target-usage", "7".into()),
                ("low-latency", "true".into()),
                ("cc-insert", "disabled".into()),
            ],
            Self::Msdk => vec![
                ("rate-control", "cqp".into()),
                ("qpi", QUANTIZER.to_string()),
                ("qpp", QUANTIZER.to_string()),
                ("gop-size", INTEL_NEVER.to_string()),
                ("b-frames", "0".into()),
                ("ref-frames", "1".into()),
                ("target-usage", "7".into()),
                ("async-depth", "1".into()),
            ],
            // Names of the kernel's controls: those that a driver lacks are passed over.
            Self::V4l2 => vec![(
                "extra-controls",
                format!(
                    "controls,video_bitrate={},video_gop_size={INTEL_NEVER},h264_i_frame_period={INTEL_NEVER},\
                     video_b_frames=0,repeat_sequence_header=1",
                    MAX_KBITS * 1000
                ),
            )],
            Self::X264 | Self::X264Full => x264(threads),
            #[cfg(test)]
            Self::StandIn { .. } => x264(threads),
            Self::OpenH264 => {
                vec![
                    ("usage-type", "camera".into()), // "screen" takes twice the time, for half the bytes of a scroll
                    ("complexity", "low".into()),
                    ("bitrate", (MAX_KBITS * 1000).to_string()),
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

fn x264(threads: usize) -> Vec<(&'static str, String)> {
    vec![
        ("tune", "zerolatency".into()),
        ("speed-preset", "ultrafast".into()),
        ("key-int-max", NEVER.to_string()),
        ("bframes", "0".into()),
        ("sliced-threads", "true".into()),
        ("threads", threads.to_string()),
        ("byte-stream", "true".into()),
        ("aud", "false".into()),
    ]
}

/// What decides how good x264's frames are. To weigh bytes it looks at each picture twice, which takes it nearly as
/// long as encoding it: so only where bytes count. To look far as well takes a third longer: so only in pictures that
/// are not large.
pub(super) fn x264_control(control: Control) -> Vec<(&'static str, String)> {
    let far = format!(":me=umh:merange={X264_REACH}");
    let (pass, quantizer, search) = match control {
        Control::Quality => ("quant", X264_QUANTIZER, ""),
        Control::Bytes => ("qual", X264_RATE_FACTOR, far.as_str()),
        Control::LargeBytes => ("qual", X264_RATE_FACTOR, ""),
    };
    let mut settings = vec![
        ("pass", pass.into()),
        ("quantizer", quantizer.to_string()),
        ("option-string", format!("scenecut=0{search}")),
    ];
    if control != Control::Quality {
        settings.extend(x264_bytes());
    }
    settings
}

/// What bounds x264's frames where they have no limit but are large.
pub(super) fn x264_bytes() -> [(&'static str, String); 2] {
    [("bitrate", MAX_KBITS.to_string()), ("vbv-buf-capacity", "600".into())]
}

/// Sets a property to the first of these values that it can have.
fn set(element: &gst::Element, name: &str, values: &str) -> Result<(), String> {
    let pspec = element.find_property(name).ok_or_else(|| format!("no property {name}"))?;
    let mut read =
        values.split('|').filter_map(|value| glib::Value::deserialize_with_pspec(value, &pspec).ok());
    let value =
        read.find(|value| can_be(&pspec, value)).ok_or_else(|| format!("{name} cannot be {values}"))?;
    element.set_property_from_value(name, &value);
    Ok(())
}

/// Whether a property can have a value of its type.
fn can_be(pspec: &glib::ParamSpec, value: &glib::Value) -> bool {
    let flags = pspec.flags();
    let numbers = if let Some(unsigned) = pspec.downcast_ref::<glib::ParamSpecUInt>() {
        value.get::<u32>().is_ok_and(|n| n >= unsigned.minimum() && n <= unsigned.maximum())
    } else if let Some(signed) = pspec.downcast_ref::<glib::ParamSpecInt>() {
        value.get::<i32>().is_ok_and(|n| n >= signed.minimum() && n <= signed.maximum())
    } else {
        true // a name or a yes: what could be read is one
    };
    numbers && flags.contains(glib::ParamFlags::WRITABLE) && !flags.contains(glib::ParamFlags::CONSTRUCT_ONLY)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A misspelt setting of a device's encoder would only be left out: these are looked at where there is no device.
    #[test]
    fn hardware_is_tried_before_software_and_no_encoder_reorders_or_repeats_keys() {
        let software = Element::ALL.iter().position(|element| element.kind() == Kind::Software).unwrap();
        assert!(Element::ALL[software..].iter().all(|element| element.kind() == Kind::Software));
        for element in Element::ALL {
            let settings = element.settings();
            let text = settings.iter().map(|(name, value)| format!("{name}={value} ")).collect::<String>();
            let no_b = ["b-frames=0 ", "bframes=0 ", "b_frames=0", "usage-type=camera "]; // OpenH264 has none
            assert!(no_b.iter().any(|setting| text.contains(setting)), "{element:?}: {text}");
            let keys = ["gop-size", "key-int-max", "gop_size"];
            assert!(keys.iter().any(|setting| text.contains(setting)), "{element:?}: {text}");
        }
    }

    /// The source has the same property, and is there without a device.
    #[test]
    fn controls_of_the_kernel_are_written_as_gstreamer_reads_them() {
        gst::init().unwrap();
        let Ok(source) = gst::ElementFactory::make("v4l2src").build() else {
            println!("skipped: no v4l2src");
            return;
        };
        for (name, value) in Element::V4l2.settings() {
            set(&source, name, &value).unwrap();
        }
        let controls = source.property::<gst::Structure>("extra-controls");
        assert_eq!(controls.get("video_bitrate"), Ok(20_000_000));
    }

    #[test]
    fn the_first_value_that_a_property_can_have_is_set_and_others_are_no_panic() {
        gst::init().unwrap();
        let element = gst::ElementFactory::make("identity").build().unwrap();
        set(&element, "error-after", "many|7|9").unwrap();
        assert_eq!(element.property::<i32>("error-after"), 7);
        set(&element, "drop-probability", "0.5").unwrap();
        for (name, value) in
            [("error-after", "-5"), ("error-after", "x|y"), ("fast", "1"), ("last-message", "x")]
        {
            assert!(set(&element, name, value).is_err(), "{name} is {value}");
        }
    }
}
