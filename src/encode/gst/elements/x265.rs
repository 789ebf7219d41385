use super::{ElementRow, MAX_KBITS, NEVER, Properties};
use crate::encode::gst::Control;
use crate::encode::{Codec, Pixels};

/// The quantizer where bytes do not count: what x264's comes to.
const QUANTIZER: u32 = 24;

pub(super) const H265: ElementRow = ElementRow {
    name: "x265enc",
    codec: Codec::H265,
    plugin: "x265",
    package: "gstreamer1.0-plugins-bad",
    device: None,
    pixels: Pixels::I420,
    import: None,
    max_area: u64::MAX,
    max_free_area: u64::MAX,
    settings,
    limit,
};

fn settings(control: Control) -> Properties {
    let counts = control != Control::Quality;
    let mut settings = vec![
        ("tune", "zerolatency".into()),
        ("speed-preset", "ultrafast".into()),
        ("key-int-max", NEVER.to_string()),
        ("qp", if counts { -1 } else { i64::from(QUANTIZER) }.to_string()),
        ("option-string", "bframes=0:repeat-headers=1:scenecut=0:info=0:log-level=none".into()),
    ];
    if counts {
        settings.extend(limit(None));
    }
    settings
}

fn limit(kbits: Option<u32>) -> Properties {
    vec![("bitrate", kbits.unwrap_or(MAX_KBITS).to_string())]
}
