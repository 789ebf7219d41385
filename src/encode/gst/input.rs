use gstreamer_video::VideoFormat;
use serde::{Deserialize, Serialize};

use super::Element;
use crate::frame::{Dmabuf, MODIFIER_INVALID, MODIFIER_LINEAR, PixelFormat};

/// GStreamer's version: major, minor.
pub(crate) type Version = (u32, u32);

/// The first version that has a name for a modifier, and expects it.
const DMA_DRM: Version = (1, 24);

/// How an encoder gets a picture.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Input {
    /// In planes that the CPU has written.
    Planes,
    /// It reads the guest's own buffer.
    Dmabuf {
        /// GStreamer's description of the buffer, without its size.
        caps: String,
        /// The buffer's last row is the picture's first.
        bottom_up: bool,
    },
}

/// Returns the best way for a picture into `element`, for this version of GStreamer and this buffer, if there
/// is one.
///
/// INVARIANT: `Input::Dmabuf` is only given where the caps say all that the encoder must know to show the picture as
/// the guest does. What they cannot say goes through the CPU: planes of compression data, a modifier that only the
/// GPU's own driver knows, sizes that 4:2:0 rounds.
pub(crate) fn input(element: Element, dmabuf: Option<&Dmabuf>, version: Version) -> Input {
    dmabuf.and_then(|dmabuf| import(element, dmabuf, version)).unwrap_or(Input::Planes)
}

fn import(element: Element, dmabuf: &Dmabuf, version: Version) -> Option<Input> {
    let how = element.import()?;
    let pixels = PixelFormat::from_fourcc(dmabuf.fourcc)?;
    let format = video_format(pixels)?;
    let whole = dmabuf.crop == dmabuf.backing.rect();
    let even = dmabuf.crop.width.is_multiple_of(2) && dmabuf.crop.height.is_multiple_of(2);
    if dmabuf.planes.len() != pixels.planes() || !even || !(whole || how.crops) {
        return None;
    }
    let feature = how.feature;
    let rows = matches!(dmabuf.modifier, MODIFIER_LINEAR | MODIFIER_INVALID);
    let mut caps = if feature.is_empty() {
        rows.then(|| format!("video/x-raw,format={format}"))?
    } else if version < DMA_DRM {
        rows.then(|| format!("video/x-raw({feature}),format={format}"))?
    } else {
        let drm_format = drm_format(dmabuf.fourcc, dmabuf.modifier)?;
        format!("video/x-raw({feature}),format=DMA_DRM,drm-format=(string){drm_format}")
    };
    if pixels == PixelFormat::Nv12 {
        caps += ",colorimetry=bt709"; // as the CPU reads it
    }
    Some(Input::Dmabuf { caps, bottom_up: dmabuf.bottom_up })
}

/// GStreamer's word for a format; there is none where its version does not know the format.
pub(super) fn video_format(format: PixelFormat) -> Option<VideoFormat> {
    Some(VideoFormat::from_string(format.gst_name()?)).filter(|&format| format != VideoFormat::Unknown)
}

