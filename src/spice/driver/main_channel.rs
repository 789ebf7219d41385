//! Drives a main channel: a client's session lives as long as it does.

use std::time::{Duration, Instant};

use spice_proto::channels::main::{MainChannel, MainEvent, MainStart, MouseMode, MouseModes};
use spice_proto::link::LinkRequest;
use spice_proto::wire::{ChannelId, ChannelType};

use super::connection::{Connection, Turn};
use super::convert::mouse_mode;
use super::{ChannelEnd, Server};
use crate::hub::Guest;
use crate::spice::session::Session;

/// How long a client has to take our last words.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Starts the machine with what is known of the guest now.
pub(super) fn start(server: &Server, session: &Session, request: &LinkRequest, now: Instant) -> MainChannel {
    let guest = server.hub.guest().borrow().clone();
    let channels = channels(&guest);
    session.offer(&channels);
    let start = MainStart {
        session_id: session.id,
        caps: request.channel_caps,
        channels,
        mouse: mouse(&guest, session),
        multi_media_time: server.clock.now(),
        name: Some(guest.name).filter(|name| !name.is_empty()),
        uuid: Some(guest.uuid).filter(|uuid| *uuid != [0; 16]),
    };
    MainChannel::new(request.header_form(), start, now)
}

/// Serves the channel until the client leaves or the session is ended.
pub(super) async fn run(
    server: &Server,
    session: &Session,
    mut connection: Connection<MainChannel>,
) -> Result<(), ChannelEnd> {
    let mut guest = server.hub.guest();
    guest.mark_changed(); // it may have since the start
    let mut known = connection.machine.channels().to_vec();
    loop {
        tokio::select! {
            turn = connection.turn(|_| false) => {
                if let Turn::Event(MainEvent::MouseMode(mode)) = turn? {
                    session.absolute.send_replace(mode == MouseMode::Client);
                }
            }
            changed = guest.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let now = Instant::now();
                let guest = guest.borrow_and_update().clone();
                // Consoles that are gone keep their channel, black: they may come back, and clients cannot lose one.
                let new: Vec<_> = channels(&guest).into_iter().filter(|id| !known.contains(id)).collect();
                if !new.is_empty() {
                    session.offer(&new);
                    connection.machine.add_channels(&new, now)?;
                    known.extend(new);
                }
                if !guest.consoles.is_empty() {
                    connection.machine.set_mouse(mouse(&guest, session), now)?;
                }
            }
            () = session.end.cancelled() => {
                if server.end.is_cancelled() {
                    connection.machine.disconnect(Instant::now())?;
                    let _ = tokio::time::timeout(LAST_WORDS, connection.finish()).await;
                    return Ok(());
                }
                return Err(ChannelEnd::Session);
            }
        }
    }
}

/// The channels of a client: the pointer and keys, and picture and cursor of each console. Before the guest has a
/// console there is the first one's, so that the client's window waits instead of ending.
fn channels(guest: &Guest) -> Vec<ChannelId> {
    let consoles = guest.consoles.keys().filter_map(|console| u8::try_from(console.0).ok());
    let mut consoles: Vec<u8> = consoles.collect();
    if consoles.is_empty() {
        consoles.push(0);
    }
    let mut channels = vec![ChannelId { kind: ChannelType::Inputs, id: 0 }];
    for id in consoles {
        channels.push(ChannelId { kind: ChannelType::Display, id });
        channels.push(ChannelId { kind: ChannelType::Cursor, id });
    }
    channels
}

/// Absolute positions wherever the guest takes them: the viewer's own pointer is the smoother one.
fn mouse(guest: &Guest, session: &Session) -> MouseModes {
    let absolute = guest.is_absolute();
    session.absolute.send_replace(absolute);
    MouseModes {
        server: !absolute, // QEMU refuses motion to an absolute device
        client: absolute,
        current: mouse_mode(absolute),
    }
}
