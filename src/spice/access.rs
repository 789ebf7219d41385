//! Who may enter: the password, which can be changed while clients are in, invitations beside it, and how long those
//! wait who have shown wrong ones.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use spice_proto::auth::{Password, PasswordError, Proof, Secret, SecretId, random_bytes};
use spice_proto::link::{LinkError, LinkRequest};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::back_off::BackOff;
use super::grant::{Grant, Rights, Who};
use super::invitations::{self, Invitation, Invitations, Invite, InviteError};
use super::session::{MainSeat, Seat, Sessions};
use super::users::{Names, Users, UsersError, Verifier};
use crate::transport::{Origin, Route, Security, Tls, TlsError, Traffic};

/// The rule of who may enter. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Access(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    door: Mutex<Door>,
    back_off: Mutex<BackOff>,
    /// Who may enter by name, where they may.
    users: Mutex<Option<Arc<Users>>>,
    users_file: Option<PathBuf>,
    sessions: Arc<Sessions>,
    security: Security,
}

/// What lets clients in.
#[derive(Debug, Default)]
struct Door {
    lock: Lock,
    invitations: Invitations,
    /// How many passwords there were: what an old one opened is not open to the next.
    passwords: SecretId,
}

/// What a client has to show that is not invited.
#[derive(Debug, Default)]
pub(crate) enum Lock {
    /// Nothing: everybody may enter.
    #[default]
    Open,
    /// Nobody may enter who is not invited.
    Closed,
    /// A password.
    Password {
        /// The password.
        password: Password,
        /// Until when it lets anybody in; for ever without.
        expires: Option<SystemTime>,
    },
}

/// What a client has to show.
#[derive(Debug)]
pub(super) enum Asked {
    /// Nothing.
    Nothing,
    /// One of these secrets. Without any, it is not let in whatever it shows.
    OneOf(Vec<Secret>),
}

/// What a client has shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Shown {
    /// This, by its ticket.
    Ticket(Proof),
    /// That it is the user of this name.
    User(String),
}

