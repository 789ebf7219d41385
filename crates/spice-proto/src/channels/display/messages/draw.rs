//! Drawing: filling with a colour and copying an image.

use super::{decode_no_clip, encode_no_clip};
use crate::wire::{Form, Payload, Point, Reader, Rect, WireError, Writer};

/// Bytes of a `DRAW_COPY` before its image, which is therefore also the image's offset in the body.
pub const DRAW_COPY_LEN: u32 = 57;

const ROP_PUT: u16 = 8;
const BRUSH_SOLID: u8 = 1;
const SCALE_INTERPOLATE: u8 = 0;
const IMAGE_BITMAP: u8 = 0;
const IMAGE_LZ4: u8 = 109;
const BITMAP_TOP_DOWN: u8 = 4;
const LZ4_TOP_DOWN: u8 = 1;
/// Orientation, format and block size in front of the one LZ4 block.
const LZ4_PREFIX_LEN: usize = 6;

/// `SpiceMsgDisplayDrawFill` with a solid brush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrawFill {
    /// Which surface.
    pub surface_id: u32,
    /// What to fill.
    pub dest: Rect,
    /// The colour, `0x00RRGGBB`.
    pub color: u32,
}

/// `SpiceMsgDisplayDrawCopy`: puts an image on a surface as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrawCopy {
    /// Which surface.
    pub surface_id: u32,
    /// Where to.
    pub dest: Rect,
    /// Which part of the image; as large as `dest`, for nothing is scaled.
    pub src: Rect,
    /// The image.
    pub image: Image,
}

/// `SpiceImage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// For caching, which we do not ask for; any number does.
    pub id: u64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The pixels, rows from the top.
    pub data: ImageData,
}

/// The pixels of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageData {
    /// `SPICE_IMAGE_TYPE_BITMAP`: as they are.
    Bitmap {
        /// Format of a pixel.
        format: BitmapFormat,
        /// Bytes from one row to the next.
        stride: u32,
        /// `stride * height` bytes.
        pixels: Payload,
    },
    /// `SPICE_IMAGE_TYPE_LZ4`; only for clients with that capability.
    Lz4 {
        /// Format of a pixel.
        format: BitmapFormat,
        /// One raw LZ4 block of all rows without gaps.
        block: Payload,
    },
}

/// `SPICE_BITMAP_FMT_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BitmapFormat {
    /// 32 bits: B, G, R, unused.
    Xrgb,
    /// 32 bits: B, G, R, A.
    Argb,
}

impl DrawFill {
    pub(super) fn encode(&self, w: &mut Writer) {
        w.u32(self.surface_id);
        Rect::write(&self.dest, w);
        encode_no_clip(w);
        w.u8(BRUSH_SOLID);
        w.u32(self.color);
        w.u16(ROP_PUT);
        encode_no_mask(w);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let surface_id = r.u32()?;
        let dest = Rect::read(r)?;
        decode_no_clip(r)?;
        expect(r, "brush type", BRUSH_SOLID)?;
        let color = r.u32()?;
        decode_rop_put(r)?;
        decode_no_mask(r)?;
        Ok(Self { surface_id, dest, color })
    }
}

impl DrawCopy {
    /// Everything before the payload.
    pub(super) fn encode(&self, w: &mut Writer) {
        w.u32(self.surface_id);
        Rect::write(&self.dest, w);
        encode_no_clip(w);
        w.u32(DRAW_COPY_LEN); // where the image is
        Rect::write(&self.src, w);
        w.u16(ROP_PUT);
        w.u8(SCALE_INTERPOLATE);
        encode_no_mask(w);
        self.image.encode(w);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let surface_id = r.u32()?;
        let dest = Rect::read(r)?;
        decode_no_clip(r)?;
        let offset = r.u32()?;
        if offset != DRAW_COPY_LEN {
            return Err(r.invalid("src_bitmap", offset));
        }
        let src = Rect::read(r)?;
        decode_rop_put(r)?;
        r.u8()?; // scale mode: nothing is scaled
        decode_no_mask(r)?;
        Ok(Self { surface_id, dest, src, image: Image::decode(r)? })
    }
}

