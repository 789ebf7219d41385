//! Who may come in: the ticket, which is a password under a key that the server shows once.

mod keys;
mod password;
mod ticket;

pub use keys::KeyStock;
pub use password::{PASSWORD_MAX, Password, PasswordError};
pub use ticket::{TICKET_LEN, TicketError, TicketKey};
#[cfg(test)]
pub(crate) use ticket::{seal, shared_key};

/// What a client must show to come in.
#[derive(Debug, Clone)]
pub enum Admission {
    /// Nothing: whoever reaches the socket may use the VM.
    Open,
    /// This password.
    Password(Password),
    /// Nobody comes in: a password is wanted and none is set, or it has expired.
    Closed,
}

impl Admission {
    /// Opens the ticket and decides. Uses up the key, so that no key opens two tickets.
    pub fn admits(&self, key: TicketKey, ticket: &[u8; TICKET_LEN]) -> bool {
        match self {
            Self::Open => true, // the client had to send something; it means nothing
            Self::Password(password) => key.open(ticket).is_ok_and(|shown| password.matches(&shown)),
            Self::Closed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_admission_admits_whom_it_should() {
        let password = Admission::Password(Password::new("secret").unwrap());
        for (admission, shown, admitted) in [
            (&password, "secret", true),
            (&password, "secret ", false),
            (&password, "", false),
            (&Admission::Open, "anything", true),
            (&Admission::Closed, "", false),
        ] {
            let key = shared_key();
            let sealed = seal(key.spki(), shown.as_bytes());
            assert_eq!(admission.admits(key, &sealed), admitted, "{admission:?} {shown:?}");
        }
    }

    #[test]
    fn an_open_door_needs_no_sense_in_the_ticket() {
        assert!(Admission::Open.admits(shared_key(), &[0xff; TICKET_LEN]));
        let password = Admission::Password(Password::new("secret").unwrap());
        assert!(!password.admits(shared_key(), &[0xff; TICKET_LEN]));
    }
}
