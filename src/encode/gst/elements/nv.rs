use super::{ElementRow, Properties, QUANTIZER};
use crate::encode::gst::Control;
use crate::encode::gst::control::NOMINAL_RATE;
use crate::encode::{Codec, Pixels};

pub(super) const H264: ElementRow = ElementRow {
    name: "nvh264enc",
    codec: Codec::H264,
    plugin: "nvcodec",
    package: "gstreamer1.0-plugins-bad",
    device: Some("an NVIDIA GPU and its driver (libnvidia-encode1)"),
    pixels: Pixels::Nv12,
    import: None, // CUDA takes no dmabuf
    max_area: u64::MAX,
    max_free_area: u64::MAX,
    settings,
    limit,
};

pub(super) const H265: ElementRow = ElementRow { name: "nvh265enc", codec: Codec::H265, ..H264 };

fn settings(control: Control) -> Properties {
    let rate_control = match control {
        Control::Quality => "constqp",
        Control::Bytes | Control::LargeBytes => "cbr|constqp",
    };
    vec![
        ("preset", "low-latency-hq|p3|default".into()),
        ("tune", "ultra-low-latency".into()),
        ("rc-mode", rate_control.into()),
        ("qp-const", QUANTIZER.to_string()),
        ("qp-const-i", QUANTIZER.to_string()),
        ("qp-const-p", QUANTIZER.to_string()),
        ("gop-size", "-1".into()),
        ("bframes", "0".into()),
        ("rc-lookahead", "0".into()),
        ("zerolatency", "true".into()),
        ("aud", "false".into()),
        ("repeat-sequence-header", "true".into()),
    ]
}

/// Bounds the bits a second, and has a buffer of one frame. Without a limit, all is left as it is.
fn limit(kbits: Option<u32>) -> Properties {
    let Some(kbits) = kbits else { return Vec::new() };
    let frame = kbits / NOMINAL_RATE.unsigned_abs();
    vec![("bitrate", kbits.to_string()), ("vbv-buffer-size", frame.max(1).to_string())]
}
