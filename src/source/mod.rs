//! Where pictures come from: a QEMU that runs with `-display dbus`, or the guest itself, whose graphics card we are.
//!
//! Attaches, writes what is shown into the [`Hub`], brings [`GuestCommand`]s back, and sees QEMU leave.
//! Uses `frame` and `hub`.

mod dbus;
mod error;
mod libvirt_bus;
mod moves;
mod obstacle;
mod qmp;
mod together;
mod vhost_user;
mod warning_limit;

pub use dbus::{ClipboardCalls, SoundCalls, listen};
pub use error::SourceError;
pub(crate) use libvirt_bus::address;
pub(crate) use obstacle::Obstacle;
pub use qmp::{QmpError, open_display};
pub use vhost_user::{Messages, QUEUE_ADDRESSES, QUEUE_ENTRIES, QueuesInMemory};
pub(crate) use vhost_user::{PointingDevice, VhostUserGpu, VhostUserInput};

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::frame::{DmabufReads, GuestCommand};
use crate::hub::Hub;
use crate::libvirt::OwnBus;
use dbus::{Bus, Qemu};
use obstacle::DisplayOptions;
use together::Together;

/// Whatever gives pictures of one VM, at least one, and takes its keys.
#[derive(Debug)]
pub(crate) struct Sources {
    /// QEMU's display.
    pub(crate) display: Option<Source>,
    /// The guest's graphics card.
    pub(crate) gpu: Option<VhostUserGpu>,
    /// The guest's keyboard and pointer. Without it commands go to QEMU's display.
    pub(crate) input: Option<VhostUserInput>,
    /// How the pixels of the guest's buffers are read.
    pub(crate) reads: DmabufReads,
}

impl Sources {
    /// Keeps the hub up to date until QEMU leaves or `cancel` is cancelled; then the hub is detached. With `wait`, the
    /// next VM may come.
    ///
    /// # Errors
    /// Those of each source.
    pub(crate) async fn run(
        self,
        hub: Hub,
        commands: mpsc::Receiver<GuestCommand>,
        wait: bool,
        cancel: CancellationToken,
    ) -> Result<Ended, SourceError> {
        let together = Together::new(self.gpu.is_some());
        let (windows, for_gpu) = mpsc::channel(PASSED_ON);
        let (keys, for_input) = mpsc::channel(PASSED_ON);
        let (all, for_display) = mpsc::channel(PASSED_ON);
        let outlets = Outlets {
            windows: self.gpu.is_some().then_some(windows),
            keys: self.input.is_some().then_some(keys),
            display: self.display.is_some().then_some(all),
        };
        let gpu = async {
            let Some(gpu) = self.gpu else { return std::future::pending().await };
            gpu.run(hub.clone(), together.clone(), self.reads, for_gpu, wait, cancel.clone()).await
        };
        let input = async {
            let Some(input) = self.input else { return std::future::pending().await };
            input.run(hub.clone(), together.clone(), for_input, cancel.clone()).await
        };
        let display = async {
            let Some(display) = self.display else { return std::future::pending().await };
            display.run_beside(&together, hub.clone(), for_display, cancel.clone()).await
        };
        tokio::select! {
            ended = gpu => ended,
            ended = input => ended,
            ended = display => ended,
            never = outlets.distribute(commands) => match never {},
        }
    }
}

/// The most commands that wait for one of several sources.
const PASSED_ON: usize = 128;

/// The ways that commands go to the sources that there are.
struct Outlets {
    windows: Option<mpsc::Sender<GuestCommand>>,
    keys: Option<mpsc::Sender<GuestCommand>>,
    display: Option<mpsc::Sender<GuestCommand>>,
}

impl Outlets {
    /// Passes commands on in their order: keys and pointer to one source, windows to all that have displays.
    async fn distribute(self, mut commands: mpsc::Receiver<GuestCommand>) -> std::convert::Infallible {
        while let Some(command) = commands.recv().await {
            let both = [self.windows.as_ref(), self.display.as_ref()];
            let one = [self.keys.as_ref().or(self.display.as_ref()), None];
            let outlets = if matches!(command, GuestCommand::Window { .. }) { both } else { one };
            for outlet in outlets.into_iter().flatten() {
                // A source that has ended ends all of them.
                let _ = outlet.send(command).await;
            }
        }
        std::future::pending().await
    }
}

/// How long until a socket that is not there, or not yet served, is tried again. Only sockets: a bus tells by itself.
const RETRY: Duration = Duration::from_millis(500);

/// The way to QEMU.
#[derive(Debug)]
pub enum Attach {
    /// The user's session bus.
    SessionBus,
    /// The bus at this D-Bus address.
    Bus(String),
    /// A socket whose other end QEMU has already, such as libvirt's `virDomainOpenGraphicsFD` gives.
    Peer(OwnedFd),
    /// The QMP socket at this path, or without a file at `@NAME`, where QEMU is asked for a connection of our own.
    Qmp(PathBuf),
    /// The bus that libvirt starts for a domain each time that it starts the domain.
    Libvirt {
        /// Where it is to be found.
        bus: OwnBus,
        /// The domain's UUID, in lower case: buses of domains with long names may be named alike.
        uuid: String,
    },
}

