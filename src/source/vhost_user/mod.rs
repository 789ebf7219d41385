//! The guest's graphics card itself: a VMM that speaks vhost-user connects, and this process is its virtio-gpu.
//!
//! [`gpu`] is the device as a state machine; [`backend`] drives it, one connection of a VMM after the other.

mod backend;
mod front_end;
mod gpu;
mod hold;
mod pictures;
mod pixels;
mod queue;
mod queues_in_memory;

pub use queues_in_memory::{QUEUE_ADDRESSES, QUEUE_ENTRIES, QueuesInMemory};

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use vhost::vhost_user::{Error as Fault, Listener};
use vhost_user_backend::{Error, ShutdownHandle, VhostUserDaemon};

use super::{Ended, SourceError};
use crate::hub::Hub;
use backend::Backend;
use pictures::Pictures;
use pixels::GuestMemory;

/// A socket where a VMM finds its graphics card. The file is removed when the value is dropped.
#[derive(Debug)]
pub(crate) struct VhostUserGpu {
    listener: UnixListener,
    path: PathBuf,
}

impl VhostUserGpu {
    /// Listens on a socket at `path`.
    ///
    /// # Errors
    /// If somebody else does, or the system refuses.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        remove_stale(path)?;
        let listener = UnixListener::bind(path)?;
        Ok(Self { listener, path: path.into() })
    }

    /// Is the graphics card of each VMM that connects, one after the other, until `cancel` is cancelled; without `wait`,
    /// of the first alone. Between VMMs the hub is detached.
    ///
    /// # Errors
    /// If the system refuses a thread or a file.
    pub(crate) async fn run(
        self,
        hub: Hub,
        wait: bool,
        cancel: CancellationToken,
    ) -> Result<Ended, SourceError> {
        let refused = |error| SourceError::Listen { path: self.path.clone(), error };
        info!(socket = %self.path.display(), "waiting for a VMM to use the graphics card");
        loop {
            let connected = tokio::select! {
                () = cancel.cancelled() => return Ok(Ended::Cancelled),
                connected = self.connected() => connected.map_err(refused)?,
            };
            let (started, shutdown) = oneshot::channel();
            let served = hub.clone();
            let serving = tokio::task::spawn_blocking(move || serve(connected, served, started));
            let shutdown = shutdown.await.ok();
            tokio::pin!(serving);
            let ended = tokio::select! {
                ended = &mut serving => ended,
                () = cancel.cancelled() => {
                    shutdown.inspect(ShutdownHandle::shutdown);
                    serving.await
                }
            };
            hub.detach();
            match ended {
                Ok(Ok(false)) => continue,
                Ok(Ok(true)) => info!("the VMM left its graphics card"),
                Ok(Err(error)) => {
                    warn!(%error, "the VMM's connection broke: its guest has no screen until it is restarted")
                }
                Err(_) => warn!("the graphics card failed: its guest has no screen until it is restarted"),
            }
            if cancel.is_cancelled() {
                return Ok(Ended::Cancelled);
            }
            if !wait {
                return Ok(Ended::QemuLeft);
            }
        }
    }

    /// Waits until a VMM connects. Returns the listener, from which to take the connection.
    async fn connected(&self) -> io::Result<UnixListener> {
        crate::sys::connection_waits(&self.listener).await?;
        self.listener.try_clone()
    }
}

impl Drop for VhostUserGpu {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves one VMM until it leaves or the handle in `started` is used. Returns whether it was one.
fn serve(listener: UnixListener, hub: Hub, started: oneshot::Sender<ShutdownHandle>) -> Result<bool, Error> {
    let memory = GuestMemory::new(vm_memory::GuestMemoryMmap::new());
    let backend = Arc::new(Backend::new(memory.clone(), Pictures::new(hub)));
    let mut daemon = VhostUserDaemon::new("vhost-user".into(), backend.clone(), memory)?;
    let done = daemon.start(&mut Listener::from(listener)).and_then(|()| {
        if let Some(shutdown) = daemon.shutdown_handle() {
            let _ = started.send(shutdown);
        }
        daemon.wait()
    });
    for worker in daemon.get_epoll_handlers() {
        worker.send_exit_event();
    }
    backend.end();
    match done {
        Ok(()) | Err(Error::HandleRequest(Fault::Disconnected | Fault::PartialMessage)) => {
            Ok(backend.is_used())
        }
        Err(error) => Err(error),
    }
}

/// Removes a socket that a process which is gone left behind. One that answers is in use.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}
