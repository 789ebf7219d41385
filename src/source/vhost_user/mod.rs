//! Devices of the guest: a VMM that speaks vhost-user connects, and this process is its virtio-gpu or virtio-input.
//!
//! [`gpu`] is the graphics card as a state machine, and [`backend`] drives it; [`input`] is keyboard and pointer.

mod backend;
mod bridge;
mod front_end;
mod gpu;
mod hold;
mod input;
mod messages;
mod notices;
mod pictures;
mod pixels;
mod queue;
mod queues_in_memory;
mod socket;

pub(crate) use input::PointingDevice;
pub use messages::Messages;
pub use queues_in_memory::{QUEUE_ADDRESSES, QUEUE_ENTRIES, QueuesInMemory};

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;
use vm_memory::GuestMemoryMmap;

use super::together::Together;
use super::{Ended, SourceError, discard};
use crate::frame::{DmabufReads, GuestCommand};
use crate::hub::Hub;
use backend::Backend;
use input::InputDevice;
use pictures::Pictures;
use pixels::GuestMemory;
use socket::{Served, Socket};

/// The label of a graphics card's consoles, like QEMU's of such a device.
const LABEL: &str = "vhost-user-gpu";

/// Where a VMM finds its graphics card.
#[derive(Debug)]
pub(crate) struct VhostUserGpu(Socket);

/// Where a VMM finds its keyboard and pointer.
#[derive(Debug)]
pub(crate) struct VhostUserInput {
    socket: Socket,
    pointer: PointingDevice,
}

impl VhostUserGpu {
    /// Listens on a socket at `path`.
    ///
    /// # Errors
    /// If somebody else does, or the system refuses.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        Socket::bind(path).map(Self)
    }

    /// Takes over a listening or connected socket that the parent process left open.
    ///
    /// # Errors
    /// If `fd` is no such socket.
    pub(crate) fn inherit(fd: i32) -> io::Result<Self> {
        Socket::inherit(fd).map(Self)
    }

    /// Is the graphics card of each VMM that connects, one after the other, until `cancel` is cancelled; without
    /// `wait`, of the first alone. Between VMMs the hub is detached. `commands` are those about viewers' windows, and
    /// are dropped while there is no VMM.
    ///
    /// # Errors
    /// If the system refuses a thread or a file.
    pub(in crate::source) async fn run(
        mut self,
        hub: Hub,
        together: Together,
        reads: DmabufReads,
        mut commands: mpsc::Receiver<GuestCommand>,
        wait: bool,
        cancel: CancellationToken,
    ) -> Result<Ended, SourceError> {
        let name = self.0.name().to_owned();
        let refused = |error| SourceError::Listen { path: name.clone(), error };
        info!(socket = %name.display(), "waiting for a VMM to use the graphics card");
        loop {
            let next = tokio::select! {
                () = cancel.cancelled() => return Ok(Ended::Cancelled),
                next = self.0.next() => next.map_err(refused)?,
                never = discard(&mut commands) => match never {},
            };
            let Some(vmm) = next else { return Ok(Ended::QemuLeft) };
            let memory = GuestMemory::new(GuestMemoryMmap::new());
            let pictures = Pictures::new(hub.clone(), together.clone(), reads.clone());
            let device = Arc::new(Backend::new(memory.clone(), pictures));
            let served = tokio::select! {
                served = vmm.serve(device.clone(), memory, &cancel) => served,
                never = fit(&device, &together, &mut commands) => match never {},
            };
            hub.detach();
            match served.map_err(refused)? {
                Served::Cancelled => return Ok(Ended::Cancelled),
                Served::Left if !wait => return Ok(Ended::QemuLeft),
                Served::Left => {}
            }
        }
    }
}

/// Fits displays to viewers' windows.
async fn fit(
    device: &Backend,
    together: &Together,
    commands: &mut mpsc::Receiver<GuestCommand>,
) -> Infallible {
    while let Some(command) = commands.recv().await {
        if let GuestCommand::Window { console, window } = command
            && let Some(scanout) = together.scanout(console)
        {
            device.fit(scanout, &window);
        }
    }
    std::future::pending().await
}

impl VhostUserInput {
    /// Listens on a socket at `path`.
    ///
    /// # Errors
    /// If somebody else does, or the system refuses.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        Socket::bind(path).map(Self::new)
    }

    /// Takes over a listening or connected socket that the parent process left open.
    ///
    /// # Errors
    /// If `fd` is no such socket.
    pub(crate) fn inherit(fd: i32) -> io::Result<Self> {
        Socket::inherit(fd).map(Self::new)
    }

    fn new(socket: Socket) -> Self {
        Self { socket, pointer: PointingDevice::default() }
    }

    /// Makes the pointer a `pointer`, in the place of a tablet.
    pub(crate) fn with_pointer(self, pointer: PointingDevice) -> Self {
        Self { pointer, ..self }
    }

    /// Is keyboard and pointer of each VMM that connects, one after the other, and brings `commands` to its guest,
    /// until `cancel` is cancelled. Commands that come while there is no VMM are dropped.
    ///
    /// # Errors
    /// If the system refuses a thread or a file.
    pub(in crate::source) async fn run(
        mut self,
        hub: Hub,
        together: Together,
        mut commands: mpsc::Receiver<GuestCommand>,
        cancel: CancellationToken,
    ) -> Result<Ended, SourceError> {
        let name = self.socket.name().to_owned();
        let refused = |error| SourceError::Listen { path: name.clone(), error };
        info!(socket = %name.display(), "waiting for a VMM to use keyboard and pointer");
        loop {
            let next = tokio::select! {
                () = cancel.cancelled() => return Ok(Ended::Cancelled),
                next = self.socket.next() => next.map_err(refused)?,
                never = discard(&mut commands) => match never {},
            };
            let Some(vmm) = next else {
                // The machine may go on without them, and with its graphics card.
                tokio::select! {
                    () = cancel.cancelled() => return Ok(Ended::Cancelled),
                    never = discard(&mut commands) => match never {},
                }
            };
            let memory = GuestMemory::new(GuestMemoryMmap::new());
            let device =
                Arc::new(InputDevice::new(memory.clone(), hub.clone(), together.clone(), self.pointer));
            let served = tokio::select! {
                served = vmm.serve(device.clone(), memory, &cancel) => served,
                never = input::forward(&device, &hub, &mut commands) => match never {},
            };
            if served.map_err(refused)? == Served::Cancelled {
                return Ok(Ended::Cancelled);
            }
        }
    }
}
