//! What a client has to show to be let in, and the keys for that.

use std::sync::Arc;
use std::time::SystemTime;

use spice_proto::auth::{Admission, PublicKey, TicketError, TicketKey};
use tokio::sync::OnceCell;

use super::ticket_keys::TicketKeys;
use crate::spice::access::{Access, Asked};
use crate::spice::session::Standing;

/// How clients log in.
pub(super) struct Login {
    access: Access,
    /// The key that all clients are shown who need no password. Its private half is thrown away.
    open: OnceCell<PublicKey>,
    keys: Arc<TicketKeys>,
}

impl Login {
    /// Asks clients for what `access` says when they come.
    pub(super) fn new(access: Access) -> Self {
        let login = Self { access, open: OnceCell::new(), keys: Arc::default() };
        if !matches!(login.access.asked(SystemTime::now()), Asked::Nothing) {
            login.keys.refill();
        }
        login
    }

    /// Returns what a client of this `standing` has to show, nothing if it `is_admitted` already. Drop the future if
    /// the client is gone.
    ///
    /// # Errors
    /// If no key can be made.
    pub(super) async fn admission(
        &self,
        standing: Standing,
        is_admitted: bool,
    ) -> Result<Admission, TicketError> {
        let asked = if is_admitted { Asked::Nothing } else { self.access.asked(SystemTime::now()) };
        match asked {
            Asked::Nothing => self.open.get_or_try_init(public_key).await.copied().map(Admission::Open),
            Asked::OneOf(secrets) => self.keys.take(standing).await.map(|key| Admission::OneOf(secrets, key)),
        }
    }

    /// Takes back a key that no ticket came for.
    pub(super) fn take_back(&self, key: TicketKey) {
        self.keys.put_back(key);
    }
}

async fn public_key() -> Result<PublicKey, TicketError> {
    let made = tokio::task::spawn_blocking(TicketKey::generate).await;
    made.unwrap_or(Err(TicketError::Generate)).map(|key| *key.spki())
}
