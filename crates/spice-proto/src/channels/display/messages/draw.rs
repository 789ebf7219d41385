//! Drawing: filling with a colour and copying an image.

use super::CLIP_NONE;
use crate::wire::{Form, Payload, Point, Reader, Rect, WireError, Writer, fields, numbers};

/// Bytes of a `DRAW_COPY` before its image, which is therefore also the image's offset in the body.
pub const DRAW_COPY_LEN: u32 = 57;

const ROP_PUT: u16 = 8;
const BRUSH_SOLID: u8 = 1;
const SCALE_INTERPOLATE: u8 = 0;
const IMAGE_BITMAP: u8 = 0;
const IMAGE_ZLIB_GLZ: u8 = 107;
const IMAGE_LZ4: u8 = 109;
const BITMAP_TOP_DOWN: u8 = 4;
const LZ4_TOP_DOWN: u8 = 1;
/// Orientation, format and block size in front of the one LZ4 block.
const LZ4_PREFIX_LEN: usize = 6;

fields! {
    /// `SpiceMsgDisplayCopyBits`: copies a part of a surface to another place of it. The two may overlap.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct CopyBits {
        /// Which surface.
        pub surface_id: u32,
        /// Where to.
        pub dest: Rect,
        "clip type": u8 = CLIP_NONE,
        /// The top left corner of where from.
        pub src: Point,
    }
}

fields! {
    /// `SpiceMsgDisplayDrawFill` with a solid brush.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct DrawFill {
        /// Which surface.
        pub surface_id: u32,
        /// What to fill.
        pub dest: Rect,
        "clip type": u8 = CLIP_NONE,
        "brush type": u8 = BRUSH_SOLID,
        /// The colour, `0x00RRGGBB`.
        pub color: u32,
        "rop": u16 = ROP_PUT,
        _: u8 = 0, // flags of the mask
        _: Point = Point::default(), // origin of the mask
        "mask": u32 = 0,
    }
}

fields! {
    /// `SpiceMsgDisplayDrawCopy`: puts an image on a surface as it is.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct DrawCopy {
        /// Which surface.
        pub surface_id: u32,
        /// Where to.
        pub dest: Rect,
        "clip type": u8 = CLIP_NONE,
        "src_bitmap": u32 = DRAW_COPY_LEN,
        /// Which part of the image; as large as `dest`, for nothing is scaled.
        pub src: Rect,
        "rop": u16 = ROP_PUT,
        _: u8 = SCALE_INTERPOLATE, // nothing is scaled
        _: u8 = 0, // flags of the mask
        _: Point = Point::default(), // origin of the mask
        "mask": u32 = 0,
        /// The image.
        pub image: Image,
    }
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
    /// `SPICE_IMAGE_TYPE_ZLIB_GLZ_RGB`; only for clients that keep a dictionary for it, see
    /// [`DisplayChannel::glz_pixels`](super::super::DisplayChannel::glz_pixels).
    ZlibGlz {
        /// Bytes of the GLZ stream that is in it.
        glz_len: u32,
        /// That stream, inside zlib.
        data: Payload,
    },
}

numbers! {
    /// `SPICE_BITMAP_FMT_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum BitmapFormat: u8, "bitmap format" in errors {
        /// 32 bits: B, G, R, unused.
        Xrgb = 8,
        /// 32 bits: B, G, R, A.
        Argb = 9,
    }
}

impl Form for Image {
    fn write(image: &Self, w: &mut Writer) {
        w.u64(image.id);
        w.u8(image.data.image_type());
        w.u8(0); // flags: no caching
        w.u32(image.width);
        w.u32(image.height);
        match &image.data {
            ImageData::Bitmap { format, stride, pixels } => {
                BitmapFormat::write(format, w);
                w.u8(BITMAP_TOP_DOWN);
                w.u32(image.width);
                w.u32(image.height);
                w.u32(*stride);
                w.u32(0); // no palette
                w.payload(pixels.clone());
            }
            ImageData::Lz4 { format, block } => {
                w.len32(block.len().saturating_add(LZ4_PREFIX_LEN));
                w.u8(LZ4_TOP_DOWN);
                BitmapFormat::write(format, w);
                let size = u32::try_from(block.len()).unwrap_or(u32::MAX);
                w.bytes(&size.to_be_bytes());
                w.payload(block.clone());
            }
            ImageData::ZlibGlz { glz_len, data } => {
                w.u32(*glz_len);
                w.len32(data.len());
                w.payload(data.clone());
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let id = r.u64()?;
        let image_type = r.u8()?;
        r.u8()?; // flags
        let width = r.u32()?;
        let height = r.u32()?;
        let data = match image_type {
            IMAGE_BITMAP => {
                let format = BitmapFormat::read(r)?;
                r.constant("bitmap flags", BITMAP_TOP_DOWN)?;
                if (r.u32()?, r.u32()?) != (width, height) {
                    return Err(r.invalid("bitmap size other than of width", width));
                }
                let stride = r.u32()?;
                r.constant("palette", 0u32)?;
                ImageData::Bitmap { format, stride, pixels: Payload::from(r.rest()) }
            }
            IMAGE_LZ4 => {
                r.u32()?; // size of the rest
                r.constant("lz4 orientation", LZ4_TOP_DOWN)?;
                let format = BitmapFormat::read(r)?;
                let size = u32::from_be_bytes(r.array()?);
                ImageData::Lz4 { format, block: Payload::from(r.bytes32(size)?) }
            }
            IMAGE_ZLIB_GLZ => {
                let (glz_len, len) = (r.u32()?, r.u32()?);
                ImageData::ZlibGlz { glz_len, data: Payload::from(r.bytes32(len)?) }
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
            Self::ZlibGlz { data, .. } => data,
        }
    }

    fn image_type(&self) -> u8 {
        match self {
            Self::Bitmap { .. } => IMAGE_BITMAP,
            Self::Lz4 { .. } => IMAGE_LZ4,
            Self::ZlibGlz { .. } => IMAGE_ZLIB_GLZ,
        }
    }
}
