//! What a client has to show, and what it has shown.

use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::{PUB_KEY_LEN, Password, PublicKey, TICKET_LEN, TicketKey};

/// Most secrets that a client may choose from: each is compared with what the client shows.
pub const SECRETS_MAX: usize = 65;

/// What a client must show to come in, and the key that it seals that with.
#[derive(Debug)]
pub enum Admission {
    /// Nothing: whoever reaches the socket may use the VM. The protocol wants a ticket all the same, which nobody
    /// opens.
    Open(PublicKey),
    /// One of these secrets, sealed with this key. Those after the first [`SECRETS_MAX`] do not count. Without any,
    /// nobody comes in, and the client is answered as if its password were wrong.
    OneOf(Vec<Secret>, TicketKey),
    /// A name, by one of these mechanisms of SASL, with commas between them. There is no ticket.
    Sasl(String),
}

/// A password that lets a client in, and the number by which the owner knows it.
#[derive(Clone, Debug)]
pub struct Secret {
    /// The owner's number.
    pub id: SecretId,
    /// What the client has to show.
    pub password: Password,
}

/// The owner's number of a [`Secret`].
pub type SecretId = u32;

/// What a client has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing, as nothing was asked for.
    Nothing,
    /// The secret of this number.
    Secret(SecretId),
    /// Who it is, to the owner, by SASL.
    Sasl,
}

impl Admission {
    /// The key that the client is shown; zeroes if there is none.
    pub fn public_key(&self) -> &PublicKey {
        match self {
            Self::Sasl(_) => &[0; PUB_KEY_LEN],
            Self::Open(key) => key,
            Self::OneOf(_, key) => key.spki(),
        }
    }

    /// The key of a ticket that will not come.
    pub fn into_key(self) -> Option<TicketKey> {
        match self {
            Self::Open(_) | Self::Sasl(_) => None,
            Self::OneOf(_, key) => Some(key),
        }
    }

    /// Opens the ticket and decides; `None` if the client may not come in. Uses up the key, so that no key opens two
    /// tickets.
    pub fn admits(self, ticket: &[u8; TICKET_LEN]) -> Option<Proof> {
        match self {
            Self::Open(_) => Some(Proof::Nothing), // the client had to send something; it means nothing
            Self::Sasl(_) => None,
            Self::OneOf(secrets, key) => which(&secrets, &key.open(ticket).ok()?).map(Proof::Secret),
        }
    }
}

/// Returns the number of the secret that was shown. Takes the same time whichever it is.
fn which(secrets: &[Secret], shown: &Password) -> Option<SecretId> {
    let (mut found, mut id) = (0u8, SecretId::default());
    for secret in secrets.iter().take(SECRETS_MAX) {
        let same = u8::from(secret.password.matches(shown)).ct_eq(&1);
        found.conditional_assign(&1, same);
        id.conditional_assign(&secret.id, same);
    }
    (found == 1).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::super::{seal, shared_key};
    use super::*;

    fn secrets(texts: &[&str]) -> Vec<Secret> {
        let secret = |(id, text): (u32, &&str)| Secret { id, password: Password::new(text).unwrap() };
        (7..).zip(texts).map(secret).collect()
    }

    fn shown(secrets: Vec<Secret>, text: &str) -> Option<Proof> {
        let admission = Admission::OneOf(secrets, shared_key());
        let sealed = seal(admission.public_key(), text.as_bytes()).unwrap();
        admission.admits(&sealed)
    }

    #[test]
    fn the_owner_hears_which_secret_was_shown() {
        let all = || secrets(&["secret", "another", "a third"]);
        for (text, proof) in [("secret", 7), ("another", 8), ("a third", 9)] {
            assert_eq!(shown(all(), text), Some(Proof::Secret(proof)), "{text:?}");
        }
        for text in ["secret ", "", "a", "secretanother"] {
            assert_eq!(shown(all(), text), None, "{text:?}");
        }
    }

    #[test]
    fn nobody_comes_in_where_there_is_no_secret() {
        assert_eq!(shown(Vec::new(), "secret"), None);
        assert_eq!(shown(Vec::new(), ""), None);
    }

    #[test]
    fn secrets_are_bounded() {
        let texts: Vec<String> = (0..=SECRETS_MAX).map(|number| number.to_string()).collect();
        let many = secrets(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(shown(many.clone(), "64"), Some(Proof::Secret(71)));
        assert_eq!(shown(many, "65"), None);
    }

    #[test]
    fn an_open_door_needs_no_sense_in_the_ticket() {
        let garbage = [0xff; TICKET_LEN];
        assert_eq!(Admission::Open(*shared_key().spki()).admits(&garbage), Some(Proof::Nothing));
        assert_eq!(Admission::OneOf(secrets(&["secret"]), shared_key()).admits(&garbage), None);
    }
}
