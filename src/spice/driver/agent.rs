//! The agent of the guest, which one client at a time has: clipboards, files, and the size of its windows.
//!
//! A client that comes while another has it waits; whoever waits longest is next. A guest that runs no agent has the
//! server's own.

mod mouse;
mod own;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spice_proto::agent::{
    Direction, Filter, Found, GuestPort, MessageKind, MonitorsConfig, MouseState, Pieces, Rules, caps,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, Notify, OwnedMutexGuard, mpsc};
use tracing::{debug, info, warn};

pub(super) use self::mouse::{AgentMouse, AgentPointer};
use self::own::Own;
use super::ChannelEnd;
use crate::hub::{AGENT_PORT, Guest, Hub};
use crate::viewer::{LogLimit, sleep_until};

/// Chunks that wait for the guest before the pointer has to.
const POINTED: usize = 16;
/// Bytes read from the guest at a time.
const READ_SIZE: usize = 16 * 1024;
/// Pieces of a client that are taken before it may send as many more: a part of those that it may send ahead.
const GRANT: u32 = 8;
/// How long a connection to the port has to be gone before the next one, unless the guest has closed the port. Another
/// program that wants the port as well has it for that long. It is also the least time between two connections, so that
/// a guest that opens and closes its port does not have QEMU make them without end.
const RECONNECT: Duration = Duration::from_secs(1);

/// The agent, and the clients that wait for it.
pub(super) struct AgentDesk {
    hub: Hub,
    rules: Rules,
    link: Arc<Mutex<Link>>,
    /// The guest's pointer, where the agent moves it.
    pub(super) mouse: Arc<AgentMouse>,
}

/// The connection to the guest's port.
///
/// It is there whether or not a client has the agent: spice-vdagentd 0.22 tries again without a pause where the port
/// leads nowhere.
struct Link {
    hub: Hub,
    rules: Rules,
    stream: Option<UnixStream>,
    /// When it was made last.
    made: Option<Instant>,
    /// When to connect: later than at once, where a connection has just ended.
    due: Option<Instant>,
    /// For what a guest can cause to be logged.
    log: LogLimit,
    /// Tells the keeper that there is something to do.
    changed: Arc<Notify>,
    port: GuestPort,
    from_guest: Filter,
    mouse: Arc<AgentMouse>,
    /// Where the pointer is to be.
    pointed: mpsc::Receiver<MouseState>,
}

/// The agent in the hands of one client. Dropped, it goes to the next.
pub(super) struct HeldAgent {
    link: OwnedMutexGuard<Link>,
    rules: Rules,
    mode: Mode,
    /// Chunks for the guest, and how many bytes of the first are written.
    to_guest: VecDeque<Vec<u8>>,
    written: usize,
    /// Pieces of the client since it was last given room for more.
    taken: u32,
    to_client: Pieces,
}

/// Whose agent it is.
enum Mode {
    /// The guest's, and what may pass to it.
    Guest(Filter),
    /// Our own.
    Own(Box<Own>),
}

/// Whose agent it is, and what it can do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Guests,
    Own,
    OwnWithClipboard,
}

/// What there is to do for the client that has the agent.
pub(super) enum AgentTurn {
    /// This goes to the client.
    Piece(Vec<u8>),
    /// The client may send so many pieces more.
    Grant(u32),
    /// It is time to call [`HeldAgent::follow`].
    Follow,
}

impl AgentDesk {
    pub(super) fn new(hub: Hub, rules: Rules) -> Self {
        if rules.clipboard_to_guest || rules.clipboard_from_guest {
            hub.clipboard().want();
        }
        let changed = Arc::<Notify>::default();
        let (mouse, pointed) = AgentMouse::new(changed.clone());
        let mouse = Arc::new(mouse);
        let link = Link {
            hub: hub.clone(),
            rules,
            stream: None,
            made: None,
            due: None,
            log: LogLimit::default(),
            changed,
            port: GuestPort::default(),
            from_guest: Filter::new(Direction::ToClient, rules),
            mouse: mouse.clone(),
            pointed,
        };
        Self { hub, rules, link: Arc::new(Mutex::new(link)), mouse }
    }

