//! Scanouts that local clients import as dmabufs.

use crate::wire::{Form, Reader, WireError, Writer, fields};

/// The most planes of a dmabuf, as in DRM.
const PLANES_MAX: usize = 4;

fields! {
    /// `SpiceMsgDisplayGlScanoutUnix`.
    ///
    /// The file descriptor is sent after the message, with one byte of its own; not at all when `fourcc` is 0, which
    /// takes the scanout away.
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
        pub bottom_up: bool as FlagY0Top,
    }
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

fields! {
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
}

/// The number of planes stands apart from them.
impl Form for GlScanout2 {
    fn write(scanout: &Self, w: &mut Writer) {
        w.u32(scanout.width);
        w.u32(scanout.height);
        w.u32(scanout.fourcc);
        FlagY0Top::write(&scanout.bottom_up, w);
        w.u8(u8::try_from(scanout.planes.len().min(PLANES_MAX)).unwrap_or(u8::MAX));
        w.u64(scanout.modifier);
        for (offset, stride) in scanout.planes.iter().take(PLANES_MAX) {
            w.u32(*offset);
            w.u32(*stride);
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (width, height, fourcc) = (r.u32()?, r.u32()?, r.u32()?);
        let bottom_up = FlagY0Top::read(r)?;
        let count = r.u8()?;
        if !(1..=PLANES_MAX).contains(&usize::from(count)) {
            return Err(r.invalid("number of planes", count));
        }
        let modifier = r.u64()?;
        let planes = (0..count).map(|_| Ok((r.u32()?, r.u32()?))).collect::<Result<_, WireError>>()?;
        Ok(Self { width, height, fourcc, bottom_up, modifier, planes })
    }
}

/// The flags of a scanout, of which there is one.
struct FlagY0Top;

impl FlagY0Top {
    const BIT: u32 = 1;
}

impl Form<bool> for FlagY0Top {
    fn write(on: &bool, w: &mut Writer) {
        w.u32(if *on { Self::BIT } else { 0 });
    }

    fn read(r: &mut Reader<'_>) -> Result<bool, WireError> {
        Ok(r.u32()? & Self::BIT != 0)
    }
}
