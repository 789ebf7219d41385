//! Passwords, and comparing them without telling by the time it takes.

use std::fmt;

use rsa::rand_core::{OsRng, RngCore};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Most bytes of a password: `SPICE_MAX_PASSWORD_LENGTH`.
pub const PASSWORD_MAX: usize = 60;

/// Characters of a password that is made here: 192 bits.
const RANDOM_LEN: usize = 32;
/// Characters that stand for themselves in a URI, as many as a byte has values in 6 bits.
const URI_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A password. Never shown by `Debug`, and wiped from memory behind itself.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Password {
    /// INVARIANT: the bytes after `len` are zero, so that whole arrays can be compared.
    bytes: [u8; PASSWORD_MAX],
    len: usize,
}

/// Why a text cannot be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Everybody would guess it.
    #[error("the password is empty")]
    Empty,
    /// No client could send it.
    #[error("the password is longer than {PASSWORD_MAX} bytes")]
    TooLong,
    /// No client could send it.
    #[error("the password holds a NUL")]
    Nul,
}

impl Password {
    /// The password the server asks for.
    ///
    /// # Errors
    /// When it is empty, longer than [`PASSWORD_MAX`] bytes or holds a NUL.
    pub fn new(text: &str) -> Result<Self, PasswordError> {
        if text.is_empty() {
            return Err(PasswordError::Empty);
        }
        if text.contains('\0') {
            return Err(PasswordError::Nul);
        }
        Self::shown(text.as_bytes()).ok_or(PasswordError::TooLong)
    }

    /// Makes a password of random characters that need no quotes in a URI, a shell or a file; also returns its text.
    pub fn random() -> (Self, Zeroizing<String>) {
        let mut bytes = Zeroizing::new([0; RANDOM_LEN]);
        OsRng.fill_bytes(bytes.as_mut());
        let safe = |byte: &u8| URI_SAFE.get(usize::from(byte & 0x3f)).copied().unwrap_or(b'-');
        let mut password = Self { bytes: [0; PASSWORD_MAX], len: RANDOM_LEN };
        let mut text = Zeroizing::new(String::with_capacity(RANDOM_LEN));
        for (to, byte) in password.bytes.iter_mut().zip(bytes.iter().map(safe)) {
            *to = byte;
            text.push(char::from(byte));
        }
        (password, text)
    }

    /// What a client showed, which may be empty; `None` when it is over [`PASSWORD_MAX`].
    pub(super) fn shown(shown: &[u8]) -> Option<Self> {
        let mut bytes = [0; PASSWORD_MAX];
        bytes.get_mut(..shown.len())?.copy_from_slice(shown);
        Some(Self { bytes, len: shown.len() })
    }

    /// The bytes, for those who hash them.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Whether both are the same. Takes the same time whatever they hold.
    pub fn matches(&self, other: &Self) -> bool {
        let same = self.bytes.ct_eq(&other.bytes) & self.len.ct_eq(&other.len);
        same.into()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_password_matches() {
        let password = Password::new("correct horse").unwrap();
        assert!(password.matches(&Password::shown(b"correct horse").unwrap()));
        for wrong in ["", "correct hors", "correct horse\0", "Correct horse"] {
            assert!(!password.matches(&Password::shown(wrong.as_bytes()).unwrap()), "{wrong:?}");
        }
    }

    #[test]
    fn passwords_nobody_could_send_are_refused() {
        assert_eq!(Password::new("").unwrap_err(), PasswordError::Empty);
        assert_eq!(Password::new("a\0b").unwrap_err(), PasswordError::Nul);
        assert_eq!(Password::new(&"x".repeat(61)).unwrap_err(), PasswordError::TooLong);
        assert!(Password::new(&"x".repeat(60)).is_ok());
    }

    #[test]
    fn random_passwords_are_long_and_different_and_stand_in_a_uri() {
        let (password, text) = Password::random();
        assert!(password.matches(&Password::new(&text).unwrap()));
        assert!(
            text.len() == 32
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
        assert!(!password.matches(&Password::random().0));
    }

    #[test]
    fn a_password_is_not_logged() {
        assert_eq!(format!("{:?}", Password::new("secret").unwrap()), "Password(..)");
    }
}
