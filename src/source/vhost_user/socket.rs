//! A socket where a VMM finds a device, and one connection after the other.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use vhost::vhost_user::{Error as Fault, Listener};
use vhost_user_backend::{Error, VhostUserBackend, VhostUserDaemon};
use vmm_sys_util::epoll::EventSet;

use super::bridge::{Connection, carry, listener_and_connection};
use super::messages::Message;
use super::pixels::GuestMemory;
use super::queue::Vring;
use crate::sys::SocketFile;

/// The most connections that have sent nothing. Beyond it the oldest is closed.
///
/// QEMU connects when it starts, and sends its first message when it has made all its memory, which can take minutes.
/// So such a connection has no deadline, but keeps nobody from coming either.
const MAX_SILENT: usize = 8;

/// Where VMMs come from.
#[derive(Debug)]
pub(super) struct Socket {
    way: Way,
    /// What the socket is called in the log.
    name: PathBuf,
}

enum Way {
    /// VMMs connect. A socket at a path has a file.
    Listening { listener: UnixListener, silent: VecDeque<Silent>, _file: Option<SocketFile> },
    /// There is one, if it has not come yet.
    Connected(Option<Connection>),
}

/// Pause after the system refused a connection, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The event that ends a worker of the crate. Its own event for that stays open when a worker has ended (0.24).
const END: u16 = u16::MAX;

/// Fails if `event` is the one that ends a worker, which a worker does on an error.
pub(super) fn check_end(event: u16) -> io::Result<()> {
    if event == END { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
}

/// Waits until a connection sends its first message; gives nothing if it ends before.
type Silent = Pin<Box<dyn Future<Output = Option<Vmm>> + Send>>;

/// A connection on which a VMM has spoken.
#[derive(Debug)]
pub(super) struct Vmm {
    connection: Connection,
    first: Message<OwnedFd>,
}

/// A device for one connection.
pub(super) trait Device: VhostUserBackend<Bitmap = (), Vring = Vring> + 'static {
    /// What the device is called in the log.
    const NAME: &'static str;

    /// Takes the socket on which the VMM takes notices.
    fn take_notices(&self, socket: OwnedFd) {
        drop(socket);
    }

    /// Ends all work of the device. Nothing is written to the hub afterwards.
    fn end(&self);
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Served {
    /// As asked.
    Cancelled,
    /// The VMM left.
    Left,
}

impl Socket {
    /// Listens at `path`.
    ///
    /// # Errors
    /// If somebody else does, or the system refuses.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let (listener, file) = SocketFile::bind(path)?;
        Ok(Self { way: Way::listening(listener, Some(file))?, name: path.into() })
    }

    /// Takes over the socket numbered `fd` that the parent process left open: a listening one, or one with a VMM at its
    /// other end.
    ///
    /// # Errors
    /// If it is no such socket.
    pub(super) fn inherit(fd: i32) -> io::Result<Self> {
        let socket = socket2::Socket::from(crate::sys::inherited_fd(fd)?);
        if socket.domain()? != socket2::Domain::UNIX || socket.r#type()? != socket2::Type::STREAM {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no unix stream socket"));
        }
        let way = match socket.is_listener()? {
            true => Way::listening(socket.into(), None)?,
            false => {
                let is_connected = socket.peer_addr();
                is_connected
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "it is not connected"))?;
                Way::Connected(Some(Connection::new(socket.into())?))
            }
        };
        Ok(Self { way, name: format!("fd:{fd}").into() })
    }

    /// Returns what the socket is called.
    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// Waits for the next VMM; `None` if no other can come. Cancel-safe.
    ///
    /// # Errors
    /// If the system cannot accept a connection.
    pub(super) async fn next(&mut self) -> io::Result<Option<Vmm>> {
        let (listener, silent) = match &mut self.way {
            Way::Listening { listener, silent, .. } => (listener, silent),
            Way::Connected(connection) => {
                let Some(connection) = connection else { return Ok(None) };
                let first = match connection.message().await {
                    Ok(first) => Some(first),
                    Err(error) => {
                        debug!(%error, "nobody was at the other end");
                        None
                    }
                };
                let connection = self.way.take_connection();
                return Ok(connection.zip(first).map(|(connection, first)| Vmm { connection, first }));
            }
        };
        loop {
            tokio::select! {
                vmm = first_of(silent) => return Ok(Some(vmm)),
                accepted = listener.accept() => {
                    let connection = accepted.and_then(|(stream, _)| Connection::new(stream.into_std()?));
                    let mut connection = match connection {
                        Ok(connection) => connection,
                        Err(error) => {
                            warn!(%error, socket = %self.name.display(), "cannot accept a connection");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                            continue;
                        }
                    };
                    silent.push_back(Box::pin(async move {
                        let first = connection.message().await;
                        let first = first.inspect_err(|error| debug!(%error, "it was no VMM"));
                        first.ok().map(|first| Vmm { connection, first })
                    }));
                    if silent.len() > MAX_SILENT {
                        silent.pop_front();
                    }
                }
            }
        }
    }
}

