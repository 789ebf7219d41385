//! The pointer that the guest's graphics card draws over a scanout.

use super::host::Host;
use super::protocol::{CursorCommand, Refusal};
use super::resources::{PIXEL, Resources};
use crate::frame::{Cursor, PixelFormat, Pointer, Size};

/// The size of a cursor in a blob, which says nothing of its own.
const BLOB_CURSOR: Size = Size::new(64, 64);

/// The largest side of a cursor, in pixels. virtio-gpu's is 64, hardware knows up to 256.
const MAX_SIDE: u32 = 256;

/// What became of a scanout's cursor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in super::super) struct CursorChange {
    /// The scanout.
    pub scanout: u32,
    /// The new shape, if it changed.
    pub shape: Option<Cursor>,
    /// The place, and whether it shows.
    pub pointer: Pointer,
}

/// Carries out a command of the cursor queue.
pub(super) fn change<H: Host>(
    command: CursorCommand,
    resources: &Resources<H::Pixels>,
    host: &H,
) -> Result<CursorChange, Refusal> {
    let visible = command.resource != 0;
    let shape = match command.shape {
        Some(hot) if visible => Some(shape(command.resource, hot, resources, host)?),
        _ => None,
    };
    let pointer = Pointer { x: command.x.cast_signed(), y: command.y.cast_signed(), visible };
    Ok(CursorChange { scanout: command.scanout, shape, pointer })
}

/// Reads a cursor's shape from a resource.
fn shape<H: Host>(
    resource: u32,
    (hot_x, hot_y): (u32, u32),
    resources: &Resources<H::Pixels>,
    host: &H,
) -> Result<Cursor, Refusal> {
    if !resources.contains(resource) {
        return Err(Refusal::Resource);
    }
    let copied = resources.pixels(resource).ok();
    let (size, format) =
        copied.map_or((BLOB_CURSOR, PixelFormat::Argb8888), |(size, format, _)| (size, format));
    if size.width > MAX_SIDE || size.height > MAX_SIDE {
        return Err(Refusal::Parameter);
    }
    let len = usize::try_from(size.area() * u64::from(PIXEL)).map_err(|_| Refusal::Parameter)?;
    let mut pixels = vec![0; len];
    match copied {
        Some((_, _, memory)) => host.read(memory, &mut pixels).ok_or(Refusal::Parameter)?,
        None => resources.read_blob(resource, &mut pixels, host)?,
    }
    for pixel in pixels.as_chunks_mut::<4>().0 {
        *pixel = bgra(format, *pixel);
    }
    let number = |n: u32| i32::try_from(n).unwrap_or(-1);
    let shape = Cursor::new(number(size.width), number(size.height), number(hot_x), number(hot_y), &pixels);
    shape.map_err(|_| Refusal::Parameter)
}

/// Reorders the bytes of a pixel to B, G, R, A. A format without alpha has it as well: Linux makes every buffer that is
/// drawn by the processor of such a format, also that of a cursor.
fn bgra(format: PixelFormat, [a, b, c, d]: [u8; 4]) -> [u8; 4] {
    match format {
        PixelFormat::Bgra8888 | PixelFormat::Bgrx8888 => [d, c, b, a],
        PixelFormat::Abgr8888 | PixelFormat::Xbgr8888 => [c, b, a, d],
        PixelFormat::Rgba8888 | PixelFormat::Rgbx8888 => [b, c, d, a],
        _ => [a, b, c, d],
    }
}
