//! Orders as D-Bus calls. `dbus-interfaces/org.qemu.Display1.Listener.xml` has them in words.

use std::os::fd::AsFd;

use serde::{Serialize, Serializer};
use zbus::Message;
use zbus::zvariant::{self, DynamicType, Fd, Signature};

use super::viewer::{Means, Order, Takes};
use crate::frame::{Dmabuf, Rect, Scanout, ScanoutError};

/// Where a listener's object is.
pub(super) const PATH: &str = "/org/qemu/Display1/Listener";

/// The interface that every listener has.
pub(super) const LISTENER: &str = "org.qemu.Display1.Listener";

/// The interface that takes pictures in shared memory.
const MAP: &str = "org.qemu.Display1.Listener.Unix.Map";

/// The interface that takes dmabufs of several planes, and parts of them.
const DMABUF2: &str = "org.qemu.Display1.Listener.Unix.ScanoutDMABUF2";

/// The format of pixels by value: what a [`Scanout`] is read as, pixman's `x8r8g8b8`.
const BY_VALUE: u32 = 0x2002_0888;

/// Why an order did not become a call.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// Its pixels cannot be read.
    #[error(transparent)]
    Pixels(#[from] ScanoutError),
    /// It does not fit a message, or no file descriptor is free for it.
    #[error(transparent)]
    Message(#[from] zbus::Error),
}

impl Takes {
    /// What a listener takes that has these optional interfaces.
    pub(super) fn new(interfaces: &[String], passthrough: bool) -> Self {
        let has = |name: &str| interfaces.iter().any(|interface| interface == name);
        Self { dmabuf2: passthrough && has(DMABUF2), dmabuf: passthrough, map: has(MAP) }
    }
}

/// Whether making the call means to read pixels, which takes milliseconds.
pub(super) fn reads_pixels(order: &Order) -> bool {
    matches!(order, Order::Scanout(_, Means::Pixels) | Order::Update(_, Means::Pixels, _))
}

/// The call that carries out an order. File descriptors are duplicated, pixels are copied only where [`reads_pixels`].
///
/// # Errors
/// If pixels cannot be read, or the system has no more file descriptors.
pub(super) fn message(order: &Order) -> Result<Message, CallError> {
    Ok(match order {
        Order::Scanout(scanout, means) => show(scanout, *means)?,
        Order::Update(_, Means::Map, rect) => call(MAP, "UpdateMap", &given(*rect))?,
        Order::Update(_, Means::Dmabuf | Means::Dmabuf2, rect) => {
            call(LISTENER, "UpdateDMABUF", &given(*rect))?
        }
        Order::Update(scanout, Means::Pixels, rect) => {
            let ((x, y, width, height), data) = (given(*rect), pixels(scanout, *rect)?);
            let stride = rect.width.saturating_mul(4);
            let body = (x, y, width, height, stride, BY_VALUE, Bytes(&data));
            call(LISTENER, "Update", &body)?
        }
        Order::Disable => call(LISTENER, "Disable", &())?,
        Order::MouseSet(pointer) => {
            call(LISTENER, "MouseSet", &(pointer.x, pointer.y, i32::from(pointer.visible)))?
        }
        Order::CursorDefine(cursor) => {
            let (hot_x, hot_y) = cursor.hot_spot();
            let [width, height, hot_x, hot_y] =
                [cursor.width(), cursor.height(), hot_x, hot_y].map(i32::from);
            call(LISTENER, "CursorDefine", &(width, height, hot_x, hot_y, Bytes(cursor.pixels())))?
        }
    })
}

fn show(scanout: &Scanout, means: Means) -> Result<Message, CallError> {
    let size = scanout.size();
    Ok(match (means, scanout.as_dmabuf(), scanout.as_shared()) {
        (Means::Dmabuf2, Some(dmabuf), _) => dmabuf2(dmabuf)?,
        (Means::Dmabuf, Some(dmabuf), _) => {
            let plane = dmabuf.planes.first().ok_or(zbus::Error::InvalidField)?; // there is one
            let body = (
                Fd::from(plane.buffer.fd().as_fd()),
                size.width,
                size.height,
                plane.stride,
                dmabuf.fourcc,
                dmabuf.modifier,
                dmabuf.bottom_up,
            );
            call(LISTENER, "ScanoutDMABUF", &body)?
        }
        (Means::Map, _, Some(memory)) => {
            // It has one: it came with it.
            let format = scanout.format().pixman().ok_or(zbus::Error::InvalidField)?;
            let fd = Fd::from(memory.fd.as_fd());
            let body = (fd, memory.offset, size.width, size.height, memory.stride, format);
            call(MAP, "ScanoutMap", &body)?
        }
        _ => {
            let (data, stride) = (pixels(scanout, size.rect())?, size.width.saturating_mul(4));
            let body = (size.width, size.height, stride, BY_VALUE, Bytes(&data));
            call(LISTENER, "Scanout", &body)?
        }
    })
}

fn dmabuf2(dmabuf: &Dmabuf) -> zbus::Result<Message> {
    let (crop, backing) = (dmabuf.crop, dmabuf.backing);
    let fds: Vec<Fd<'_>> = dmabuf.planes.iter().map(|plane| plane.buffer.fd().as_fd().into()).collect();
    let offsets: Vec<u32> = dmabuf.planes.iter().map(|plane| plane.offset).collect();
    let strides: Vec<u32> = dmabuf.planes.iter().map(|plane| plane.stride).collect();
    let planes = u32::try_from(dmabuf.planes.len()).unwrap_or(0); // at most four
    let body = (
        fds,
        crop.x,
        crop.y,
        crop.width,
        crop.height,
        offsets,
        strides,
        planes,
        dmabuf.fourcc,
        backing.width,
        backing.height,
        dmabuf.modifier,
        dmabuf.bottom_up,
    );
    call(DMABUF2, "ScanoutDMABUF2", &body)
}

fn call<B>(interface: &str, method: &str, body: &B) -> zbus::Result<Message>
where
    B: Serialize + DynamicType,
{
    Message::method_call(PATH, method)?.interface(interface)?.build(body)
}

fn pixels(scanout: &Scanout, rect: Rect) -> Result<Vec<u8>, ScanoutError> {
    let needed = rect.area() * 4;
    let bytes = usize::try_from(needed).map_err(|_| ScanoutError::Short { needed, found: 0 })?;
    let mut data = vec![0; bytes];
    scanout.reader()?.read(rect, &mut data)?;
    Ok(data)
}

/// A rectangle in the types of the interface. Sides of a picture are far below 2^31.
fn given(rect: Rect) -> (i32, i32, i32, i32) {
    let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    (number(rect.x), number(rect.y), number(rect.width), number(rect.height))
}

/// Bytes that are written as a whole; a slice would be written byte by byte.
struct Bytes<'a>(&'a [u8]);

impl zvariant::Type for Bytes<'_> {
    const SIGNATURE: &'static Signature = <[u8]>::SIGNATURE;
}

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}
