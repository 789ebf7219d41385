//! Who may come in: the ticket, which is a password under a key that opens no other.

mod keys;
mod password;
mod session_id;
mod ticket;

pub use keys::KeyStock;
pub use password::{PASSWORD_MAX, Password, PasswordError};
pub use session_id::session_id;
#[cfg(test)]
pub(crate) use ticket::shared_key;
pub use ticket::{PUB_KEY_LEN, PublicKey, TICKET_LEN, TicketError, TicketKey, seal};

/// What a client must show to come in, and the key that it seals that with.
#[derive(Debug)]
pub enum Admission {
    /// Nothing: whoever reaches the socket may use the VM. The protocol wants a ticket all the same, which nobody
    /// opens.
    Open(PublicKey),
    /// This password, sealed with this key.
    Password(Password, TicketKey),
    /// Nothing that it could show: the password has expired. It is told so as of a wrong one.
    Nobody(TicketKey),
}

impl Admission {
    /// The key that the client is shown.
    pub fn public_key(&self) -> &PublicKey {
        match self {
            Self::Open(key) => key,
            Self::Password(_, key) | Self::Nobody(key) => key.spki(),
        }
    }

    /// The key of a ticket that will not come.
    pub fn into_key(self) -> Option<TicketKey> {
        match self {
            Self::Open(_) => None,
            Self::Password(_, key) | Self::Nobody(key) => Some(key),
        }
    }

    /// Opens the ticket and decides. Uses up the key, so that no key opens two tickets.
    pub fn admits(self, ticket: &[u8; TICKET_LEN]) -> bool {
        match self {
            Self::Open(_) => true, // the client had to send something; it means nothing
            Self::Password(password, key) => key.open(ticket).is_ok_and(|shown| password.matches(&shown)),
            Self::Nobody(key) => {
                let _ = key.open(ticket); // takes as long as with a password
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_admission_admits_whom_it_should() {
        for (shown, admitted) in [("secret", true), ("secret ", false), ("", false)] {
            let admission = Admission::Password(Password::new("secret").unwrap(), shared_key());
            let sealed = seal(admission.public_key(), shown.as_bytes()).unwrap();
            assert_eq!(admission.admits(&sealed), admitted, "{shown:?}");
        }
    }

    #[test]
    fn nobody_comes_in_with_a_password_that_has_expired() {
        let admission = Admission::Nobody(shared_key());
        let sealed = seal(admission.public_key(), b"secret").unwrap();
        assert!(!admission.admits(&sealed));
    }

    #[test]
    fn an_open_door_needs_no_sense_in_the_ticket() {
        let garbage = [0xff; TICKET_LEN];
        assert!(Admission::Open(*shared_key().spki()).admits(&garbage));
        assert!(!Admission::Password(Password::new("secret").unwrap(), shared_key()).admits(&garbage));
    }
}
