//! The calls that hand a dmabuf over.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zbus::zvariant::{Fd, Type};

use super::Refusal;
use super::call::{fd, fds};
use crate::frame::{Buffer, Dmabuf, DmabufPlane, Rect, Size};

/// The most planes of a dmabuf, as in DRM.
const MAX_PLANES: usize = 4;

/// A whole dmabuf of one plane.
#[derive(Debug, Deserialize, Serialize, Type)]
pub(crate) struct ScanoutDmabuf<'m> {
    #[serde(borrow, deserialize_with = "fd")]
    dmabuf: Fd<'m>,
    width: u32,
    height: u32,
    stride: u32,
    fourcc: u32,
    modifier: u64,
    /// Whether the first row in memory is the bottom of the picture, in spite of the name.
    y0_top: bool,
}

/// A part of a dmabuf of one to four planes.
#[derive(Debug, Deserialize, Serialize, Type)]
pub(crate) struct ScanoutDmabuf2<'m> {
    /// One for each plane; planes without one are in the last.
    #[serde(borrow, deserialize_with = "fds")]
    dmabuf: Vec<Fd<'m>>,
    x: u32,
    y: u32,
    width: u32,
    height: u32,
    offset: Vec<u32>,
    stride: Vec<u32>,
    num_planes: u32,
    fourcc: u32,
    backing_width: u32,
    backing_height: u32,
    modifier: u64,
    /// Whether the first row in memory is the bottom of the picture, in spite of the name.
    y0_top: bool,
}

impl TryFrom<ScanoutDmabuf<'_>> for Dmabuf {
    type Error = Refusal;

    fn try_from(call: ScanoutDmabuf<'_>) -> Result<Self, Refusal> {
        let backing = Size::new(call.width, call.height);
        checked(Self {
            planes: vec![DmabufPlane { buffer: buffer(&call.dmabuf)?, offset: 0, stride: call.stride }],
            fourcc: call.fourcc,
            modifier: call.modifier,
            backing,
            crop: backing.rect(),
            bottom_up: call.y0_top,
        })
    }
}

impl TryFrom<ScanoutDmabuf2<'_>> for Dmabuf {
    type Error = Refusal;

    fn try_from(call: ScanoutDmabuf2<'_>) -> Result<Self, Refusal> {
        let (fds, offsets, strides) = (call.dmabuf, call.offset, call.stride);
        let agree = usize::try_from(call.num_planes).is_ok_and(|n| {
            (1..=MAX_PLANES).contains(&n) && offsets.len() == n && strides.len() == n && fds.len() <= n
        });
        if !agree {
            return Err(Refusal::Numbers("the buffer's planes, offsets, strides and files do not agree"));
        }
        let buffers = fds.iter().map(buffer).collect::<io::Result<Vec<_>>>()?;
        let last = buffers.last().ok_or(Refusal::Numbers("no file"))?;
        let each = buffers.iter().chain(std::iter::repeat(last)).cloned();
        let planes = each.zip(offsets.into_iter().zip(strides));
        checked(Self {
            planes: planes.map(|(buffer, (offset, stride))| DmabufPlane { buffer, offset, stride }).collect(),
            fourcc: call.fourcc,
            modifier: call.modifier,
            backing: Size::new(call.backing_width, call.backing_height),
            crop: Rect::new(call.x, call.y, call.width, call.height),
            bottom_up: call.y0_top,
        })
    }
}

impl<'m> ScanoutDmabuf<'m> {
    /// Hands over all of `dmabuf`; `None` unless it has one plane.
    pub(crate) fn of(dmabuf: &'m Dmabuf) -> Option<Self> {
        let [plane] = dmabuf.planes.as_slice() else { return None };
        Some(Self {
            dmabuf: plane.buffer.fd().as_fd().into(),
            width: dmabuf.crop.width,
            height: dmabuf.crop.height,
            stride: plane.stride,
            fourcc: dmabuf.fourcc,
            modifier: dmabuf.modifier,
            y0_top: dmabuf.bottom_up,
        })
    }
}

