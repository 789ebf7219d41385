//! The only part of `spice` that waits: sockets, clocks and tasks around the channels' state machines.

mod clock;
mod connection;
mod convert;
mod cursor;
mod display;
mod door;
mod inputs;
mod keys;
mod link;
mod main_channel;
mod network;
mod video;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use spice_proto::auth::Password;
use spice_proto::channels::ChannelError;
use spice_proto::link::{LinkError, LinkFailure};
use spice_proto::wire::{ChannelType, WireError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span};

use self::clock::Clock;
use self::connection::Connection;
use self::door::Door;
use self::link::{Linked, Linking};
use super::lobby::Lobby;
use super::session::{Seat, Sessions};
use crate::encode::Encoders;
use crate::frame::{ConsoleId, GuestCommand};
use crate::hub::Hub;
use crate::transport::{Peer, Stream};
use crate::viewer::{Lines, Refused, Roster};

/// A SPICE server for one VM.
pub(crate) struct Server {
    hub: Hub,
    roster: Roster,
    encoders: Option<Encoders>,
    passthrough: bool,
    max_bitrate: Option<u64>,
    commands: mpsc::Sender<GuestCommand>,
    door: Door,
    lobby: Arc<Lobby>,
    sessions: Arc<Sessions>,
    /// How much is logged of strangers.
    lines: Mutex<Lines>,
    clock: Clock,
    end: CancellationToken,
}

/// What the user decided.
pub(crate) struct Settings {
    /// Without encoders there is no video.
    pub encoders: Option<Encoders>,
    /// Whether local clients get the guest's own buffers.
    pub passthrough: bool,
    /// Bits a second that no client is sent more of; without it, what its network carries.
    pub max_bitrate: Option<u64>,
    /// Without a password everyone is let in.
    pub password: Option<Password>,
}

