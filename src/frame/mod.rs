//! The words everyone shares: what a console shows, what changed of it, and what goes back to the guest.
//!
//! Plain values: nothing here knows QEMU, SPICE or an encoder. Uses `sys` alone.

mod command;
mod cursor;
mod dmabuf;
mod format;
mod gpu;
mod merge;
mod reader;
mod region;
mod scanout;
mod still;
mod tier;

pub use command::{GuestCommand, PointerButton};
pub use cursor::{Cursor, CursorError, Pointer};
pub use dmabuf::{Buffer, BufferId, Dmabuf, DmabufPlane, MODIFIER_INVALID, MODIFIER_LINEAR};
pub use format::PixelFormat;
pub use gpu::{DmabufReads, ReadPath};
pub use reader::ScanoutReader;
pub use region::{Rect, Region, Size};
pub use scanout::{MemoryKind, Scanout, ScanoutError, ScanoutInfo, SharedMemory};
pub use still::Still;
pub use tier::Tier;

/// The number of a console, as in `/org/qemu/Display1/Console_N`: one display head of the guest.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConsoleId(pub u32);

impl std::fmt::Display for ConsoleId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
