//! The main channel: a client's session lives as long as it does.

use std::time::{Duration, Instant, SystemTime};

use spice_proto::channels::base::Severity;
use spice_proto::channels::main::{MainChannel, MainEvent, MainStart, MouseMode, MouseModes, caps};
use spice_proto::link::LinkRequest;
use spice_proto::wire::{Caps, ChannelType};

use super::{Channel, offered};
use crate::hub::Guest;
use crate::spice::driver::connection::{Connection, Progress};
use crate::spice::driver::convert::mouse_mode;
use crate::spice::driver::link::Linked;
use crate::spice::driver::{ChannelEnd, Server};
use crate::spice::grant::Deed;
use crate::spice::session::Session;

/// How long a client has to take our last words.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A session begins with it: it is not offered.
pub(super) const CHANNEL: Channel = Channel {
    kind: ChannelType::Main,
    caps: || Caps::of(&[caps::NAME_AND_UUID, caps::AGENT_CONNECTED_TOKENS]),
    ids: |_| Vec::new(),
    serve: |server, session, linked| Box::pin(serve(server, session, linked)),
};

async fn serve(server: &Server, session: &Session, linked: Linked) -> Result<(), ChannelEnd> {
    let connection = linked.accept(|request, now| start(server, session, request, now)).await?;
    run(server, session, connection).await
}

/// Starts the machine with what is known of the guest now.
fn start(server: &Server, session: &Session, request: &LinkRequest, now: Instant) -> MainChannel {
    let guest = server.hub.guest().borrow().clone();
    let channels = offered(&guest);
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
async fn run(
    server: &Server,
    session: &Session,
    mut connection: Connection<MainChannel>,
) -> Result<(), ChannelEnd> {
    let mut guest = server.hub.guest();
    guest.mark_changed(); // it may have since the start
    let mut known = connection.machine.channels().to_vec();
    let granted = passed(session.grant.until);
    tokio::pin!(granted);
    loop {
        tokio::select! {
            turn = connection.turn(|_| false) => {
                match turn? {
                    Progress::Event(MainEvent::MouseMode(mode)) if session.may(Deed::PointerMode, &server.log) => {
                        session.absolute.send_replace(mode == MouseMode::Client);
                    }
                    Progress::Event(MainEvent::MouseMode(_)) => {
                        let mouse = mouse(&guest.borrow(), session);
                        connection.machine.set_mouse(mouse, Instant::now())?;
                    }
                    Progress::Ready => {}
                }
            }
            changed = guest.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let now = Instant::now();
                let guest = guest.borrow_and_update().clone();
                // Consoles that are gone keep their channel, black: they may come back, and clients cannot
                // lose one.
                let new: Vec<_> = offered(&guest).into_iter().filter(|id| !known.contains(id)).collect();
                if !new.is_empty() {
                    session.offer(&new);
                    connection.machine.add_channels(&new, now)?;
                    known.extend(new);
                }
                if !guest.consoles.is_empty() {
                    connection.machine.set_mouse(mouse(&guest, session), now)?;
                }
            }
            () = &mut granted, if !session.end.is_cancelled() => session.end_for("the time of its invitation is over"),
            () = session.end.cancelled() => {
                if let Some(reason) = session.ended() {
                    connection.machine.notify(Severity::Warn, reason, Instant::now())?;
                }
                connection.machine.disconnect(Instant::now())?;
                let _ = tokio::time::timeout(LAST_WORDS, connection.finish()).await;
                return if server.end.is_cancelled() { Ok(()) } else { Err(ChannelEnd::Session) };
            }
        }
    }
}

/// Waits until `end` by the clock on the wall; for ever without one. If that clock is set forward meanwhile, this is
/// late.
async fn passed(end: Option<SystemTime>) {
    let Some(end) = end else { return std::future::pending().await };
    while let Some(left) = end.duration_since(SystemTime::now()).ok().filter(|left| !left.is_zero()) {
        tokio::time::sleep(left).await;
    }
}

/// Returns the mouse modes for `guest`: absolute positions if the guest takes them, because the client's own
/// pointer is smoother.
fn mouse(guest: &Guest, session: &Session) -> MouseModes {
    let absolute = guest.is_absolute();
    session.absolute.send_replace(absolute);
    MouseModes {
        server: !absolute, // QEMU refuses motion to an absolute device
        client: absolute,
        current: mouse_mode(absolute),
    }
}
