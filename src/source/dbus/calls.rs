//! QEMU's calls of a listener, read from its messages. `dbus-interfaces/org.qemu.Display1.Listener.xml` describes them.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use zbus::message::Body;
use zbus::zvariant;

use super::refusal::Refusal;
use crate::frame::{Buffer, Dmabuf, DmabufPlane, Rect, Size};

/// The interface that every listener has.
pub(super) const LISTENER: &str = "org.qemu.Display1.Listener";

/// The interface that takes pictures in shared memory (QEMU 9.2).
pub(super) const MAP: &str = "org.qemu.Display1.Listener.Unix.Map";

/// The interface that takes dmabufs of several planes, and parts of them (QEMU 10.1).
pub(super) const DMABUF2: &str = "org.qemu.Display1.Listener.Unix.ScanoutDMABUF2";

/// The most planes of a dmabuf, as in DRM.
const MAX_PLANES: usize = 4;

/// A rectangle as QEMU gives it: x, y, width, height.
pub(super) type Given = (i32, i32, i32, i32);

/// One call.
#[derive(Debug)]
pub(super) enum Call<'m> {
    /// The console shows these pixels.
    Scanout { width: u32, height: u32, stride: u32, pixman: u32, data: &'m [u8] },
    /// These pixels of it changed.
    Update { at: Given, stride: u32, pixman: u32, data: &'m [u8] },
    /// The console shows this shared memory.
    ScanoutMap { fd: OwnedFd, offset: u32, width: u32, height: u32, stride: u32, pixman: u32 },
    /// This part of the shared memory changed.
    UpdateMap(Given),
    /// The console shows this buffer.
    ScanoutDmabuf(Dmabuf),
    /// This part of the buffer changed, and the guest waits for the answer.
    UpdateDmabuf(Given),
    /// The console shows nothing.
    Disable,
    /// The cursor is here.
    MouseSet { x: i32, y: i32, visible: bool },
    /// The cursor looks like this.
    CursorDefine { width: i32, height: i32, hot_x: i32, hot_y: i32, data: &'m [u8] },
}

/// Interface, method, types of its arguments.
const METHODS: [(&str, &str, &str); 10] = [
    (LISTENER, "Scanout", "uuuuay"),
    (LISTENER, "Update", "iiiiuuay"),
    (LISTENER, "ScanoutDMABUF", "huuuutb"),
    (LISTENER, "UpdateDMABUF", "iiii"),
    (LISTENER, "Disable", ""),
    (LISTENER, "MouseSet", "iii"),
    (LISTENER, "CursorDefine", "iiiiay"),
    (MAP, "ScanoutMap", "huuuuu"),
    (MAP, "UpdateMap", "iiii"),
    (DMABUF2, "ScanoutDMABUF2", "ahuuuuauauuuuutb"),
];

impl<'m> Call<'m> {
    /// Reads a call. Its pixels stay in the message.
    ///
    /// # Errors
    /// If there is no such method, or its arguments have other types or cannot belong together.
    pub(super) fn decode(interface: Option<&str>, member: &str, body: &'m Body) -> Result<Self, Refusal> {
        let known = |name: &str| METHODS.iter().any(|row| row.0 == name);
        if interface.is_some_and(|name| !known(name)) {
            return Err(Refusal::Interface);
        }
        let row = METHODS.iter().find(|row| row.1 == member && interface.is_none_or(|name| name == row.0));
        let &(_, method, wanted) = row.ok_or(Refusal::Method)?;
        let types = |error: zbus::Error| Refusal::Types { method, wanted, error: error.to_string() };
        Ok(match method {
            "Scanout" => {
                let (width, height, stride, pixman, data) = body.deserialize().map_err(types)?;
                Self::Scanout { width, height, stride, pixman, data }
            }
            "Update" => {
                let (x, y, width, height, stride, pixman, data) = body.deserialize().map_err(types)?;
                Self::Update { at: (x, y, width, height), stride, pixman, data }
            }
            "ScanoutMap" => {
                let (fd, offset, width, height, stride, pixman) = body.deserialize().map_err(types)?;
                let fd: zvariant::OwnedFd = fd;
                Self::ScanoutMap { fd: fd.into(), offset, width, height, stride, pixman }
            }
            "UpdateMap" => Self::UpdateMap(body.deserialize().map_err(types)?),
            "ScanoutDMABUF" => Self::ScanoutDmabuf(dmabuf(body.deserialize().map_err(types)?)?),
            "ScanoutDMABUF2" => Self::ScanoutDmabuf(dmabuf2(body.deserialize().map_err(types)?)?),
            "UpdateDMABUF" => Self::UpdateDmabuf(body.deserialize().map_err(types)?),
            "Disable" => {
                let () = body.deserialize().map_err(types)?;
                Self::Disable
            }
            "MouseSet" => {
                let (x, y, on): (i32, i32, i32) = body.deserialize().map_err(types)?;
                Self::MouseSet { x, y, visible: on != 0 }
            }
            "CursorDefine" => {
                let (width, height, hot_x, hot_y, data) = body.deserialize().map_err(types)?;
                Self::CursorDefine { width, height, hot_x, hot_y, data }
            }
            _ => return Err(Refusal::Method),
        })
    }
}

/// fd, width, height, stride, fourcc, modifier, y0_top.
type DmabufArgs = (zvariant::OwnedFd, u32, u32, u32, u32, u64, bool);

fn dmabuf((fd, width, height, stride, fourcc, modifier, y0_top): DmabufArgs) -> Result<Dmabuf, Refusal> {
    let backing = Size::new(width, height);
    checked(Dmabuf {
        planes: vec![DmabufPlane { buffer: Arc::new(Buffer::new(fd.into())?), offset: 0, stride }],
        fourcc,
        modifier,
        backing,
        crop: backing.rect(),
        bottom_up: y0_top,
    })
}

/// fds, x, y, width, height, offsets, strides, planes, fourcc, width and height of the whole buffer, modifier, y0_top.
type Dmabuf2Args =
    (Vec<zvariant::OwnedFd>, u32, u32, u32, u32, Vec<u32>, Vec<u32>, u32, u32, u32, u32, u64, bool);

fn dmabuf2(args: Dmabuf2Args) -> Result<Dmabuf, Refusal> {
    let (fds, x, y, width, height, offsets, strides, planes, ..) = args;
    let (.., fourcc, whole_width, whole_height, modifier, y0_top) = args;
    let agree = usize::try_from(planes).is_ok_and(|n| {
        (1..=MAX_PLANES).contains(&n) && offsets.len() == n && strides.len() == n && fds.len() <= n
    });
    if !agree || fds.is_empty() {
        return Err(Refusal::Numbers("the buffer's planes, offsets, strides and files do not agree"));
    }
    let buffers = fds.into_iter().map(|fd| Ok(Arc::new(Buffer::new(fd.into())?)));
    let buffers = buffers.collect::<std::io::Result<Vec<_>>>()?;
    // Planes that have no file of their own are in the last one that has.
    let each = buffers.iter().chain(std::iter::repeat(buffers.last().ok_or(Refusal::Numbers("no file"))?));
    let planes = each.zip(offsets.into_iter().zip(strides));
    checked(Dmabuf {
        planes: planes
            .map(|(buffer, (offset, stride))| DmabufPlane { buffer: buffer.clone(), offset, stride })
            .collect(),
        fourcc,
        modifier,
        backing: Size::new(whole_width, whole_height),
        crop: Rect::new(x, y, width, height),
        bottom_up: y0_top,
    })
}

fn checked(dmabuf: Dmabuf) -> Result<Dmabuf, Refusal> {
    if dmabuf.crop.area() == 0 || !dmabuf.backing.rect().contains(dmabuf.crop) {
        return Err(Refusal::Numbers("the part of the buffer to show is not inside it"));
    }
    Ok(dmabuf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Serialize;
    use zbus::Message;
    use zvariant::DynamicType;

    fn said(interface: &str, member: &str, body: &(impl Serialize + DynamicType)) -> Message {
        let call = Message::method_call("/org/qemu/Display1/Listener", member).unwrap();
        call.interface(interface).unwrap().build(body).unwrap()
    }

    fn fd() -> zvariant::OwnedFd {
        std::fs::File::open("/dev/null").map(OwnedFd::from).unwrap().into()
    }

    #[test]
    fn pixels_are_borrowed_from_the_message() {
        let message = said(
            LISTENER,
            "Scanout",
            &(2u32, 1u32, 8u32, 0x2002_0888u32, [1u8, 2, 3, 4, 5, 6, 7, 8].as_slice()),
        );
        let body = message.body();
        let Call::Scanout { width: 2, height: 1, stride: 8, pixman: 0x2002_0888, data } =
            Call::decode(Some(LISTENER), "Scanout", &body).unwrap()
        else {
            panic!()
        };
        assert_eq!(data, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(body.data().bytes().as_ptr_range().contains(&data.as_ptr()));
    }

    #[test]
    fn other_types_and_names_are_refused() {
        let message = said(LISTENER, "UpdateDMABUF", &(1i32, 2i32, 3i32));
        let body = message.body();
        let refused = |interface, member| Call::decode(interface, member, &body).unwrap_err();
        assert!(matches!(refused(Some(LISTENER), "UpdateDMABUF"), Refusal::Types { .. }));
        assert!(matches!(refused(None, "ScanoutDMABUF2"), Refusal::Types { .. }));
        assert!(matches!(refused(Some(LISTENER), "UpdateMap"), Refusal::Method));
        assert!(matches!(refused(Some("org.example"), "UpdateDMABUF"), Refusal::Interface));
        assert!(matches!(
            Call::decode(None, "MouseSet", &body),
            Ok(Call::MouseSet { x: 1, y: 2, visible: true })
        ));
    }

    #[test]
    fn a_buffer_of_two_planes_may_come_in_one_file() {
        let two = |offsets: Vec<u32>, planes: u32, x: u32| {
            let whole = (64u32, 32u32);
            let body = (
                vec![fd()],
                x,
                0u32,
                60u32,
                32u32,
                offsets,
                vec![64u32, 64],
                planes,
                0u32,
                whole.0,
                whole.1,
                7u64,
                true,
            );
            let message = said(DMABUF2, "ScanoutDMABUF2", &body);
            match Call::decode(Some(DMABUF2), "ScanoutDMABUF2", &message.body()) {
                Ok(Call::ScanoutDmabuf(dmabuf)) => Some(dmabuf),
                _ => None,
            }
        };
        let dmabuf = two(vec![0, 2048], 2, 4).unwrap();
        let [luma, chroma] = dmabuf.planes.as_slice() else { panic!() };
        assert!(Arc::ptr_eq(&luma.buffer, &chroma.buffer) && chroma.offset == 2048 && dmabuf.bottom_up);
        assert_eq!((dmabuf.crop, dmabuf.modifier), (Rect::new(4, 0, 60, 32), 7));
        assert!(two(vec![0], 2, 0).is_none(), "an offset is missing");
        assert!(two(vec![0, 1], 9, 0).is_none(), "nine planes");
        assert!(two(vec![0, 1], 2, 5).is_none(), "five to the right of the left edge is out");
        assert!(two(vec![0, 1], 2, u32::MAX).is_none());
    }

    #[test]
    fn the_interface_file_says_the_same() {
        let xml = include_str!("../../../dbus-interfaces/org.qemu.Display1.Listener.xml");
        let attribute = |line: &str, name: &str| {
            let rest = line.split_once(&format!(" {name}=\""))?.1;
            Some(rest.split_once('"')?.0.to_owned())
        };
        let mut methods: Vec<(String, String, String)> = Vec::new();
        let mut interface = String::new();
        for line in xml.lines().map(str::trim) {
            if line.starts_with("<interface") {
                interface = attribute(line, "name").unwrap();
            } else if line.starts_with("<method") {
                methods.push((interface.clone(), attribute(line, "name").unwrap(), String::new()));
            } else if line.starts_with("<arg") {
                methods.last_mut().unwrap().2 += &attribute(line, "type").unwrap();
            }
        }
        let mut ours: Vec<_> = METHODS.map(|(i, m, t)| (i.to_owned(), m.to_owned(), t.to_owned())).to_vec();
        methods.sort();
        ours.sort();
        assert_eq!(methods, ours);
    }
}
