use super::{ElementRow, MAX_KBITS, NEVER, Properties, threads};
use crate::encode::gst::Control;
use crate::encode::gst::control::NOMINAL_RATE;
use crate::encode::{Codec, Pixels};

/// The quantizers (0 to 63) where bytes do not count: text has over 40 dB with the worst.
const QUANTIZERS: [u32; 2] = [4, 24];

/// The quantizers where bytes count.
const LIMITED_QUANTIZERS: [u32; 2] = [4, 63];

pub(super) const VP8: ElementRow = ElementRow {
    name: "vp8enc",
    codec: Codec::Vp8,
    plugin: "vpx",
    package: "gstreamer1.0-plugins-good",
    device: None,
    pixels: Pixels::Unmarked,
    import: None,
    max_area: u64::MAX,
    max_free_area: u64::MAX,
    settings: vp8,
    limit,
};

pub(super) const VP9: ElementRow =
    ElementRow { name: "vp9enc", codec: Codec::Vp9, pixels: Pixels::I420, settings: vp9, ..VP8 };

fn vp8(control: Control) -> Properties {
    [common(control), vec![("cpu-used", "12".into()), ("token-partitions", "4".into())]].concat()
}

fn vp9(control: Control) -> Properties {
    [common(control), vec![("cpu-used", "8".into()), ("row-mt", "true".into()), ("tile-columns", "2".into())]]
        .concat()
}

/// Sets up libvpx for a screen: no frame waits for the next, is left out, or is not shown.
fn common(control: Control) -> Properties {
    let [best, worst] = match control {
        Control::Quality => QUANTIZERS,
        Control::Bytes | Control::LargeBytes => LIMITED_QUANTIZERS,
    };
    let mut settings = vec![
        ("deadline", "1".into()), // microseconds for a frame: as fast as it can
        ("lag-in-frames", "0".into()),
        ("auto-alt-ref", "false".into()),
        ("dropframe-threshold", "0".into()),
        ("resize-allowed", "false".into()),
        ("keyframe-mode", "disabled".into()),
        ("keyframe-max-dist", NEVER.to_string()),
        ("end-usage", "cbr".into()),
        ("min-quantizer", best.to_string()),
        ("max-quantizer", worst.to_string()),
        ("max-intra-bitrate", "0".into()),
        ("threads", threads()),
    ];
    settings.extend(limit(None));
    settings
}

/// Bounds the bits a second, and has a buffer of a few frames.
fn limit(kbits: Option<u32>) -> Properties {
    let frame_ms = 1000 / NOMINAL_RATE.unsigned_abs() + 1;
    let kbits = kbits.unwrap_or(MAX_KBITS);
    vec![
        ("target-bitrate", kbits.saturating_mul(1000).to_string()),
        ("buffer-size", (frame_ms * 3).to_string()),
        ("buffer-initial-size", frame_ms.to_string()),
        ("buffer-optimal-size", frame_ms.to_string()),
    ]
}
