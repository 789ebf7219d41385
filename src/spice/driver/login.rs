//! What a client has to show to be let in, and the keys for that.

use std::sync::Arc;

use spice_proto::auth::{Admission, Password, PublicKey, TicketError, TicketKey};
use tokio::sync::OnceCell;

use super::ticket_keys::TicketKeys;
use crate::spice::session::Standing;

/// How clients log in.
pub(super) enum Login {
    /// For nothing. All clients are shown the same key, whose private half is thrown away.
    Open(OnceCell<PublicKey>),
    /// For a password, each with a key of its own.
    Password(Password, Arc<TicketKeys>),
}

impl Login {
    pub(super) fn new(password: Option<Password>) -> Self {
        let Some(password) = password else { return Self::Open(OnceCell::new()) };
        let keys = Arc::new(TicketKeys::default());
        keys.refill();
        Self::Password(password, keys)
    }

    /// Returns what a client of this `standing` has to show. Drop the future if the client is gone.
    ///
    /// # Errors
    /// If no key can be made.
    pub(super) async fn admission(&self, standing: Standing) -> Result<Admission, TicketError> {
        match self {
            Self::Open(key) => key.get_or_try_init(public_key).await.copied().map(Admission::Open),
            Self::Password(password, keys) => {
                keys.take(standing).await.map(|key| Admission::Password(password.clone(), key))
            }
        }
    }

    /// Takes back a key that no ticket came for.
    pub(super) fn take_back(&self, key: TicketKey) {
        if let Self::Password(_, keys) = self {
            keys.put_back(key);
        }
    }
}

async fn public_key() -> Result<PublicKey, TicketError> {
    let made = tokio::task::spawn_blocking(TicketKey::generate).await;
    made.unwrap_or(Err(TicketError::Generate)).map(|key| *key.spki())
}
