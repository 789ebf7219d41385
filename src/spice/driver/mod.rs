//! The only part of `spice` that waits: sockets, clocks and tasks around the channels' state machines.

mod agent;
mod audit;
mod channel_end;
mod channels;
mod clock;
mod connection;
mod convert;
mod link;
mod login;
mod sasl;
mod ticket_keys;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use spice_proto::agent::Rules;
use spice_proto::link::LinkError;
use spice_proto::wire::ChannelType;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info_span};

use self::agent::AgentDesk;
use self::audit::{Audit, Known};
use self::channel_end::ChannelEnd;
use self::channels::Channel;
use self::clock::Clock;
use self::connection::Connection;
use self::link::{Linked, Linking};
use self::login::Login;
pub use self::sasl::{Exchange, OFFERED, Step};
use super::access::{Access, Refusal};
use super::lobby::{Lobby, Place};
use crate::encode::SoundEncoder;
use crate::frame::GuestCommand;
use crate::hub::Hub;
use crate::transport::{Sign, Socket};
use crate::viewer::{LogLimit, Policy, Roster};

/// How long a client's other channels stay open for its main channel to say why the session ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// A SPICE server for one VM.
pub(crate) struct Server {
    hub: Hub,
    roster: Roster,
    policy: Policy,
    commands: mpsc::Sender<GuestCommand>,
    access: Access,
    login: Login,
    plain: PlainChannels,
    agent: AgentDesk,
    lobby: Arc<Lobby>,
    audit: Audit,
    /// For what else clients can cause to be logged.
    log: LogLimit,
    /// The one encoder of the guest's sound.
    sound: SoundEncoder,
    clock: Clock,
    end: CancellationToken,
}

/// What the user decided.
pub(crate) struct Settings {
    /// What clients may have of the picture.
    pub policy: Policy,
    /// The one encoder of the guest's sound.
    pub sound: SoundEncoder,
    /// Who is let in, and how connections are protected.
    pub access: Access,
    /// The channels that they may open without it.
    pub plain: PlainChannels,
    /// What may pass between them and the guest's agent.
    pub agent: Rules,
}

/// The channels that clients may open over a network without TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum PlainChannels {
    /// All.
    All,
    /// These; for the others clients are told to use TLS.
    Only(Vec<ChannelType>),
}

impl PlainChannels {
    fn has(&self, channel: ChannelType) -> bool {
        match self {
            Self::All => true,
            Self::Only(channels) => channels.contains(&channel),
        }
    }
}

/// Counts a connection as what has become known of it demands.
fn notice(sign: Sign, place: &mut Place, known: &mut Known) {
    match sign {
        Sign::Greeted => place.links(),
        Sign::ComesFrom(client) => {
            place.comes_from(client.origin());
            tracing::Span::current().record("client", tracing::field::display(client));
            (known.peer, known.proxy) = (client, Some(known.proxy.unwrap_or(known.peer)));
        }
    }
}

impl Server {
    /// Makes a server of what `hub` shows. Viewers are entered in `roster`, and their input goes to
    /// `commands`. All sessions end with `end`.
    #[must_use]
    pub(crate) fn new(
        hub: Hub,
        roster: Roster,
        settings: Settings,
        commands: mpsc::Sender<GuestCommand>,
        end: CancellationToken,
    ) -> Self {
        let Settings { policy, sound, access, plain, agent } = settings;
        Self {
            agent: AgentDesk::new(hub.clone(), agent),
            sound,
            hub,
            roster,
            policy,
            commands,
            login: Login::new(access.clone()),
            access,
            plain,
            lobby: Arc::default(),
            audit: Audit::default(),
            log: LogLimit::default(),
            clock: Clock::start(),
            end,
        }
    }

    /// Keeps the guest's agent connected, whether or not a client is there.
    pub(crate) async fn keep_agent(&self) -> Infallible {
        self.agent.keep().await
    }

