//! What clients send on a display channel.

use super::VideoCodec;
use crate::wire::{Message, Reader, WireError, Writer};

mod id {
    pub(super) const INIT: u16 = 101;
    pub(super) const STREAM_REPORT: u16 = 102;
    pub(super) const PREFERRED_COMPRESSION: u16 = 103;
    pub(super) const GL_DRAW_DONE: u16 = 104;
    pub(super) const PREFERRED_VIDEO_CODEC_TYPE: u16 = 105;
}

/// From client to server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromClient {
    /// `SPICE_MSGC_DISPLAY_INIT`: nothing may be drawn before it.
    Init(Init),
    /// `SPICE_MSGC_DISPLAY_STREAM_REPORT`.
    StreamReport(StreamReport),
    /// `SPICE_MSGC_DISPLAY_PREFERRED_COMPRESSION`.
    PreferredCompression(ImageCompression),
    /// `SPICE_MSGC_DISPLAY_GL_DRAW_DONE`: the last `GL_DRAW` has been shown.
    GlDrawDone,
    /// `SPICE_MSGC_DISPLAY_PREFERRED_VIDEO_CODEC_TYPE`, best first; codecs we do not know are left out.
    PreferredVideoCodec(Vec<VideoCodec>),
    /// Any other type.
    Unknown {
        /// The type.
        id: u16,
    },
}

/// `SpiceMsgcDisplayInit`: the client's caches. We use none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Init {
    /// Which picture cache.
    pub pixmap_cache_id: u8,
    /// Its size in pixels.
    pub pixmap_cache_size: i64,
    /// Which GLZ dictionary.
    pub glz_dictionary_id: u8,
    /// Its size in pixels.
    pub glz_dictionary_window: i32,
}

/// `SpiceMsgcDisplayStreamReport`: how a stream plays. Hints from a stranger: clamp before use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamReport {
    /// Which stream.
    pub stream_id: u32,
    /// From the activation; a report with another is stale.
    pub unique_id: u32,
    /// Time of the first frame of the window.
    pub start_frame_mm_time: u32,
    /// Time of the last frame of the window.
    pub end_frame_mm_time: u32,
    /// Frames of the window.
    pub num_frames: u32,
    /// How many of them were dropped.
    pub num_drops: u32,
    /// Milliseconds by which the last frame came early; negative when late.
    pub last_frame_delay: i32,
    /// Milliseconds of sound not played yet, or `u32::MAX` without sound.
    pub audio_delay: u32,
}

/// `SPICE_IMAGE_COMPRESSION_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageCompression {
    /// None.
    Off,
    /// GLZ or QUIC, by content.
    AutoGlz,
    /// LZ or QUIC, by content.
    AutoLz,
    /// QUIC.
    Quic,
    /// GLZ.
    Glz,
    /// LZ.
    Lz,
    /// LZ4.
    Lz4,
    /// A number without a meaning to us.
    Other(u8),
}

impl FromClient {
    /// The message to send. `Unknown` becomes an empty message of its type.
    pub fn encode(&self) -> Message {
        let mut w = Writer::new();
        let id = match self {
            Self::Init(init) => {
                init.encode(&mut w);
                id::INIT
            }
            Self::StreamReport(report) => {
                report.encode(&mut w);
                id::STREAM_REPORT
            }
            Self::PreferredCompression(compression) => {
                w.u8(compression.code());
                id::PREFERRED_COMPRESSION
            }
            Self::GlDrawDone => id::GL_DRAW_DONE,
            Self::PreferredVideoCodec(codecs) => {
                w.u8(u8::try_from(codecs.len()).unwrap_or(u8::MAX));
                for codec in codecs.iter().take(usize::from(u8::MAX)) {
                    w.u8(codec.code());
                }
                id::PREFERRED_VIDEO_CODEC_TYPE
            }
            Self::Unknown { id } => *id,
        };
        Message::new(id, w)
    }

    /// Reads a message.
    pub fn decode(id: u16, body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body, "display message from client");
        let message = match id {
            id::INIT => Self::Init(Init::decode(&mut r)?),
            id::STREAM_REPORT => Self::StreamReport(StreamReport::decode(&mut r)?),
            id::PREFERRED_COMPRESSION => Self::PreferredCompression(ImageCompression::from_code(r.u8()?)),
            id::GL_DRAW_DONE => Self::GlDrawDone,
            id::PREFERRED_VIDEO_CODEC_TYPE => {
                let count = r.u8()?;
                let codes = r.bytes(usize::from(count))?;
                let codecs = codes.iter().filter_map(|code| VideoCodec::from_code(*code)).collect();
                Self::PreferredVideoCodec(codecs)
            }
            _ => return Ok(Self::Unknown { id }),
        };
        r.finish()?;
        Ok(message)
    }
}

impl StreamReport {
    /// Whether it says that the client cannot decode the stream.
    pub fn is_unsupported(&self) -> bool {
        self.num_frames == 0 && self.num_drops == u32::MAX
    }

    fn encode(&self, w: &mut Writer) {
        w.u32(self.stream_id);
        w.u32(self.unique_id);
        w.u32(self.start_frame_mm_time);
        w.u32(self.end_frame_mm_time);
        w.u32(self.num_frames);
        w.u32(self.num_drops);
        w.i32(self.last_frame_delay);
        w.u32(self.audio_delay);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            stream_id: r.u32()?,
            unique_id: r.u32()?,
            start_frame_mm_time: r.u32()?,
            end_frame_mm_time: r.u32()?,
            num_frames: r.u32()?,
            num_drops: r.u32()?,
            last_frame_delay: r.i32()?,
            audio_delay: r.u32()?,
        })
    }
}

impl Init {
    fn encode(self, w: &mut Writer) {
        w.u8(self.pixmap_cache_id);
        w.i64(self.pixmap_cache_size);
        w.u8(self.glz_dictionary_id);
        w.i32(self.glz_dictionary_window);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            pixmap_cache_id: r.u8()?,
            pixmap_cache_size: r.i64()?,
            glz_dictionary_id: r.u8()?,
            glz_dictionary_window: r.i32()?,
        })
    }
}

impl ImageCompression {
    const KNOWN: [Self; 7] =
        [Self::Off, Self::AutoGlz, Self::AutoLz, Self::Quic, Self::Glz, Self::Lz, Self::Lz4];

    fn code(self) -> u8 {
        match self {
            Self::Off => 1,
            Self::AutoGlz => 2,
            Self::AutoLz => 3,
            Self::Quic => 4,
            Self::Glz => 5,
            Self::Lz => 6,
            Self::Lz4 => 7,
            Self::Other(code) => code,
        }
    }

    fn from_code(code: u8) -> Self {
        Self::KNOWN.into_iter().find(|known| known.code() == code).unwrap_or(Self::Other(code))
    }
}
