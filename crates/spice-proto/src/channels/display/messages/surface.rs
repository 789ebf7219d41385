//! Surfaces and the heads that show them.

use crate::wire::{Reader, WireError, Writer};

/// Most heads of one display channel that a client takes: spice-gtk's limit.
const HEADS_MAX: u16 = 256;

const FLAG_PRIMARY: u32 = 1;
const FLAG_STREAMING_MODE: u32 = 2;

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

/// `SPICE_SURFACE_FMT_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SurfaceFormat {
    /// 32 bits: B, G, R, unused.
    Xrgb,
    /// 32 bits: B, G, R, A.
    Argb,
}

/// `SpiceMsgDisplayMonitorsConfig`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitorsConfig {
    /// Most heads there may ever be.
    pub max_allowed: u16,
    /// The heads; with none the client ignores the message.
    pub heads: Vec<Head>,
}

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
}

impl SurfaceCreate {
    pub(super) fn encode(&self, w: &mut Writer) {
        let flag = |on: bool, bit: u32| if on { bit } else { 0 };
        w.u32(self.surface_id);
        w.u32(self.width);
        w.u32(self.height);
        w.u32(self.format.code());
        w.u32(flag(self.primary, FLAG_PRIMARY) | flag(self.streaming, FLAG_STREAMING_MODE));
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let surface_id = r.u32()?;
        let width = r.u32()?;
        let height = r.u32()?;
        let format = r.u32()?;
        let format = SurfaceFormat::from_code(format).ok_or_else(|| r.invalid("surface format", format))?;
        let flags = r.u32()?;
        Ok(Self {
            surface_id,
            width,
            height,
            format,
            primary: flags & FLAG_PRIMARY != 0,
            streaming: flags & FLAG_STREAMING_MODE != 0,
        })
    }
}

impl SurfaceFormat {
    fn code(self) -> u32 {
        match self {
            Self::Xrgb => 32,
            Self::Argb => 96,
        }
    }

    fn from_code(code: u32) -> Option<Self> {
        [Self::Xrgb, Self::Argb].into_iter().find(|format| format.code() == code)
    }
}

impl MonitorsConfig {
    pub(super) fn encode(&self, w: &mut Writer) {
        w.u16(u16::try_from(self.heads.len()).unwrap_or(u16::MAX));
        w.u16(self.max_allowed);
        for head in self.heads.iter().take(usize::from(u16::MAX)) {
            head.encode(w);
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let count = r.u16()?;
        r.at_most("count", u32::from(count), u32::from(HEADS_MAX))?;
        let max_allowed = r.u16()?;
        let heads = (0..count).map(|_| Head::decode(r)).collect::<Result<_, _>>()?;
        Ok(Self { max_allowed, heads })
    }
}

impl Head {
    fn encode(self, w: &mut Writer) {
        w.u32(self.monitor_id);
        w.u32(self.surface_id);
        w.u32(self.width);
        w.u32(self.height);
        w.u32(self.x);
        w.u32(self.y);
        w.u32(0); // flags: none exist
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let head = Self {
            monitor_id: r.u32()?,
            surface_id: r.u32()?,
            width: r.u32()?,
            height: r.u32()?,
            x: r.u32()?,
            y: r.u32()?,
        };
        r.u32()?; // flags
        Ok(head)
    }
}
