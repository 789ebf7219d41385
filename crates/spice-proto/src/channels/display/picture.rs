//! What a display channel can be told to show.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::messages::{ImageData, VideoCodec};
use crate::wire::{Payload, Point, Rect, Size};

/// One encoded picture of a display.
#[derive(Clone, Debug)]
pub struct Video {
    /// The part of the picture that this is. Left and top are even. A stream is of one area; areas do not overlap, but
    /// for one that is all of the picture and rests.
    pub area: Rect,
    /// Another number means that the encoder started anew: another stream of the area.
    pub generation: u64,
    /// How it is encoded. The same in all pictures of a generation.
    pub codec: VideoCodec,
    /// Size of the encoded picture: even. The client stretches it over the area, rounded up to even numbers.
    pub coded: Size,
    /// Size of the display's picture. The surface's is rounded up to even numbers, as the area is.
    pub picture: Size,
    /// The encoded bytes. H.264: an access unit, Annex-B, without a delimiter in front.
    pub data: Payload,
}

/// An exact part of a display's picture.
#[derive(Clone, Debug)]
pub struct Tile {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Its pixels.
    pub data: ImageData,
}

/// A part of a display's picture that is now in another place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moved {
    /// Its top left corner before.
    pub from: Point,
    /// Where it is now.
    pub to: Rect,
}

/// A GPU buffer that a local client imports.
#[derive(Clone, Debug)]
pub struct Scanout {
    /// Size of the buffer.
    pub size: Size,
    /// `DRM_FORMAT_*`.
    pub fourcc: u32,
    /// `DRM_FORMAT_MOD_*`: how the pixels are tiled. Only clients with `GL_SCANOUT2` are told.
    pub modifier: u64,
    /// Whether the first row in memory is the bottom one.
    pub bottom_up: bool,
    /// One to four planes. Clients without `GL_SCANOUT2` take one, at the start of its memory.
    pub planes: Vec<Plane>,
}

/// One plane of a [`Scanout`].
#[derive(Clone, Debug)]
pub struct Plane {
    /// The memory.
    pub fd: Arc<OwnedFd>,
    /// Bytes from the start of the memory.
    pub offset: u32,
    /// Bytes from one row to the next.
    pub stride: u32,
}
