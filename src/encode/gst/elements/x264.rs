use super::{ElementRow, MAX_KBITS, NEVER, Properties, threads};
use crate::encode::gst::Control;
use crate::encode::gst::control::NOMINAL_RATE;
use crate::encode::{Codec, Pixels};

/// The quantizer where bytes do not count. Text that scrolls has over 45 dB with it, and a film no less than with a
/// rate factor of [`RATE_FACTOR`].
const QUANTIZER: u32 = 24;

/// The constant rate factor where bytes count. A desktop's text and gradients have over 44 dB with it, in the first
/// frame already; 4 less make a key frame a sixth larger, 4 more cost 3 dB.
const RATE_FACTOR: u32 = 22;

/// How far x264 looks for what moved where bytes count, in pixels: a window that is dragged or a page that scrolls goes
/// further from frame to frame than the 16 that it looks at otherwise. Text that scrolls by 37 pixels has 27 dB in
/// 20,000 bytes of a 720p frame with it, and 18 without; a film's frame takes a third longer.
const REACH: u32 = 32;

/// The most pixels of a picture whose bytes are nobody's business: a film of more needs more than a home's network has.
const MAX_FREE_AREA: u64 = 1920 * 1200;

/// The bytes that bound frames without a limit, in milliseconds of [`MAX_KBITS`].
const USUAL_BUFFER_MS: u32 = 600;

/// x264 leaves a fifth of a buffer that holds one frame unused: in tenths, what it is told of.
const USE: u32 = 12;

pub(super) const H264: ElementRow = ElementRow {
    name: "x264enc",
    codec: Codec::H264,
    plugin: "x264",
    package: "gstreamer1.0-plugins-ugly",
    device: None,
    pixels: Pixels::I420,
    import: None,
    max_area: u64::MAX,
    max_free_area: MAX_FREE_AREA,
    settings,
    limit,
};

pub(super) const H264_444: ElementRow = ElementRow { codec: Codec::H264_444, pixels: Pixels::I444, ..H264 };

/// Sets up x264. To limit bytes it looks at each picture twice, which takes nearly as long as encoding, so
/// this is done only when bytes are limited. A wide motion search takes a third longer, so it is not done for
/// large pictures.
fn settings(control: Control) -> Properties {
    let far = format!(":me=umh:merange={REACH}");
    let (pass, quantizer, search) = match control {
        Control::Quality => ("quant", QUANTIZER, ""),
        Control::Bytes => ("qual", RATE_FACTOR, far.as_str()),
        Control::LargeBytes => ("qual", RATE_FACTOR, ""),
    };
    let mut settings = vec![
        ("tune", "zerolatency".into()),
        ("speed-preset", "ultrafast".into()),
        ("key-int-max", NEVER.to_string()),
        ("bframes", "0".into()),
        ("sliced-threads", "true".into()),
        ("threads", threads()),
        ("byte-stream", "true".into()),
        ("aud", "false".into()),
        ("pass", pass.into()),
        ("quantizer", quantizer.to_string()),
        ("option-string", format!("scenecut=0{search}")),
    ];
    if control != Control::Quality {
        settings.extend(limit(None));
    }
    settings
}

/// Bounds the bits a second, and has a buffer of one frame, or the usual one.
fn limit(kbits: Option<u32>) -> Properties {
    let (kbits, buffer_ms) = match kbits {
        Some(kbits) => (kbits / 10 * USE, 1000 / NOMINAL_RATE.unsigned_abs() + 1),
        None => (MAX_KBITS, USUAL_BUFFER_MS),
    };
    vec![("bitrate", kbits.to_string()), ("vbv-buf-capacity", buffer_ms.to_string())]
}
