//! A socket where a VMM finds a device, and one connection after the other.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use vhost::vhost_user::{Error as Fault, Listener};
use vhost_user_backend::{Error, ShutdownHandle, VhostUserBackend, VhostUserDaemon};

use super::pixels::GuestMemory;
use super::queue::Vring;

/// A listening socket. Its file is removed when the value is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

/// A device for one connection.
pub(super) trait Device: VhostUserBackend<Bitmap = (), Vring = Vring> + 'static {
    /// What the device is called in the log.
    const NAME: &'static str;

    /// Returns whether a VMM was at the other end of the connection, not somebody who looked whether anyone listens.
    fn is_used(&self) -> bool;

    /// Ends all work of the device. Nothing is written to the hub afterwards.
    fn end(&self);
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Served {
    /// As asked.
    Cancelled,
    /// It was no VMM.
    Nobody,
    /// The VMM left.
    Left,
}

impl Socket {
    /// Listens at `path`.
    ///
    /// # Errors
    /// If somebody else does, or the system refuses.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        remove_stale(path)?;
        let listener = UnixListener::bind(path)?;
        Ok(Self { listener, path: path.into() })
    }

    /// Returns where the socket is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until somebody connects.
    ///
    /// # Errors
    /// If the system cannot wait.
    pub(super) async fn connected(&self) -> io::Result<()> {
        crate::sys::connection_waits(&self.listener).await
    }

    /// Takes the connection that waits, and is `device` for it until it ends or `cancel` is cancelled. `memory` is the
    /// one that the device was made with.
    ///
    /// # Errors
    /// If the system has no more file descriptors.
    pub(super) async fn serve<D: Device>(
        &self,
        device: Arc<D>,
        memory: GuestMemory,
        cancel: &CancellationToken,
    ) -> io::Result<Served> {
        let listener = self.listener.try_clone()?;
        let (started, shutdown) = oneshot::channel();
        let own = device.clone();
        let serving = tokio::task::spawn_blocking(move || serve(listener, own, memory, started));
        let shutdown = shutdown.await.ok();
        tokio::pin!(serving);
        let ended = tokio::select! {
            ended = &mut serving => ended,
            () = cancel.cancelled() => {
                shutdown.inspect(ShutdownHandle::shutdown);
                serving.await
            }
        };
        match ended {
            _ if cancel.is_cancelled() => return Ok(Served::Cancelled),
            Ok(Ok(())) if !device.is_used() => return Ok(Served::Nobody),
            Ok(Ok(())) => info!("the VMM left its {}", D::NAME),
            Ok(Err(error)) => {
                warn!(%error, "the connection of the {} broke: start the machine again to have it back", D::NAME);
            }
            Err(_) => warn!("the {} failed: start the machine again to have it back", D::NAME),
        }
        Ok(Served::Left)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves one connection until it ends or the handle in `started` is used.
fn serve<D: Device>(
    listener: UnixListener,
    device: Arc<D>,
    memory: GuestMemory,
    started: oneshot::Sender<ShutdownHandle>,
) -> Result<(), Error> {
    let mut daemon = VhostUserDaemon::new("vhost-user".into(), device.clone(), memory)?;
    let done = daemon.start(&mut Listener::from(listener)).and_then(|()| {
        if let Some(shutdown) = daemon.shutdown_handle() {
            let _ = started.send(shutdown);
        }
        daemon.wait()
    });
    for worker in daemon.get_epoll_handlers() {
        worker.send_exit_event();
    }
    device.end();
    match done {
        Err(Error::HandleRequest(Fault::Disconnected | Fault::PartialMessage)) => Ok(()),
        done => done,
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
