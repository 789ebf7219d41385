//! Who is connected: each client is a session of several channels, each with a connection of its own.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use spice_proto::auth::session_id;
use spice_proto::link::LinkError;
use spice_proto::wire::ChannelId;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::exact_images::GlzImages;
use super::grant::{Deed, Grant};
use super::places_by_owner::PlacesByOwner;
use crate::transport::{Origin, Route};
use crate::viewer::LogLimit;

/// The most clients at a time.
const MAX_SESSIONS: usize = 64;

/// The most channels of all clients together, besides their main channels.
const MAX_CHANNELS: usize = 512;

/// As many channels a client may have whatever the others have.
const MIN_CHANNELS_EACH: usize = MAX_CHANNELS / MAX_SESSIONS;

/// All sessions of the server.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<PlacesByOwner<Origin, Arc<Session>>>,
    /// Marked whenever a client or a channel comes or goes.
    changed: watch::Sender<()>,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Session {
    /// The number that ties its channels together: random, never 0.
    pub id: u32,
    /// The client's number: no other client of this server ever has it.
    pub number: u64,
    /// By what it was let in, and what it may do.
    pub grant: Grant,
    /// When cancelled, the session ends: its main channel tells the client why.
    pub end: CancellationToken,
    /// When cancelled, its other channels are closed. INVARIANT: the main channel has said why before that. A client
    /// that loses another channel first may leave without having read it.
    pub told: CancellationToken,
    /// Whether the client moves the pointer itself (absolute positions) or only tells motion.
    pub absolute: watch::Sender<bool>,
    /// How the client came.
    pub route: Route,
    /// When it had logged in.
    pub since: SystemTime,
    /// Why `end` was cancelled, if not for the end of the server.
    ended: OnceLock<String>,
    /// The images in GLZ that its client was sent.
    pub glz_images: Arc<GlzImages>,
    channels: Mutex<Channels>,
    holds: Mutex<BTreeSet<Single>>,
    /// Is told when a channel that was taken back is ready to be offered.
    ready: Notify,
    /// Whether it was logged that the client tried what it may not do.
    overstepped: AtomicBool,
    /// Marked whenever there is something else to know of a client.
    changed: watch::Sender<()>,
}

/// What one client at a time can have of the guest.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Single {
    /// Its agent: copy and paste, files, and the size of its screens.
    Agent,
    /// Its microphone.
    Microphone,
}

/// Something that a client has, until this is dropped.
#[derive(Debug)]
pub(crate) struct Holding<'s> {
    session: &'s Session,
    what: Single,
}

/// What there is to know of a client that is in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ClientInfo {
    /// A number that no other client of this server ever has.
    pub number: u64,
    /// How it came.
    pub route: Route,
    /// When it had logged in.
    pub since: SystemTime,
    /// By what it was let in, and what it may do.
    pub grant: Grant,
    /// The channels it has besides its main one, sorted by kind and number.
    pub channels: Vec<ChannelId>,
    /// What it has that one client at a time can have.
    pub holds: BTreeSet<Single>,
}

#[derive(Debug, Default)]
struct Channels {
    /// Those that the client was told of.
    offered: HashSet<ChannelId>,
    /// Those that it has.
    open: HashSet<ChannelId>,
}

/// A channel's place in its session, free again when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    sessions: Arc<Sessions>,
    session: Arc<Session>,
    channel: ChannelId,
}

/// A session's place among all. Dropped with its main channel, it ends the others.
#[derive(Debug)]
pub(crate) struct MainSeat {
    sessions: Arc<Sessions>,
    session: Arc<Session>,
    place: u64,
}

/// Who wants to link, as far as that is known before it has logged in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// Anybody from there.
    Stranger(Origin),
    /// It knows the number of a session, which nobody is told but its client.
    Client(u32),
}

impl Sessions {
    /// Starts a session for a main channel that came by `route`, to which `grant` was given; it ends with `parent`. If
    /// there are too many sessions, another one ends: see [`Sessions::dispensable`].
    ///
    /// # Errors
    /// If there are too many sessions and all others have as good a right to their places.
    pub(crate) fn start(
        self: &Arc<Self>,
        route: Route,
        grant: Grant,
        parent: &CancellationToken,
    ) -> Result<MainSeat, LinkError> {
        let origin = route.peer.origin();
        let mut open = lock(&self.open);
        if open.len() >= MAX_SESSIONS {
            let loser = Self::dispensable(&open, origin).and_then(|place| open.free(place));
            loser.ok_or(LinkError::PermissionDenied)?.end_for("its place was given to another client");
        }
        let id = loop {
            let id = session_id();
            if open.iter().all(|(_, _, session)| session.id != id) {
                break id;
            }
        };
        let session = Arc::new(Session {
            id,
            number: open.next_place(),
            grant,
            end: parent.child_token(),
            told: CancellationToken::new(),
            absolute: watch::Sender::new(false),
            route,
            since: SystemTime::now(),
            ended: OnceLock::new(),
            glz_images: Arc::default(),
            channels: Mutex::default(),
            holds: Mutex::default(),
            ready: Notify::new(),
            overstepped: AtomicBool::new(false),
            changed: self.changed.clone(),
        });
        let place = open.take(origin, session.clone());
        drop(open);
        self.changed.send_replace(());
        Ok(MainSeat { sessions: self.clone(), session, place })
    }