/// Why a channel ended.
#[derive(Debug, thiserror::Error)]
enum ChannelEnd {
    #[error("the connection was closed")]
    Closed,
    #[error("not linked: {0}")]
    Link(#[from] LinkFailure),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("malformed message: {0}")]
    Malformed(#[from] WireError),
    #[error("the client took nothing of what waits for it for 30 s")]
    NotReading,
    #[error("connection: {0}")]
    Socket(#[from] std::io::Error),
    #[error("it gave its place to a newer connection before it had logged in")]
    Displaced,
    #[error("the session ended")]
    Session,
}

impl Server {
    /// A server of what `hub` shows. Its viewers are entered in `roster`. What they ask of the guest goes to `commands`. All sessions end with `end`.
    #[must_use]
    pub(crate) fn new(
        hub: Hub,
        roster: Roster,
        settings: Settings,
        commands: mpsc::Sender<GuestCommand>,
        end: CancellationToken,
    ) -> Self {
        let Settings { encoders, passthrough, max_bitrate, password } = settings;
        Self {
            hub,
            roster,
            encoders,
            passthrough,
            max_bitrate,
            commands,
            door: Door::new(password),
            lobby: Arc::default(),
            sessions: Arc::default(),
            lines: Mutex::default(),
            clock: Clock::start(),
            end,
        }
    }

    /// Serves one connection until it ends. What happens on it concerns no other.
    pub(crate) async fn serve(&self, stream: Stream) {
        let span = info_span!("viewer", peer = %stream.peer());
        async {
            if let Err(error) = self.serve_linked(stream).await {
                self.count_refused(&error);
                debug!(%error, "channel ended");
            }
        }
        .instrument(span)
        .await;
    }

    async fn serve_linked(&self, stream: Stream) -> Result<(), ChannelEnd> {
        let peer = stream.peer();
        let mut linking = Linking::new(stream);
        let request = {
            let mut place = self.lobby.enter(peer.origin());
            let given_away = place.given_away();
            tokio::select! {
                request = link::run(self, &mut linking, &mut place) => request,
                () = given_away.cancelled() => Err(ChannelEnd::Displaced),
                () = self.end.cancelled() => Err(ChannelEnd::Session),
            }
        };
        if let Some(key) = linking.unused_key() {
            self.door.take_back(key);
        }
        let linked = linking.linked(request?);
        match linked.request.channel.kind {
            ChannelType::Main => self.serve_main(linked, peer).await,
            _ => self.serve_other(linked, peer).await,
        }
    }

    fn count_refused(&self, error: &ChannelEnd) {
        let Some(why) = error.refused() else { return };
        self.roster.refuse(why);
        self.say(|| info!(%error, "refused"));
    }

    /// Logs something that a client did, unless there was too much of that lately.
    fn say(&self, log: impl FnOnce()) {
        if self.lines.lock().unwrap_or_else(PoisonError::into_inner).pass(Instant::now()) {
            log();
        }
    }

    async fn serve_main(&self, linked: Linked, peer: Peer) -> Result<(), ChannelEnd> {
        if linked.request.connection_id != 0 {
            return linked.refuse(LinkError::BadConnectionId).await;
        }
        let seat = match self.sessions.start(peer.origin(), &self.end) {
            Ok(seat) => seat,
            Err(error) => return linked.refuse(error).await,
        };
        let span = info_span!("client", id = format_args!("{:08x}", seat.session().id));
        async {
            let session = seat.session();
            let start = |request: &_, now| main_channel::start(self, session, request, now);
            let connection = linked.accept(start).await?;
            self.say(|| info!(clients = self.sessions.count(), "connected"));
            let ended = main_channel::run(self, session, connection).await;
            drop(seat);
            let reason = ended.err().map_or_else(|| "the server ends".to_owned(), |error| error.to_string());
            self.say(|| info!(%reason, clients = self.sessions.count(), "disconnected"));
            Ok(())
        }
        .instrument(span)
        .await
    }

    async fn serve_other(&self, linked: Linked, peer: Peer) -> Result<(), ChannelEnd> {
        let request = linked.request;
        let seat = match self.sessions.join(request.connection_id, request.channel) {
            Ok(seat) => seat,
            Err(error) => return linked.refuse(error).await,
        };
        let console = self.hub.console(ConsoleId(u32::from(request.channel.id)));
        let span = info_span!("client", id = format_args!("{:08x}", seat.session().id));
        let end = seat.session().end.clone();
        let run = async {
            match (request.channel.kind, console) {
                (ChannelType::Display, Some(console)) => {
                    let connection = linked.accept(display::start).await?;
                    let seat = self.roster.enter(console.id(), &peer.to_string(), peer.transport());
                    display::run(self, console, seat, connection).await
                }
                (ChannelType::Cursor, Some(console)) => {
                    let session = seat.session();
                    let start = |request: &_, now| cursor::start(session, &console, request, now);
                    let connection = linked.accept(start).await?;
                    cursor::run(session, console, connection).await
                }
                (ChannelType::Inputs, _) => {
                    let start = |request: &_, now| inputs::start(self, request, now);
                    let connection = linked.accept(start).await?;
                    inputs::run(self, connection).await
                }
                _ => linked.refuse(LinkError::ChannelNotAvailable).await,
            }
        };
        tokio::select! {
            ended = run.instrument(span) => leave(&seat, ended),
            () = end.cancelled() => Err(ChannelEnd::Session),
        }
    }
}

impl ChannelEnd {
    /// Why the connection was not let in, if it is that: whoever leaves before may come again.
    fn refused(&self) -> Option<Refused> {
        Some(match self {
            Self::Displaced => Refused::Displaced,
            Self::Link(LinkFailure::Deadline(_)) => Refused::Late,
            Self::Link(LinkFailure::WrongPassword) => Refused::WrongPassword,
            Self::Link(LinkFailure::TurnedAway(LinkError::PermissionDenied)) => Refused::Full,
            Self::Link(LinkFailure::TurnedAway(_)) => Refused::NotOffered,
            Self::Link(_) => Refused::Malformed,
            _ => return None,
        })
    }
}

/// A client that loses a channel in the middle is not the client any more that it believes to be: its session ends.
fn leave(seat: &Seat, ended: Result<(), ChannelEnd>) -> Result<(), ChannelEnd> {
    if let Err(error) = &ended {
        debug!(%error, "a channel ended, and its session with it");
        seat.session().end.cancel();
    }
    ended
}
