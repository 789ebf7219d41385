//! Ticket keys, made ahead: making one takes tens of milliseconds, and a client that connects needs half a
//! dozen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use spice_proto::auth::{KeyStock, TicketError, TicketKey};
use tokio::sync::oneshot;

use crate::spice::places_by_owner::PlacesByOwner;
use crate::spice::session::Standing;
use crate::transport::Origin;

/// Keys in reserve: two clients that connect at once.
const STOCK: usize = 12;

/// Makes keys: ahead in time that nobody else wants, and at once, one after the other, for clients that wait.
///
/// Clients that are in and open more channels are served by turns with all others. Among either, who waits
/// for fewest is served first, then who came last: strangers who connect in masses wait for each other, and a
/// client that comes after them does not. What was shown to someone who left without a ticket is shown again.
#[derive(Default)]
pub(super) struct TicketKeys {
    state: Mutex<KeyQueue>,
}

/// Who waits for a key, by whose keys they are counted to.
type Waiting<T> = PlacesByOwner<T, oneshot::Sender<TicketKey>>;

struct KeyQueue {
    stock: KeyStock,
    /// INVARIANT: while someone waits the stock is empty and a thread makes keys.
    clients: Waiting<u32>,
    strangers: Waiting<Origin>,
    /// Whose turn was last.
    client_was_last: bool,
    /// A thread makes keys for those who wait.
    making: bool,
    /// A thread fills the stock.
    filling: bool,
}

impl Default for KeyQueue {
    fn default() -> Self {
        Self {
            stock: KeyStock::new(STOCK),
            clients: PlacesByOwner::default(),
            strangers: PlacesByOwner::default(),
            client_was_last: false,
            making: false,
            filling: false,
        }
    }
}

impl TicketKeys {
    /// Gets a key that has opened no ticket. Drop the future if the client is gone: no key is made for it
    /// then.
    ///
    /// # Errors
    /// If none can be made.
    pub(super) async fn take(self: &Arc<Self>, asks: Standing) -> Result<TicketKey, TicketError> {
        let made = {
            let mut state = self.lock();
            if let Some(key) = state.stock.take() {
                drop(state);
                self.refill();
                return Ok(key);
            }
            let (to, made) = oneshot::channel();
            match asks {
                Standing::Client(session) => state.clients.take(session, to),
                Standing::Stranger(origin) => state.strangers.take(origin, to),
            };
            if !std::mem::replace(&mut state.making, true) {
                let keys = self.clone();
                tokio::task::spawn_blocking(move || keys.serve());
            }
            made
        };
        made.await.map_err(|_| TicketError::Generate)
    }

    /// Takes back a key that has opened no ticket.
    pub(super) fn put_back(&self, key: TicketKey) {
        self.lock().give(key);
    }

    /// Makes keys in the background until there are enough, unless that is being done already.
    pub(super) fn refill(self: &Arc<Self>) {
        if std::mem::replace(&mut self.lock().filling, true) {
            return;
        }
        let keys = self.clone();
        if thread::Builder::new().name("keys".into()).spawn(move || keys.fill()).is_err() {
            self.lock().filling = false; // a client that finds no key in stock has one made
        }
    }

    /// Makes keys as long as somebody waits for one.
    fn serve(self: &Arc<Self>) {
        while self.lock().is_waited_for() {
            match TicketKey::generate() {
                Ok(key) => self.lock().give(key),
                Err(_) => self.lock().forget(), // they hear of it
            }
        }
        self.refill();
    }

