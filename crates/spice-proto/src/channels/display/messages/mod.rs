//! Messages of display channels.

mod client;
mod draw;
mod gl;
mod stream;
mod surface;

pub use client::{FromClient, ImageCompression, Init, StreamReport};
pub use draw::{BitmapFormat, DRAW_COPY_LEN, DrawCopy, DrawFill, Image, ImageData};
pub use gl::{GlDraw, GlScanout, GlScanout2};
pub use stream::{StreamActivateReport, StreamCreate, StreamData, VideoCodec};
pub use surface::{Head, MonitorsConfig, SurfaceCreate, SurfaceFormat};

use crate::wire::{Message, Reader, WireError, Writer};

mod id {
    pub(super) const MARK: u16 = 102;
    pub(super) const RESET: u16 = 103;
    pub(super) const INVAL_ALL_PALETTES: u16 = 108;
    pub(super) const STREAM_CREATE: u16 = 122;
    pub(super) const STREAM_DATA: u16 = 123;
    pub(super) const STREAM_DESTROY: u16 = 125;
    pub(super) const DRAW_FILL: u16 = 302;
    pub(super) const DRAW_COPY: u16 = 304;
    pub(super) const SURFACE_CREATE: u16 = 314;
    pub(super) const SURFACE_DESTROY: u16 = 315;
    pub(super) const MONITORS_CONFIG: u16 = 317;
    pub(super) const STREAM_ACTIVATE_REPORT: u16 = 319;
    pub(super) const GL_SCANOUT_UNIX: u16 = 320;
    pub(super) const GL_DRAW: u16 = 321;
    pub(super) const GL_SCANOUT2_UNIX: u16 = 323;
}

/// From server to client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromServer {
    /// `SPICE_MSG_DISPLAY_MARK`: the primary surface is ready to be shown.
    Mark,
    /// `SPICE_MSG_DISPLAY_RESET`.
    Reset,
    /// `SPICE_MSG_DISPLAY_INVAL_ALL_PALETTES`: forget cached palettes.
    InvalAllPalettes,
    /// `SPICE_MSG_DISPLAY_SURFACE_CREATE`.
    SurfaceCreate(SurfaceCreate),
    /// `SPICE_MSG_DISPLAY_SURFACE_DESTROY`.
    SurfaceDestroy {
        /// Which surface.
        surface_id: u32,
    },
    /// `SPICE_MSG_DISPLAY_MONITORS_CONFIG`; only to clients with that capability.
    MonitorsConfig(MonitorsConfig),
    /// `SPICE_MSG_DISPLAY_DRAW_FILL`.
    DrawFill(DrawFill),
    /// `SPICE_MSG_DISPLAY_DRAW_COPY`.
    DrawCopy(DrawCopy),
    /// `SPICE_MSG_DISPLAY_STREAM_CREATE`.
    StreamCreate(StreamCreate),
    /// `SPICE_MSG_DISPLAY_STREAM_DATA`.
    StreamData(StreamData),
    /// `SPICE_MSG_DISPLAY_STREAM_DESTROY`.
    StreamDestroy {
        /// Which stream.
        stream_id: u32,
    },
    /// `SPICE_MSG_DISPLAY_STREAM_ACTIVATE_REPORT`; only to clients with the capability for reports.
    StreamActivateReport(StreamActivateReport),
    /// `SPICE_MSG_DISPLAY_GL_SCANOUT_UNIX`; the file descriptor follows the message.
    GlScanout(GlScanout),
    /// `SPICE_MSG_DISPLAY_GL_SCANOUT2_UNIX`; only to clients with that capability.
    GlScanout2(GlScanout2),
    /// `SPICE_MSG_DISPLAY_GL_DRAW`.
    GlDraw(GlDraw),
    /// Any other type.
    Unknown {
        /// The type.
        id: u16,
    },
}

