//! Which SPICE streams our codecs are.

use spice_proto::channels::display::{DisplayChannel, VideoCodec};

use crate::encode::{Codec, Codecs};

/// Returns SPICE's name of a codec.
pub(super) fn video_codec(codec: Codec) -> VideoCodec {
    match codec {
        Codec::H264 | Codec::H264_444 => VideoCodec::H264,
        Codec::H265 => VideoCodec::H265,
        Codec::Vp8 => VideoCodec::Vp8,
        Codec::Vp9 => VideoCodec::Vp9,
        Codec::Mjpeg => VideoCodec::Mjpeg,
    }
}

/// Returns our codecs that a client announces to decode: in its order if it has said one, else in ours. 4:4:4, of which
/// most clients say nothing, is the last then: for a user who has nothing else encoded.
pub(super) fn decoded(display: &DisplayChannel) -> Codecs {
    let mut codecs = Codec::ALL.to_vec();
    let rank = |codec: Codec| {
        let preferred = display.preferred();
        let place = preferred.iter().position(|&wanted| wanted == video_codec(codec));
        let unknown = codec == Codec::H264_444 && !display.decodes_full_colour();
        (unknown, place.unwrap_or(preferred.len()))
    };
    codecs.sort_by_key(|&codec| rank(codec));
    codecs.into_iter().filter(|&codec| display.decodes(video_codec(codec))).collect()
}
