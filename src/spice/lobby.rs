//! Where connections wait until they have logged in. Strangers can fill it, so no place in it is kept for
//! ever.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::places_by_owner::PlacesByOwner;
use crate::transport::Origin;

/// For connections that have not sent a whole link message. Clients send it at once.
const SILENT: Limits = Limits { all: 128, each: 64 };

/// For those that have: clients that wait for a key, and users who are asked for a password.
const LINKING: Limits = Limits { all: 512, each: 256 };

/// So many may be one client's that opens all its channels at once. An origin with no more than that is not
/// to be told from the others.
const MODEST: usize = 8;

/// How many places there are, and how many of them one origin may have.
#[derive(Debug)]
struct Limits {
    all: usize,
    each: usize,
}

/// The connections that have not logged in.
#[derive(Debug)]
pub(crate) struct Lobby {
    silent: Room,
    linking: Room,
}

#[derive(Debug)]
struct Room {
    limits: Limits,
    places: Mutex<PlacesByOwner<Origin, CancellationToken>>,
}

/// A connection's place in the lobby, free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    lobby: Arc<Lobby>,
    origin: Origin,
    /// It has sent a whole link message.
    links: bool,
    id: u64,
    given_away: CancellationToken,
}

impl Default for Lobby {
    fn default() -> Self {
        Self { silent: Room::new(SILENT), linking: Room::new(LINKING) }
    }
}

impl Lobby {
    /// Gives a connection from `origin` a place. If there is none left, another connection loses its own: see
    /// [`Room::dispensable`].
    pub(crate) fn enter(self: &Arc<Self>, origin: Origin) -> Place {
        let given_away = CancellationToken::new();
        let id = self.silent.enter(origin, given_away.clone());
        Place { lobby: self.clone(), origin, links: false, id, given_away }
    }
}

impl Room {
    fn new(limits: Limits) -> Self {
        Self { limits, places: Mutex::default() }
    }

    fn enter(&self, origin: Origin, given_away: CancellationToken) -> u64 {
        let mut places = self.lock();
        let id = places.take(origin, given_away);
        let loser = self.dispensable(&places, origin).and_then(|id| places.free(id));
        drop(places);
        if let Some(loser) = loser {
            loser.cancel();
        }
        id
    }

    /// Returns the place that is to be given up after one more of `origin` was taken, if any: the oldest of
    /// this origin if it has too many. Otherwise, if there are too many in all, the oldest of the origin that
    /// holds most, or of all.
    fn dispensable(&self, places: &PlacesByOwner<Origin, CancellationToken>, origin: Origin) -> Option<u64> {
        if places.held_by(origin) > self.limits.each {
            return places.oldest_of(origin);
        }
        if places.len() <= self.limits.all {
            return None;
        }
        let greedy = places.greediest().filter(|most| places.held_by(*most) > MODEST);
        greedy.map_or_else(|| places.oldest(), |most| places.oldest_of(most))
    }

    /// Locks the places. A thread that panicked left them whole, because each change is complete before
    /// anything that could panic.
    fn lock(&self) -> MutexGuard<'_, PlacesByOwner<Origin, CancellationToken>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Moves to the places of connections that have sent a whole link message, which silent ones do not push
    /// out.
    pub(crate) fn links(&mut self) {
        if !std::mem::replace(&mut self.links, true) {
            self.lobby.silent.lock().free(self.id);
            self.id = self.lobby.linking.enter(self.origin, self.given_away.clone());
        }
    }

    /// Counts the place to `origin` from now on, as a proxy has told.
    pub(crate) fn comes_from(&mut self, origin: Origin) {
        let room = if self.links { &self.lobby.linking } else { &self.lobby.silent };
        room.lock().free(self.id);
        self.id = room.enter(origin, self.given_away.clone());
        self.origin = origin;
    }

    /// Returns a token that is cancelled when the place is given to another connection.
    pub(crate) fn given_away(&self) -> CancellationToken {
        self.given_away.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let room = if self.links { &self.lobby.linking } else { &self.lobby.silent };
        room.lock().free(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(last: u8) -> Origin {
        Origin::Host([127, 0, 0, last].into())
    }

    fn given_away(places: &[Place]) -> usize {
        places.iter().filter(|place| place.given_away.is_cancelled()).count()
    }

    fn linking(lobby: &Arc<Lobby>, origin: Origin) -> Place {
        let mut place = lobby.enter(origin);
        place.links();
        place
    }

    #[test]
    fn a_newcomer_takes_the_place_of_the_oldest_of_whoever_holds_most() {
        let lobby = Arc::new(Lobby::default());
        let viewer = lobby.enter(host(1));
        let silent: Vec<_> = (0..2000).map(|_| lobby.enter(host(2))).collect();
        assert_eq!(given_away(&silent), 2000 - SILENT.each);
        assert!(silent[..2000 - SILENT.each].iter().all(|place| place.given_away.is_cancelled()));
        assert!(!viewer.given_away.is_cancelled());
        drop(silent);
        assert_eq!(lobby.silent.lock().len(), 1);
    }

    #[test]
    fn many_origins_push_out_each_other_before_one_that_comes_after_them() {
        let lobby = Arc::new(Lobby::default());
        let waiting: Vec<_> = (0..2000).map(|n| linking(&lobby, host((n % 250) as u8))).collect();
        assert_eq!(given_away(&waiting), 2000 - LINKING.all);
        let channels: Vec<_> = (0..6).map(|_| linking(&lobby, host(251))).collect();
        assert_eq!((given_away(&channels), lobby.linking.lock().len()), (0, LINKING.all));
    }

    #[test]
    fn clients_of_a_proxy_are_told_apart() {
        let lobby = Arc::new(Lobby::default());
        let mut viewer = lobby.enter(host(1));
        viewer.comes_from(host(9));
        let mut crowd = Vec::new();
        for _ in 0..2000 {
            let mut place = lobby.enter(host(1));
            place.comes_from(host(2));
            crowd.push(place);
        }
        assert_eq!((given_away(&crowd), viewer.given_away.is_cancelled()), (2000 - SILENT.each, false));
        viewer.links();
        viewer.comes_from(host(2));
        drop((viewer, crowd));
        assert_eq!(lobby.linking.lock().len() + lobby.silent.lock().len(), 0);
    }

    #[test]
    fn silent_ones_push_out_nobody_who_links() {
        let lobby = Arc::new(Lobby::default());
        let viewer = linking(&lobby, host(1));
        let silent: Vec<_> = (0..2000).map(|_| lobby.enter(host(1))).collect();
        assert!(!viewer.given_away.is_cancelled());
        drop((viewer, silent));
        assert_eq!(lobby.linking.lock().len() + lobby.silent.lock().len(), 0);
    }
}
