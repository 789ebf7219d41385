//! Video streams on a surface.

use super::super::caps;
use super::CLIP_NONE;
use crate::wire::{Cap, Form, Payload, Reader, Rect, WireError, Writer, fields, numbers};

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

numbers! {
    /// `SPICE_VIDEO_CODEC_TYPE_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum VideoCodec: u8, "codec" in errors {
        /// Motion JPEG.
        Mjpeg = 1,
        /// VP8.
        Vp8 = 2,
        /// H.264.
        H264 = 3,
        /// VP9.
        Vp9 = 4,
        /// H.265.
        H265 = 5,
    }
}

fields! {
    /// `SpiceMsgDisplayStreamData`: one encoded frame.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct StreamData {
        /// Which stream.
        pub stream_id: u32,
        /// When to show it, in milliseconds of the server's clock. Never 0, which upsets spice-gtk.
        pub multi_media_time: u32,
        /// The frame.
        pub data: Payload as Counted,
    }
}

fields! {
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
}

impl VideoCodec {
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
            // The same of H.265 (7.3.2.5 and 7.3.2.4).
            Self::H265 => Some(&[0, 0, 0, 1, 0x46, 0x01, 0x50, 0, 0, 0, 1, 0x4e, 0x01, 0x03, 0x00, 0x80]),
            Self::Mjpeg | Self::Vp8 | Self::Vp9 => None,
        }
    }
}

/// The size is there twice: of the encoded video, and of the source.
impl Form for StreamCreate {
    fn write(create: &Self, w: &mut Writer) {
        w.u32(create.surface_id);
        w.u32(create.stream_id);
        w.u8(FLAG_TOP_DOWN);
        VideoCodec::write(&create.codec, w);
        w.u64(0); // stamp
        w.u32(create.width);
        w.u32(create.height);
        w.u32(create.width); // source width
        w.u32(create.height); // source height
        Rect::write(&create.dest, w);
        w.u8(CLIP_NONE);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let surface_id = r.u32()?;
        let stream_id = r.u32()?;
        if stream_id >= STREAM_IDS {
            return Err(r.invalid("stream id", stream_id));
        }
        r.constant("stream flags", FLAG_TOP_DOWN)?;
        let codec = VideoCodec::read(r)?;
        r.u64()?; // stamp
        let width = r.u32()?;
        let height = r.u32()?;
        if (r.u32()?, r.u32()?) != (width, height) {
            return Err(r.invalid("source size other than of width", width));
        }
        let dest = Rect::read(r)?;
        r.constant("clip type", CLIP_NONE)?;
        Ok(Self { surface_id, stream_id, codec, width, height, dest })
    }
}

/// How many bytes, and the bytes, which end the body.
struct Counted;

impl Form<Payload> for Counted {
    fn write(data: &Payload, w: &mut Writer) {
        w.len32(data.len());
        w.payload(data.clone());
    }

    fn read(r: &mut Reader<'_>) -> Result<Payload, WireError> {
        let len = r.u32()?;
        Ok(Payload::from(r.bytes32(len)?))
    }
}
