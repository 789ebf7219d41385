//! The only part of `spice` that waits: sockets, clocks and tasks around the channels' state machines.

mod clock;
mod connection;
mod cursor;
mod display;
mod inputs;
mod keys;
mod link;
mod main_channel;
mod network;
mod video;

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span};

use self::clock::Clock;
use self::connection::Connection;
use self::keys::Keys;
use self::link::Linked;
use super::auth::Password;
use super::channel::{ChannelError, LinkFailure};
use super::session::{Seat, Sessions};
use super::wire::{ChannelType, LinkError, WireError};
use crate::encode::Encoders;
use crate::frame::{ConsoleId, GuestCommand};
use crate::hub::Hub;
use crate::transport::{Peer, Stream};
use crate::viewer::Roster;

/// The most connections that are being linked: strangers can fill this, never the places of those who are in.
const MAX_LINKING: usize = 64;

/// A SPICE server for one VM.
pub struct Server {
    hub: Hub,
    roster: Roster,
    encoders: Option<Encoders>,
    passthrough: bool,
    max_bitrate: Option<u64>,
    password: Option<Password>,
    commands: mpsc::Sender<GuestCommand>,
    sessions: Arc<Sessions>,
    keys: Arc<Keys>,
    linking: Semaphore,
    clock: Clock,
    end: CancellationToken,
}

/// What the user decided.
pub struct Settings {
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
    #[error("connection: {0}")]
    Socket(#[from] std::io::Error),
    #[error("too many connections are being linked")]
    Crowded,
    #[error("the session ended")]
    Session,
}

impl Server {
    /// A server of what `hub` shows. Its viewers are entered in `roster`. What they ask of the guest goes to `commands`. All sessions end with `end`.
    #[must_use]
    pub fn new(
        hub: Hub,
        roster: Roster,
        settings: Settings,
        commands: mpsc::Sender<GuestCommand>,
        end: CancellationToken,
    ) -> Self {
        let Settings { encoders, passthrough, max_bitrate, password } = settings;
        let keys = Arc::new(Keys::default());
        keys.refill();
        Self {
            hub,
            roster,
            encoders,
            passthrough,
            max_bitrate,
            password,
            commands,
            sessions: Arc::default(),
            keys,
            linking: Semaphore::new(MAX_LINKING),
            clock: Clock::start(),
            end,
        }
    }

    /// Serves one connection until it ends. What happens on it concerns no other.
    pub async fn serve(&self, stream: Stream) {
        let span = info_span!("viewer", peer = %stream.peer());
        async {
            match self.serve_linked(stream).await {
                Ok(()) => {}
                Err(error @ ChannelEnd::Link(LinkFailure::WrongPassword | LinkFailure::NotSpice)) => {
                    info!(%error, "refused");
                }
                Err(error) => debug!(%error, "channel ended"),
            }
        }
        .instrument(span)
        .await;
    }

    async fn serve_linked(&self, stream: Stream) -> Result<(), ChannelEnd> {
        let peer = stream.peer().clone();
        let linked = {
            let _place = self.linking.try_acquire().map_err(|_| ChannelEnd::Crowded)?;
            tokio::select! {
                linked = link::run(self, stream) => linked?,
                () = self.end.cancelled() => return Err(ChannelEnd::Session),
            }
        };
        match linked.request.channel.kind {
            ChannelType::Main => self.serve_main(linked).await,
            _ => self.serve_other(linked, &peer).await,
        }
    }

    async fn serve_main(&self, linked: Linked) -> Result<(), ChannelEnd> {
        let seat = match self.sessions.start(&self.end) {
            Ok(seat) if linked.request.connection_id == 0 => seat,
            Ok(_) => return linked.refuse(LinkError::BadConnectionId).await,
            Err(error) => return linked.refuse(error).await,
        };
        let span = info_span!("client", id = format_args!("{:08x}", seat.session().id));
        async {
            let session = seat.session();
            let start = |request: &_, now| main_channel::start(self, session, request, now);
            let connection = linked.accept(start).await?;
            info!(clients = self.sessions.count(), "connected");
            let ended = main_channel::run(self, session, connection).await;
            drop(seat);
            let reason = ended.err().map_or_else(|| "the server ends".to_owned(), |error| error.to_string());
            info!(%reason, clients = self.sessions.count(), "disconnected");
            Ok(())
        }
        .instrument(span)
        .await
    }

    async fn serve_other(&self, linked: Linked, peer: &Peer) -> Result<(), ChannelEnd> {
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

/// A client that loses a channel in the middle is not the client any more that it believes to be: its session ends.
fn leave(seat: &Seat, ended: Result<(), ChannelEnd>) -> Result<(), ChannelEnd> {
    if let Err(error) = &ended {
        debug!(%error, "a channel ended, and its session with it");
        seat.session().end.cancel();
    }
    ended
}
