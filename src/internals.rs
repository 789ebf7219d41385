//! What this package's own tests, benchmarks and fuzz targets use. For nobody else: it changes as they do.

use std::os::unix::net::UnixStream;

use tokio::io::AsyncReadExt;

pub use crate::admin::{MessageBus, Presence, status};
pub use crate::encode::{AccessUnit, Answer, Codec, Picture, Pixels, StreamCheck, StreamError};
pub use crate::frame::{
    Buffer, ConsoleId, Cursor, DamageFilter, Dmabuf, DmabufPlane, DmabufReads, GuestCommand, Kept,
    MODIFIER_INVALID, MODIFIER_LINEAR, Moved, PixelFormat, Pointer, PointerButton, ReadPath, Rect, Region,
    Scanout, ScanoutError, Size, TakenIn, Window,
};
pub use crate::hub::{Change, Console, ConsoleInfo, Guest, Hub, Leds, PortInfo, ReleaseQueue, Subscription};
pub use crate::libvirt::{Display, Domain, DomainError, OwnBus, Setting, configuration, without_own_bus};
pub use crate::publish::Recorder;
pub use crate::relay::Relay;
pub use crate::source::{
    Attach, ClipboardCalls, Ended, Messages, QUEUE_ADDRESSES, QUEUE_ENTRIES, QmpError, QueuesInMemory,
    SoundCalls, Source, SourceError, listen, open_display,
};
pub use crate::spice::users::{Names, Users, Verifier};
pub use crate::spice::{Access, Exchange, Newcomers, OFFERED, Step};
pub use crate::sys::{FileId, GpuError};
pub use crate::viewer::Roster;

use crate::transport::{Origins, Security, Socket, TrustedProxies, TrustedProxy};

/// Opens a connection as one of a viewer's, or of a `trusted` proxy's, at an address that has the page too, and reads
/// it to its end. Returns what the viewer has sent after it was opened; `None` if it was refused.
pub async fn open_and_read(socket: UnixStream, trusted: bool) -> Option<Vec<u8>> {
    let proxies = if trusted { vec![TrustedProxy::Unix] } else { Vec::new() };
    let security = Security::new(None, Origins::default(), TrustedProxies::new(proxies));
    let socket = Socket::handed_over(socket.into(), false).ok()?.with_page();
    let mut stream = security.open(socket, |_| {}).await.ok()?;
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read).await; // broken frames end it, too
    Some(read)
}
