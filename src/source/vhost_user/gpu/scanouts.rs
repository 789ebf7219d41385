//! Which resource each scanout shows.

use super::outputs::MAX_OUTPUTS;
use super::protocol::{BlobLayout, Refusal};
use crate::frame::{PixelFormat, Rect, Size};

/// What a scanout shows: rows of pixels in memory of type `P`.
#[derive(Clone, Debug)]
pub(in super::super) struct Picture<P> {
    /// The memory.
    pub pixels: P,
    /// Bytes from its start to the first row of the resource.
    pub offset: u32,
    /// Bytes from one row to the next.
    pub stride: u32,
    /// The resource's size.
    pub whole: Size,
    /// The part of it that is the picture.
    pub part: Rect,
    /// How a pixel lies in its four bytes.
    pub format: PixelFormat,
}

/// A part of a resource that a scanout shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Shown {
    pub(super) resource: u32,
    pub(super) part: Rect,
    /// Of a blob: how its pixels lie in it.
    pub(super) blob: Option<BlobLayout>,
}

/// The scanouts of a device.
#[derive(Debug, Default)]
pub(super) struct Scanouts([Option<Shown>; MAX_OUTPUTS]);

impl Scanouts {
    /// Checks that there is a scanout of this number.
    pub(super) fn check(scanout: u32) -> Result<(), Refusal> {
        let exists = usize::try_from(scanout).is_ok_and(|index| index < MAX_OUTPUTS);
        if exists { Ok(()) } else { Err(Refusal::Scanout) }
    }

    /// Changes what a scanout shows; `None` turns it off. Returns whether that is something else than before.
    pub(super) fn set(&mut self, scanout: u32, shown: Option<Shown>) -> bool {
        let index = usize::try_from(scanout).unwrap_or(usize::MAX);
        self.0.get_mut(index).is_some_and(|now| std::mem::replace(now, shown) != shown)
    }

    /// Turns off all scanouts that show `resource`, and returns their numbers.
    pub(super) fn turn_off(&mut self, resource: u32) -> Vec<u32> {
        let shows = |shown: &Option<Shown>| shown.is_some_and(|shown| shown.resource == resource);
        let off = (0..).zip(&self.0).filter(|(_, shown)| shows(shown)).map(|(scanout, _)| scanout).collect();
        for shown in &mut self.0 {
            shown.take_if(|shown| shown.resource == resource);
        }
        off
    }

    /// Returns the scanouts that show something of `part` of a resource: each with what it shows, and the part of the
    /// resource that both have in common.
    pub(super) fn flushed(&self, resource: u32, part: Rect) -> impl Iterator<Item = (u32, Shown, Rect)> {
        let shown = (0..).zip(&self.0).filter_map(|(scanout, shown)| Some((scanout, (*shown)?)));
        shown
            .filter(move |(_, shown)| shown.resource == resource)
            .filter_map(move |(scanout, shown)| Some((scanout, shown, shown.part.intersection(part)?)))
    }

    /// Returns the numbers of the scanouts that show something.
    pub(super) fn lit(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.0).filter(|(_, shown)| shown.is_some()).map(|(scanout, _)| scanout)
    }
}