/// Why a client that has logged in is not let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// What it has shown does not let it in now.
    Secret,
    /// There is no place for it.
    Place(LinkError),
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
    /// An invitation would change nothing.
    #[error(
        "everybody enters without an invitation: set a password first, or start qemu-spice with --invited-only"
    )]
    Open,
    /// Such an invitation cannot be.
    #[error(transparent)]
    Invite(#[from] InviteError),
    /// There is no such invitation.
    #[error("there is no invitation {0}")]
    NoInvitation(SecretId),
    /// There are no certificates to read again.
    #[error("there is no certificate: start qemu-spice with --tls-creds")]
    NoCertificates,
    /// The users cannot be read.
    #[error("the users before stay in use: {0}")]
    Users(#[from] UsersError),
    /// The certificates cannot be read.
    #[error("the certificate before stays in use: {0}")]
    Certificates(String),
}

impl Access {
    /// Lets in who opens `lock`.
    #[must_use]
    pub(crate) fn new(lock: Lock, security: Security) -> Self {
        let door = Mutex::new(Door { lock, ..Door::default() });
        Self(Arc::new(Shared { door, security, ..Shared::default() }))
    }

    /// Lets in who opens `lock`, and the users of a file.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub(crate) fn with_users(lock: Lock, security: Security, file: &Path) -> Result<Self, UsersError> {
        let door = Mutex::new(Door { lock, ..Door::default() });
        let users = Mutex::new(Some(Arc::new(Users::load(file)?)));
        Ok(Self(Arc::new(Shared {
            door,
            security,
            users,
            users_file: Some(file.into()),
            ..Shared::default()
        })))
    }

    /// Reads the users again, if there are any, for clients that come from now on.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn reload_users(&self) -> Result<(), AccessError> {
        if let Some(file) = &self.0.users_file {
            let users = Users::load(file)?;
            *lock(&self.0.users) = Some(Arc::new(users));
        }
        Ok(())
    }

    /// Returns whether clients are asked for names.
    pub(crate) fn wants_names(&self) -> bool {
        self.0.users_file.is_some()
    }

    /// Returns who may enter by name; `None` where nobody may.
    fn users(&self) -> Option<Arc<Users>> {
        lock(&self.0.users).clone()
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
        let mut door = self.door();
        door.lock = Lock::Password { password, expires: None };
        door.passwords = door.passwords.wrapping_add(1);
        drop(door);
        if connected == Connected::Disconnect {
            self.0.sessions.end_all(|_| true, "the password was changed");
        }
        Ok(())
    }

    /// Changes when the password expires.
    ///
    /// # Errors
    /// If there is none.
    pub fn expire_password(&self, expiry: Expiry) -> Result<(), AccessError> {
        let now = SystemTime::now();
        match &mut self.door().lock {
            Lock::Password { expires, .. } => *expires = expiry.time(now),
            Lock::Open | Lock::Closed => return Err(AccessError::NoPassword),
        }
        Ok(())
    }

    /// Makes an invitation; returns its number and its secret.
    ///
    /// # Errors
    /// If everybody enters without one, or there are too many.
    pub fn invite(&self, invite: Invite) -> Result<(SecretId, Zeroizing<String>), AccessError> {
        let now = SystemTime::now();
        let mut door = self.current_door(now);
        if matches!(door.lock, Lock::Open) {
            return Err(AccessError::Open);
        }
        let (password, text) = Password::random();
        Ok((door.invitations.add(invite, password, now)?, text))
    }

    /// Withdraws invitation `id`, and ends the sessions that came in by it.
    ///
    /// # Errors
    /// If there is none.
    pub fn revoke(&self, id: SecretId) -> Result<(), AccessError> {
        if !self.current_door(SystemTime::now()).invitations.remove(id) {
            return Err(AccessError::NoInvitation(id));
        }
        let came_by_it = |grant: &Grant| matches!(grant.who, Who::Invitation { id: by, .. } if by == id);
        self.0.sessions.end_all(came_by_it, "the invitation was revoked");
        Ok(())
    }

    /// Returns what `describe` makes of each invitation.
    pub(crate) fn invitations<T>(&self, describe: impl Fn(&Invitation) -> T) -> Vec<T> {
        self.current_door(SystemTime::now()).invitations.iter().map(describe).collect()
    }

    /// Reads the certificates again, for clients that come from now on.
    ///
    /// # Errors
    /// If there are none, or they cannot be used.
    pub fn reload_certificates(&self) -> Result<(), AccessError> {
        let reloaded = self.0.security.tls().map(Tls::reload).ok_or(AccessError::NoCertificates)?;
        reloaded.map_err(|error: TlsError| AccessError::Certificates(error.to_string()))
    }

    /// Returns the certificate of the authority that clients have to trust, in PEM form, if there is one.
    pub(crate) fn authority(&self) -> Option<String> {
        self.0.security.tls().and_then(Tls::authority)
    }

    /// Returns what a client has to show that comes at `now`.
    pub(super) fn asked(&self, now: SystemTime) -> Asked {
        let door = self.current_door(now);
        let password = match &door.lock {
            Lock::Open => return Asked::Nothing,
            Lock::Password { password, .. } if door.has_password(now) => Some(password.clone()),
            Lock::Closed | Lock::Password { .. } => None,
        };
        let password = password.map(|password| Secret { id: door.password_id(), password });
        Asked::OneOf(password.into_iter().chain(door.invitations.secrets()).collect())
    }

    /// Starts a session for a client that came by `route` and has `shown` something; it ends with `parent`.
    pub(super) fn start_session(
        &self,
        shown: &Shown,
        route: Route,
        parent: &CancellationToken,
    ) -> Result<MainSeat, Refusal> {
        let mut door = self.current_door(SystemTime::now());
        let grant = self.grant(&door, shown, None)?;
        let rights = grant.rights;
        let seat = self.0.sessions.start(route, grant, parent).map_err(Refusal::Place)?;
        if let Who::Invitation { id, .. } = seat.session().grant.who {
            door.invitations.take(id, seat.session().id);
        }
        drop(door);
        if rights == Rights::Use {
            lock(&self.0.back_off).entered(route.peer.origin());
        }
        Ok(seat)
    }

    /// Takes the seat that `request` asks for, for a client that has `shown` something.
    pub(super) fn join_session(&self, shown: &Shown, request: &LinkRequest) -> Result<Seat, Refusal> {
        let id = request.connection_id;
        let grant = self.grant(&self.door(), shown, Some(id))?;
        let seat = self.0.sessions.join(id, request.channel).map_err(Refusal::Place)?;
        if seat.session().grant.is_of(&grant.who) { Ok(seat) } else { Err(Refusal::Secret) }
    }

    /// Returns what is granted to who has `shown` something, for a new session or a channel of `session`.
    fn grant(&self, door: &Door, shown: &Shown, session: Option<u32>) -> Result<Grant, Refusal> {
        let grant = match shown {
            Shown::Ticket(proof) => door.grant(*proof, session, SystemTime::now()),
            Shown::User(name) if invitations::of_user(name).is_some() => {
                invitations::of_user(name).and_then(|id| door.invitations.grant(id, session))
            }
            Shown::User(name) => {
                let rights = self.users().and_then(|users| users.find(name).map(|user| user.rights));
                rights.map(|rights| Grant { who: Who::User(name.clone()), rights, until: None })
            }
        };
        grant.ok_or(Refusal::Secret)
    }

    /// Lets somebody from `origin` try to log in, or returns how long they have to wait.
    pub(super) fn attempt(&self, origin: Origin) -> Result<(), Duration> {
        lock(&self.0.back_off).attempt(origin, Instant::now())
    }

    /// Notes that somebody from `origin` has shown a wrong secret.
    pub(super) fn failed(&self, origin: Origin) {
        lock(&self.0.back_off).failed(origin, Instant::now());
    }

    /// Returns the clients that are in.
    pub(crate) fn sessions(&self) -> &Arc<Sessions> {
        &self.0.sessions
    }

    /// Returns how many bytes went over the clients' connections.
    pub(crate) fn traffic(&self) -> &Traffic {
        self.0.security.traffic()
    }

    /// Returns how connections are protected.
    pub(super) fn security(&self) -> &Security {
        &self.0.security
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        lock(&self.0.door)
    }

    /// Locks the door, without the invitations that have ended at `now`.
    fn current_door(&self, now: SystemTime) -> MutexGuard<'_, Door> {
        let mut door = self.door();
        door.invitations.forget_ended(now, |session| self.0.sessions.is_open(session));
        door
    }
}

