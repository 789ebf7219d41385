//! Scanouts that local clients import as dmabufs.

use crate::wire::{Reader, WireError, Writer};

const FLAG_Y0_TOP: u32 = 1;

/// The most planes of a dmabuf, as in DRM.
const PLANES_MAX: usize = 4;

/// `SpiceMsgDisplayGlScanoutUnix`.
///
/// The file descriptor is sent after the message, with one byte of its own; not at all when `fourcc` is 0, which takes
/// the scanout away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GlScanout {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bytes from one row to the next.
    pub stride: u32,
    /// `DRM_FORMAT_*`, or 0 for no scanout.
    pub fourcc: u32,
    /// `Y0TOP`: despite its name, the first row in memory is the bottom one.
    pub bottom_up: bool,
}

/// `SpiceMsgDisplayGlScanout2Unix`: of several planes, and with a modifier.
///
/// The file descriptors of all planes are sent after the message, together with one byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlScanout2 {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `DRM_FORMAT_*`.
    pub fourcc: u32,
    /// `Y0TOP`: despite its name, the first row in memory is the bottom one.
    pub bottom_up: bool,
    /// `DRM_FORMAT_MOD_*`.
    pub modifier: u64,
    /// Of each plane, the bytes in front of it and from one row to the next. One to four.
    pub planes: Vec<(u32, u32)>,
}

/// `SpiceMsgDisplayGlDraw`: this part of the scanout changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GlDraw {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

impl GlScanout {
    pub(super) fn encode(&self, w: &mut Writer) {
        w.u32(self.width);
        w.u32(self.height);
        w.u32(self.stride);
        w.u32(self.fourcc);
        w.u32(if self.bottom_up { FLAG_Y0_TOP } else { 0 });
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            width: r.u32()?,
            height: r.u32()?,
            stride: r.u32()?,
            fourcc: r.u32()?,
            bottom_up: r.u32()? & FLAG_Y0_TOP != 0,
        })
    }
}

impl GlScanout2 {
    pub(super) fn encode(&self, w: &mut Writer) {
        w.u32(self.width);
        w.u32(self.height);
        w.u32(self.fourcc);
        w.u32(if self.bottom_up { FLAG_Y0_TOP } else { 0 });
        w.u8(u8::try_from(self.planes.len().min(PLANES_MAX)).unwrap_or(u8::MAX));
        w.u64(self.modifier);
        for (offset, stride) in self.planes.iter().take(PLANES_MAX) {
            w.u32(*offset);
            w.u32(*stride);
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (width, height, fourcc) = (r.u32()?, r.u32()?, r.u32()?);
        let bottom_up = r.u32()? & FLAG_Y0_TOP != 0;
        let count = r.u8()?;
        if !(1..=PLANES_MAX).contains(&usize::from(count)) {
            return Err(r.invalid("number of planes", count));
        }
        let modifier = r.u64()?;
        let planes = (0..count).map(|_| Ok((r.u32()?, r.u32()?))).collect::<Result<_, WireError>>()?;
        Ok(Self { width, height, fourcc, bottom_up, modifier, planes })
    }
}

impl GlDraw {
    pub(super) fn encode(&self, w: &mut Writer) {
        w.u32(self.x);
        w.u32(self.y);
        w.u32(self.width);
        w.u32(self.height);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { x: r.u32()?, y: r.u32()?, width: r.u32()?, height: r.u32()? })
    }
}