/// Which QEMU to attach to, and whether to stay when it leaves.
#[derive(Debug)]
pub struct Source {
    /// The way to it.
    pub attach: Attach,
    /// The name QEMU owns on a bus: `org.qemu`, unless someone runs a bus where it is another one.
    pub bus_name: String,
    /// Wait for a QEMU that is not there yet, and for the next one when it leaves.
    pub wait: bool,
    /// How the pixels of its buffers are read.
    pub reads: DmabufReads,
}

/// Why a [`Source`] ended without an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// It was told to.
    Cancelled,
    /// QEMU left, and nobody asked to wait for another.
    QemuLeft,
}

impl Source {
    /// Attaches, and keeps the hub up to date until QEMU leaves or `cancel` is cancelled; then the hub is detached.
    ///
    /// Once [`Hub::guest`] has consoles, QEMU is attached. Commands that come while no QEMU is are dropped.
    ///
    /// # Errors
    /// If QEMU cannot be reached or is no display we can use. With `wait`, a QEMU that is merely not there is none.
    pub async fn run(
        self,
        hub: Hub,
        commands: mpsc::Receiver<GuestCommand>,
        cancel: CancellationToken,
    ) -> Result<Ended, SourceError> {
        self.run_beside(&Together::default(), hub, commands, cancel).await
    }

    /// The same, beside other sources of the same VM.
    async fn run_beside(
        self,
        together: &Together,
        hub: Hub,
        mut commands: mpsc::Receiver<GuestCommand>,
        cancel: CancellationToken,
    ) -> Result<Ended, SourceError> {
        let ended = tokio::select! {
            biased;
            () = cancel.cancelled() => Ok(Ended::Cancelled),
            ended = self.follow(together, &hub, &mut commands) => ended,
        };
        hub.detach();
        ended
    }

    /// Serves one QEMU after the other.
    async fn follow(
        self,
        together: &Together,
        hub: &Hub,
        commands: &mut mpsc::Receiver<GuestCommand>,
    ) -> Result<Ended, SourceError> {
        let Self { attach, bus_name, wait, reads } = self;
        let mut way = Some(attach);
        // Whether it is known that we wait.
        let mut waiting = false;
        while let Some(attach) = way {
            let qemu;
            (way, qemu) = match attach {
                // The one connection that cannot be made again.
                Attach::Peer(socket) => (None, Qemu::peer(socket, DisplayOptions::default()).await),
                again => {
                    let qemu = tokio::select! {
                        qemu = reach(&again, &bus_name, wait, &mut waiting) => qemu,
                        never = discard(commands) => match never {},
                    };
                    (Some(again), qemu)
                }
            };
            let served = match qemu {
                Ok(qemu) => {
                    waiting = false;
                    let served = dbus::serve(qemu, together, hub, &reads, commands).await;
                    hub.detach();
                    served
                }
                Err(error) => Err(error),
            };
            match served {
                Ok(()) if wait && way.is_some() => {
                    info!("QEMU left; waiting for the next one");
                    waiting = true;
                }
                Ok(()) => return Ok(Ended::QemuLeft),
                Err(error) if wait && way.is_some() && error.is_absence() => {
                    say_waiting(&mut waiting, &error);
                    tokio::select! {
                        () = tokio::time::sleep(RETRY) => {}
                        never = discard(commands) => match never {},
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Ended::QemuLeft)
    }
}

/// Connects to the next QEMU.
async fn reach(attach: &Attach, name: &str, wait: bool, waiting: &mut bool) -> Result<Qemu, SourceError> {
    let address = match attach {
        Attach::Bus(address) => Some(address.as_str()),
        Attach::SessionBus | Attach::Peer(_) => None,
        Attach::Libvirt { bus, uuid } => return libvirt_bus::reach(bus, uuid, name).await,
        Attach::Qmp(path) => {
            let (socket, known) = qmp::open_display(path).await?;
            return Qemu::peer(socket, known).await;
        }
    };
    let mut bus = Bus::connect(address, name).await?;
    let owner = match bus.owner().await? {
        Some(owner) => owner,
        None => {
            let error = SourceError::NoOwner { name: name.to_owned() };
            if !wait {
                return Err(error);
            }
            say_waiting(waiting, &error);
            bus.next_owner().await?
        }
    };
    Ok(bus.into_qemu(owner).await)
}

fn say_waiting(waiting: &mut bool, error: &SourceError) {
    if !std::mem::replace(waiting, true) {
        info!(%error, "waiting for QEMU");
    }
}

/// Drops the commands that come while there is no guest.
async fn discard(commands: &mut mpsc::Receiver<GuestCommand>) -> std::convert::Infallible {
    while commands.recv().await.is_some() {}
    std::future::pending().await
}