impl Names for Access {
    fn verifier(&self, name: &str) -> Verifier {
        let Some(users) = self.users() else { return Verifier::new(&random_bytes::<32>()) };
        let secret = invitations::of_user(name)
            .and_then(|id| self.current_door(SystemTime::now()).invitations.secret(id));
        secret.map_or_else(|| users.verifier(name), |secret| users.invited(name, &secret))
    }

    fn has(&self, name: &str) -> bool {
        match invitations::of_user(name) {
            Some(id) => self.door().invitations.secret(id).is_some(),
            None => self.users().is_some_and(|users| users.has(name)),
        }
    }
}

impl Door {
    /// The password's number, from the end where no invitation's is.
    fn password_id(&self) -> SecretId {
        SecretId::MAX.wrapping_sub(self.passwords)
    }

    fn has_password(&self, now: SystemTime) -> bool {
        matches!(&self.lock, Lock::Password { expires, .. } if expires.is_none_or(|end| end > now))
    }

    /// Returns what `proof` grants at `now` to a new session, or to a channel of `session`.
    fn grant(&self, proof: Proof, session: Option<u32>, now: SystemTime) -> Option<Grant> {
        match proof {
            Proof::Nothing => Some(Grant::of_anyone()), // it was asked for nothing when it came
            Proof::Secret(id) if id == self.password_id() => {
                let grant = Grant { who: Who::Password, rights: Rights::Use, until: None };
                self.has_password(now).then_some(grant)
            }
            Proof::Secret(id) => self.invitations.grant(id, session),
            Proof::Sasl => None, // a name grants something, not this
        }
    }
}

impl Expiry {
    /// Returns the time, seen from `now`; `None` if it never comes.
    #[must_use]
    pub fn time(self, now: SystemTime) -> Option<SystemTime> {
        match self {
            Self::Now => Some(UNIX_EPOCH),
            Self::Never => None,
            Self::After(time) => now.checked_add(time),
            Self::At(time) => Some(time),
        }
    }
}

