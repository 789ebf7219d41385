use std::fmt;

use crate::frame::{MODIFIER_INVALID, MODIFIER_LINEAR, MemoryKind, ScanoutInfo};

/// The smallest side of a picture that H.264 encoders take: one macroblock.
const MIN_VIDEO_SIDE: u32 = 16;

/// The largest side: what H.264 level 5.2 and software decoders can be relied on for.
const MAX_VIDEO_SIDE: u32 = 4096;

/// How a viewer gets the picture.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Delivery {
    /// As the guest's own buffer: the fd is passed on, no pixel is touched.
    Passthrough,
    /// As a video stream.
    Encode,
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
    /// No video: the client announced no decoder for it.
    NoDecoder,
    /// No video: the client announced a decoder but reported that it cannot decode.
    DecoderFailed,
    /// No video: the picture is too small or too large.
    Size,
    /// No video: the user said so, or there is no encoder.
    VideoOff,
    /// No video: the encoder failed on this picture.
    EncoderFailed,
}

/// Whether video may be used at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum VideoPolicy {
    /// Where the client can decode it.
    Allowed,
    /// Never: the user said so, or there is no encoder.
    Off,
    /// Not any more: the encoder failed on this picture.
    EncoderFailed,
}

/// What is known of the client and of the way to it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Abilities {
    /// It announced that it decodes H.264 streams.
    pub h264: bool,
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
    match (why_not_passthrough(client, picture, passthrough), why_no_video(client, picture, video)) {
        (None, _) => (Delivery::Passthrough, Reason::Imports),
        (Some(reason), None) => (Delivery::Encode, reason),
        (Some(_), Some(reason)) => (Delivery::Images, reason),
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

fn why_no_video(client: Abilities, picture: ScanoutInfo, video: VideoPolicy) -> Option<Reason> {
    let fits = |side: u32| (MIN_VIDEO_SIDE..=MAX_VIDEO_SIDE).contains(&side);
    let size = picture.size;
    [
        (video == VideoPolicy::Off, Reason::VideoOff),
        (!client.h264, Reason::NoDecoder),
        (client.decoder_failed, Reason::DecoderFailed),
        (video == VideoPolicy::EncoderFailed, Reason::EncoderFailed),
        (!(fits(size.width) && fits(size.height)), Reason::Size),
    ]
    .into_iter()
    .find_map(|(is_so, reason)| is_so.then_some(reason))
}

/// As `qemu-spice status` names it.
impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passthrough => "Passthrough",
            Self::Encode => "Encode(h264)",
            Self::Images => "Images",
        })
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
            Self::NoDecoder => "the client has no H.264 decoder (on Debian: gstreamer1.0-libav)",
            Self::DecoderFailed => "the client reported that it cannot decode the stream",
            Self::Size => "the picture is too small or too large for video",
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
    const LOCAL: Abilities = Abilities {
        h264: true,
        decoder_failed: false,
        imports: true,
        imports_planes: false,
        passes_fds: true,
    };
    const LOCAL2: Abilities = Abilities { imports_planes: true, ..LOCAL };
    const REMOTE: Abilities = Abilities { passes_fds: false, ..LOCAL };

    const fn dmabuf(planes: usize, modifier: u64, whole: bool) -> MemoryKind {
        MemoryKind::Dmabuf { planes, modifier, whole, at_start: true }
    }

    #[test]
    fn each_viewer_gets_the_best_it_can_show() {
        let no_decoder = Abilities { h264: false, ..REMOTE };
        let failed = Abilities { decoder_failed: true, ..REMOTE };
        let no_import = Abilities { imports: false, ..LOCAL };
        let tiled = dmabuf(1, 0x0100_0000_0000_0001, true); // I915_FORMAT_MOD_X_TILED
        let offset =
            MemoryKind::Dmabuf { planes: 1, modifier: MODIFIER_LINEAR, whole: true, at_start: false };
        for (client, memory, size, passthrough, video, expected) in [
            (LOCAL, LINEAR, HD, true, V::Allowed, (D::Passthrough, R::Imports)),
            (LOCAL, dmabuf(1, MODIFIER_INVALID, true), HD, true, V::Allowed, (D::Passthrough, R::Imports)),
            (LOCAL, LINEAR, HD, true, V::Off, (D::Passthrough, R::Imports)),
            (LOCAL, LINEAR, Size::new(8, 8), true, V::Allowed, (D::Passthrough, R::Imports)),
            (LOCAL, LINEAR, HD, false, V::Allowed, (D::Encode, R::PassthroughOff)),
            (REMOTE, LINEAR, HD, true, V::Allowed, (D::Encode, R::Remote)),
            (no_import, LINEAR, HD, true, V::Allowed, (D::Encode, R::NoImport)),
            (LOCAL, MemoryKind::Shared, HD, true, V::Allowed, (D::Encode, R::NoDmabuf)),
            (LOCAL, MemoryKind::Owned, HD, true, V::Allowed, (D::Encode, R::NoDmabuf)),
            (LOCAL, dmabuf(2, MODIFIER_LINEAR, true), HD, true, V::Allowed, (D::Encode, R::Layout)),
            (LOCAL, dmabuf(1, MODIFIER_LINEAR, false), HD, true, V::Allowed, (D::Encode, R::Layout)),
            (LOCAL, tiled, HD, true, V::Allowed, (D::Encode, R::Modifier)),
            (LOCAL2, tiled, HD, true, V::Allowed, (D::Passthrough, R::Imports)),
            (LOCAL2, dmabuf(2, MODIFIER_LINEAR, true), HD, true, V::Allowed, (D::Passthrough, R::Imports)),
            (LOCAL2, dmabuf(1, MODIFIER_LINEAR, false), HD, true, V::Allowed, (D::Encode, R::Layout)),
            (LOCAL, offset, HD, true, V::Allowed, (D::Encode, R::Layout)),
            (LOCAL2, offset, HD, true, V::Allowed, (D::Passthrough, R::Imports)),
            (no_decoder, LINEAR, HD, true, V::Allowed, (D::Images, R::NoDecoder)),
            (failed, LINEAR, HD, true, V::Allowed, (D::Images, R::DecoderFailed)),
            (REMOTE, LINEAR, HD, true, V::Off, (D::Images, R::VideoOff)),
            (REMOTE, LINEAR, HD, true, V::EncoderFailed, (D::Images, R::EncoderFailed)),
            (REMOTE, LINEAR, Size::new(8, 720), true, V::Allowed, (D::Images, R::Size)),
            (REMOTE, LINEAR, Size::new(1280, 4097), true, V::Allowed, (D::Images, R::Size)),
            (REMOTE, LINEAR, Size::new(4096, 16), true, V::Allowed, (D::Encode, R::Remote)),
        ] {
            let picture = ScanoutInfo { size, memory };
            let decided = decide(client, picture, passthrough, video);
            assert_eq!(decided, expected, "{client:?} {picture:?} {passthrough} {video:?}");
        }
    }
}
