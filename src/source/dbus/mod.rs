//! QEMU's D-Bus display (`org.qemu.Display1`), as its one listener.
//!
//! Two kinds of connections: [`Qemu`], where we ask, and listeners, where QEMU calls: one [`listener`] per console and
//! two of sound. The guest's description ([`consoles`]), its pictures ([`pictures`]), its sound ([`audio`]), its
//! [`clipboard`] and its [`input`] do not depend on each other.
//!
//! A listener's calls go through [`crate::display1`] (what was said) and [`screen`] (what it means) into the hub.

mod audio;
mod clipboard;
mod connect;
mod consoles;
mod disable;
mod input;
mod known_buffers;
mod listener;
mod lost_flips;
mod object;
mod pictures;
mod placeholder;
mod ports;
mod screen;

pub use audio::SoundCalls;
pub use clipboard::ClipboardCalls;
pub(super) use connect::{Bus, Qemu};
pub use listener::listen;

use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tracing::{info, warn};
use zbus::MessageStream;

use super::SourceError;
use super::together::Together;
use crate::frame::{ConsoleId, DmabufReads, GuestCommand};
use crate::hub::{Guest, Hub};
use audio::Audio;
use pictures::Pictures;

/// How long after the first connection of a QEMU that ends the others may take to end as well.
const GRACE: Duration = Duration::from_secs(2);

/// Attaches to this QEMU and serves it until it leaves.
pub(super) async fn serve(
    qemu: Qemu,
    together: &Together,
    hub: &Hub,
    reads: &DmabufReads,
    commands: &mut mpsc::Receiver<GuestCommand>,
) -> Result<(), SourceError> {
    let (mut pictures, mut audio) = (Pictures::new(reads.clone()), Audio::new());
    let served = attach_and_serve(&qemu, together, hub, &mut pictures, &mut audio, commands).await;
    // None of them may write into the hub when its next user has it.
    pictures.stop().await;
    audio.stop().await;
    served
}

async fn attach_and_serve(
    qemu: &Qemu,
    together: &Together,
    hub: &Hub,
    pictures: &mut Pictures,
    audio: &mut Audio,
    commands: &mut mpsc::Receiver<GuestCommand>,
) -> Result<(), SourceError> {
    // Watched before asked, so that no change falls between.
    let changes = consoles::changes(qemu).await?;
    let mut guest = consoles::discover(qemu).await?;
    let ours = consoles_of_our_card(qemu, together, &mut guest);
    pictures.attach(qemu, hub, &mut guest, &ours).await?;
    if guest.sound {
        audio.attach(qemu, hub).await;
    }
    info!(name = guest.name, consoles = guest.consoles.len(), "attached to QEMU");
    hub.change_guest(|known| *known = guest);

    let left = qemu.left();
    tokio::pin!(left);
    tokio::select! {
        () = &mut left => {}
        never = follow(changes, hub) => match never {},
        never = input::forward(qemu, hub, commands) => match never {},
        never = ports::serve(qemu, hub) => match never {},
        never = clipboard::share(qemu, hub) => match never {},
        () = pictures.run(qemu) => {
            return tokio::time::timeout(GRACE, left).await.map_err(|_| SourceError::NoListener);
        }
    }
    outlive(pictures, commands).await;
    Ok(())
}

/// Returns the consoles of `guest` that belong to our own graphics card, so that their pictures come from the guest
/// itself.
fn consoles_of_our_card(qemu: &Qemu, together: &Together, guest: &mut Guest) -> Vec<ConsoleId> {
    if !together.has_gpu() {
        return Vec::new();
    }
    let ours = guest.consoles.iter_mut().filter(|(_, info)| qemu.known.is_vhost_user(&info.label));
    let ours: Vec<_> = ours
        .map(|(id, info)| {
            info.absolute = together.pointer().unwrap_or(info.absolute);
            *id
        })
        .collect();
    if let Some(&first) = ours.first() {
        together.set_first_console(first);
    }
    ours
}

/// Brings the changes of the guest into the hub.
async fn follow(mut changes: MessageStream, hub: &Hub) -> Infallible {
    while let Some(change) = changes.next().await {
        if let Ok(change) = change {
            hub.change_guest(|guest| consoles::apply_change(guest, &change));
        }
    }
    std::future::pending().await
}

/// Serves the pictures on after the connection on which we ask has ended. Where another program took it over, or only
/// the bus ended, QEMU still calls our listeners.
async fn outlive(pictures: &mut Pictures, commands: &mut mpsc::Receiver<GuestCommand>) {
    let ended = pictures.ended();
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
