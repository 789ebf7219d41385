use std::fmt;

use crate::encode::{Codec, Codecs};
use crate::frame::{MODIFIER_INVALID, MODIFIER_LINEAR, MemoryKind, ScanoutInfo};

/// How a viewer gets the picture.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Delivery {
    /// As the guest's own buffer: the fd is passed on, no pixel is touched.
    Passthrough,
    /// As a video stream.
    Encode(Codec),
    /// As exact rectangles of what changed.
    Images,
}

/// Why it gets it so, and not in the way above.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reason {
    /// The client is on this machine and imports the buffer. The only reason for [`Delivery::Passthrough`].
    Imports,
    /// Not passed through: the user said so.
    PassthroughOff,
    /// Not passed through: file descriptors do not travel over the client's connection.
    Remote,
    /// Not passed through: the client did not announce that it imports buffers.
    NoImport,
    /// Not passed through: the picture is not in a dmabuf.
    NoDmabuf,
    /// Not passed through: the client cannot be told a second plane, an offset or a part of a buffer.
    Layout,
    /// Not passed through: the client cannot be told the modifier.
    Modifier,
    /// No video: the client announced no decoder for any that there is an encoder for, such as this.
    NoDecoder(Codec),
    /// No video: the client announced a decoder but reported that it cannot decode.
    DecoderFailed,
    /// No video: the picture is too small.
    Size,
    /// No video: the user said so, or there is no encoder.
    VideoOff,
    /// No video: the encoder failed on this picture.
    EncoderFailed,
}

/// Whether video may be used at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum VideoPolicy {
    /// With one of these codecs, where the client can decode it.
    Allowed(Codecs),
    /// Never: the user said so, or there is no encoder.
    Off,
    /// Not any more: the encoder failed on this picture.
    EncoderFailed,
}

/// What is known of the client and of the way to it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Abilities {
    /// It announced that it decodes these, the preferred first.
    pub codecs: Codecs,
    /// It reported that it could not.
    pub decoder_failed: bool,
    /// It announced that it imports dmabufs of one plane: fd, size, stride and fourcc. Says nothing of
    /// `passes_fds`.
    pub imports: bool,
    /// It announced that it can be told planes, offsets and a modifier, too.
    pub imports_planes: bool,
    /// Its connection is a plain unix socket: file descriptors can be sent.
    pub passes_fds: bool,
}

/// Decides how a viewer gets a picture. Ask again when any argument changes.
#[must_use]
pub(crate) fn decide(
    client: Abilities,
    picture: ScanoutInfo,
    passthrough: bool,
    video: VideoPolicy,
) -> (Delivery, Reason) {
    match (why_not_passthrough(client, picture, passthrough), codec(client, picture, video)) {
        (None, _) => (Delivery::Passthrough, Reason::Imports),
        (Some(reason), Ok(codec)) => (Delivery::Encode(codec), reason),
        (Some(_), Err(reason)) => (Delivery::Images, reason),
    }
}

fn why_not_passthrough(client: Abilities, picture: ScanoutInfo, allowed: bool) -> Option<Reason> {
    let MemoryKind::Dmabuf { planes, modifier, whole, at_start } = picture.memory else {
        return Some(Reason::NoDmabuf);
    };
    // No viewer can be told to show a part of a buffer.
    let plain = client.imports_planes || (planes == 1 && at_start);
    let untiled = client.imports_planes || modifier == MODIFIER_LINEAR || modifier == MODIFIER_INVALID;
    [
        (!allowed, Reason::PassthroughOff),
        (!client.passes_fds, Reason::Remote),
        (!client.imports && !client.imports_planes, Reason::NoImport),
        (!whole || !plain, Reason::Layout),
        (!untiled, Reason::Modifier),
    ]
    .into_iter()
    .find_map(|(is_so, reason)| is_so.then_some(reason))
}

/// Returns the codec for a client's video: the one it prefers of those that there are encoders for. Fails with why
/// there is no video.
fn codec(client: Abilities, picture: ScanoutInfo, video: VideoPolicy) -> Result<Codec, Reason> {
    let offered = match video {
        VideoPolicy::Allowed(codecs) => codecs,
        VideoPolicy::Off => return Err(Reason::VideoOff),
        VideoPolicy::EncoderFailed => return Err(Reason::EncoderFailed),
    };
    let best = offered.iter().next().ok_or(Reason::VideoOff)?;
    let mut shared = client.codecs.iter().filter(|&codec| offered.contains(codec)).peekable();
    if shared.peek().is_none() {
        return Err(Reason::NoDecoder(best));
    }
    if client.decoder_failed {
        return Err(Reason::DecoderFailed);
    }
    shared.find(|codec| !codec.parts(picture.size).is_empty()).ok_or(Reason::Size)
}

