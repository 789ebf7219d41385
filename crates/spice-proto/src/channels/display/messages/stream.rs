//! Video streams on a surface.

use super::super::caps;
use super::{decode_no_clip, encode_no_clip};
use crate::wire::{Cap, Form, Payload, Reader, Rect, WireError, Writer};

/// Streams a client has room for: ids must be below.
const STREAM_IDS: u32 = 64;
const FLAG_TOP_DOWN: u8 = 1;

/// `SpiceMsgDisplayStreamCreate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamCreate {
    /// Which surface it plays on.
    pub surface_id: u32,
    /// Below 64; free again once destroyed.
    pub stream_id: u32,
    /// How it is encoded.
    pub codec: VideoCodec,
    /// Width of the encoded video in pixels.
    pub width: u32,
    /// Height of the encoded video in pixels.
    pub height: u32,
    /// Where it plays on the surface.
    pub dest: Rect,
}

/// `SPICE_VIDEO_CODEC_TYPE_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// Motion JPEG.
    Mjpeg,
    /// VP8.
    Vp8,
    /// H.264.
    H264,
    /// VP9.
    Vp9,
    /// H.265.
    H265,
}

/// `SpiceMsgDisplayStreamData`: one encoded frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamData {
    /// Which stream.
    pub stream_id: u32,
    /// When to show it, in milliseconds of the server's clock. Never 0, which upsets spice-gtk.
    pub multi_media_time: u32,
    /// The frame.
    pub data: Payload,
}

/// `SpiceMsgDisplayStreamActivateReport`: asks for reports about a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamActivateReport {
    /// Which stream.
    pub stream_id: u32,
    /// Tells reports of this stream from those of an older one with the same id.
    pub unique_id: u32,
    /// Frames for each report.
    pub max_window_size: u32,
    /// Milliseconds after which one comes anyway.
    pub timeout_ms: u32,
}

impl StreamCreate {
    pub(super) fn encode(&self, w: &mut Writer) {
        w.u32(self.surface_id);
        w.u32(self.stream_id);
        w.u8(FLAG_TOP_DOWN);
        w.u8(self.codec.code());
        w.u64(0); // stamp
        w.u32(self.width);
        w.u32(self.height);
        w.u32(self.width); // source width
        w.u32(self.height); // source height
        Rect::write(&self.dest, w);
        encode_no_clip(w);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let surface_id = r.u32()?;
        let stream_id = r.u32()?;
        if stream_id >= STREAM_IDS {
            return Err(r.invalid("stream id", stream_id));
        }
        let flags = r.u8()?;
        if flags != FLAG_TOP_DOWN {
            return Err(r.invalid("stream flags", flags));
        }
        let codec = r.u8()?;
        let codec = VideoCodec::from_code(codec).ok_or_else(|| r.invalid("codec", codec))?;
        r.u64()?; // stamp
        let width = r.u32()?;
        let height = r.u32()?;
        if (r.u32()?, r.u32()?) != (width, height) {
            return Err(r.invalid("source size other than of width", width));
        }
        let dest = Rect::read(r)?;
        decode_no_clip(r)?;
        Ok(Self { surface_id, stream_id, codec, width, height, dest })
    }
}

impl VideoCodec {
    const ALL: [Self; 5] = [Self::Mjpeg, Self::Vp8, Self::H264, Self::Vp9, Self::H265];

    /// The number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::Mjpeg => 1,
            Self::Vp8 => 2,
            Self::H264 => 3,
            Self::Vp9 => 4,
            Self::H265 => 5,
        }
    }

    /// The capability of clients that decode it.
    pub fn cap(self) -> Cap {
        match self {
            Self::Mjpeg => caps::CODEC_MJPEG,
            Self::Vp8 => caps::CODEC_VP8,
            Self::H264 => caps::CODEC_H264,
            Self::Vp9 => caps::CODEC_VP9,
            Self::H265 => caps::CODEC_H265,
        }
    }

    /// What is sent after each frame, as a message of its own, if anything has to be: the beginning of the next frame.
    /// Without it the parser of spice-gtk cannot know that the frame before has ended, and holds it back until the
    /// next one comes, which on a resting screen is never.
    pub fn next_unit(self) -> Option<&'static [u8]> {
        match self {
            // An access unit delimiter and an empty filler SEI (H.264 7.3.2.4 and D.1.3).
            Self::H264 => Some(&[0, 0, 0, 1, 0x09, 0xf0, 0, 0, 0, 1, 0x06, 0x03, 0x00, 0x80]),
            Self::Mjpeg | Self::Vp8 | Self::Vp9 | Self::H265 => None,
        }
    }

    /// The codec with that number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.code() == code)
    }
}

impl StreamData {
    /// Everything before the payload.
    pub(super) fn encode(&self, w: &mut Writer) {
        w.u32(self.stream_id);
        w.u32(self.multi_media_time);
        w.len32(self.data.len());
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let stream_id = r.u32()?;
        let multi_media_time = r.u32()?;
        let len = r.u32()?;
        Ok(Self { stream_id, multi_media_time, data: Payload::from(r.bytes32(len)?) })
    }
}

impl StreamActivateReport {
    pub(super) fn encode(&self, w: &mut Writer) {
        w.u32(self.stream_id);
        w.u32(self.unique_id);
        w.u32(self.max_window_size);
        w.u32(self.timeout_ms);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { stream_id: r.u32()?, unique_id: r.u32()?, max_window_size: r.u32()?, timeout_ms: r.u32()? })
    }
}
