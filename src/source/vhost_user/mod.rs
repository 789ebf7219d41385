//! Devices of the guest: a VMM that speaks vhost-user connects, and this process is its virtio-gpu or virtio-input.
//!
//! [`gpu`] is the graphics card as a state machine, and [`backend`] drives it; [`input`] is keyboard and pointer.

mod backend;
mod front_end;
mod gpu;
mod hold;
mod input;
mod pictures;
mod pixels;
mod queue;
mod queues_in_memory;
mod socket;

pub use queues_in_memory::{QUEUE_ADDRESSES, QUEUE_ENTRIES, QueuesInMemory};

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
pub(crate) struct VhostUserInput(Socket);

impl VhostUserGpu {
    /// Listens on a socket at `path`.
    ///
    /// # Errors
    /// If somebody else does, or the system refuses.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        Socket::bind(path).map(Self)
    }

    /// Is the graphics card of each VMM that connects, one after the other, until `cancel` is cancelled; without
    /// `wait`, of the first alone. Between VMMs the hub is detached.
    ///
    /// # Errors
    /// If the system refuses a thread or a file.
    pub(in crate::source) async fn run(
        self,
        hub: Hub,
        together: Together,
        reads: DmabufReads,
        wait: bool,
        cancel: CancellationToken,
    ) -> Result<Ended, SourceError> {
        let refused = |error| SourceError::Listen { path: self.0.path().into(), error };
        info!(socket = %self.0.path().display(), "waiting for a VMM to use the graphics card");
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(Ended::Cancelled),
                connected = self.0.connected() => connected.map_err(refused)?,
            }
            let memory = GuestMemory::new(GuestMemoryMmap::new());
            let device =
                Backend::new(memory.clone(), Pictures::new(hub.clone(), together.clone(), reads.clone()));
            let served = self.0.serve(Arc::new(device), memory, &cancel).await;
            if !matches!(served, Ok(Served::Nobody)) {
                hub.detach();
            }
            match served.map_err(refused)? {
                Served::Cancelled => return Ok(Ended::Cancelled),
                Served::Left if !wait => return Ok(Ended::QemuLeft),
                Served::Left | Served::Nobody => {}
            }
        }
    }
}

impl VhostUserInput {
    /// Listens on a socket at `path`.
    ///
    /// # Errors
    /// If somebody else does, or the system refuses.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        Socket::bind(path).map(Self)
    }

    /// Is keyboard and pointer of each VMM that connects, one after the other, and brings `commands` to its guest,
    /// until `cancel` is cancelled. Commands that come while there is no VMM are dropped.
    ///
    /// # Errors
    /// If the system refuses a thread or a file.
    pub(in crate::source) async fn run(
        self,
        hub: Hub,
        together: Together,
        mut commands: mpsc::Receiver<GuestCommand>,
        cancel: CancellationToken,
    ) -> Result<Ended, SourceError> {
        let refused = |error| SourceError::Listen { path: self.0.path().into(), error };
        info!(socket = %self.0.path().display(), "waiting for a VMM to use keyboard and pointer");
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(Ended::Cancelled),
                connected = self.0.connected() => connected.map_err(refused)?,
                never = discard(&mut commands) => match never {},
            }
            let memory = GuestMemory::new(GuestMemoryMmap::new());
            let device = Arc::new(InputDevice::new(memory.clone(), hub.clone(), together.clone()));
            let served = tokio::select! {
                served = self.0.serve(device.clone(), memory, &cancel) => served,
                never = input::forward(&device, &hub, &mut commands) => match never {},
            };
            if served.map_err(refused)? == Served::Cancelled {
                return Ok(Ended::Cancelled);
            }
        }
    }
}