    /// Serves one connection until it ends: TLS if the client wants it, the link stage, and then its channel. What
    /// happens on it concerns no other.
    pub(crate) async fn serve(&self, socket: Socket) {
        let mut known = Known { peer: socket.peer(), proxy: None, route: None, channel: None };
        let span = info_span!("viewer", peer = %known.peer, client = tracing::field::Empty);
        async {
            let served = match self.link(socket, &mut known).await {
                Ok(linked) => self.serve_channel(linked).await,
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                if let Some(why) = error.refused() {
                    self.roster.refuse(why);
                    self.audit.refused(known, why, &error);
                }
                debug!(%error, "channel ended");
            }
        }
        .instrument(span)
        .await;
    }

    /// Takes a connection through TLS and its link stage, for which it has a place in the lobby.
    async fn link(&self, socket: Socket, known: &mut Known) -> Result<Linked, ChannelEnd> {
        let mut place = self.lobby.enter(socket.peer().origin());
        let given_away = place.given_away();
        let stream = tokio::select! {
            stream = self.access.security().open(socket, |sign| notice(sign, &mut place, known)) => stream?,
            () = given_away.cancelled() => return Err(ChannelEnd::Displaced),
            () = self.end.cancelled() => return Err(ChannelEnd::Session),
        };
        known.route = Some(stream.route());
        let mut linking = Linking::new(stream);
        let shown = tokio::select! {
            shown = link::run(self, &mut linking, &mut place) => shown,
            () = given_away.cancelled() => Err(ChannelEnd::Displaced),
            () = self.end.cancelled() => Err(ChannelEnd::Session),
        };
        drop(place);
        known.channel = linking.channel();
        if let Some(key) = linking.unused_key() {
            self.login.take_back(key);
        }
        Ok(linking.linked(shown?))
    }

    async fn serve_channel(&self, linked: Linked) -> Result<(), ChannelEnd> {
        match channels::find(linked.request.channel.kind) {
            Some(channel) if channel.kind == ChannelType::Main => self.start_session(channel, linked).await,
            Some(channel) => self.join_session(channel, linked).await,
            None => linked.refuse(LinkError::ChannelNotAvailable).await,
        }
    }

    /// Serves a client's main channel, and with it the client's session.
    async fn start_session(&self, main: &Channel, linked: Linked) -> Result<(), ChannelEnd> {
        if linked.request.connection_id != 0 {
            return linked.refuse(LinkError::BadConnectionId).await;
        }
        let seat = match self.access.start_session(&linked.shown, linked.route(), &self.end) {
            Ok(seat) => seat,
            Err(Refusal::Secret) => return linked.refuse_secret(self).await,
            Err(Refusal::Place(error)) => return linked.refuse(error).await,
        };
        let span = info_span!("client", number = seat.session().number);
        async {
            self.audit.login(seat.session(), self.access.sessions().count());
            let ended = (main.serve)(self, seat.session(), linked).await;
            let session = seat.session().clone();
            drop(seat);
            let told = session.ended().map(str::to_owned);
            let reason = told.or_else(|| ended.err().map(|error| error.to_string()));
            let reason = reason.unwrap_or_else(|| "the server ends".to_owned());
            self.audit.end(&session, &reason, self.access.sessions().count());
            Ok(())
        }
        .instrument(span)
        .await
    }

    /// Serves another channel of a session. A client that loses one ends: it would go on with a channel
    /// missing.
    async fn join_session(&self, channel: &Channel, linked: Linked) -> Result<(), ChannelEnd> {
        let seat = match self.access.join_session(&linked.shown, &linked.request) {
            Ok(seat) => seat,
            Err(Refusal::Secret) => return linked.refuse_secret(self).await,
            Err(Refusal::Place(error)) => return linked.refuse(error).await,
        };
        let session = seat.session();
        let span = info_span!("client", number = session.number);
        let mut serving = (channel.serve)(self, session, linked).instrument(span);
        let ended = tokio::select! {
            ended = &mut serving => ended,
            () = session.end.cancelled() => {
                // Nothing is done for it any more, and its connection stays open. A main channel that waits for a
                // guest that hangs says nothing.
                let _ = tokio::time::timeout(FAREWELL, session.told.cancelled()).await;
                return Err(ChannelEnd::Session);
            }
        };
        if let Err(error) = &ended {
            debug!(%error, "a channel ended, and its session with it");
            session.end_for(&match error {
                ChannelEnd::Closed => error.to_string(),
                _ => format!("its {} channel ended: {error}", channel.kind),
            });
        }
        ended
    }
}
