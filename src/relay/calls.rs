//! Makes the D-Bus calls that carry out orders.

use std::os::fd::AsFd;

use zbus::Message;

use super::listener_state::{Means, Order, Takes};
use crate::display1::{
    Area, Bytes, Call, CursorDefine, DMABUF2, MAP, MouseSet, ScanoutDmabuf, ScanoutDmabuf2, ScanoutMap,
    ScanoutPixels, UpdatePixels,
};
use crate::frame::{Rect, Scanout, ScanoutError, Size};

/// The format of pixels by value, in which a [`Scanout`] is read: pixman's `x8r8g8b8`.
const BY_VALUE: u32 = 0x2002_0888;

/// Why no call was made of an order.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The picture's pixels cannot be read.
    #[error(transparent)]
    Pixels(#[from] ScanoutError),
    /// It does not fit a message, or no file descriptor is free for it.
    #[error(transparent)]
    Message(#[from] zbus::Error),
}

impl Takes {
    /// Returns the forms that a listener with these optional interfaces takes.
    pub(super) fn new(interfaces: &[String], passthrough: bool) -> Self {
        let has = |name: &str| interfaces.iter().any(|interface| interface == name);
        Self { dmabuf2: passthrough && has(DMABUF2), dmabuf: passthrough, map: has(MAP) }
    }
}

/// Returns whether making the call means to read pixels, which takes milliseconds.
pub(super) fn reads_pixels(order: &Order) -> bool {
    matches!(order, Order::Scanout(_, Means::Pixels) | Order::Update(_, Means::Pixels, _))
}

/// Makes the call that carries out `order`. File descriptors are duplicated, pixels are copied only where
/// [`reads_pixels`].
///
/// # Errors
/// If pixels cannot be read, or the system has no more file descriptors.
pub(super) fn message(order: &Order) -> Result<Message, CallError> {
    let pixels_of_part;
    let call = match order {
        Order::Scanout(scanout, means) => return show(scanout, *means),
        Order::Update(_, Means::Map, rect) => Call::UpdateMap((*rect).into()),
        Order::Update(_, Means::Dmabuf | Means::Dmabuf2, rect) => Call::UpdateDmabuf((*rect).into()),
        Order::Update(scanout, Means::Pixels, rect) => {
            let Area { x, y, width, height } = (*rect).into();
            let stride = rect.width.saturating_mul(4);
            pixels_of_part = pixels(scanout, *rect)?;
            Call::Update(UpdatePixels {
                x,
                y,
                width,
                height,
                stride,
                pixman: BY_VALUE,
                data: Bytes(&pixels_of_part),
            })
        }
        Order::Disable => Call::Disable(()),
        Order::MouseSet(pointer) => {
            Call::MouseSet(MouseSet { x: pointer.x, y: pointer.y, on: i32::from(pointer.visible) })
        }
        Order::CursorDefine(cursor) => {
            let (hot_x, hot_y) = cursor.hot_spot();
            let [width, height, hot_x, hot_y] =
                [cursor.width(), cursor.height(), hot_x, hot_y].map(i32::from);
            Call::CursorDefine(CursorDefine { width, height, hot_x, hot_y, data: Bytes(cursor.pixels()) })
        }
    };
    Ok(call.message()?)
}

fn show(scanout: &Scanout, means: Means) -> Result<Message, CallError> {
    let Size { width, height } = scanout.size();
    let all_pixels;
    let call = match (means, scanout.as_dmabuf(), scanout.as_shared()) {
        (Means::Dmabuf2, Some(dmabuf), _) => Call::ScanoutDmabuf2(ScanoutDmabuf2::of(dmabuf)),
        (Means::Dmabuf, Some(dmabuf), _) => {
            Call::ScanoutDmabuf(ScanoutDmabuf::of(dmabuf).ok_or(zbus::Error::InvalidField)?) // it has one plane
        }
        (Means::Map, _, Some(shared)) => {
            // It has one: it came with it.
            let pixman = scanout.format().pixman().ok_or(zbus::Error::InvalidField)?;
            let (memory, offset, stride) = (shared.fd.as_fd().into(), shared.offset, shared.stride);
            Call::ScanoutMap(ScanoutMap { memory, offset, width, height, stride, pixman })
        }
        _ => {
            all_pixels = pixels(scanout, scanout.size().rect())?;
            let (stride, data) = (width.saturating_mul(4), Bytes(&all_pixels));
            Call::Scanout(ScanoutPixels { width, height, stride, pixman: BY_VALUE, data })
        }
    };
    Ok(call.message()?)
}

fn pixels(scanout: &Scanout, rect: Rect) -> Result<Vec<u8>, ScanoutError> {
    let needed = rect.area() * 4;
    let bytes = usize::try_from(needed).map_err(|_| ScanoutError::Short { needed, found: 0 })?;
    let mut data = vec![0; bytes];
    scanout.reader()?.read(rect, &mut data)?;
    Ok(data)
}