impl Image {
    fn encode(&self, w: &mut Writer) {
        w.u64(self.id);
        w.u8(self.data.image_type());
        w.u8(0); // flags: no caching
        w.u32(self.width);
        w.u32(self.height);
        match &self.data {
            ImageData::Bitmap { format, stride, .. } => {
                w.u8(format.code());
                w.u8(BITMAP_TOP_DOWN);
                w.u32(self.width);
                w.u32(self.height);
                w.u32(*stride);
                w.u32(0); // no palette
            }
            ImageData::Lz4 { format, block } => {
                w.len32(block.len().saturating_add(LZ4_PREFIX_LEN));
                w.u8(LZ4_TOP_DOWN);
                w.u8(format.code());
                let size = u32::try_from(block.len()).unwrap_or(u32::MAX);
                w.bytes(&size.to_be_bytes());
            }
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let id = r.u64()?;
        let image_type = r.u8()?;
        r.u8()?; // flags
        let width = r.u32()?;
        let height = r.u32()?;
        let data = match image_type {
            IMAGE_BITMAP => {
                let format = BitmapFormat::decode(r)?;
                expect(r, "bitmap flags", BITMAP_TOP_DOWN)?;
                if (r.u32()?, r.u32()?) != (width, height) {
                    return Err(r.invalid("bitmap size other than of width", width));
                }
                let stride = r.u32()?;
                let palette = r.u32()?;
                if palette != 0 {
                    return Err(r.invalid("palette", palette));
                }
                ImageData::Bitmap { format, stride, pixels: Payload::from(r.rest()) }
            }
            IMAGE_LZ4 => {
                r.u32()?; // size of the rest
                expect(r, "lz4 orientation", LZ4_TOP_DOWN)?;
                let format = BitmapFormat::decode(r)?;
                let size = u32::from_be_bytes(r.array()?);
                ImageData::Lz4 { format, block: Payload::from(r.bytes32(size)?) }
            }
            _ => return Err(r.invalid("image type", image_type)),
        };
        Ok(Self { id, width, height, data })
    }
}

impl ImageData {
    /// The bytes that end the message.
    pub fn payload(&self) -> &Payload {
        match self {
            Self::Bitmap { pixels, .. } => pixels,
            Self::Lz4 { block, .. } => block,
        }
    }

    fn image_type(&self) -> u8 {
        match self {
            Self::Bitmap { .. } => IMAGE_BITMAP,
            Self::Lz4 { .. } => IMAGE_LZ4,
        }
    }
}

impl BitmapFormat {
    fn code(self) -> u8 {
        match self {
            Self::Xrgb => 8,
            Self::Argb => 9,
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let code = r.u8()?;
        let formats = [Self::Xrgb, Self::Argb];
        formats
            .into_iter()
            .find(|format| format.code() == code)
            .ok_or_else(|| r.invalid("bitmap format", code))
    }
}

/// `SpiceQMask` without a bitmap.
fn encode_no_mask(w: &mut Writer) {
    w.u8(0);
    Point::write(&Point::default(), w);
    w.u32(0);
}

fn decode_no_mask(r: &mut Reader<'_>) -> Result<(), WireError> {
    r.u8()?;
    Point::read(r)?;
    match r.u32()? {
        0 => Ok(()),
        bitmap => Err(r.invalid("mask", bitmap)),
    }
}

fn decode_rop_put(r: &mut Reader<'_>) -> Result<(), WireError> {
    match r.u16()? {
        ROP_PUT => Ok(()),
        rop => Err(r.invalid("rop", rop)),
    }
}

fn expect(r: &mut Reader<'_>, field: &'static str, wanted: u8) -> Result<(), WireError> {
    match r.u8()? {
        value if value == wanted => Ok(()),
        value => Err(r.invalid(field, value)),
    }
}