    /// Keeps the guest's port connected.
    pub(super) async fn keep(&self) -> Infallible {
        let mut guest = self.hub.guest();
        loop {
            // A client that has the agent does the same.
            let (due, changed) = {
                let mut link = self.link.lock().await;
                link.follow(port(&guest.borrow_and_update()));
                link.point();
                (link.due, link.changed.clone())
            };
            tokio::select! {
                known = guest.changed() => if known.is_err() { return std::future::pending().await },
                () = changed.notified() => {}
                () = sleep_until(due) => {}
            }
        }
    }

    /// Takes the agent if nobody has it.
    pub(super) fn try_take(&self) -> Option<HeldAgent> {
        let link = self.link.clone().try_lock_owned().ok()?;
        Some(self.held(link))
    }

    /// Waits for the agent.
    pub(super) async fn take(&self) -> HeldAgent {
        self.held(self.link.clone().lock_owned().await)
    }

    fn held(&self, link: OwnedMutexGuard<Link>) -> HeldAgent {
        let mut held = HeldAgent {
            link,
            rules: self.rules,
            mode: Mode::Own(Box::new(Own::new(self.rules, None))),
            to_guest: VecDeque::new(),
            written: 0,
            taken: 0,
            to_client: Pieces::default(),
        };
        held.follow(&self.hub.guest().borrow());
        held
    }
}

impl HeldAgent {
    /// Follows what is known of the guest. Returns whether the agent is another one than before.
    pub(super) fn follow(&mut self, guest: &Guest) -> bool {
        let port = port(guest);
        self.link.follow(port);
        let wanted = if port == Some(true) && self.link.stream.is_some() {
            Kind::Guests
        } else if guest.clipboard {
            Kind::OwnWithClipboard
        } else {
            Kind::Own
        };
        let known = self.mode.kind();
        if wanted != known {
            if Kind::Guests == wanted || Kind::Guests == known {
                let agent = if wanted == Kind::Guests { "the guest's" } else { "our own" };
                self.link.log.log(|_| info!(agent, "the agent changed"));
            }
            self.begin(wanted);
        }
        wanted != known
    }

    /// Begins with a client, at the start of a message.
    pub(super) fn start(&mut self) {
        self.begin(self.mode.kind());
    }

    /// Takes the next piece of the client's stream; returns the sizes of its windows if they are in it.
    ///
    /// # Errors
    /// If the stream is malformed.
    pub(super) fn take_piece(&mut self, piece: &[u8]) -> Result<Option<MonitorsConfig>, ChannelEnd> {
        self.taken = self.taken.saturating_add(1);
        let mut monitors = None;
        match &mut self.mode {
            Mode::Own(agent) => monitors = agent.take(piece, &mut self.to_client, &self.link.log)?,
            Mode::Guest(filter) => {
                let mut passed = Pieces::default();
                for found in filter.pass(piece, &mut passed)? {
                    match found {
                        Found::Monitors(config) => monitors = Some(config),
                        Found::Capabilities(_) => {}
                        Found::FileRefused(answer) => {
                            self.to_client.message(MessageKind::FileXferStatus, 0, &answer);
                        }
                        Found::ClipboardTooLarge(bytes) => {
                            self.link.log.log(|_| info!(bytes, "a clipboard is over the limit"));
                        }
                    }
                }
                self.to_guest
                    .extend(std::iter::from_fn(|| passed.pop()).map(|piece| GuestPort::chunk(&piece)));
            }
        }
        Ok(monitors)
    }

