//! Which SPICE streams our codecs are.

use spice_proto::channels::display::VideoCodec;

use crate::encode::{Codec, Codecs};

/// Returns SPICE's name of a codec.
pub(super) fn video_codec(codec: Codec) -> VideoCodec {
    match codec {
        Codec::H264 | Codec::H264_444 => VideoCodec::H264,
    }
}

/// Returns our codecs that a client announces to decode, in our order.
pub(super) fn decoded(announced: impl Fn(VideoCodec) -> bool) -> Codecs {
    Codec::ALL.into_iter().filter(|&codec| announced(video_codec(codec))).collect()
}
