//! The key that a client encrypts its password with.
//!
//! The protocol fixes RSA with 1024 bits and OAEP over SHA-1: the field for the key has 162 bytes, no more. That hides
//! a password from a listener, not from someone in the middle; real networks need TLS under it.
//!
//! The `rsa` crate decrypts in a time that depends on the key (RUSTSEC-2023-0071, "Marvin"). That attack sends many
//! chosen ciphertexts to one key. Here each key decrypts one ticket and is gone: [`TicketKey::open`] consumes it, and
//! the type cannot be cloned. Whoever was shown a key and sent no ticket has learned nothing. Decryption is blinded
//! besides.

use rsa::pkcs8::{DecodePublicKey, EncodePublicKey};
use rsa::rand_core::OsRng;
use rsa::{BigUint, Oaep, RsaPrivateKey, RsaPublicKey};
use sha1::Sha1;
use zeroize::Zeroizing;

use super::Password;

/// Bytes of a ticket: one RSA block.
pub const TICKET_LEN: usize = 128;

/// Bytes of the public key field, `SPICE_TICKET_PUBKEY_BYTES`: the DER of a 1024 bit RSA key.
pub const PUB_KEY_LEN: usize = 162;

const KEY_BITS: usize = 1024;
/// 65537; another exponent would change the key's length on the wire.
const EXPONENT: u32 = 0x1_0001;

/// A public key as a client is shown it: DER (`SubjectPublicKeyInfo`).
pub type PublicKey = [u8; PUB_KEY_LEN];

/// A private key for one ticket.
pub struct TicketKey {
    key: Box<RsaPrivateKey>,
    spki: Box<PublicKey>,
}

/// Why there is no key, or no password in a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Making a key failed, which is the random number generator's fault or ours.
    #[error("cannot make an RSA key")]
    Generate,
    /// The ticket was not encrypted with this key.
    #[error("the ticket does not open")]
    Undecryptable,
    /// No ticket can be made with this key and password.
    #[error("the password cannot be sealed with this key")]
    Seal,
    /// The password in it is longer than the protocol allows.
    #[error("the password in the ticket is too long")]
    TooLong,
}

impl TicketKey {
    /// Makes a key. Takes tens of milliseconds of CPU: not for a thread that serves.
    ///
    /// # Errors
    /// When no key comes out, or its DER has not the length the protocol fixes.
    pub fn generate() -> Result<Self, TicketError> {
        let key = RsaPrivateKey::new_with_exp(&mut OsRng, KEY_BITS, &BigUint::from(EXPONENT))
            .map_err(|_| TicketError::Generate)?;
        Self::from_key(key)
    }

    /// The public key.
    pub fn spki(&self) -> &PublicKey {
        &self.spki
    }

    /// The password in a ticket: what comes before its first NUL.
    ///
    /// # Errors
    /// When the ticket does not decrypt, or the password is longer than any may be.
    pub fn open(self, ticket: &[u8; TICKET_LEN]) -> Result<Password, TicketError> {
        let opened = self.key.decrypt_blinded(&mut OsRng, Oaep::new::<Sha1>(), ticket);
        let plain = Zeroizing::new(opened.map_err(|_| TicketError::Undecryptable)?);
        let password = plain.split(|byte| *byte == 0).next().unwrap_or_default();
        Password::shown(password).ok_or(TicketError::TooLong)
    }

    fn from_key(key: RsaPrivateKey) -> Result<Self, TicketError> {
        let der = key.to_public_key().to_public_key_der().map_err(|_| TicketError::Generate)?;
        let spki = der.as_bytes().try_into().map_err(|_| TicketError::Generate)?;
        Ok(Self { key: Box::new(key), spki: Box::new(spki) })
    }
}

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKey(..)")
    }
}

/// Encrypts `password` and its NUL with the key that a server showed: the client's half.
///
/// # Errors
/// When `spki` is no key, or the password does not fit into a ticket.
pub fn seal(spki: &PublicKey, password: &[u8]) -> Result<[u8; TICKET_LEN], TicketError> {
    let key = RsaPublicKey::from_public_key_der(spki).map_err(|_| TicketError::Seal)?;
    let plain = Zeroizing::new([password, &[0]].concat());
    let sealed = key.encrypt(&mut OsRng, Oaep::new::<Sha1>(), &plain).map_err(|_| TicketError::Seal)?;
    sealed.try_into().map_err(|_| TicketError::Seal)
}

/// The same key again and again: tests have no time to make one each.
#[cfg(test)]
pub(crate) fn shared_key() -> TicketKey {
    static KEY: std::sync::OnceLock<RsaPrivateKey> = std::sync::OnceLock::new();
    let key = KEY.get_or_init(|| *TicketKey::generate().unwrap().key);
    TicketKey::from_key(key.clone()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(plain: &[u8]) -> Result<bool, TicketError> {
        let key = shared_key();
        let ticket = seal(key.spki(), plain).unwrap();
        let wanted = Password::new("secret").unwrap();
        key.open(&ticket).map(|shown| wanted.matches(&shown))
    }

    #[test]
    fn a_ticket_holds_what_comes_before_its_nul() {
        assert_eq!(opened(b"secret"), Ok(true));
        assert_eq!(opened(b"secret\0more"), Ok(true));
        assert_eq!(opened(b""), Ok(false));
    }

    #[test]
    fn over_long_passwords_are_refused() {
        assert_eq!(opened(&[b'x'; 60]), Ok(false));
        assert_eq!(opened(&[b'x'; 61]), Err(TicketError::TooLong));
    }

    #[test]
    fn a_ticket_for_another_key_does_not_open() {
        let other = TicketKey::generate().unwrap();
        let ticket = seal(other.spki(), b"secret").unwrap();
        assert_eq!(shared_key().open(&ticket).unwrap_err(), TicketError::Undecryptable);
        assert_eq!(shared_key().open(&[0; TICKET_LEN]).unwrap_err(), TicketError::Undecryptable);
        assert_eq!(shared_key().open(&[0xff; TICKET_LEN]).unwrap_err(), TicketError::Undecryptable);
    }

    #[test]
    fn the_key_looks_as_the_protocol_wants() {
        let key = TicketKey::generate().unwrap();
        assert_eq!(key.spki()[..4], [0x30, 0x81, 0x9f, 0x30]); // SEQUENCE of 159 bytes
        assert_eq!(key.spki()[157..], [2, 3, 1, 0, 1]); // INTEGER 65537
    }
}