    /// Waits for what there is to do; for the client only if it has `room`. May be dropped and called again: nothing is
    /// lost.
    pub(super) async fn turn(&mut self, room: bool) -> AgentTurn {
        loop {
            if room && let Some(piece) = self.to_client.pop() {
                return AgentTurn::Piece(piece);
            }
            // A client that takes no answers may not cause more of them.
            if self.taken >= GRANT && self.to_guest.is_empty() && self.to_client.is_empty() {
                return AgentTurn::Grant(std::mem::take(&mut self.taken));
            }
            let due = self.link.due;
            let Link { stream, pointed, .. } = &mut *self.link;
            let stream = match (&mut self.mode, stream) {
                (Mode::Guest(_), Some(stream)) => stream,
                (Mode::Own(agent), _) => {
                    tokio::select! {
                        () = agent.follow(&mut self.to_client), if room && self.to_client.is_empty() => continue,
                        () = sleep_until(due) => return AgentTurn::Follow,
                    }
                }
                (Mode::Guest(_), None) => {
                    sleep_until(due).await;
                    return AgentTurn::Follow;
                }
            };
            let mut buffer = [0; READ_SIZE];
            let (mut read, mut write) = stream.split();
            let unwritten =
                self.to_guest.front().and_then(|chunk| chunk.get(self.written..)).unwrap_or_default();
            let done = tokio::select! {
                written = write.write(unwritten), if !unwritten.is_empty() => written.map(Done::Written),
                Some(state) = pointed.recv(), if self.to_guest.len() < POINTED => {
                    self.to_guest.push_back(GuestPort::mouse(state));
                    continue;
                }
                length = read.read(&mut buffer), if room && self.to_client.is_empty() => length.map(Done::Read),
                else => return std::future::pending().await,
            };
            if let Err(error) = self.take_up(done, &buffer) {
                debug!(%error, "the guest's agent is gone");
                self.link.reconnect_later();
                return AgentTurn::Follow;
            }
        }
    }

