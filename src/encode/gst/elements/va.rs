use super::{ElementRow, Import, MAX_KBITS, Properties, QUANTIZER};
use crate::encode::gst::Control;
use crate::encode::{Codec, Pixels};

/// The most frames between key frames that GStreamer's VA-API encoders can be told.
const NEVER: u32 = 1024;

/// Whatever way a VA-API surface takes, its colours must be those that viewers are told.
pub(super) const IMPORT: Import = Import {
    chain: &["vapostproc"],
    feature: "memory:DMABuf",
    output: "video/x-raw(memory:VAMemory),format=NV12,colorimetry=bt709",
    crops: true,
};

pub(super) const H264: ElementRow = ElementRow {
    name: "vah264enc",
    codec: Codec::H264,
    plugin: "va",
    package: "gstreamer1.0-plugins-bad",
    device: Some("a GPU in /dev/dri and its VA-API driver (mesa-va-drivers or intel-media-va-driver)"),
    pixels: Pixels::Nv12,
    import: Some(IMPORT),
    max_area: u64::MAX,
    max_free_area: u64::MAX,
    settings,
    limit,
};

pub(super) const H265: ElementRow = ElementRow { name: "vah265enc", codec: Codec::H265, ..H264 };

pub(super) const H264_LOW_POWER: ElementRow = ElementRow { name: "vah264lpenc", ..H264 };

fn settings(control: Control) -> Properties {
    let rate_control = match control {
        Control::Quality => "cqp|icq|qvbr|cbr",
        Control::Bytes | Control::LargeBytes => "cbr|vbr|cqp|icq|qvbr",
    };
    vec![
        ("rate-control", rate_control.into()),
        ("qpi", QUANTIZER.to_string()),
        ("qpp", QUANTIZER.to_string()),
        ("bitrate", MAX_KBITS.to_string()),
        ("key-int-max", NEVER.to_string()),
        ("b-frames", "0".into()),
        ("ref-frames", "1".into()),
        ("target-usage", "7".into()),
        ("aud", "false".into()),
        ("cc-insert", "false".into()),
    ]
}

/// Bounds the bits a second alone. Intel's other encoders are told the same.
pub(super) fn limit(kbits: Option<u32>) -> Properties {
    vec![("bitrate", kbits.unwrap_or(MAX_KBITS).to_string())]
}
