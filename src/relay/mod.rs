//! `org.qemu.Display1` offered again: local D-Bus viewers see the VM through us as they would see it in QEMU.
//!
//! QEMU serves one peer-to-peer connection, and it is ours; here any number of viewers share it. `display` and
//! `input` are the objects that callers find on a bus. Who registers a listener gets a `listener` task of its own,
//! which asks `listener_state` (pure) for its next call: fds are passed on, and the guest waits for a viewer's draw as
//! it would in QEMU, but only while that viewer keeps up.
//!
//! Uses `display1`, `frame`, `hub` and `viewer`.

mod calls;
mod display;
mod error;
mod follow;
mod input;
mod listener;
mod listener_state;
mod peers;
mod socket;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;
use zbus::Connection;
use zbus::message::Header;

use self::error::DisplayError;
use self::peers::Peers;
use self::socket::ListenerSocket;
use crate::display1::{KEYBOARD, MOUSE, MULTI_TOUCH};
use crate::frame::GuestCommand;
use crate::hub::{Console, Guest, Hub};
use crate::viewer::{LogLimit, Roster};

/// The interfaces of a console besides `Console` itself.
const CONSOLE_INTERFACES: [&str; 3] = [KEYBOARD, MOUSE, MULTI_TOUCH];

/// The display that is offered again. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct Relay {
    shared: Arc<Shared>,
}

/// The state that all objects share.
#[derive(Debug)]
struct Shared {
    hub: Hub,
    roster: Roster,
    passthrough: bool,
    commands: mpsc::Sender<GuestCommand>,
    end: CancellationToken,
    peers: Mutex<Peers>,
    log: LogLimit,
}

impl Relay {
    /// Offers what `hub` shows. GPU buffers are passed on only with `passthrough`. What viewers ask of the guest goes
    /// to `commands`. All listeners end with `end`.
    #[must_use]
    pub fn new(
        hub: Hub,
        roster: Roster,
        passthrough: bool,
        commands: mpsc::Sender<GuestCommand>,
        end: CancellationToken,
    ) -> Self {
        let (peers, log) = Default::default();
        Self { shared: Arc::new(Shared { hub, roster, passthrough, commands, end, peers, log }) }
    }

    /// Makes the objects of a connection, and keeps them as the hub is until the connection breaks. Listeners that
    /// came by it outlive it.
    ///
    /// `published` is called when the objects are there. The connection must have been built with an object
    /// (`serve_at`): zbus loses calls that come while it starts to serve the first one.
    ///
    /// # Errors
    /// If the connection breaks while it is told of a change, or `published` fails.
    pub async fn serve(
        &self,
        connection: &Connection,
        published: impl AsyncFnOnce() -> zbus::Result<()>,
    ) -> zbus::Result<()> {
        follow::run(&self.shared, connection, published).await
    }
}

impl Shared {
    fn guest<T>(&self, read: impl FnOnce(&Guest) -> T) -> T {
        read(&self.hub.guest().borrow())
    }

    /// Queues a command of a peer for the guest.
    fn send(&self, peer: &str, command: GuestCommand) -> Result<(), DisplayError> {
        match self.commands.try_send(command) {
            Ok(()) => {
                lock(&self.peers).sent(peer, command);
                Ok(())
            }
            Err(_) => Err(DisplayError::Failed("the guest is too busy to take more input".to_owned())),
        }
    }

    /// Starts a task for a listener of `peer`.
    fn admit(
        self: &Arc<Self>,
        peer: &str,
        socket: ListenerSocket,
        console: Arc<Console>,
    ) -> Result<(), DisplayError> {
        if !lock(&self.peers).enter(peer) {
            return Err(DisplayError::Failed("there are too many listeners".to_owned()));
        }
        let place = ListenerPlace { shared: self.clone(), peer: peer.to_owned() };
        let id = console.id();
        let name = match socket.process() {
            Some(process) => format!("{peer} (process {process})"),
            None => peer.to_owned(),
        };
        let listing = self.roster.enter(id, &name, "dbus");
        let mut guest = self.hub.guest();
        tokio::spawn(async move {
            let shared = &place.shared;
            shared.log.log(|_| info!(console = %id, viewer = name, "a D-Bus viewer registered a listener"));
            let gone = guest.wait_for(|guest| !guest.consoles.contains_key(&id));
            let ended = tokio::select! {
                ended = listener::run(socket, console, listing, shared.passthrough) => ended,
                _ = gone => Ok(()),
                () = shared.end.cancelled() => Ok(()),
            };
            let reason = ended.err().map_or_else(|| "closed".to_owned(), |error| error.to_string());
            shared
                .log
                .log(|_| info!(console = %id, viewer = name, reason, "a D-Bus viewer's listener ended"));
        });
        Ok(())
    }
}

/// A listener's place among [`Peers`], which is free again when this is dropped.
struct ListenerPlace {
    shared: Arc<Shared>,
    peer: String,
}

impl Drop for ListenerPlace {
    fn drop(&mut self) {
        let held = lock(&self.shared.peers).leave(&self.peer);
        let commands = self.shared.commands.clone();
        if let (false, Ok(runtime)) = (held.is_empty(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                for command in held {
                    let _ = commands.send(command).await;
                }
            });
        }
    }
}

/// Returns a caller's name on the bus; empty on a connection without a bus.
fn peer_name<'h>(header: &'h Header<'_>) -> &'h str {
    header.sender().map_or("", |name| name.as_str())
}

/// Locks `mutex`, even after a panic: each change under these locks is complete before anything that could panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
