//! The main channel: a client's session lives as long as it does.

use std::time::{Duration, Instant, SystemTime};

use spice_proto::channels::base::Severity;
use spice_proto::channels::main::{MainChannel, MainEvent, MainStart, MouseMode, MouseModes, caps};
use spice_proto::link::LinkRequest;
use spice_proto::wire::{Caps, ChannelType};

use super::{Channel, offered};
use crate::frame::GuestCommand;
use crate::hub::Guest;
use crate::spice::driver::agent::{AgentTurn, HeldAgent};
use crate::spice::driver::connection::{Connection, Progress};
use crate::spice::driver::convert::{mouse_mode, windows};
use crate::spice::driver::link::Linked;
use crate::spice::driver::{ChannelEnd, Server};
use crate::spice::grant::Deed;
use crate::spice::session::{Holding, Session, Single};
use crate::spice::windows::Windows;
use crate::viewer::sleep_until;

/// How long a client has to take our last words.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What a client is told that could not have the agent, and what it is told when it can.
const AGENT_IS_TAKEN: &str = "another viewer has copy and paste, file transfer and the size of the screens";
const AGENT_IS_YOURS: &str = "copy and paste, file transfer and the size of the screens are yours now";

/// A session begins with it: it is not offered.
pub(super) const CHANNEL: Channel = Channel {
    kind: ChannelType::Main,
    caps: || Caps::of(&[caps::NAME_AND_UUID, caps::AGENT_CONNECTED_TOKENS]),
    ids: |_| Vec::new(),
    serve: |server, session, linked| Box::pin(serve(server, session, linked)),
};

async fn serve(server: &Server, session: &Session, linked: Linked) -> Result<(), ChannelEnd> {
    let agent = session.grant.allows(Deed::Agent).then(|| server.agent.try_take()).flatten();
    let connection =
        linked.accept(|request, now| start(server, session, request, agent.is_some(), now)).await?;
    let holding = agent.is_some().then(|| session.hold(Single::Agent));
    let mut main = Main { server, session, connection, agent, holding, windows: Windows::default() };
    match main.run().await {
        Err(ChannelEnd::Session) => {
            main.say_goodbye().await?;
            if server.end.is_cancelled() { Ok(()) } else { Err(ChannelEnd::Session) }
        }
        ended => ended,
    }
}

/// Starts the machine with what is known of the guest now.
fn start(
    server: &Server,
    session: &Session,
    request: &LinkRequest,
    has_agent: bool,
    now: Instant,
) -> MainChannel {
    let guest = server.hub.guest().borrow().clone();
    let channels = offered(&guest, &session.grant);
    let channels = session.offer(channels);
    let start = MainStart {
        session_id: session.id,
        caps: request.channel_caps,
        channels,
        mouse: mouse(&guest, session, *server.agent.mouse.takes().borrow(), None),
        has_agent,
        multi_media_time: server.clock.now(),
        name: Some(guest.name).filter(|name| !name.is_empty()),
        uuid: Some(guest.uuid).filter(|uuid| *uuid != [0; 16]),
    };
    MainChannel::new(request.header_form(), start, now)
}

/// A client's main channel.
struct Main<'a> {
    server: &'a Server,
    session: &'a Session,
    connection: Connection<MainChannel>,
    /// The agent, while it is this client's.
    agent: Option<HeldAgent>,
    holding: Option<Holding<'a>>,
    windows: Windows,
}

