//! Surfaces and the heads that show them.

use crate::wire::{Form, Reader, WireError, Writer, fields, numbers};

/// Most heads of one display channel that a client takes: spice-gtk's limit.
const HEADS_MAX: u16 = 256;

/// `SpiceMsgSurfaceCreate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SurfaceCreate {
    /// The primary surface has id 0.
    pub surface_id: u32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Format of its pixels.
    pub format: SurfaceFormat,
    /// Whether it is the screen.
    pub primary: bool,
    /// Whether a video stream will cover it; only for clients with `MULTI_CODEC`.
    pub streaming: bool,
}

numbers! {
    /// `SPICE_SURFACE_FMT_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum SurfaceFormat: u32, "surface format" in errors {
        /// 32 bits: B, G, R, unused.
        Xrgb = 32,
        /// 32 bits: B, G, R, A.
        Argb = 96,
    }
}

/// `SpiceMsgDisplayMonitorsConfig`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitorsConfig {
    /// Most heads there may ever be.
    pub max_allowed: u16,
    /// The heads; with none the client ignores the message.
    pub heads: Vec<Head>,
}

fields! {
    /// `SpiceHead`: a part of a surface that one monitor shows.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Head {
        /// Which monitor of this channel.
        pub monitor_id: u32,
        /// Which surface.
        pub surface_id: u32,
        /// Width in pixels.
        pub width: u32,
        /// Height in pixels.
        pub height: u32,
        /// First column.
        pub x: u32,
        /// First row.
        pub y: u32,
        _: u32 = 0, // flags: none exist
    }
}

/// Two flags share a word.
impl Form for SurfaceCreate {
    fn write(surface: &Self, w: &mut Writer) {
        let flag = |on: bool, bit: u32| if on { bit } else { 0 };
        w.u32(surface.surface_id);
        w.u32(surface.width);
        w.u32(surface.height);
        SurfaceFormat::write(&surface.format, w);
        w.u32(flag(surface.primary, Self::FLAG_PRIMARY) | flag(surface.streaming, Self::FLAG_STREAMING_MODE));
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (surface_id, width, height) = (r.u32()?, r.u32()?, r.u32()?);
        let format = SurfaceFormat::read(r)?;
        let flags = r.u32()?;
        let has = |bit: u32| flags & bit != 0;
        let (primary, streaming) = (has(Self::FLAG_PRIMARY), has(Self::FLAG_STREAMING_MODE));
        Ok(Self { surface_id, width, height, format, primary, streaming })
    }
}

impl SurfaceCreate {
    const FLAG_PRIMARY: u32 = 1;
    const FLAG_STREAMING_MODE: u32 = 2;
}

/// The number of heads stands apart from them.
impl Form for MonitorsConfig {
    fn write(config: &Self, w: &mut Writer) {
        w.u16(u16::try_from(config.heads.len()).unwrap_or(u16::MAX));
        w.u16(config.max_allowed);
        for head in config.heads.iter().take(usize::from(u16::MAX)) {
            Head::write(head, w);
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let count = r.u16()?;
        r.at_most("count", u32::from(count), u32::from(HEADS_MAX))?;
        let max_allowed = r.u16()?;
        let heads = (0..count).map(|_| Head::read(r)).collect::<Result<_, _>>()?;
        Ok(Self { max_allowed, heads })
    }
}