impl Vmm {
    /// Is `device` for the VMM until that leaves or `cancel` is cancelled. `memory` is the one that the device was made
    /// with.
    ///
    /// # Errors
    /// If the system has no more file descriptors.
    pub(super) async fn serve<D: Device>(
        self,
        device: Arc<D>,
        memory: GuestMemory,
        cancel: &CancellationToken,
    ) -> io::Result<Served> {
        let (listener, inner) = listener_and_connection()?;
        info!("a VMM uses the {}", D::NAME);
        let own = device.clone();
        let mut serving =
            tokio::task::spawn_blocking(move || serve(&mut Listener::from(listener), own, memory));
        let Self { connection, first } = self;
        let carrying = carry(connection, first, inner, |notices| device.take_notices(notices));
        // Both ends are closed when this is over, on which the device ends.
        let (carried, ended) = tokio::select! {
            carried = carrying => (carried, None),
            ended = &mut serving => (Ok(()), Some(ended)),
            () = cancel.cancelled() => (Ok(()), None),
        };
        let ended = match ended {
            Some(ended) => ended,
            None => serving.await,
        };
        match (carried, ended) {
            _ if cancel.is_cancelled() => return Ok(Served::Cancelled),
            (Ok(()), Ok(Ok(()))) => info!("the VMM left its {}", D::NAME),
            (Ok(()), Ok(Err(error))) => {
                warn!(%error, "the connection of the {} broke: start the machine again to have it back", D::NAME);
            }
            (Err(error), _) => {
                warn!(%error, "the connection of the {} broke: start the machine again to have it back", D::NAME);
            }
            (_, Err(_)) => warn!("the {} failed: start the machine again to have it back", D::NAME),
        }
        Ok(Served::Left)
    }
}

impl Way {
    fn listening(listener: std::os::unix::net::UnixListener, file: Option<SocketFile>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        Ok(Self::Listening { listener, silent: VecDeque::new(), _file: file })
    }

    fn take_connection(&mut self) -> Option<Connection> {
        match self {
            Self::Connected(connection) => connection.take(),
            Self::Listening { .. } => None,
        }
    }
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Listening { .. } => "Listening",
            Self::Connected(_) => "Connected",
        })
    }
}

/// Waits for the first of these connections that sends a message. Those that end before are removed.
async fn first_of(silent: &mut VecDeque<Silent>) -> Vmm {
    poll_fn(|context| {
        let mut found = None;
        silent.retain_mut(|connection| match found {
            Some(_) => true,
            None => match connection.as_mut().poll(context) {
                Poll::Pending => true,
                Poll::Ready(vmm) => {
                    found = vmm;
                    false
                }
            },
        });
        found.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Serves the one connection of `listener` until it ends.
fn serve<D: Device>(listener: &mut Listener, device: Arc<D>, memory: GuestMemory) -> Result<(), Error> {
    // Outlives the daemon, which waits for its workers when it is dropped.
    let end = eventfd(1, EventfdFlags::CLOEXEC).map_err(|error| Error::StartDaemon(error.into()))?;
    let mut daemon = VhostUserDaemon::new("vhost-user".into(), device.clone(), memory)?;
    let done = daemon.start(listener).and_then(|()| daemon.wait());
    for worker in daemon.get_epoll_handlers() {
        let asked = worker.register_listener(end.as_raw_fd(), EventSet::IN, END.into());
        asked.map_err(Error::StartDaemon)?;
    }
    device.end();
    match done {
        Err(Error::HandleRequest(Fault::Disconnected | Fault::PartialMessage)) => Ok(()),
        done => done,
    }
}
