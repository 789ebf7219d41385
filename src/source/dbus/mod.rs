//! QEMU's D-Bus display (`org.qemu.Display1`), as its one listener.
//!
//! Two kinds of connections: [`Qemu`], where we ask, and one [`listener`] per console, where QEMU calls.
//! Whatever a listener is told goes through [`calls`] (what was said) and [`screen`] (what it means) into the hub.

mod calls;
mod checked;
mod connect;
mod consoles;
mod disable;
mod imports;
mod input;
mod listener;
mod object;
mod refusal;
mod replay;
mod screen;
mod socket;
mod warnings;

pub(super) use connect::{Bus, Qemu};
pub use listener::listen;

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::SourceError;
use super::together::Together;
use crate::frame::{ConsoleId, DmabufReads, GuestCommand};
use crate::hub::{Hub, MAX_CONSOLES};

/// Where QEMU's objects live.
const ROOT: &str = "/org/qemu/Display1";

/// How long after the first connection of a QEMU that ends the others may take to end as well.
const GRACE: Duration = Duration::from_secs(2);

/// The most listeners that wait for QEMU to show their console again: as many as there are consoles at most.
const REPLAYS: usize = 16;

/// The listeners at work. Each gives its console's number and why it ended.
type Listeners = JoinSet<(ConsoleId, zbus::Result<()>)>;

/// Attaches to this QEMU and serves it until it leaves.
pub(super) async fn serve(
    qemu: Qemu,
    together: &Together,
    hub: &Hub,
    reads: &DmabufReads,
    commands: &mut mpsc::Receiver<GuestCommand>,
) -> Result<(), SourceError> {
    let mut listeners = Listeners::new();
    let served = attach_and_serve(&qemu, together, hub, reads, commands, &mut listeners).await;
    // None of them may write into the hub when its next user has it.
    listeners.shutdown().await;
    served
}

async fn attach_and_serve(
    qemu: &Qemu,
    together: &Together,
    hub: &Hub,
    reads: &DmabufReads,
    commands: &mut mpsc::Receiver<GuestCommand>,
    listeners: &mut Listeners,
) -> Result<(), SourceError> {
    // Watched before asked, so that no change falls between.
    let mut changes = consoles::changes(qemu).await?;
    let mut guest = consoles::discover(qemu).await?;
    let (replays, mut asked) = mpsc::channel(REPLAYS);
    let (mut shown, mut hidden, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    for (&id, info) in &mut guest.consoles {
        if together.has_gpu() && qemu.known.is_vhost_user(&info.label) {
            // Its picture comes from the guest itself.
            if ours.is_empty() {
                together.set_first_console(id);
            }
            info.absolute |= together.has_tablet();
            ours.push(id);
            continue;
        }
        if let Some(obstacle) = qemu.known.obstacle(&info.label) {
            hidden.push(SourceError::Obstacle { console: id, label: info.label.clone(), obstacle });
            continue;
        }
        if shown.len() >= MAX_CONSOLES {
            warn!(console = %id, MAX_CONSOLES, "too many consoles: this one is not shown");
            continue;
        }
        register(qemu, hub.add_console(id), reads, &replays, listeners).await?;
        shown.push(id);
    }
    for error in hidden {
        if shown.is_empty() && ours.is_empty() {
            return Err(error);
        }
        warn!("{error}");
    }
    guest.consoles.retain(|id, _| shown.contains(id) || ours.contains(id));
    info!(name = guest.name, consoles = shown.len(), "attached to QEMU");
    hub.change_guest(|known| *known = guest);

    let left = qemu.left();
    tokio::pin!(left);
    {
        let input = input::forward(qemu, hub, commands);
        let again = register_again(qemu, &mut asked);
        tokio::pin!(input, again);
        loop {
            tokio::select! {
                () = &mut left => break,
                never = &mut input => match never {},
                never = &mut again => match never {},
                Some(change) = changes.next() => {
                    if let Ok(change) = change {
                        hub.change_guest(|guest| consoles::apply_change(guest, &change));
                    }
                }
                Some(ended) = listeners.join_next() => {
                    report(ended);
                    if listeners.is_empty() {
                        return tokio::time::timeout(GRACE, left).await.map_err(|_| SourceError::NoListener);
                    }
                }
            }
        }
    }
    outlive(listeners, commands).await;
    Ok(())
}

/// The connection on which we ask is gone. Where another program took it over, or only the bus ended, QEMU still calls
/// our listeners: the picture goes on until they end as well.
async fn outlive(listeners: &mut Listeners, commands: &mut mpsc::Receiver<GuestCommand>) {
    let ended = async { while listeners.join_next().await.is_some() {} };
    tokio::pin!(ended);
    if tokio::time::timeout(GRACE, &mut ended).await.is_ok() {
        return;
    }
    warn!(
        "QEMU closed our connection but still draws (did another program take it over?): no key reaches it now"
    );
    tokio::select! {
        () = ended => {}
        never = super::discard(commands) => match never {},
    }
}

/// Starts a console's listener. QEMU answers, then waits for us on the new socket, and stands still meanwhile:
/// both ends run at once.
async fn register(
    qemu: &Qemu,
    console: std::sync::Arc<crate::hub::Console>,
    reads: &DmabufReads,
    replays: &listener::Replays,
    listeners: &mut Listeners,
) -> Result<(), SourceError> {
    let id = console.id();
    let (ours, theirs) =
        UnixStream::pair().map_err(|error| SourceError::Register { console: id, error: error.into() })?;
    let (reads, replays) = (reads.clone(), replays.clone());
    listeners.spawn(async move { (id, listener::run(ours, console, reads, replays).await) });
    consoles::register(qemu, id, theirs.into()).await
}

/// Gives QEMU the further sockets that listeners ask for.
async fn register_again(qemu: &Qemu, asked: &mut mpsc::Receiver<(ConsoleId, OwnedFd)>) -> Infallible {
    while let Some((console, theirs)) = asked.recv().await {
        if let Err(error) = consoles::register(qemu, console, theirs).await {
            warn!(%console, %error, "QEMU lost a flip and does not show the console again");
        }
    }
    std::future::pending().await
}

fn report(ended: Result<(ConsoleId, zbus::Result<()>), tokio::task::JoinError>) {
    match ended {
        Ok((console, Ok(()))) => info!(%console, "QEMU closed the console's connection"),
        Ok((console, Err(error))) => warn!(%console, %error, "the console's connection broke"),
        Err(error) if error.is_cancelled() => {}
        Err(error) => tracing::error!(%error, "a console's listener failed"),
    }
}
