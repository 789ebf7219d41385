//! The pictures of QEMU's consoles: a listener for each.

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tracing::{info, warn};

use super::connect::Qemu;
use super::lost_flips::connections::Replays;
use super::{consoles, listener};
use crate::frame::{ConsoleId, DmabufReads};
use crate::hub::{Console, Guest, Hub, MAX_CONSOLES};
use crate::source::SourceError;

/// The most listeners that wait for QEMU to show their console again: as many as there are consoles at most.
const MAX_REPLAYS: usize = 16;

/// The listeners of one QEMU.
pub(super) struct Pictures {
    /// Each ends with its console's number, and why.
    listeners: JoinSet<(ConsoleId, zbus::Result<()>)>,
    reads: DmabufReads,
    replays: Replays,
    /// The sockets of listeners that ask to be shown their console again.
    asked: mpsc::Receiver<(ConsoleId, OwnedFd)>,
}

impl Pictures {
    /// Starts without a listener. Dmabufs are read as `reads` says.
    pub(super) fn new(reads: DmabufReads) -> Self {
        let (replays, asked) = mpsc::channel(MAX_REPLAYS);
        Self { listeners: JoinSet::new(), reads, replays, asked }
    }

    /// Registers a listener for each console of `guest` but those `elsewhere`, whose pictures come from another source.
    /// Removes from `guest` those that cannot be shown.
    ///
    /// # Errors
    /// If no console can be shown, or QEMU refuses a listener.
    pub(super) async fn attach(
        &mut self,
        qemu: &Qemu,
        hub: &Hub,
        guest: &mut Guest,
        elsewhere: &[ConsoleId],
    ) -> Result<(), SourceError> {
        let (mut shown, mut hidden) = (Vec::new(), Vec::new());
        for (&id, info) in guest.consoles.iter().filter(|(id, _)| !elsewhere.contains(id)) {
            if let Some(obstacle) = qemu.known.obstacle(&info.label) {
                hidden.push(SourceError::Obstacle { console: id, label: info.label.clone(), obstacle });
                continue;
            }
            if shown.len() >= MAX_CONSOLES {
                warn!(console = %id, MAX_CONSOLES, "too many consoles: this one is not shown");
                continue;
            }
            self.register(qemu, hub.add_console(id)).await?;
            shown.push(id);
        }
        for error in hidden {
            if shown.is_empty() && elsewhere.is_empty() {
                return Err(error);
            }
            warn!("{error}");
        }
        guest.consoles.retain(|id, _| shown.contains(id) || elsewhere.contains(id));
        Ok(())
    }

    /// Serves the listeners until the last has ended; for ever if there was none.
    pub(super) async fn run(&mut self, qemu: &Qemu) {
        if self.listeners.is_empty() {
            std::future::pending().await
        }
        let again = register_again(qemu, &mut self.asked);
        tokio::pin!(again);
        loop {
            tokio::select! {
                never = &mut again => match never {},
                ended = self.listeners.join_next() => match ended {
                    Some(ended) => report(ended),
                    None => return,
                }
            }
        }
    }

    /// Waits until the last listener has ended, whose console QEMU shows without being asked for anything.
    pub(super) async fn ended(&mut self) {
        while self.listeners.join_next().await.is_some() {}
    }

    /// Ends all listeners. None writes into the hub afterwards.
    pub(super) async fn stop(mut self) {
        self.listeners.shutdown().await;
    }

    /// Starts a console's listener. QEMU answers, then waits for us on the new socket, and stands still meanwhile:
    /// both ends run at once.
    async fn register(&mut self, qemu: &Qemu, console: Arc<Console>) -> Result<(), SourceError> {
        let id = console.id();
        let (ours, theirs) =
            UnixStream::pair().map_err(|error| SourceError::Register { console: id, error: error.into() })?;
        let (reads, replays) = (self.reads.clone(), self.replays.clone());
        self.listeners.spawn(async move { (id, listener::run(ours, console, reads, replays).await) });
        consoles::register(qemu, id, theirs.into()).await
    }
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

fn report(ended: Result<(ConsoleId, zbus::Result<()>), JoinError>) {
    match ended {
        Ok((console, Ok(()))) => info!(%console, "QEMU closed the console's connection"),
        Ok((console, Err(error))) => warn!(%console, %error, "the console's connection broke"),
        Err(error) if error.is_cancelled() => {}
        Err(error) => tracing::error!(%error, "a console's listener failed"),
    }
}
