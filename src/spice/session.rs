//! Who is connected: each client is a session of several channels, each with a connection of its own.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rsa::rand_core::{OsRng, RngCore};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::wire::{ChannelId, LinkError};

/// The most clients at a time.
const MAX_SESSIONS: usize = 64;

/// All sessions of the server.
#[derive(Debug, Default)]
pub struct Sessions {
    open: Mutex<BTreeMap<u32, Arc<Session>>>,
}

/// One client.
#[derive(Debug)]
pub struct Session {
    /// The number that ties its channels together: random, never 0.
    pub id: u32,
    /// Ends all its channels when cancelled.
    pub end: CancellationToken,
    /// Whether the client moves the pointer itself (absolute positions) or only tells motion.
    pub absolute: watch::Sender<bool>,
    channels: Mutex<HashSet<ChannelId>>,
}

/// A channel's place in its session, free again when dropped.
#[derive(Debug)]
pub struct Seat {
    session: Arc<Session>,
    channel: ChannelId,
}

/// A session's place among all. Dropped with its main channel, it ends the others.
#[derive(Debug)]
pub struct MainSeat {
    sessions: Arc<Sessions>,
    session: Arc<Session>,
}

impl Sessions {
    /// Starts a session, for a main channel.
    ///
    /// # Errors
    /// If there are too many.
    pub fn start(self: &Arc<Self>, parent: &CancellationToken) -> Result<MainSeat, LinkError> {
        let mut open = lock(&self.open);
        if open.len() >= MAX_SESSIONS {
            return Err(LinkError::PermissionDenied);
        }
        let id = loop {
            let id = OsRng.next_u32();
            if id != 0 && !open.contains_key(&id) {
                break id;
            }
        };
        let session = Arc::new(Session {
            id,
            end: parent.child_token(),
            absolute: watch::Sender::new(false),
            channels: Mutex::default(),
        });
        open.insert(id, session.clone());
        drop(open);
        Ok(MainSeat { sessions: self.clone(), session })
    }

    /// Seats another channel in the session it names.
    ///
    /// # Errors
    /// If there is no such session, or the channel is taken.
    pub fn join(&self, id: u32, channel: ChannelId) -> Result<Seat, LinkError> {
        let session = lock(&self.open).get(&id).cloned().ok_or(LinkError::BadConnectionId)?;
        if !lock(&session.channels).insert(channel) {
            return Err(LinkError::ChannelNotAvailable);
        }
        Ok(Seat { session, channel })
    }

    /// How many clients there are.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.open).len()
    }
}

impl Seat {
    /// The session.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl MainSeat {
    /// The session.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.session.channels).remove(&self.channel);
    }
}

impl Drop for MainSeat {
    fn drop(&mut self) {
        lock(&self.sessions.open).remove(&self.session.id);
        self.session.end.cancel();
    }
}

/// What is under these locks is whole whoever panicked: each change is one insert or remove.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spice::wire::ChannelType;

    const DISPLAY: ChannelId = ChannelId { kind: ChannelType::Display, id: 0 };

    #[test]
    fn channels_live_and_die_with_their_main_channel() {
        let sessions = Arc::new(Sessions::default());
        let main = sessions.start(&CancellationToken::new()).unwrap();
        let id = main.session().id;
        let seat = sessions.join(id, DISPLAY).unwrap();
        assert_eq!(sessions.join(id, DISPLAY).unwrap_err(), LinkError::ChannelNotAvailable);
        drop(seat);
        let seat = sessions.join(id, DISPLAY).unwrap();
        drop(main);
        assert!(seat.session().end.is_cancelled());
        assert_eq!(sessions.join(id, DISPLAY).unwrap_err(), LinkError::BadConnectionId);
    }

    #[test]
    fn there_is_an_end_to_sessions() {
        let sessions = Arc::new(Sessions::default());
        let all: Vec<_> =
            (0..MAX_SESSIONS).map(|_| sessions.start(&CancellationToken::new()).unwrap()).collect();
        assert!(sessions.start(&CancellationToken::new()).is_err());
        drop(all);
        assert_eq!(sessions.count(), 0);
    }
}
