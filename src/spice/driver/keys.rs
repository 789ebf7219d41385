//! Ticket keys, made ahead: making one takes tens of milliseconds, and a client that connects needs half a dozen.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::super::auth::{KeyStock, TicketError, TicketKey};

/// Keys in reserve: two clients that connect at once.
const STOCK: usize = 12;

/// Makes keys, no more than one at a time: strangers who connect cost us one core's spare time, not the machine.
pub(super) struct Keys {
    stock: Mutex<KeyStock>,
    maker: Semaphore,
}

impl Default for Keys {
    fn default() -> Self {
        Self { stock: Mutex::new(KeyStock::new(STOCK)), maker: Semaphore::new(1) }
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
        let _turn = self.maker.acquire().await;
        let ready = self.stock().take(); // made while we waited
        match ready {
            Some(key) => Ok(key),
            None => make().await,
        }
    }

    /// Makes keys in the background until there are enough, unless someone does already.
    pub(super) fn refill(self: &Arc<Self>) {
        let keys = self.clone();
        tokio::spawn(async move {
            while keys.stock().wants_more() {
                let Ok(_turn) = keys.maker.try_acquire() else { return };
                // A client that finds no key in stock hears why none can be made.
                let Ok(key) = make().await else { return };
                keys.stock().put(key);
            }
        });
    }

    fn stock(&self) -> std::sync::MutexGuard<'_, KeyStock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn make() -> Result<TicketKey, TicketError> {
    tokio::task::spawn_blocking(TicketKey::generate).await.unwrap_or(Err(TicketError::Generate))
}
