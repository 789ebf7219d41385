use super::{ElementRow, NEVER_16_BITS, Properties, QUANTIZER, va};
use crate::encode::gst::Control;
use crate::encode::{Codec, Pixels};

pub(super) const H264: ElementRow = ElementRow {
    name: "msdkh264enc",
    codec: Codec::H264,
    plugin: "msdk",
    package: "gstreamer1.0-plugins-bad",
    device: Some("an Intel GPU in /dev/dri and its Media SDK library (libmfx1)"),
    pixels: Pixels::Nv12,
    import: Some(va::IMPORT),
    max_area: u64::MAX,
    max_free_area: u64::MAX,
    settings,
    limit: va::limit,
};

fn settings(control: Control) -> Properties {
    let rate_control = match control {
        Control::Quality => "cqp",
        Control::Bytes | Control::LargeBytes => "cbr|cqp",
    };
    vec![
        ("rate-control", rate_control.into()),
        ("qpi", QUANTIZER.to_string()),
        ("qpp", QUANTIZER.to_string()),
        ("gop-size", NEVER_16_BITS.to_string()),
        ("b-frames", "0".into()),
        ("ref-frames", "1".into()),
        ("target-usage", "7".into()),
        ("async-depth", "1".into()),
    ]
}