/// As `qemu-spice status` names it.
impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passthrough => f.write_str("Passthrough"),
            Self::Encode(codec) => write!(f, "Encode({})", codec.name()),
            Self::Images => f.write_str("Images"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Imports => "the client is local and imports the buffer",
            Self::PassthroughOff => "passing buffers through is switched off (--passthrough never)",
            Self::Remote => "buffers cannot be passed over this connection",
            Self::NoImport => "the client does not import buffers",
            Self::NoDmabuf => "the picture is not in a GPU buffer",
            Self::Layout => "only whole buffers of one plane can be passed to this client",
            Self::Modifier => "the client cannot be told how the buffer is tiled",
            Self::NoDecoder(codec) => {
                let (title, package) = (codec.title(), codec.decoder_package());
                return write!(f, "the client has no {title} decoder (on Debian: {package})");
            }
            Self::DecoderFailed => "the client reported that it cannot decode the stream",
            Self::Size => "the picture is too small for video",
            Self::VideoOff => "there is no video: --video-codec none, or no encoder",
            Self::EncoderFailed => "the encoder failed on this picture",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Size;
    use {Delivery as D, Reason as R, VideoPolicy as V};

    const HD: Size = Size::new(1280, 720);
    const LINEAR: MemoryKind = dmabuf(1, MODIFIER_LINEAR, true);

    fn codecs(codecs: &[Codec]) -> Codecs {
        codecs.iter().copied().collect()
    }

    /// A client on this machine that imports buffers and decodes H.264.
    fn local() -> Abilities {
        Abilities {
            codecs: codecs(&[Codec::H264]),
            decoder_failed: false,
            imports: true,
            imports_planes: false,
            passes_fds: true,
        }
    }

    const fn dmabuf(planes: usize, modifier: u64, whole: bool) -> MemoryKind {
        MemoryKind::Dmabuf { planes, modifier, whole, at_start: true }
    }

    #[test]
    fn each_viewer_gets_the_best_it_can_show() {
        let local = local();
        let local2 = Abilities { imports_planes: true, ..local };
        let remote = Abilities { passes_fds: false, ..local };
        let no_decoder = Abilities { codecs: codecs(&[]), ..remote };
        let failed = Abilities { decoder_failed: true, ..remote };
        let no_import = Abilities { imports: false, ..local };
        let (allowed, video) = (V::Allowed(codecs(&[Codec::H264])), D::Encode(Codec::H264));
        let tiled = dmabuf(1, 0x0100_0000_0000_0001, true); // I915_FORMAT_MOD_X_TILED
        let offset =
            MemoryKind::Dmabuf { planes: 1, modifier: MODIFIER_LINEAR, whole: true, at_start: false };
        for (client, memory, size, passthrough, policy, expected) in [
            (local, LINEAR, HD, true, allowed, (D::Passthrough, R::Imports)),
            (local, dmabuf(1, MODIFIER_INVALID, true), HD, true, allowed, (D::Passthrough, R::Imports)),
            (local, LINEAR, HD, true, V::Off, (D::Passthrough, R::Imports)),
            (local, LINEAR, Size::new(8, 8), true, allowed, (D::Passthrough, R::Imports)),
            (local, LINEAR, HD, false, allowed, (video, R::PassthroughOff)),
            (remote, LINEAR, HD, true, allowed, (video, R::Remote)),
            (no_import, LINEAR, HD, true, allowed, (video, R::NoImport)),
            (local, MemoryKind::Shared, HD, true, allowed, (video, R::NoDmabuf)),
            (local, MemoryKind::Owned, HD, true, allowed, (video, R::NoDmabuf)),
            (local, dmabuf(2, MODIFIER_LINEAR, true), HD, true, allowed, (video, R::Layout)),
            (local, dmabuf(1, MODIFIER_LINEAR, false), HD, true, allowed, (video, R::Layout)),
            (local, tiled, HD, true, allowed, (video, R::Modifier)),
            (local2, tiled, HD, true, allowed, (D::Passthrough, R::Imports)),
            (local2, dmabuf(2, MODIFIER_LINEAR, true), HD, true, allowed, (D::Passthrough, R::Imports)),
            (local2, dmabuf(1, MODIFIER_LINEAR, false), HD, true, allowed, (video, R::Layout)),
            (local, offset, HD, true, allowed, (video, R::Layout)),
            (local2, offset, HD, true, allowed, (D::Passthrough, R::Imports)),
            (no_decoder, LINEAR, HD, true, allowed, (D::Images, R::NoDecoder(Codec::H264))),
            (failed, LINEAR, HD, true, allowed, (D::Images, R::DecoderFailed)),
            (remote, LINEAR, HD, true, V::Off, (D::Images, R::VideoOff)),
            (remote, LINEAR, HD, true, V::EncoderFailed, (D::Images, R::EncoderFailed)),
            (remote, LINEAR, Size::new(8, 720), true, allowed, (D::Images, R::Size)),
            (remote, LINEAR, Size::new(1280, 4097), true, allowed, (video, R::Remote)),
            (remote, LINEAR, Size::new(4096, 16), true, allowed, (video, R::Remote)),
        ] {
            let picture = ScanoutInfo { size, memory };
            let decided = decide(client, picture, passthrough, policy);
            assert_eq!(decided, expected, "{client:?} {picture:?} {passthrough} {policy:?}");
        }
    }

    #[test]
    fn a_client_gets_the_codec_it_prefers_of_those_that_there_are_encoders_for() {
        use Codec::{H264, H264_444};
        let picture = ScanoutInfo { size: HD, memory: MemoryKind::Shared };
        for (announced, offered, expected) in [
            (&[H264_444, H264][..], &[H264, H264_444][..], D::Encode(H264_444)),
            (&[H264, H264_444], &[H264_444], D::Encode(H264_444)),
            (&[H264], &[H264, H264_444], D::Encode(H264)),
            (&[H264], &[H264_444], D::Images),
            (&[H264], &[], D::Images),
        ] {
            let client = Abilities { codecs: codecs(announced), ..local() };
            let decided = decide(client, picture, true, V::Allowed(codecs(offered))).0;
            assert_eq!(decided, expected, "{announced:?} of {offered:?}");
        }
    }

    #[test]
    fn a_viewer_is_told_which_codec_it_has_and_which_decoder_it_lacks() {
        assert_eq!(D::Encode(Codec::H264).to_string(), "Encode(h264)");
        assert_eq!(D::Encode(Codec::H264_444).to_string(), "Encode(h264-444)");
        let lacks = R::NoDecoder(Codec::H264).to_string();
        assert_eq!(lacks, "the client has no H.264 decoder (on Debian: gstreamer1.0-libav)");
    }
}
