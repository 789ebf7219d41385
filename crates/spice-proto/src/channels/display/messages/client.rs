//! What clients send on a display channel.

use super::VideoCodec;
use crate::wire::{Form, Reader, WireError, Writer, fields, messages, numbers};

messages! {
    /// From client to server.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum FromClient, "display message from client" in errors {
        /// `SPICE_MSGC_DISPLAY_INIT`: nothing may be drawn before it.
        101 => Init(Init),
        /// `SPICE_MSGC_DISPLAY_STREAM_REPORT`.
        102 => StreamReport(StreamReport),
        /// `SPICE_MSGC_DISPLAY_PREFERRED_COMPRESSION`.
        103 => PreferredCompression(ImageCompression),
        /// `SPICE_MSGC_DISPLAY_GL_DRAW_DONE`: the last `GL_DRAW` has been shown.
        104 => GlDrawDone,
        /// `SPICE_MSGC_DISPLAY_PREFERRED_VIDEO_CODEC_TYPE`, best first; codecs we do not know are left out.
        105 => PreferredVideoCodec(Vec<VideoCodec> as CountedCodecs),
    }
}

fields! {
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
}

fields! {
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
}

numbers! {
    /// `SPICE_IMAGE_COMPRESSION_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum ImageCompression: u8 or Other {
        /// None.
        Off = 1,
        /// GLZ or QUIC, by content.
        AutoGlz = 2,
        /// LZ or QUIC, by content.
        AutoLz = 3,
        /// QUIC.
        Quic = 4,
        /// GLZ.
        Glz = 5,
        /// LZ.
        Lz = 6,
        /// LZ4.
        Lz4 = 7,
    }
}

impl StreamReport {
    /// Whether it says that the client cannot decode the stream.
    pub fn is_unsupported(&self) -> bool {
        self.num_frames == 0 && self.num_drops == u32::MAX
    }
}

/// How many codecs, and their numbers.
struct CountedCodecs;

impl Form<Vec<VideoCodec>> for CountedCodecs {
    fn write(codecs: &Vec<VideoCodec>, w: &mut Writer) {
        w.u8(u8::try_from(codecs.len()).unwrap_or(u8::MAX));
        for codec in codecs.iter().take(usize::from(u8::MAX)) {
            w.u8(codec.code());
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Vec<VideoCodec>, WireError> {
        let count = r.u8()?;
        let codes = r.bytes(usize::from(count))?;
        Ok(codes.iter().filter_map(|code| VideoCodec::from_code(*code)).collect())
    }
}
