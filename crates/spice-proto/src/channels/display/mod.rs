//! A display channel: one display's picture, as a video stream, as images on the primary surface, or as GPU buffers.

pub mod caps;
mod glz;
mod machine;
mod messages;
mod picture;

pub use glz::glz;
pub use machine::{DISPLAY_BODY_MAX, DisplayChannel, DisplayEvent};
pub use messages::{
    BitmapFormat, CopyBits, DRAW_COPY_LEN, DrawCopy, DrawFill, FromClient, FromServer, GlDraw, GlScanout,
    GlScanout2, Head, Image, ImageCompression, ImageData, Init, MonitorsConfig, StreamActivateReport,
    StreamCreate, StreamData, StreamReport, SurfaceCreate, SurfaceFormat, VideoCodec,
};
pub use picture::{Moved, Plane, Scanout, Tile, Video};

#[cfg(test)]
mod tests;