    /// Fills the stock. INVARIANT: the guest and the other threads go first.
    fn fill(&self) {
        // On Linux it is this thread's alone. Where it fails, the keys are made all the same.
        let _ = rustix::process::nice(19);
        while self.lock().is_to_be_filled() {
            match TicketKey::generate() {
                Ok(key) => self.lock().give(key),
                // A client that finds no key in stock hears why none can be made.
                Err(_) => return self.lock().filling = false,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, KeyQueue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyQueue {
    /// Returns whether a client still waits. If none does, the thread that makes keys for them is to end.
    fn is_waited_for(&mut self) -> bool {
        forget_gone(&mut self.clients);
        forget_gone(&mut self.strangers);
        self.making = self.clients.len() + self.strangers.len() > 0;
        self.making
    }

    fn forget(&mut self) {
        self.clients = PlacesByOwner::default();
        self.strangers = PlacesByOwner::default();
    }

    /// Returns whether there is room for more keys. If there is none, the thread that fills the stock is to
    /// end.
    fn is_to_be_filled(&mut self) -> bool {
        self.filling = self.stock.wants_more();
        self.filling
    }

    /// Gives `key` to the next client that waits, or puts it into the stock.
    fn give(&mut self, key: TicketKey) {
        let mut key = key;
        while let Some(to) = self.next() {
            match to.send(key) {
                Ok(()) => return,
                Err(unwanted) => key = unwanted,
            }
        }
        self.stock.put(key);
    }

    fn next(&mut self) -> Option<oneshot::Sender<TicketKey>> {
        let stranger = if self.client_was_last { next_of(&mut self.strangers) } else { None };
        let client = if stranger.is_none() { next_of(&mut self.clients) } else { None };
        self.client_was_last = client.is_some();
        stranger.or(client).or_else(|| next_of(&mut self.strangers))
    }
}

fn next_of<T: Copy + Ord>(waiting: &mut Waiting<T>) -> Option<oneshot::Sender<TicketKey>> {
    let whose = waiting.most_modest()?;
    let newest = waiting.newest_of(whose)?;
    waiting.free(newest)
}

fn forget_gone<T: Copy + Ord>(waiting: &mut Waiting<T>) {
    let gone: Vec<u64> = waiting.iter().filter(|(_, _, to)| to.is_closed()).map(|(id, ..)| id).collect();
    for id in gone {
        waiting.free(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::read_to_string;
    use std::time::Duration;

    /// Returns the `nice` value of this process's thread that makes keys, from proc(5).
    fn niceness() -> Option<i32> {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let stats = tasks.filter_map(|task| read_to_string(task.unwrap().path().join("stat")).ok());
        let after_name = |stat: String| stat.split_once("(keys) ").map(|(_, rest)| rest.to_owned());
        stats.filter_map(after_name).next()?.split(' ').nth(16)?.parse().ok()
    }

    #[test]
    fn keys_are_made_in_time_that_nobody_else_wants() {
        let keys = Arc::new(TicketKeys::default());
        keys.refill();
        let wait = |is: &dyn Fn() -> bool| {
            (0..10_000).any(|_| {
                is() || {
                    thread::sleep(Duration::from_millis(5));
                    false
                }
            })
        };
        assert!(wait(&|| niceness() == Some(19)), "{:?}", niceness());
        assert!(wait(&|| !keys.lock().stock.wants_more()), "the stock stays empty");
    }

    #[tokio::test]
    async fn a_client_that_comes_after_a_crowd_gets_the_next_key_and_those_who_left_get_none() {
        let keys = Arc::new(TicketKeys::default());
        keys.lock().making = true; // by this test
        let take = |asks| {
            let mut taking = Box::pin(keys.take(asks));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(taking.as_mut().poll(&mut context).is_pending());
            taking
        };
        let wait = |user| take(Standing::Stranger(Origin::User(user)));
        let left: Vec<_> = (0..500).map(|_| wait(1)).collect();
        let mut crowd: Vec<_> = (0..100).map(|_| wait(1)).collect();
        let viewer = wait(2);
        let after = wait(1);
        drop(left);
        assert!(keys.lock().is_waited_for());
        assert_eq!(keys.lock().strangers.len(), 102);
        let mut channels: Vec<_> = (0..3).map(|_| take(Standing::Client(7))).collect();
        let mut channel = || channels.pop().unwrap();
        for waiting in [channel(), viewer, channel(), after, channel(), crowd.pop().unwrap()] {
            keys.lock().give(TicketKey::generate().unwrap());
            assert!(waiting.await.is_ok());
        }
        assert_eq!(keys.lock().strangers.len(), 99);
        drop(crowd);
        keys.lock().give(TicketKey::generate().unwrap());
        assert!(keys.lock().stock.take().is_some(), "it is kept for the next client");
        assert!(!keys.lock().is_waited_for() && !keys.lock().making);
    }
}