impl<'m> ScanoutDmabuf2<'m> {
    /// Hands over the part of `dmabuf` that is shown.
    pub(crate) fn of(dmabuf: &'m Dmabuf) -> Self {
        let (crop, backing, planes) = (dmabuf.crop, dmabuf.backing, &dmabuf.planes);
        Self {
            dmabuf: planes.iter().map(|plane| plane.buffer.fd().as_fd().into()).collect(),
            x: crop.x,
            y: crop.y,
            width: crop.width,
            height: crop.height,
            offset: planes.iter().map(|plane| plane.offset).collect(),
            stride: planes.iter().map(|plane| plane.stride).collect(),
            num_planes: u32::try_from(planes.len()).unwrap_or(0), // at most four
            fourcc: dmabuf.fourcc,
            backing_width: backing.width,
            backing_height: backing.height,
            modifier: dmabuf.modifier,
            y0_top: dmabuf.bottom_up,
        }
    }
}

/// Takes a file descriptor out of a message, which keeps its own.
fn buffer(fd: &Fd<'_>) -> io::Result<Arc<Buffer>> {
    Ok(Arc::new(Buffer::new(fd.as_fd().try_clone_to_owned()?)?))
}

fn checked(dmabuf: Dmabuf) -> Result<Dmabuf, Refusal> {
    if dmabuf.crop.area() == 0 || !dmabuf.backing.rect().contains(dmabuf.crop) {
        return Err(Refusal::Numbers("the part of the buffer to show is not inside it"));
    }
    Ok(dmabuf)
}

#[cfg(test)]
impl<'m> ScanoutDmabuf<'m> {
    /// Makes a call with this file.
    pub(super) fn example(dmabuf: Fd<'m>) -> Self {
        Self { dmabuf, width: 1, height: 1, stride: 4, fourcc: 0, modifier: 0, y0_top: false }
    }
}

#[cfg(test)]
impl<'m> ScanoutDmabuf2<'m> {
    /// Makes a call with this file, for 60 of 64 columns and 32 rows of two planes.
    pub(super) fn example(dmabuf: Fd<'m>) -> Self {
        Self {
            dmabuf: vec![dmabuf],
            x: 4,
            y: 0,
            width: 60,
            height: 32,
            offset: vec![0, 2048],
            stride: vec![64, 64],
            num_planes: 2,
            fourcc: 0,
            backing_width: 64,
            backing_height: 32,
            modifier: 7,
            y0_top: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_of_two_planes_may_come_in_one_file() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let example = || ScanoutDmabuf2::example(Fd::from(&file));
        let dmabuf = Dmabuf::try_from(example()).unwrap();
        let [luma, chroma] = dmabuf.planes.as_slice() else { panic!() };
        assert!(Arc::ptr_eq(&luma.buffer, &chroma.buffer) && chroma.offset == 2048 && dmabuf.bottom_up);
        assert_eq!((dmabuf.crop, dmabuf.modifier), (Rect::new(4, 0, 60, 32), 7));
        let refused = |call| Dmabuf::try_from(call).is_err();
        assert!(refused(ScanoutDmabuf2 { offset: vec![0], ..example() }), "an offset is missing");
        assert!(refused(ScanoutDmabuf2 { num_planes: 9, ..example() }), "nine planes");
        assert!(refused(ScanoutDmabuf2 { dmabuf: vec![], ..example() }), "no file");
        assert!(refused(ScanoutDmabuf2 { x: 5, ..example() }), "a column that is not there");
        assert!(refused(ScanoutDmabuf2 { x: u32::MAX, ..example() }));
    }

    #[test]
    fn what_is_handed_on_is_what_came() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let dmabuf = Dmabuf::try_from(ScanoutDmabuf2::example(Fd::from(&file))).unwrap();
        let again = Dmabuf::try_from(ScanoutDmabuf2::of(&dmabuf)).unwrap();
        assert_eq!((again.crop, again.backing, again.modifier), (dmabuf.crop, dmabuf.backing, 7));
        assert!(ScanoutDmabuf::of(&dmabuf).is_none(), "two planes");
        let whole = Dmabuf::try_from(ScanoutDmabuf::example(Fd::from(&file))).unwrap();
        assert!(ScanoutDmabuf::of(&whole).is_some());
    }
}
