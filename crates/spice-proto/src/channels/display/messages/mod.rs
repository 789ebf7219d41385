//! Messages of display channels.

mod client;
mod draw;
mod gl;
mod stream;
mod surface;

pub use client::{FromClient, ImageCompression, Init, StreamReport};
pub use draw::{BitmapFormat, CopyBits, DRAW_COPY_LEN, DrawCopy, DrawFill, Image, ImageData};
pub use gl::{GlDraw, GlScanout, GlScanout2};
pub use stream::{StreamActivateReport, StreamCreate, StreamData, VideoCodec};
pub use surface::{Head, MonitorsConfig, SurfaceCreate, SurfaceFormat};

use crate::wire::messages;

/// No clip of a drawing or stream. We send no others, and refuse them.
const CLIP_NONE: u8 = 0;

messages! {
    /// From server to client. What a server may send but we never do (clips, caches, palettes) is refused.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum FromServer, "display message from server" in errors {
        /// `SPICE_MSG_DISPLAY_MARK`: the primary surface is ready to be shown.
        102 => Mark,
        /// `SPICE_MSG_DISPLAY_RESET`.
        103 => Reset,
        /// `SPICE_MSG_DISPLAY_COPY_BITS`.
        104 => CopyBits(CopyBits),
        /// `SPICE_MSG_DISPLAY_INVAL_ALL_PALETTES`: forget cached palettes.
        108 => InvalAllPalettes,
        /// `SPICE_MSG_DISPLAY_STREAM_CREATE`.
        122 => StreamCreate(StreamCreate),
        /// `SPICE_MSG_DISPLAY_STREAM_DATA`.
        123 => StreamData(StreamData),
        /// `SPICE_MSG_DISPLAY_STREAM_DESTROY`.
        125 => StreamDestroy {
            /// Which stream.
            stream_id: u32,
        },
        /// `SPICE_MSG_DISPLAY_DRAW_FILL`.
        302 => DrawFill(DrawFill),
        /// `SPICE_MSG_DISPLAY_DRAW_COPY`.
        304 => DrawCopy(DrawCopy),
        /// `SPICE_MSG_DISPLAY_SURFACE_CREATE`.
        314 => SurfaceCreate(SurfaceCreate),
        /// `SPICE_MSG_DISPLAY_SURFACE_DESTROY`.
        315 => SurfaceDestroy {
            /// Which surface.
            surface_id: u32,
        },
        /// `SPICE_MSG_DISPLAY_MONITORS_CONFIG`; only to clients with that capability.
        317 => MonitorsConfig(MonitorsConfig),
        /// `SPICE_MSG_DISPLAY_STREAM_ACTIVATE_REPORT`; only to clients with the capability for reports.
        319 => StreamActivateReport(StreamActivateReport),
        /// `SPICE_MSG_DISPLAY_GL_SCANOUT_UNIX`; the file descriptor follows the message.
        320 => GlScanout(GlScanout),
        /// `SPICE_MSG_DISPLAY_GL_DRAW`.
        321 => GlDraw(GlDraw),
        /// `SPICE_MSG_DISPLAY_GL_SCANOUT2_UNIX`; only to clients with that capability.
        323 => GlScanout2(GlScanout2),
    }
}

#[cfg(test)]
mod tests;
