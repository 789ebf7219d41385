use super::{ElementRow, NEVER_16_BITS, Properties, QUANTIZER, va};
use crate::encode::gst::Control;
use crate::encode::{Codec, Pixels};

pub(super) const H264: ElementRow = ElementRow {
    name: "qsvh264enc",
    codec: Codec::H264,
    plugin: "qsv",
    package: "gstreamer1.0-plugins-bad",
    device: Some("an Intel GPU in /dev/dri and its oneVPL library (libmfx-gen1.2)"),
    pixels: Pixels::Nv12,
    import: Some(va::IMPORT),
    max_area: u64::MAX,
    max_free_area: u64::MAX,
    settings,
    limit: va::limit,
};

pub(super) const H265: ElementRow = ElementRow { name: "qsvh265enc", codec: Codec::H265, ..H264 };

fn settings(control: Control) -> Properties {
    let rate_control = match control {
        Control::Quality => "cqp",
        Control::Bytes | Control::LargeBytes => "cbr|cqp",
    };
    vec![
        ("rate-control", rate_control.into()),
        ("qp-i", QUANTIZER.to_string()),
        ("qp-p", QUANTIZER.to_string()),
        ("gop-size", NEVER_16_BITS.to_string()),
        ("b-frames", "0".into()),
        ("ref-frames", "1".into()),
        ("target-usage", "7".into()),
        ("low-latency", "true".into()),
        ("cc-insert", "disabled".into()),
    ]
}