    /// Returns the session whose place a newcomer from `origin` gets: the oldest that has nothing but its
    /// main channel. If there is none, the newest of the origin that holds most, if that origin still holds
    /// more than the newcomer's then.
    fn dispensable(open: &PlacesByOwner<Origin, Arc<Session>>, origin: Origin) -> Option<u64> {
        let idle = open.iter().find(|(_, _, session)| lock(&session.channels).open.is_empty());
        if let Some((place, ..)) = idle {
            return Some(place);
        }
        let most = open.greediest()?;
        open.newest_of(most).filter(|_| open.held_by(most) > open.held_by(origin) + 1)
    }

    /// Returns whether there is a session `id`.
    pub(crate) fn is_open(&self, id: u32) -> bool {
        lock(&self.open).iter().any(|(_, _, session)| session.id == id)
    }

    /// Returns the standing of a client that comes from `origin` and names session `id`.
    pub(crate) fn standing(&self, origin: Origin, id: u32) -> Standing {
        if self.is_open(id) { Standing::Client(id) } else { Standing::Stranger(origin) }
    }

    /// Takes a seat for `channel` in session `id`.
    ///
    /// # Errors
    /// If there is no such session, it was not offered the channel or has it already, or it has more channels
    /// than its share while there are too many.
    pub(crate) fn join(self: &Arc<Self>, id: u32, channel: ChannelId) -> Result<Seat, LinkError> {
        let open = lock(&self.open);
        let session = open.iter().map(|(_, _, session)| session).find(|session| session.id == id);
        let session = session.cloned().ok_or(LinkError::BadConnectionId)?;
        let all: usize = open.iter().map(|(_, _, session)| lock(&session.channels).open.len()).sum();
        let mut channels = lock(&session.channels);
        let has_room = all < MAX_CHANNELS || channels.open.len() < MIN_CHANNELS_EACH;
        if !has_room || !channels.offered.contains(&channel) || !channels.open.insert(channel) {
            return Err(LinkError::ChannelNotAvailable);
        }
        drop(channels);
        drop(open);
        self.changed.send_replace(());
        Ok(Seat { sessions: self.clone(), session, channel })
    }

    /// Ends the sessions whose grant is one of `which`, for `reason`.
    pub(crate) fn end_all(&self, which: impl Fn(&Grant) -> bool, reason: &str) {
        let open = lock(&self.open);
        let ends = open.iter().map(|(_, _, session)| session).filter(|session| which(&session.grant));
        ends.for_each(|session| session.end_for(reason));
    }

    /// Ends the session of client `number` for `reason`. Returns whether there is one.
    pub(crate) fn end(&self, number: u64, reason: &str) -> bool {
        let open = lock(&self.open);
        let session = open.iter().find(|(place, ..)| *place == number).map(|(_, _, session)| session);
        session.inspect(|session| session.end_for(reason)).is_some()
    }

    /// Returns all clients, the longest there first.
    #[must_use]
    pub(crate) fn clients(&self) -> Vec<ClientInfo> {
        let info = |(_, _, session): (u64, Origin, &Arc<Session>)| {
            let mut channels: Vec<ChannelId> = lock(&session.channels).open.iter().copied().collect();
            channels.sort_by_key(|channel| (channel.kind.code(), channel.id));
            let Session { number, route, since, .. } = **session;
            let (grant, holds) = (session.grant.clone(), lock(&session.holds).clone());
            ClientInfo { number, route, since, grant, channels, holds }
        };
        lock(&self.open).iter().map(info).collect()
    }

    /// Returns a receiver that is notified whenever [`Self::clients`] changes.
    #[must_use]
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Returns how many clients were let in so far.
    #[must_use]
    pub(crate) fn let_in(&self) -> u64 {
        lock(&self.open).next_place()
    }

    /// Returns the number of sessions.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        lock(&self.open).len()
    }
}

