use super::{ElementRow, MAX_KBITS, NEVER, Properties, threads};
use crate::encode::gst::Control;
use crate::encode::{Codec, Pixels};

/// The quantizers where bytes do not count. It starts a picture with the worst and does not come back to what rests, so
/// the worst must be good: 42 dB of the same desktop.
const QUANTIZERS: [u32; 2] = [18, 24];

/// The quantizers where bytes count.
const LIMITED_QUANTIZERS: [u32; 2] = [18, 51];

pub(super) const H264: ElementRow = ElementRow {
    name: "openh264enc",
    codec: Codec::H264,
    plugin: "openh264",
    package: "gstreamer1.0-plugins-bad",
    device: None,
    pixels: Pixels::I420,
    import: None,
    max_area: 36_864 * 256, // level 5.2, the last it knows
    max_free_area: u64::MAX,
    settings,
    limit,
};

fn settings(control: Control) -> Properties {
    let (rate_control, [best, worst]) = match control {
        Control::Quality => ("quality", QUANTIZERS),
        Control::Bytes | Control::LargeBytes => ("bitrate", LIMITED_QUANTIZERS),
    };
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
        ("multi-thread", threads()),
        ("slice-mode", "auto".into()),
        ("rate-control", rate_control.into()),
        ("qp-min", best.to_string()),
        ("qp-max", worst.to_string()),
    ]
}

fn limit(kbits: Option<u32>) -> Properties {
    vec![("bitrate", (kbits.unwrap_or(MAX_KBITS) * 1000).to_string())]
}
