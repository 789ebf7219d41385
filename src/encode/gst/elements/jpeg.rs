use super::{ElementRow, Properties};
use crate::encode::gst::Control;
use crate::encode::{Codec, Pixels};

/// The quality (0 to 100) where bytes do not count: text has 38 dB with it.
const QUALITY: u32 = 85;

/// The quality where they do. An encoder that knows one frame alone cannot keep to so many bytes.
const LIMITED_QUALITY: u32 = 50;

pub(super) const MJPEG: ElementRow = ElementRow {
    name: "jpegenc",
    codec: Codec::Mjpeg,
    plugin: "jpeg",
    package: "gstreamer1.0-plugins-good",
    device: None,
    pixels: Pixels::Jpeg,
    import: None,
    max_area: u64::MAX,
    max_free_area: u64::MAX,
    settings,
    limit,
};

fn settings(control: Control) -> Properties {
    let quality = match control {
        Control::Quality => QUALITY,
        Control::Bytes | Control::LargeBytes => LIMITED_QUALITY,
    };
    vec![("idct-method", "ifast".into()), ("quality", quality.to_string())]
}

fn limit(kbits: Option<u32>) -> Properties {
    vec![("quality", kbits.map_or(QUALITY, |_| LIMITED_QUALITY).to_string())]
}