impl Session {
    /// Lets the client open `channels` from now on. Returns those that it was not offered before.
    pub(crate) fn offer(&self, channels: Vec<ChannelId>) -> Vec<ChannelId> {
        let offered = &mut lock(&self.channels).offered;
        channels.into_iter().filter(|channel| offered.insert(*channel)).collect()
    }

    /// Takes back the offer of a channel that ends, so that the client is offered it anew: when something changes about
    /// the guest, or at once if it is `ready`.
    pub(crate) fn take_back(&self, channel: ChannelId, ready: bool) {
        lock(&self.channels).offered.remove(&channel);
        if ready {
            self.ready.notify_one();
        }
    }

    /// Waits until a channel that was taken back is ready to be offered. Cancel-safe.
    pub(crate) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Returns whether the client may do `deed`. The first time that it may not is logged.
    pub(crate) fn may(&self, deed: Deed, log: &LogLimit) -> bool {
        let may = self.grant.allows(deed);
        if !may && !self.overstepped.swap(true, Ordering::Relaxed) {
            log.log(|_| info!("this viewer may only look: {deed}"));
        }
        may
    }

    /// Notes that the client has `what`, for as long as the result is kept.
    #[must_use]
    pub(crate) fn hold(&self, what: Single) -> Holding<'_> {
        lock(&self.holds).insert(what);
        self.changed.send_replace(());
        Holding { session: self, what }
    }

    /// Ends the session. The first `reason` is the one that is told.
    pub(crate) fn end_for(&self, reason: &str) {
        let _ = self.ended.set(reason.to_owned());
        self.end.cancel();
    }

    /// Returns why the session was ended, if somebody ended it.
    pub(crate) fn ended(&self) -> Option<&str> {
        self.ended.get().map(String::as_str)
    }
}

impl Seat {
    /// Returns the session.
    #[must_use]
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl MainSeat {
    /// Returns the session.
    #[must_use]
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Single {
    /// Names it in a word.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Microphone => "microphone",
        }
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        lock(&self.session.holds).remove(&self.what);
        self.session.changed.send_replace(());
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.session.channels).open.remove(&self.channel);
        self.sessions.changed.send_replace(());
    }
}

impl Drop for MainSeat {
    fn drop(&mut self) {
        lock(&self.sessions.open).free(self.place);
        self.session.end.cancel();
        self.session.told.cancel();
        self.sessions.changed.send_replace(());
    }
}