/// GStreamer's name of a fourcc with a modifier: `XR24`, or `XR24:0x0100000000000002`. There is none for
/// [`MODIFIER_INVALID`].
fn drm_format(fourcc: u32, modifier: u64) -> Option<String> {
    let bytes = fourcc.to_le_bytes();
    let name = str::from_utf8(&bytes).ok().filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric()))?;
    match modifier {
        MODIFIER_INVALID => None,
        MODIFIER_LINEAR => Some(name.to_owned()),
        _ => Some(format!("{name}:{modifier:#018x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Buffer, DmabufPlane, Rect, Size};
    use std::sync::Arc;

    const SIZE: Size = Size::new(64, 32);
    const TILED: u64 = 0x0100_0000_0000_0002;
    const STAND_IN: Element = Element::StandIn { imports: true, breaks_after: None };

    fn dmabuf(fourcc: &[u8; 4], modifier: u64) -> Dmabuf {
        let fd = rustix::fs::memfd_create("pixels", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let plane = DmabufPlane { buffer: Arc::new(Buffer::new(fd).unwrap()), offset: 0, stride: 256 };
        let fourcc = u32::from_le_bytes(*fourcc);
        Dmabuf { planes: vec![plane], fourcc, modifier, backing: SIZE, crop: SIZE.rect(), bottom_up: false }
    }

    #[test]
    fn which_way_a_buffer_goes() {
        gstreamer::init().unwrap();
        let (old, new, newer) = ((1, 22), (1, 24), (1, 28));
        let plain = Some("video/x-raw(memory:DMABuf),format=BGRx");
        let drm =
            |name: &str| Some(format!("video/x-raw(memory:DMABuf),format=DMA_DRM,drm-format=(string){name}"));
        let linear = drm("XR24");
        let tiled = drm("XR24:0x0100000000000002");
        let (linear, tiled) = (linear.as_deref(), tiled.as_deref());
        let mapped = Some("video/x-raw,format=BGRx");
        let (linear_mod, guess) = (MODIFIER_LINEAR, MODIFIER_INVALID);
        let cases = [
            (Element::Va, b"XR24", linear_mod, old, plain),
            (Element::Va, b"XR24", guess, old, plain),
            (Element::Va, b"XR24", TILED, old, None),
            (Element::Va, b"XR24", linear_mod, new, linear),
            (Element::Va, b"XR24", TILED, new, tiled),
            (Element::Va, b"XR24", TILED, newer, tiled),
            (Element::Va, b"XR24", guess, new, None),
            (Element::VaLowPower, b"XR24", TILED, new, tiled),
            (Element::Qsv, b"XR24", linear_mod, old, plain),
            (Element::Msdk, b"XR24", TILED, new, tiled),
            (Element::Va, b"AB24", linear_mod, old, Some("video/x-raw(memory:DMABuf),format=RGBA")),
            (Element::Va, b"NV12", linear_mod, new, None), // needs another plane
            (Element::Va, b"AR15", linear_mod, new, None), // GStreamer has no name for it
            (Element::Nv, b"XR24", linear_mod, new, None),
            (Element::V4l2, b"XR24", linear_mod, new, None),
            (Element::X264, b"XR24", linear_mod, new, None),
            (STAND_IN, b"XR24", linear_mod, old, mapped),
            (STAND_IN, b"XR24", guess, new, mapped),
            (STAND_IN, b"XR24", TILED, new, None),
        ];
        for (element, fourcc, modifier, version, expected) in cases {
            let expected = expected.map(|caps| Input::Dmabuf { caps: caps.to_owned(), bottom_up: false });
            let got = input(element, Some(&dmabuf(fourcc, modifier)), version);
            assert_eq!(got, expected.unwrap_or(Input::Planes), "{element:?} {modifier:#x} {version:?}");
        }
        assert_eq!(input(Element::Va, None, new), Input::Planes, "pixels that are in no GPU's buffer");
    }

    #[test]
    fn a_buffer_that_caps_do_not_describe_goes_through_the_cpu() {
        gstreamer::init().unwrap();
        let of = |change: fn(&mut Dmabuf), element| {
            let mut dmabuf = dmabuf(b"XR24", MODIFIER_LINEAR);
            change(&mut dmabuf);
            input(element, Some(&dmabuf), (1, 24))
        };
        let flipped = of(|d| d.bottom_up = true, Element::Va);
        assert!(matches!(flipped, Input::Dmabuf { bottom_up: true, .. }), "upside down");
        let compressed = of(|d| d.planes.extend(dmabuf(b"XR24", 0).planes), Element::Va);
        assert_eq!(compressed, Input::Planes, "a plane of compression data is left out");
        let video: fn(&mut Dmabuf) = |d| {
            d.planes.extend(dmabuf(b"NV12", 0).planes);
            d.fourcc = u32::from_le_bytes(*b"NV12");
        };
        let Input::Dmabuf { caps, .. } = of(video, Element::Va) else { panic!("NV12 is not imported") };
        assert!(caps.ends_with("drm-format=(string)NV12,colorimetry=bt709"), "{caps}");
        let odd = of(|d| (d.backing, d.crop) = (Size::new(63, 32), Rect::new(0, 0, 63, 32)), Element::Va);
        assert_eq!(odd, Input::Planes);
        let part: fn(&mut Dmabuf) = |d| d.crop = Rect::new(32, 0, 32, 32);
        assert!(matches!(of(part, Element::Va), Input::Dmabuf { .. }));
        assert_eq!(of(part, STAND_IN), Input::Planes, "all of the buffer is shown");
        let strange = of(|d| d.fourcc = 0x0a22_0058, Element::Va);
        assert_eq!(strange, Input::Planes);
    }

    #[test]
    fn the_caps_are_caps() {
        gstreamer::init().unwrap();
        for version in [(1, 22), (1, 24)] {
            for fourcc in [b"XR24", b"AR24", b"XB24", b"AB24", b"RX24", b"RA24", b"BX24", b"BA24"] {
                let Input::Dmabuf { caps, .. } =
                    input(Element::Va, Some(&dmabuf(fourcc, MODIFIER_LINEAR)), version)
                else {
                    panic!("{fourcc:?} is not imported")
                };
                let caps: gstreamer::Caps = format!("{caps},width=64,height=32").parse().unwrap();
                assert!(caps.is_fixed(), "{caps}");
                assert_eq!(caps.features(0).unwrap().to_string(), "memory:DMABuf");
            }
        }
    }
}
