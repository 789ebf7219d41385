//! Who may come in: the ticket, which is a password under a key that opens no other.

mod admission;
mod keys;
mod password;
mod session_id;
mod ticket;

pub use admission::{Admission, Proof, SECRETS_MAX, Secret, SecretId};
pub use keys::KeyStock;
pub use password::{PASSWORD_MAX, Password, PasswordError};
pub use session_id::{random_bytes, session_id};
#[cfg(test)]
pub(crate) use ticket::shared_key;
pub use ticket::{PUB_KEY_LEN, PublicKey, TICKET_LEN, TicketError, TicketKey, seal};