/// Locks `mutex`. A thread that panicked left the value whole, because each change is one insert or remove.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use spice_proto::wire::ChannelType;

    use super::*;
    use crate::transport::Peer;

    const HERE: Route = of_user(1000);
    const THERE: Route = of_user(1001);

    const fn of_user(user: u32) -> Route {
        Route {
            peer: Peer::Local { process: None, user },
            proxy: None,
            tls: false,
            web_socket: false,
            is_admitted: false,
        }
    }

    fn display(id: u8) -> ChannelId {
        ChannelId { kind: ChannelType::Display, id }
    }

    fn start(sessions: &Arc<Sessions>, route: Route) -> Result<MainSeat, LinkError> {
        let main = sessions.start(route, Grant::of_anyone(), &CancellationToken::new())?;
        main.session().offer((0..16).map(display).collect());
        Ok(main)
    }

    /// Starts a session and opens a display channel.
    fn viewer(sessions: &Arc<Sessions>, route: Route) -> (MainSeat, Seat) {
        let main = start(sessions, route).unwrap();
        let seat = sessions.join(main.session().id, display(0)).unwrap();
        (main, seat)
    }

    fn is_over(main: &MainSeat) -> bool {
        main.session().end.is_cancelled()
    }

    #[test]
    fn channels_live_and_die_with_their_main_channel() {
        let sessions = Arc::new(Sessions::default());
        let main = start(&sessions, HERE).unwrap();
        let id = main.session().id;
        let seat = sessions.join(id, display(0)).unwrap();
        assert_eq!(sessions.join(id, display(0)).unwrap_err(), LinkError::ChannelNotAvailable);
        drop(seat);
        let seat = sessions.join(id, display(0)).unwrap();
        drop(main);
        assert!(seat.session().end.is_cancelled());
        assert_eq!(sessions.join(id, display(0)).unwrap_err(), LinkError::BadConnectionId);
    }

    #[test]
    fn channels_that_were_not_offered_are_not_to_be_had() {
        let sessions = Arc::new(Sessions::default());
        let main = sessions.start(HERE, Grant::of_anyone(), &CancellationToken::new()).unwrap();
        let join = |channel| sessions.join(main.session().id, channel);
        assert_eq!(join(display(0)).unwrap_err(), LinkError::ChannelNotAvailable);
        assert_eq!(main.session().offer(vec![display(0)]), [display(0)]);
        assert!(main.session().offer(vec![display(0)]).is_empty());
        assert!(join(display(0)).is_ok());
        for channel in [display(1), ChannelId { kind: ChannelType::Inputs, id: 0 }] {
            assert_eq!(join(channel).unwrap_err(), LinkError::ChannelNotAvailable);
        }
    }

    #[test]
    fn a_newcomer_gets_the_place_of_a_session_that_does_nothing() {
        let sessions = Arc::new(Sessions::default());
        let old = viewer(&sessions, HERE);
        let idle: Vec<_> = (0..MAX_SESSIONS - 1).map(|_| start(&sessions, HERE).unwrap()).collect();
        let new = viewer(&sessions, HERE);
        assert!(is_over(&idle[0]) && !is_over(&idle[1]) && !is_over(&old.0) && !is_over(&new.0));
        assert_eq!(sessions.count(), MAX_SESSIONS);
        drop((old, idle, new));
        assert_eq!(sessions.count(), 0);
    }

    #[test]
    fn nobody_takes_more_than_half_of_the_places_from_somebody_else() {
        let sessions = Arc::new(Sessions::default());
        let many: Vec<_> = (0..MAX_SESSIONS).map(|_| viewer(&sessions, HERE)).collect();
        assert_eq!(start(&sessions, HERE).unwrap_err(), LinkError::PermissionDenied);
        let others: Vec<_> = (0..MAX_SESSIONS / 2).map(|_| viewer(&sessions, THERE)).collect();
        assert!(many[..MAX_SESSIONS / 2].iter().all(|(main, _)| !is_over(main)), "the newest go first");
        assert!(many[MAX_SESSIONS / 2..].iter().all(|(main, _)| is_over(main)));
        assert!(start(&sessions, THERE).is_err() && start(&sessions, HERE).is_err());
        assert!(others.iter().all(|(main, _)| !is_over(main)));
    }

    #[test]
    fn clients_are_listed_and_ended_one_by_one() {
        let sessions = Arc::new(Sessions::default());
        let mut changes = sessions.changes();
        let (first, second) = (start(&sessions, HERE).unwrap(), viewer(&sessions, THERE));
        let listed = || sessions.clients().into_iter().map(|client| (client.number, client.channels.len()));
        assert_eq!(
            listed().collect::<Vec<_>>(),
            [(first.session().number, 0), (second.0.session().number, 1)]
        );
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert!(sessions.end(first.session().number, "as told"));
        assert!(sessions.end(first.session().number, "again"));
        assert_eq!((is_over(&first), first.session().ended()), (true, Some("as told")));
        assert!(!is_over(&second.0));
        let gone = first.session().number;
        drop(first);
        assert!(changes.has_changed().unwrap() && !sessions.end(gone, "too late"));
        assert_eq!(listed().count(), 1);
    }

    #[test]
    fn what_a_client_holds_is_listed_while_it_does() {
        let sessions = Arc::new(Sessions::default());
        let main = start(&sessions, HERE).unwrap();
        let (mut changes, holds) = (sessions.changes(), || sessions.clients()[0].holds.clone());
        let agent = main.session().hold(Single::Agent);
        let microphone = main.session().hold(Single::Microphone);
        assert!(changes.has_changed().unwrap());
        assert_eq!(holds(), [Single::Agent, Single::Microphone].into());
        drop(agent);
        assert_eq!(holds(), [Single::Microphone].into());
        changes.mark_unchanged();
        drop(microphone);
        assert!(changes.has_changed().unwrap() && holds().is_empty());
    }

    #[test]
    fn a_few_sessions_with_all_channels_leave_some_for_each_other_one() {
        let sessions = Arc::new(Sessions::default());
        let mains: Vec<_> = (0..MAX_SESSIONS).map(|_| start(&sessions, HERE).unwrap()).collect();
        let join = |main: &MainSeat, id| sessions.join(main.session().id, display(id));
        let all: Vec<_> =
            mains[..40].iter().flat_map(|main| (0..16).map(|id| join(main, id))).flatten().collect();
        assert!(all.len() >= MAX_CHANNELS && all.len() < MAX_CHANNELS + 40 * MIN_CHANNELS_EACH);
        let last = mains.last().unwrap();
        assert_eq!((0..16).flat_map(|id| join(last, id).map(std::mem::forget)).count(), MIN_CHANNELS_EACH);
    }
}
