//! Where connections wait until they have logged in. Strangers can fill it, so no place in it is kept for ever.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::places::Places;
use crate::transport::Origin;

/// The most connections that have not logged in: 40 clients that open all their channels at once.
const MAX_PLACES: usize = 256;

/// The most of them of one origin.
const MAX_PLACES_EACH: usize = 128;

/// So many may be one client's that opens all its channels at once. An origin with no more than that is not to be told
/// from the others.
const MODEST: usize = 8;

/// The connections that have not logged in.
#[derive(Debug, Default)]
pub struct Lobby {
    places: Mutex<Places<Origin, CancellationToken>>,
}

/// A connection's place in the lobby, free again when dropped.
#[derive(Debug)]
pub struct Place {
    lobby: Arc<Lobby>,
    id: u64,
    given_away: CancellationToken,
}

impl Lobby {
    /// Takes a connection in. There is always a place, at worst somebody else's: see [`Lobby::dispensable`].
    pub fn enter(self: &Arc<Self>, origin: Origin) -> Place {
        let given_away = CancellationToken::new();
        let mut places = self.lock();
        let id = places.take(origin, given_away.clone());
        let loser = Self::dispensable(&places, origin).and_then(|id| places.free(id));
        drop(places);
        if let Some(loser) = loser {
            loser.cancel();
        }
        Place { lobby: self.clone(), id, given_away }
    }

    /// The place that has to be given up now that one more of `origin` is taken, if any: the oldest of this origin if it
    /// has too many; else, where there are too many in all, the oldest of the origin that holds most, or of all.
    fn dispensable(places: &Places<Origin, CancellationToken>, origin: Origin) -> Option<u64> {
        if places.held_by(origin) > MAX_PLACES_EACH {
            return places.oldest_of(origin);
        }
        if places.len() <= MAX_PLACES {
            return None;
        }
        let greedy = places.greediest().filter(|most| places.held_by(*most) > MODEST);
        greedy.map_or_else(|| places.oldest(), |most| places.oldest_of(most))
    }

    /// What is under the lock is whole whoever panicked: each change is complete before anything that could.
    fn lock(&self) -> MutexGuard<'_, Places<Origin, CancellationToken>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until the place is given to another connection.
    pub async fn given_away(&self) {
        self.given_away.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lobby.lock().free(self.id);
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

    #[test]
    fn a_newcomer_takes_the_place_of_the_oldest_of_whoever_holds_most() {
        let lobby = Arc::new(Lobby::default());
        let viewer = lobby.enter(host(1));
        let silent: Vec<_> = (0..2000).map(|_| lobby.enter(host(2))).collect();
        assert_eq!(given_away(&silent), 2000 - MAX_PLACES_EACH);
        assert!(silent[..2000 - MAX_PLACES_EACH].iter().all(|place| place.given_away.is_cancelled()));
        assert!(!viewer.given_away.is_cancelled());
        drop(silent);
        assert_eq!(lobby.lock().len(), 1);
    }

    #[test]
    fn many_origins_push_out_each_other_before_one_that_comes_after_them() {
        let lobby = Arc::new(Lobby::default());
        let silent: Vec<_> = (0..2000).map(|n| lobby.enter(host((n % 250) as u8))).collect();
        assert_eq!(given_away(&silent), 2000 - MAX_PLACES);
        let channels: Vec<_> = (0..6).map(|_| lobby.enter(host(251))).collect();
        assert_eq!((given_away(&channels), lobby.lock().len()), (0, MAX_PLACES));
    }
}