    fn take_up(&mut self, done: io::Result<Done>, buffer: &[u8]) -> io::Result<()> {
        match done? {
            Done::Written(0) | Done::Read(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Done::Written(bytes) => {
                self.written = self.written.saturating_add(bytes);
                if self.to_guest.front().is_some_and(|chunk| chunk.len() <= self.written) {
                    self.to_guest.pop_front();
                    self.written = 0;
                }
            }
            Done::Read(bytes) => {
                let mut bytes = buffer.get(..bytes).unwrap_or_default();
                let read = self.link.read(&mut bytes, &mut self.to_client);
                if let Err(error) = read {
                    let log = &self.link.log;
                    log.log(|_| warn!(%error, "the guest's agent is not understood: connecting to it again"));
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, kind: Kind) {
        self.leave();
        // One that ends empties the client's clipboards before the next one fills them.
        self.mode = Mode::Own(Box::new(Own::new(self.rules, None)));
        match kind {
            Kind::Guests => self.mode = Mode::Guest(Filter::new(Direction::ToGuest, self.rules)),
            Kind::OwnWithClipboard => {
                self.mode = Mode::Own(Box::new(Own::new(self.rules, Some(self.link.hub.clipboard()))));
            }
            Kind::Own => {}
        }
        self.to_client = Pieces::default();
        self.taken = 0;
    }

    /// Tells the guest's agent that this client is gone. Where it was in the middle of something, the connection begins
    /// anew, so that the agent does not take the next client's for the rest of it.
    fn leave(&mut self) {
        let Mode::Guest(filter) = &self.mode else { return };
        let mut gone = Pieces::default();
        gone.message(MessageKind::ClientDisconnected, 0, &[]);
        let chunk = gone.pop().map(|piece| GuestPort::chunk(&piece)).unwrap_or_default();
        let written = self.link.stream.as_ref().map(|stream| stream.try_write(&chunk));
        let is_whole = filter.is_between_messages() && self.to_guest.is_empty();
        if !is_whole || !matches!(written, Some(Ok(bytes)) if bytes == chunk.len()) {
            self.link.reconnect_later();
        }
        self.link.from_guest.drop_rest();
        self.to_guest.clear();
        self.written = 0;
    }
}

impl Drop for HeldAgent {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Mode {
    fn kind(&self) -> Kind {
        match self {
            Self::Guest(_) => Kind::Guests,
            Self::Own(agent) if agent.has_clipboard() => Kind::OwnWithClipboard,
            Self::Own(_) => Kind::Own,
        }
    }
}

/// What was done with the guest's port.
enum Done {
    Written(usize),
    Read(usize),
}

impl Link {
    /// Connects to the port if there is one and it is not connected.
    fn follow(&mut self, port: Option<bool>) {
        if port != Some(true) {
            self.mouse.set(false);
        }
        match port {
            None => (self.stream, self.due) = (None, None),
            Some(is_open) if self.stream.is_none() => {
                let now = Instant::now();
                if !is_open {
                    // An agent that has seen the end of the connection is ready for the next.
                    self.due = self.made.and_then(|made| made.checked_add(RECONNECT));
                }
                if self.due.is_none_or(|due| due <= now) {
                    self.made = Some(now);
                    self.connect();
                }
            }
            Some(_) => {}
        }
    }

    /// Has the agent move the pointer to where clients that have left want it, if nobody else has the agent.
    fn point(&mut self) {
        let mut last = None;
        while let Ok(state) = self.pointed.try_recv() {
            last = Some(GuestPort::mouse(state));
        }
        let (Some(chunk), Some(stream)) = (last, &self.stream) else { return };
        if stream.try_write(&chunk).is_ok_and(|bytes| bytes != chunk.len()) {
            self.reconnect_later();
        }
    }

    /// Ends the connection, and has it made again once the guest has seen its end: it would take what comes for the
    /// rest of a message.
    fn reconnect_later(&mut self) {
        self.stream = None;
        self.mouse.set(false);
        self.due = Instant::now().checked_add(RECONNECT);
        self.changed.notify_one();
    }

    /// Connects to the port, at the start of everything.
    fn connect(&mut self) {
        self.due = None;
        self.port = GuestPort::default();
        self.from_guest = Filter::new(Direction::ToClient, self.rules);
        let Some(id) = port_id(&self.hub.guest().borrow()).map(str::to_owned) else { return };
        let connected = self.hub.ports().connect(&id).and_then(|(stream, _)| {
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)
        });
        match connected {
            Ok(stream) => self.stream = Some(stream),
            Err(error) => warn!(%error, "cannot connect to the guest's agent"),
        }
    }

    /// Reads what came from the guest; what is for the client is added to `to_client`.
    fn read(&mut self, bytes: &mut &[u8], to_client: &mut Pieces) -> Result<(), ChannelEnd> {
        while let Some(data) = self.port.next(bytes)? {
            for found in self.from_guest.pass(data, to_client)? {
                match found {
                    Found::Capabilities(agent) => self.mouse.set(agent.has(caps::MOUSE_STATE)),
                    Found::ClipboardTooLarge(bytes) => {
                        self.log.log(|_| info!(bytes, "a clipboard is over the limit"));
                    }
                    Found::Monitors(_) | Found::FileRefused(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// Returns whether the agent's port is open in the guest; `None` if there is no such port.
fn port(guest: &Guest) -> Option<bool> {
    let id = port_id(guest)?;
    guest.ports.get(id).map(|port| port.is_open)
}

fn port_id(guest: &Guest) -> Option<&str> {
    guest.ports.iter().find(|(_, port)| port.name == AGENT_PORT).map(|(id, _)| id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::PortInfo;

    #[tokio::test]
    async fn a_guest_that_opens_and_closes_its_port_causes_few_connections() {
        let hub = Hub::default();
        let desk = AgentDesk::new(hub.clone(), Rules::default());
        let began = Instant::now();
        let toggle = async {
            for is_open in [true, false].into_iter().cycle().take(2000) {
                let port = PortInfo { name: AGENT_PORT.to_owned(), is_open, ..PortInfo::default() };
                hub.change_guest(|guest| _ = guest.ports.insert("agent".to_owned(), port));
                tokio::task::yield_now().await;
            }
        };
        let held = std::cell::RefCell::new(Vec::new());
        let count = async {
            loop {
                let request = hub.ports().next().await;
                held.borrow_mut().push(request.id);
                // The connection ends at once, as a holder of the agent notices.
                desk.link.lock().await.reconnect_later();
            }
        };
        tokio::select! {
            () = toggle => {}
            _ = desk.keep() => {}
            () = count => {}
        }
        let (made, seconds) = (held.into_inner().len(), began.elapsed().as_secs());
        assert!((1..=2 + usize::try_from(seconds).unwrap()).contains(&made), "{made} in {seconds} s");
    }
}
