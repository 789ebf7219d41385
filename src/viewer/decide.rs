use std::fmt;

use crate::frame::Size;

/// The smallest side of a picture that H.264 encoders take: one macroblock.
const MIN_VIDEO_SIDE: u32 = 16;

/// The largest side: what H.264 level 5.2 and software decoders can be relied on for.
const MAX_VIDEO_SIDE: u32 = 4096;

/// How a viewer gets the picture.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delivery {
    /// As a video stream.
    Encode,
    /// As exact rectangles of what changed.
    Images,
}

/// Why it gets it so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// The client decodes H.264.
    Decodes,
    /// The client announced no decoder for it.
    NoDecoder,
    /// The client announced one but reported that it cannot decode.
    DecoderFailed,
    /// The picture is too small or too large for video.
    Size,
    /// Video is switched off.
    SwitchedOff,
    /// The encoder failed.
    EncoderFailed,
}

/// Whether video may be used at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VideoPolicy {
    /// Where the client can decode it.
    Allowed,
    /// Never: the user said so.
    SwitchedOff,
    /// Not any more: the encoder failed on this picture.
    EncoderFailed,
}

/// What is known of the client.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Abilities {
    /// It announced that it decodes H.264 streams.
    pub h264: bool,
    /// It reported that it could not.
    pub decoder_failed: bool,
}

/// Decides how a viewer gets pictures of this size. Ask again when any argument changes.
#[must_use]
pub fn decide(client: Abilities, video: VideoPolicy, size: Size) -> (Delivery, Reason) {
    let fits = |side: u32| (MIN_VIDEO_SIDE..=MAX_VIDEO_SIDE).contains(&side);
    let reason = match video {
        VideoPolicy::SwitchedOff => Reason::SwitchedOff,
        _ if !client.h264 => Reason::NoDecoder,
        _ if client.decoder_failed => Reason::DecoderFailed,
        VideoPolicy::EncoderFailed => Reason::EncoderFailed,
        VideoPolicy::Allowed if !(fits(size.width) && fits(size.height)) => Reason::Size,
        VideoPolicy::Allowed => return (Delivery::Encode, Reason::Decodes),
    };
    (Delivery::Images, reason)
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Decodes => "the client decodes H.264",
            Self::NoDecoder => "the client has no H.264 decoder (on Debian: gstreamer1.0-libav)",
            Self::DecoderFailed => "the client reported that it cannot decode the stream",
            Self::Size => "the picture is too small or too large for video",
            Self::SwitchedOff => "video is switched off (--video-codec none)",
            Self::EncoderFailed => "the encoder failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_viewer_gets_what_it_can_show() {
        let yes = Abilities { h264: true, decoder_failed: false };
        let no = Abilities::default();
        let failed = Abilities { h264: true, decoder_failed: true };
        let hd = Size::new(1280, 720);
        use {Delivery as D, Reason as R, VideoPolicy as V};
        for (client, video, size, expected) in [
            (yes, V::Allowed, hd, (D::Encode, R::Decodes)),
            (no, V::Allowed, hd, (D::Images, R::NoDecoder)),
            (failed, V::Allowed, hd, (D::Images, R::DecoderFailed)),
            (yes, V::SwitchedOff, hd, (D::Images, R::SwitchedOff)),
            (yes, V::EncoderFailed, hd, (D::Images, R::EncoderFailed)),
            (yes, V::Allowed, Size::new(8, 720), (D::Images, R::Size)),
            (yes, V::Allowed, Size::new(1280, 4097), (D::Images, R::Size)),
            (yes, V::Allowed, Size::new(4096, 16), (D::Encode, R::Decodes)),
        ] {
            assert_eq!(decide(client, video, size), expected, "{client:?} {video:?} {size}");
        }
    }
}
