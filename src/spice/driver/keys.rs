//! Ticket keys, made ahead: making one takes tens of milliseconds, and a client that connects needs half a dozen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use crate::spice::auth::{KeyStock, TicketError, TicketKey};
use crate::spice::places::Places;
use crate::transport::Origin;

/// Keys in reserve: two clients that connect at once.
const STOCK: usize = 12;

/// Makes keys: ahead in time that nobody else wants, and at once, one after the other, for clients that wait.
///
/// Who waits for fewest is served first, then who came last: strangers who connect in masses wait for each other, and a
/// client that comes after them does not.
#[derive(Default)]
pub(super) struct Keys {
    state: Mutex<State>,
}

struct State {
    stock: KeyStock,
    /// INVARIANT: while someone waits the stock is empty and a thread makes keys.
    waiting: Places<Origin, oneshot::Sender<TicketKey>>,
    /// A thread makes keys for those who wait.
    making: bool,
    /// A thread fills the stock.
    filling: bool,
}

impl Default for State {
    fn default() -> Self {
        Self { stock: KeyStock::new(STOCK), waiting: Places::default(), making: false, filling: false }
    }
}

impl Keys {
    /// Gets a key that nobody has seen. Drop the future if the client is gone: no key is made for it then.
    ///
    /// # Errors
    /// If none can be made.
    pub(super) async fn take(self: &Arc<Self>, origin: Origin) -> Result<TicketKey, TicketError> {
        let made = {
            let mut state = self.lock();
            if let Some(key) = state.stock.take() {
                drop(state);
                self.refill();
                return Ok(key);
            }
            let (to, made) = oneshot::channel();
            state.waiting.take(origin, to);
            if !std::mem::replace(&mut state.making, true) {
                let keys = self.clone();
                tokio::task::spawn_blocking(move || keys.serve());
            }
            made
        };
        made.await.map_err(|_| TicketError::Generate)
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
                Err(_) => self.lock().waiting = Places::default(), // they hear of it
            }
        }
        self.refill();
    }

    /// INVARIANT: a guest, or another viewer, that has something to do goes first.
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether somebody still waits; else who makes keys for them ends.
    fn is_waited_for(&mut self) -> bool {
        let gone: Vec<u64> =
            self.waiting.iter().filter(|(_, _, to)| to.is_closed()).map(|(id, ..)| id).collect();
        for id in gone {
            self.waiting.free(id);
        }
        self.making = self.waiting.len() > 0;
        self.making
    }

    /// Whether there is room for more keys; else who makes them ends.
    fn is_to_be_filled(&mut self) -> bool {
        self.filling = self.stock.wants_more();
        self.filling
    }

    /// Gives a key to whoever is next, or puts it into the stock.
    fn give(&mut self, key: TicketKey) {
        let mut key = key;
        while let Some(origin) = self.waiting.most_modest() {
            let next = self.waiting.newest_of(origin).and_then(|id| self.waiting.free(id));
            match next.map(|to| to.send(key)) {
                None | Some(Ok(())) => return,
                Some(Err(unwanted)) => key = unwanted,
            }
        }
        self.stock.put(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::read_to_string;
    use std::time::Duration;

    /// The `nice` value of this process's thread that makes keys, from proc(5).
    fn niceness() -> Option<i32> {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let stats = tasks.filter_map(|task| read_to_string(task.unwrap().path().join("stat")).ok());
        let after_name = |stat: String| stat.split_once("(keys) ").map(|(_, rest)| rest.to_owned());
        stats.filter_map(after_name).next()?.split(' ').nth(16)?.parse().ok()
    }

    #[test]
    fn keys_are_made_in_time_that_nobody_else_wants() {
        let keys = Arc::new(Keys::default());
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
        let keys = Arc::new(Keys::default());
        keys.lock().making = true; // by this test
        let wait = |user| {
            let mut taking = Box::pin(keys.take(Origin::User(user)));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(taking.as_mut().poll(&mut context).is_pending());
            taking
        };
        let left: Vec<_> = (0..500).map(|_| wait(1)).collect();
        let mut crowd: Vec<_> = (0..100).map(|_| wait(1)).collect();
        let viewer = wait(2);
        let after = wait(1);
        drop(left);
        assert!(keys.lock().is_waited_for());
        assert_eq!(keys.lock().waiting.len(), 102);
        for waiting in [viewer, after, crowd.pop().unwrap()] {
            keys.lock().give(crate::spice::auth::shared_key());
            assert!(waiting.await.is_ok());
        }
        assert_eq!(keys.lock().waiting.len(), 99);
        drop(crowd);
        keys.lock().give(crate::spice::auth::shared_key());
        assert!(keys.lock().stock.take().is_some(), "it is kept for the next client");
        assert!(!keys.lock().is_waited_for() && !keys.lock().making);
    }
}
