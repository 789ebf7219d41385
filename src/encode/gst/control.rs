//! How each encoder is kept to the bytes that a frame may have.

use super::Element;
use super::elements::{MAX_KBITS, OPENH264_QUANTIZERS, x264_bytes, x264_control};
use super::pipeline::NOMINAL_RATE;
use crate::frame::Size;

/// OpenH264's quantizers where bytes count.
const OPENH264_LIMITED: [u32; 2] = [18, 51];

/// x264 leaves a fifth of a buffer that holds one frame unused: in tenths, what it is told of.
const X264_USE: u32 = 12;

/// The most pixels of a picture whose bytes are nobody's business: a film of more needs more than a home's network has.
const X264_MAX_FREE: u64 = 1920 * 1200;

/// What decides how good a frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Control {
    /// Each is as good as it gets.
    Quality,
    /// The bytes it may have; they can be changed at any time, or bounded by nothing but what is usual.
    Bytes,
    /// … of pictures so large that a frame takes long as it is.
    LargeBytes,
}

impl Element {
    /// How it is to be set up for pictures of this size, and this limit of a frame's bytes. It is made for one or the
    /// other.
    pub(crate) fn control(self, size: Size, limit: Option<u64>) -> Control {
        let large = matches!(self, Self::X264 | Self::X264Full) && size.area() > X264_MAX_FREE;
        match limit {
            _ if large => Control::LargeBytes,
            Some(_) => Control::Bytes,
            None => Control::Quality,
        }
    }

    /// Properties that decide it when it is made.
    pub(super) fn control_settings(self, control: Control) -> Vec<(&'static str, String)> {
        let bytes = control != Control::Quality;
        match self {
            Self::OpenH264 => {
                let [best, worst] = if bytes { OPENH264_LIMITED } else { OPENH264_QUANTIZERS };
                vec![
                    ("rate-control", if bytes { "bitrate" } else { "quality" }.into()),
                    ("qp-min", best.to_string()),
                    ("qp-max", worst.to_string()),
                ]
            }
            Self::X264 | Self::X264Full => x264_control(control),
            #[cfg(test)]
            Self::StandIn { .. } => x264_control(control),
            Self::Va | Self::VaLowPower if bytes => vec![("rate-control", "cbr|vbr".into())],
            Self::Nv if bytes => vec![("rc-mode", "cbr".into())],
            Self::Qsv | Self::Msdk if bytes => vec![("rate-control", "cbr".into())],
            _ => Vec::new(),
        }
    }

    /// Properties that keep frames to this limit from now on. All can be set while it is at work.
    ///
    /// Encoders count in bits a second at a rate that a screen does not have. So they are told of as many bits for each
    /// frame as it may have, and of a buffer that holds one frame: what one did not need is not given to the next.
    pub(super) fn limit_settings(self, limit: Option<u64>) -> Vec<(&'static str, String)> {
        let kbits = limit.map_or(MAX_KBITS, kbits);
        match self {
            Self::X264 | Self::X264Full => x264_limit(kbits, limit.is_some()),
            #[cfg(test)]
            Self::StandIn { .. } => x264_limit(kbits, limit.is_some()),
            Self::OpenH264 => vec![("bitrate", (kbits * 1000).to_string())],
            Self::Va | Self::VaLowPower | Self::Qsv | Self::Msdk => vec![("bitrate", kbits.to_string())],
            Self::Nv if limit.is_some() => {
                let frame = kbits / NOMINAL_RATE.unsigned_abs();
                vec![("bitrate", kbits.to_string()), ("vbv-buffer-size", frame.max(1).to_string())]
            }
            Self::Nv => Vec::new(),
            Self::V4l2 => vec![("extra-controls", format!("controls,video_bitrate={}", kbits * 1000))],
        }
    }
}

fn x264_limit(kbits: u32, one_frame: bool) -> Vec<(&'static str, String)> {
    let [(_, bits), (_, buffer)] = x264_bytes();
    if one_frame {
        let frame_ms = 1000 / NOMINAL_RATE.unsigned_abs() + 1;
        vec![("bitrate", (kbits / 10 * X264_USE).to_string()), ("vbv-buf-capacity", frame_ms.to_string())]
    } else {
        vec![("bitrate", bits), ("vbv-buf-capacity", buffer)]
    }
}

/// In small steps: encoders are not told of every change.
fn kbits(frame_bytes: u64) -> u32 {
    let kbits = frame_bytes.saturating_mul(8 * u64::from(NOMINAL_RATE.unsigned_abs())) / 1000;
    let step = (kbits.checked_next_power_of_two().unwrap_or(1) / 64).max(1);
    u32::try_from(kbits / step * step).unwrap_or(u32::MAX).clamp(100, 2_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_where_there_is_a_limit_and_in_large_pictures_of_x264() {
        let (usual, large) = (Size::new(1280, 720), Size::new(3840, 2160));
        for (element, size, limit, control) in [
            (Element::X264, usual, None, Control::Quality),
            (Element::X264, usual, Some(20_000), Control::Bytes),
            (Element::X264, large, None, Control::LargeBytes),
            (Element::X264, large, Some(20_000), Control::LargeBytes),
            (Element::OpenH264, large, None, Control::Quality),
            (Element::Va, large, Some(20_000), Control::Bytes),
        ] {
            assert_eq!(element.control(size, limit), control, "{element:?}, {size}, {limit:?}");
        }
    }
}