impl Main<'_> {
    /// Serves the channel until the client leaves or the session is ended.
    async fn run(&mut self) -> Result<(), ChannelEnd> {
        let server = self.server;
        let mut guest = server.hub.guest();
        guest.mark_changed(); // it may have since the start
        let may_have_agent = self.session.grant.allows(Deed::Agent);
        let next = server.agent.take();
        let granted = passed(self.session.grant.until);
        tokio::pin!(next, granted);
        let mut by_agent = server.agent.mouse.takes();
        by_agent.mark_changed();
        if may_have_agent && self.agent.is_none() {
            self.connection.machine.notify(Severity::Info, AGENT_IS_TAKEN, Instant::now())?;
        }
        loop {
            let room = self.connection.machine.has_room_for_agent();
            tokio::select! {
                turn = self.connection.turn(|machine| !room && machine.has_room_for_agent()) => {
                    if let Progress::Event(event) = turn? {
                        self.event(event)?;
                    }
                }
                changed = guest.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.follow(&guest.borrow_and_update().clone())?;
                }
                Ok(()) = by_agent.changed() => {
                    by_agent.borrow_and_update();
                    let guest = guest.borrow().clone();
                    if !guest.consoles.is_empty() {
                        self.follow_mouse(&guest)?;
                    }
                }
                () = self.session.ready() => {
                    let known = guest.borrow().clone();
                    self.follow(&known)?;
                }
                agent = &mut next, if may_have_agent && self.agent.is_none() => {
                    self.agent = Some(agent);
                    self.holding = Some(self.session.hold(Single::Agent));
                    self.connection.machine.set_agent(true, Instant::now())?;
                    self.connection.machine.notify(Severity::Info, AGENT_IS_YOURS, Instant::now())?;
                }
                turn = turn(&mut self.agent, room) => self.agent_turn(turn)?,
                () = sleep_until(self.windows.deadline()) => self.tell_window().await,
                () = &mut granted, if !self.session.end.is_cancelled() => {
                    self.session.end_for("the time of its invitation is over");
                }
                () = self.session.end.cancelled() => return Err(ChannelEnd::Session),
            }
        }
    }

    /// Takes up what the client did.
    fn event(&mut self, event: MainEvent) -> Result<(), ChannelEnd> {
        match (event, &mut self.agent) {
            (MainEvent::MouseMode(mode), _) => {
                if self.session.may(Deed::PointerMode, &self.server.log) {
                    self.session.absolute.send_replace(mode == MouseMode::Client);
                } else {
                    let guest = self.server.hub.guest();
                    self.follow_mouse(&guest.borrow())?;
                }
            }
            (MainEvent::AgentStart, Some(agent)) => agent.start(),
            (MainEvent::AgentData(piece), Some(agent)) => {
                if let Some(monitors) = agent.take_piece(&piece)? {
                    self.windows.set(windows(&monitors), Instant::now());
                }
            }
            (MainEvent::AgentStart | MainEvent::AgentData(_), None) => {}
        }
        Ok(())
    }

    /// Takes up what changed about the guest.
    fn follow(&mut self, guest: &Guest) -> Result<(), ChannelEnd> {
        let now = Instant::now();
        // Consoles that are gone keep their channel, black: they may come back, and clients cannot lose one.
        let offered = offered(guest, &self.session.grant);
        let new = self.session.offer(offered);
        if !new.is_empty() {
            self.connection.machine.add_channels(&new, now)?;
        }
        if !guest.consoles.is_empty() {
            self.follow_mouse(guest)?;
        }
        self.follow_agent(guest)
    }

    /// Tells the client who moves the pointer.
    fn follow_mouse(&mut self, guest: &Guest) -> Result<(), ChannelEnd> {
        let machine = &mut self.connection.machine;
        let takes = *self.server.agent.mouse.takes().borrow();
        let known = machine.mouse();
        let chosen = (known.server && known.client).then_some(known.current);
        let may_choose = self.session.grant.allows(Deed::PointerMode);
        Ok(machine
            .set_mouse(mouse(guest, self.session, takes, chosen.filter(|_| may_choose)), Instant::now())?)
    }

    fn agent_turn(&mut self, turn: AgentTurn) -> Result<(), ChannelEnd> {
        let now = Instant::now();
        match turn {
            AgentTurn::Piece(piece) => self.connection.machine.send_agent(piece, now)?,
            AgentTurn::Grant(pieces) => self.connection.machine.grant_agent(pieces, now)?,
            AgentTurn::Follow => {
                let guest = self.server.hub.guest().borrow().clone();
                self.follow_agent(&guest)?;
            }
        }
        Ok(())
    }

    /// Has the client begin with the agent anew if it is another one.
    fn follow_agent(&mut self, guest: &Guest) -> Result<(), ChannelEnd> {
        if self.agent.as_mut().is_some_and(|agent| agent.follow(guest)) {
            let now = Instant::now();
            self.connection.machine.set_agent(false, now)?;
            self.connection.machine.set_agent(true, now)?;
        }
        Ok(())
    }

    /// Tells the guest of a window of the client. Waits while the queue is full, and this client with it.
    async fn tell_window(&mut self) {
        if let Some((console, window)) = self.windows.due(Instant::now()) {
            let _ = self.server.commands.send(GuestCommand::Window { console, window }).await;
        }
    }

    /// Tells the client that the session ends, and gives it time to read that.
    async fn say_goodbye(mut self) -> Result<(), ChannelEnd> {
        if let Some(reason) = self.session.ended() {
            self.connection.machine.notify(Severity::Warn, reason, Instant::now())?;
        }
        self.connection.machine.disconnect(Instant::now())?;
        let said = tokio::time::timeout(LAST_WORDS, self.connection.finish()).await;
        self.session.told.cancel();
        if let Ok(Ok(())) = said {
            let _ = tokio::time::timeout(LAST_WORDS, self.connection.read_out()).await;
        }
        Ok(())
    }
}

/// Waits for what there is to do with the agent, if it is this client's.
async fn turn(agent: &mut Option<HeldAgent>, room: bool) -> AgentTurn {
    match agent {
        Some(agent) => agent.turn(room).await,
        None => std::future::pending().await,
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

/// Returns the mouse modes for `guest`: absolute positions if it takes them, or its agent does (`by_agent`), because
/// the client's own pointer is smoother. Where it has both, it is the client's choice, if it has `chosen`.
fn mouse(guest: &Guest, session: &Session, by_agent: bool, chosen: Option<MouseMode>) -> MouseModes {
    let tablet = guest.is_absolute();
    let best = mouse_mode(tablet || by_agent);
    let current = chosen.filter(|_| by_agent && !tablet).unwrap_or(best);
    session.absolute.send_replace(current == MouseMode::Client);
    MouseModes {
        server: !tablet, // QEMU refuses motion to an absolute device
        client: tablet || by_agent,
        current,
    }
}
