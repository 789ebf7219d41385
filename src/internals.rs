//! What this package's own tests, benchmarks and fuzz targets use. For nobody else: it changes as they do.

pub use crate::admin::{MessageBus, Presence, status};
pub use crate::encode::{AccessUnit, Codec, Picture, Pixels, StreamCheck, StreamError};
pub use crate::frame::{
    Buffer, ConsoleId, Cursor, DamageFilter, Dmabuf, DmabufPlane, DmabufReads, GuestCommand,
    MODIFIER_INVALID, MODIFIER_LINEAR, PixelFormat, Pointer, PointerButton, ReadPath, Rect, Region, Scanout,
    ScanoutError, Size, Window,
};
pub use crate::hub::{Change, Console, ConsoleInfo, Guest, Hub, Leds, ReleaseQueue, Subscription};
pub use crate::relay::Relay;
pub use crate::source::{
    Attach, Ended, Messages, QUEUE_ADDRESSES, QUEUE_ENTRIES, QmpError, QueuesInMemory, Source, SourceError,
    listen, open_display,
};
pub use crate::spice::{Access, Newcomers};
pub use crate::sys::{FileId, GpuError};
pub use crate::viewer::Roster;