impl FromServer {
    /// The message to send. Pixels and video are its payload. `Unknown` becomes an empty message of its type.
    pub fn encode(&self) -> Message {
        let mut w = Writer::new();
        let id = match self {
            Self::Mark => id::MARK,
            Self::Reset => id::RESET,
            Self::InvalAllPalettes => id::INVAL_ALL_PALETTES,
            Self::SurfaceCreate(surface) => {
                surface.encode(&mut w);
                id::SURFACE_CREATE
            }
            Self::SurfaceDestroy { surface_id } => {
                w.u32(*surface_id);
                id::SURFACE_DESTROY
            }
            Self::MonitorsConfig(config) => {
                config.encode(&mut w);
                id::MONITORS_CONFIG
            }
            Self::DrawFill(fill) => {
                fill.encode(&mut w);
                id::DRAW_FILL
            }
            Self::DrawCopy(copy) => {
                copy.encode(&mut w);
                w.payload(copy.image.data.payload().clone());
                id::DRAW_COPY
            }
            Self::StreamCreate(stream) => {
                stream.encode(&mut w);
                id::STREAM_CREATE
            }
            Self::StreamData(data) => {
                data.encode(&mut w);
                w.payload(data.data.clone());
                id::STREAM_DATA
            }
            Self::StreamDestroy { stream_id } => {
                w.u32(*stream_id);
                id::STREAM_DESTROY
            }
            Self::StreamActivateReport(activate) => {
                activate.encode(&mut w);
                id::STREAM_ACTIVATE_REPORT
            }
            Self::GlScanout(scanout) => {
                scanout.encode(&mut w);
                id::GL_SCANOUT_UNIX
            }
            Self::GlScanout2(scanout) => {
                scanout.encode(&mut w);
                id::GL_SCANOUT2_UNIX
            }
            Self::GlDraw(draw) => {
                draw.encode(&mut w);
                id::GL_DRAW
            }
            Self::Unknown { id } => *id,
        };
        Message::new(id, w)
    }

    /// Reads a message. What a server may send but we never do (clips, caches, palettes) is refused.
    pub fn decode(id: u16, body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body, "display message from server");
        let message = match id {
            id::MARK => Self::Mark,
            id::RESET => Self::Reset,
            id::INVAL_ALL_PALETTES => Self::InvalAllPalettes,
            id::SURFACE_CREATE => Self::SurfaceCreate(SurfaceCreate::decode(&mut r)?),
            id::SURFACE_DESTROY => Self::SurfaceDestroy { surface_id: r.u32()? },
            id::MONITORS_CONFIG => Self::MonitorsConfig(MonitorsConfig::decode(&mut r)?),
            id::DRAW_FILL => Self::DrawFill(DrawFill::decode(&mut r)?),
            id::DRAW_COPY => Self::DrawCopy(DrawCopy::decode(&mut r)?),
            id::STREAM_CREATE => Self::StreamCreate(StreamCreate::decode(&mut r)?),
            id::STREAM_DATA => Self::StreamData(StreamData::decode(&mut r)?),
            id::STREAM_DESTROY => Self::StreamDestroy { stream_id: r.u32()? },
            id::STREAM_ACTIVATE_REPORT => Self::StreamActivateReport(StreamActivateReport::decode(&mut r)?),
            id::GL_SCANOUT_UNIX => Self::GlScanout(GlScanout::decode(&mut r)?),
            id::GL_SCANOUT2_UNIX => Self::GlScanout2(GlScanout2::decode(&mut r)?),
            id::GL_DRAW => Self::GlDraw(GlDraw::decode(&mut r)?),
            _ => return Ok(Self::Unknown { id }),
        };
        r.finish()?;
        Ok(message)
    }
}

/// The clip of a drawing or stream: none. We send no others.
fn encode_no_clip(w: &mut Writer) {
    w.u8(0);
}

fn decode_no_clip(r: &mut Reader<'_>) -> Result<(), WireError> {
    match r.u8()? {
        0 => Ok(()),
        kind => Err(r.invalid("clip type", kind)),
    }
}

#[cfg(test)]
mod tests;
