//! The words everyone shares: what a console shows, what changed of it, and what goes back to the guest.
//!
//! Plain values: nothing here knows QEMU, SPICE or an encoder. Uses `sys` alone.

mod changed_rows;
mod command;
mod cursor;
mod damage_filter;
mod dmabuf;
mod format;
mod gpu;
mod guest_memory;
mod kept;
mod motion;
mod pixel_budget;
mod placement;
mod reader;
mod region;
mod scanout;
mod tier;

pub use command::{GuestCommand, PointerButton, Window};
pub(crate) use cursor::CursorError;
pub use cursor::{Cursor, Pointer};
pub use damage_filter::DamageFilter;
pub(crate) use dmabuf::BufferId;
pub use dmabuf::{Buffer, Dmabuf, DmabufPlane, MODIFIER_INVALID, MODIFIER_LINEAR};
pub use format::PixelFormat;
pub use gpu::{DmabufReads, ReadPath};
pub(crate) use guest_memory::GuestPixels;
pub use kept::{Kept, Moved, TakenIn};
pub(crate) use motion::{Motion, Moving};
pub(crate) use pixel_budget::{CHANGE_PIXELS, PIXELS_PER_SECOND, PixelBudget};
pub(crate) use reader::ScanoutReader;
pub use region::{Rect, Region, Size};
pub(crate) use scanout::{MemoryKind, ScanoutInfo};
pub use scanout::{Scanout, ScanoutError};
pub(crate) use tier::Tier;

/// The number of a console, as in `/org/qemu/Display1/Console_N`: one display head of the guest.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConsoleId(pub u32);

impl std::fmt::Display for ConsoleId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
