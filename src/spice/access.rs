//! Who may enter: the password, which can be changed while clients are in, and the end of those who are.

use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use spice_proto::auth::{Password, PasswordError};

use super::session::Sessions;
use crate::transport::{Security, Tls, TlsError};

/// The rule of who may enter. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Access(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    secret: Mutex<Option<Secret>>,
    pub(super) sessions: Arc<Sessions>,
    security: Security,
}

#[derive(Debug)]
struct Secret {
    password: Password,
    /// Until when it lets anybody in; for ever without.
    expires: Option<SystemTime>,
}

/// What a client has to show.
#[derive(Debug)]
pub(super) enum Asked {
    /// Nothing.
    Nothing,
    /// This password.
    Password(Password),
    /// Whatever it shows, it is not let in: the password has expired.
    Never,
}

/// What a new password means for the clients that are in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Connected {
    /// They stay.
    Keep,
    /// If there are any, the password is not changed.
    Fail,
    /// They are disconnected.
    Disconnect,
}

/// When a password expires. Clients that are in stay.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expiry {
    /// At once.
    Now,
    /// Never.
    Never,
    /// After so long.
    After(Duration),
    /// At this time.
    At(SystemTime),
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No client could show such a password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// There are clients, and they were to be none.
    #[error("clients are connected ({0}): the password is as it was")]
    Connected(usize),
    /// There is no password that could expire.
    #[error("there is no password: set one first")]
    NoPassword,
    /// There are no certificates to read again.
    #[error("there is no certificate: start qemu-spice with --tls-creds")]
    NoCertificates,
    /// The certificates cannot be read.
    #[error("the certificate before stays in use: {0}")]
    Certificates(String),
}

impl Access {
    /// Lets in who shows `password`, or everybody without one.
    #[must_use]
    pub(crate) fn new(password: Option<Password>, security: Security) -> Self {
        let secret = Mutex::new(password.map(|password| Secret { password, expires: None }));
        Self(Arc::new(Shared { secret, sessions: Arc::default(), security }))
    }

    /// Asks clients for this password from now on, without an end.
    ///
    /// # Errors
    /// If no client could show it, or there are clients that `connected` forbids.
    pub fn set_password(&self, password: &str, connected: Connected) -> Result<(), AccessError> {
        let password = Password::new(password)?;
        let clients = self.0.sessions.count();
        if connected == Connected::Fail && clients > 0 {
            return Err(AccessError::Connected(clients));
        }
        *self.secret() = Some(Secret { password, expires: None });
        if connected == Connected::Disconnect {
            self.0.sessions.end_all("the password was changed");
        }
        Ok(())
    }

    /// Changes when the password expires.
    ///
    /// # Errors
    /// If there is none.
    pub fn expire_password(&self, expiry: Expiry) -> Result<(), AccessError> {
        let now = SystemTime::now();
        let expires = match expiry {
            Expiry::Now => Some(UNIX_EPOCH),
            Expiry::Never => None,
            Expiry::After(time) => now.checked_add(time),
            Expiry::At(time) => Some(time),
        };
        self.secret().as_mut().ok_or(AccessError::NoPassword)?.expires = expires;
        Ok(())
    }

    /// Reads the certificates again, for clients that come from now on.
    ///
    /// # Errors
    /// If there are none, or they cannot be used.
    pub fn reload_certificates(&self) -> Result<(), AccessError> {
        let reloaded = self.0.security.tls().map(Tls::reload).ok_or(AccessError::NoCertificates)?;
        reloaded.map_err(|error: TlsError| AccessError::Certificates(error.to_string()))
    }

    /// Returns what a client has to show that comes at `now`.
    pub(super) fn asked(&self, now: SystemTime) -> Asked {
        match &*self.secret() {
            None => Asked::Nothing,
            Some(secret) if secret.expires.is_some_and(|end| end <= now) => Asked::Never,
            Some(secret) => Asked::Password(secret.password.clone()),
        }
    }

    /// Returns the clients that are in.
    pub(crate) fn sessions(&self) -> &Arc<Sessions> {
        &self.0.sessions
    }

    /// Returns how connections are protected.
    pub(super) fn security(&self) -> &Security {
        &self.0.security
    }

    /// Locks the secret. A thread that panicked left it whole, because each change is one assignment.
    fn secret(&self) -> MutexGuard<'_, Option<Secret>> {
        self.0.secret.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FromStr for Connected {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "keep" => Ok(Self::Keep),
            "fail" => Ok(Self::Fail),
            "disconnect" => Ok(Self::Disconnect),
            _ => Err(format!("`{text}` is not keep, fail or disconnect")),
        }
    }
}

impl FromStr for Expiry {
    type Err = String;

    /// Reads QEMU's form: `now`, `never`, `+SECONDS` or the seconds since 1970.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not now, never, +SECONDS or a time in seconds since 1970");
        let seconds = |digits: &str| {
            let number = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
            number.map(Duration::from_secs).ok_or_else(wrong)
        };
        match (text, text.strip_prefix('+')) {
            ("now", _) => Ok(Self::Now),
            ("never", _) => Ok(Self::Never),
            (_, Some(after)) => seconds(after).map(Self::After),
            (at, None) => UNIX_EPOCH.checked_add(seconds(at)?).map(Self::At).ok_or_else(wrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(access: &Access) -> bool {
        matches!(access.asked(SystemTime::now()), Asked::Password(_))
    }

    #[test]
    fn a_password_is_asked_for_until_it_expires() {
        let access = Access::default();
        assert!(matches!(access.asked(SystemTime::now()), Asked::Nothing));
        assert!(matches!(access.expire_password(Expiry::Now), Err(AccessError::NoPassword)));
        access.set_password("open sesame", Connected::Keep).unwrap();
        assert!(password(&access));
        access.expire_password(Expiry::Now).unwrap();
        assert!(matches!(access.asked(SystemTime::now()), Asked::Never));
        access.expire_password(Expiry::After(Duration::from_secs(60))).unwrap();
        assert!(password(&access));
        assert!(matches!(access.asked(SystemTime::now() + Duration::from_secs(61)), Asked::Never));
        access.expire_password(Expiry::Never).unwrap();
        assert!(password(&access));
        access.expire_password(Expiry::Now).unwrap();
        access.set_password("another", Connected::Fail).unwrap();
        assert!(password(&access), "a new password has no end");
        assert!(access.set_password("", Connected::Keep).is_err());
        assert!(password(&access), "and a wrong one changes nothing");
    }

    #[test]
    fn times_are_written_as_for_qemu() {
        assert_eq!("now".parse(), Ok(Expiry::Now));
        assert_eq!("never".parse(), Ok(Expiry::Never));
        assert_eq!("+90".parse(), Ok(Expiry::After(Duration::from_secs(90))));
        assert_eq!("1".parse(), Ok(Expiry::At(UNIX_EPOCH + Duration::from_secs(1))));
        for wrong in ["", "+", "-1", "++1", "soon", "1.5", "99999999999999999999"] {
            assert!(wrong.parse::<Expiry>().is_err(), "{wrong}");
        }
    }
}
