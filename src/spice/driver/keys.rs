//! Ticket keys, made ahead: making one takes tens of milliseconds, and a client that connects needs half a dozen.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::Semaphore;

use super::super::auth::{KeyStock, TicketError, TicketKey};

/// Keys in reserve: two clients that connect at once.
const STOCK: usize = 12;

/// Makes keys: ahead in time that nobody else wants, and at once for one client at a time where none is left. Strangers who
/// connect do not get more of the machine.
pub(super) struct Keys {
    stock: Mutex<KeyStock>,
    /// A thread fills the stock.
    filling: AtomicBool,
    /// Whose turn it is to have one made at once.
    turns: Semaphore,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            stock: Mutex::new(KeyStock::new(STOCK)),
            filling: AtomicBool::new(false),
            turns: Semaphore::new(1),
        }
    }
}

impl Keys {
    /// A key that nobody has seen.
    pub(super) async fn take(self: &Arc<Self>) -> Result<TicketKey, TicketError> {
        let ready = self.stock().take();
        self.refill();
        if let Some(key) = ready {
            return Ok(key);
        }
        let _turn = self.turns.acquire().await;
        let ready = self.stock().take(); // made while we waited
        match ready {
            Some(key) => Ok(key),
            None => {
                tokio::task::spawn_blocking(TicketKey::generate).await.unwrap_or(Err(TicketError::Generate))
            }
        }
    }

    /// Makes keys in the background until there are enough, unless that is being done already.
    pub(super) fn refill(self: &Arc<Self>) {
        if self.filling.swap(true, Ordering::Relaxed) {
            return;
        }
        let keys = self.clone();
        let started = thread::Builder::new().name("keys".into()).spawn(move || keys.fill());
        if started.is_err() {
            self.filling.store(false, Ordering::Relaxed); // a client that finds no key in stock has one made
        }
    }

    /// INVARIANT: a guest, or another viewer, that has something to do goes first.
    fn fill(&self) {
        // On Linux it is this thread's alone. Where it fails, the keys are made all the same.
        let _ = rustix::process::nice(19);
        while self.stock().wants_more() {
            // A client that finds no key in stock hears why none can be made.
            let Ok(key) = TicketKey::generate() else { break };
            self.stock().put(key);
        }
        self.filling.store(false, Ordering::Relaxed);
    }

    fn stock(&self) -> std::sync::MutexGuard<'_, KeyStock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
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
        assert!(wait(&|| !keys.stock().wants_more()), "the stock stays empty");
    }
}