/// Locks `mutex`. A thread that panicked left the value whole, because each change is one insert, remove or
/// assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    use spice_proto::wire::{Caps, ChannelId, ChannelType};

    use super::*;
    use crate::transport::Peer;

    fn password(access: &Access) -> bool {
        asked(access, SystemTime::now()) == 1
    }

    /// Returns how many secrets let somebody in.
    fn asked(access: &Access, at: SystemTime) -> usize {
        match access.asked(at) {
            Asked::Nothing => panic!("nothing is asked for"),
            Asked::OneOf(secrets) => secrets.len(),
        }
    }

    fn invite(once: bool) -> Invite {
        Invite { name: String::new(), rights: Rights::Look, once, until: None }
    }

    fn start(access: &Access, proof: Proof) -> Result<MainSeat, Refusal> {
        let peer = Peer::Local { process: None, user: 7 };
        let route = Route { peer, proxy: None, tls: false, web_socket: false, is_admitted: false };
        access.start_session(&Shown::Ticket(proof), route, &CancellationToken::new())
    }

    fn join(access: &Access, proof: Proof, main: &MainSeat) -> Result<Seat, Refusal> {
        let channel = ChannelId { kind: ChannelType::Display, id: 0 };
        main.session().offer(vec![channel]);
        let (common_caps, channel_caps) = (Caps::NONE, Caps::NONE);
        let connection_id = main.session().id;
        access.join_session(
            &Shown::Ticket(proof),
            &LinkRequest { channel, connection_id, common_caps, channel_caps },
        )
    }

    #[test]
    fn an_invitation_beside_the_password_lets_one_session_in_to_look() {
        let access = Access::default();
        assert!(
            matches!(access.invite(invite(true)), Err(AccessError::Open)),
            "everybody would enter beside it"
        );
        access.set_password("open sesame", Connected::Keep).unwrap();
        let (id, _) = access.invite(invite(true)).unwrap();
        assert_eq!(asked(&access, SystemTime::now()), 2);
        access.expire_password(Expiry::Now).unwrap();
        assert_eq!(asked(&access, SystemTime::now()), 1, "the invitation");
        let invited = Proof::Secret(id);
        let main = start(&access, invited).unwrap();
        assert_eq!(main.session().grant.rights, Rights::Look);
        assert!(join(&access, invited, &main).is_ok());
        assert_eq!(start(&access, invited).unwrap_err(), Refusal::Secret, "once");
        access.expire_password(Expiry::Never).unwrap();
        let password = Proof::Secret(SecretId::MAX - 1);
        assert_eq!(join(&access, password, &main).unwrap_err(), Refusal::Secret, "another's session");
        let other = start(&access, password).unwrap();
        access.revoke(id).unwrap();
        assert!(main.session().ended().is_some() && main.session().end.is_cancelled());
        assert!(!other.session().end.is_cancelled());
        assert!(matches!(access.revoke(id), Err(AccessError::NoInvitation(_))));
    }

    #[test]
    fn what_was_shown_of_an_old_password_is_not_let_in() {
        let access = Access::default();
        assert!(start(&access, Proof::Nothing).is_ok());
        access.set_password("open sesame", Connected::Keep).unwrap();
        let shown = Proof::Secret(SecretId::MAX - 1);
        let main = start(&access, shown).unwrap();
        access.set_password("another", Connected::Keep).unwrap();
        assert_eq!(start(&access, shown).unwrap_err(), Refusal::Secret);
        assert_eq!(join(&access, shown, &main).unwrap_err(), Refusal::Secret);
        assert!(join(&access, Proof::Secret(SecretId::MAX - 2), &main).is_ok());
    }

    #[test]
    fn where_only_the_invited_enter_there_is_no_other_way() {
        let access = Access::new(Lock::Closed, Security::default());
        assert_eq!(asked(&access, SystemTime::now()), 0);
        let (_, secret) = access.invite(invite(false)).unwrap();
        assert_eq!((asked(&access, SystemTime::now()), secret.len()), (1, 32));
        assert!(matches!(access.expire_password(Expiry::Now), Err(AccessError::NoPassword)));
    }

    #[test]
    fn a_password_is_asked_for_until_it_expires() {
        let access = Access::default();
        assert!(matches!(access.asked(SystemTime::now()), Asked::Nothing));
        assert!(matches!(access.expire_password(Expiry::Now), Err(AccessError::NoPassword)));
        access.set_password("open sesame", Connected::Keep).unwrap();
        assert!(password(&access));
        access.expire_password(Expiry::Now).unwrap();
        assert_eq!(asked(&access, SystemTime::now()), 0);
        access.expire_password(Expiry::After(Duration::from_secs(60))).unwrap();
        assert!(password(&access));
        assert_eq!(asked(&access, SystemTime::now() + Duration::from_secs(61)), 0);
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
