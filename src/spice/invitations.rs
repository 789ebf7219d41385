//! Invitations: secrets beside the password, each of which lets somebody in once, or until it ends.

use std::time::SystemTime;

use spice_proto::auth::{Password, SECRETS_MAX, Secret, SecretId};

use super::grant::{Grant, Rights, Who};

/// The most invitations at a time: with the password, as many secrets as a login compares.
pub(crate) const MAX_INVITATIONS: usize = SECRETS_MAX - 1;

/// What the names begin with by which the invited log in where names are asked for.
const USER: &str = "invitation-";

/// The most characters of a name.
const MAX_NAME: usize = 64;

/// The invitations that are open. The time and the open sessions are arguments.
#[derive(Debug, Default)]
pub(crate) struct Invitations {
    open: Vec<Invitation>,
    last: SecretId,
}

/// What an invitation is to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Invite {
    /// Whom it is for, for people who look; may be empty.
    pub name: String,
    /// What it lets its bearer do.
    pub rights: Rights,
    /// Whether one session uses it up.
    pub once: bool,
    /// When it ends, and the sessions that came in by it.
    pub until: Option<SystemTime>,
}

/// An invitation.
#[derive(Debug)]
pub(crate) struct Invitation {
    /// Its number.
    pub(crate) id: SecretId,
    /// What it is.
    pub(crate) invite: Invite,
    /// The session that used it up.
    pub(crate) taken_by: Option<u32>,
    password: Password,
}

/// Why there is no invitation.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InviteError {
    /// There are as many as there may be.
    #[error("there are {MAX_INVITATIONS} invitations, which are all that there may be: revoke one first")]
    TooMany,
    /// It would end before it was made.
    #[error("the invitation would end at once: give a time to come")]
    Past,
    /// Its name would not fit into a line.
    #[error("the name of an invitation has at most {MAX_NAME} characters, and no control characters")]
    Name,
}

/// Returns the name by which the bearer of invitation `id` logs in, where names are asked for.
pub(crate) fn user_name(id: SecretId) -> String {
    format!("{USER}{id}")
}

/// Returns the invitation that is meant by the name of a user; `None` if it is another name.
pub(crate) fn of_user(name: &str) -> Option<SecretId> {
    name.strip_prefix(USER)?.parse().ok().filter(|id| user_name(*id) == name)
}

impl Invitations {
    /// Adds an invitation with the secret `password`; returns its number.
    ///
    /// # Errors
    /// If there are too many, or it could be used by nobody.
    pub(crate) fn add(
        &mut self,
        invite: Invite,
        password: Password,
        now: SystemTime,
    ) -> Result<SecretId, InviteError> {
        if invite.until.is_some_and(|end| end <= now) {
            return Err(InviteError::Past);
        }
        if invite.name.chars().count() > MAX_NAME || invite.name.chars().any(char::is_control) {
            return Err(InviteError::Name);
        }
        if self.open.len() >= MAX_INVITATIONS {
            return Err(InviteError::TooMany);
        }
        // Never 0, which is the password's. After four thousand million, numbers come again.
        self.last = self.last.wrapping_add(1).max(1);
        self.open.push(Invitation { id: self.last, invite, taken_by: None, password });
        Ok(self.last)
    }

    /// Forgets those that have ended at `now`, and those whose only session is over.
    pub(crate) fn forget_ended(&mut self, now: SystemTime, is_open: impl Fn(u32) -> bool) {
        self.open.retain(|invitation| {
            invitation.invite.until.is_none_or(|end| end > now) && invitation.taken_by.is_none_or(&is_open)
        });
    }

    /// Withdraws the invitation `id`; returns whether there was one.
    pub(crate) fn remove(&mut self, id: SecretId) -> bool {
        let before = self.open.len();
        self.open.retain(|invitation| invitation.id != id);
        self.open.len() < before
    }

    /// Returns the secrets.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = Secret> {
        self.open.iter().map(|invitation| Secret { id: invitation.id, password: invitation.password.clone() })
    }

    /// Returns the secret of invitation `id`.
    pub(crate) fn secret(&self, id: SecretId) -> Option<Password> {
        self.open.iter().find(|invitation| invitation.id == id).map(|invitation| invitation.password.clone())
    }

    /// Returns what the invitation `id` grants a new session, if `session` is `None`, or a channel of `session`. `None`
    /// if there is no such invitation, or another session has used it up.
    pub(crate) fn grant(&self, id: SecretId, session: Option<u32>) -> Option<Grant> {
        let invitation = self.open.iter().find(|invitation| invitation.id == id)?;
        if invitation.taken_by.is_some() && invitation.taken_by != session {
            return None;
        }
        let Invite { name, rights, until, .. } = invitation.invite.clone();
        Some(Grant { who: Who::Invitation { id, name }, rights, until })
    }

    /// Notes that `session` was started by the invitation `id`.
    pub(crate) fn take(&mut self, id: SecretId, session: u32) {
        let found = self.open.iter_mut().find(|invitation| invitation.id == id && invitation.invite.once);
        if let Some(invitation) = found {
            invitation.taken_by = Some(session);
        }
    }

    /// Returns all of them, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Invitation> {
        self.open.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const NOW: SystemTime = UNIX_EPOCH;

    fn later(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn invite(once: bool, until: Option<SystemTime>) -> Invite {
        Invite { name: "ann".to_owned(), rights: Rights::Look, once, until }
    }

    fn add(invitations: &mut Invitations, invite: Invite) -> Result<SecretId, InviteError> {
        invitations.add(invite, Password::random().0, NOW)
    }

    #[test]
    fn one_session_uses_up_what_is_for_once_and_its_other_channels_come_in() {
        let mut invitations = Invitations::default();
        let id = add(&mut invitations, invite(true, None)).unwrap();
        let grant = invitations.grant(id, None).unwrap();
        assert_eq!((grant.rights, grant.who.to_string()), (Rights::Look, "invitation 1 (ann)".to_owned()));
        invitations.take(id, 77);
        assert_eq!(invitations.grant(id, None), None, "a second session");
        assert_eq!(invitations.grant(id, Some(78)), None, "another's channel");
        assert_eq!(invitations.grant(id, Some(77)), Some(grant));
        invitations.forget_ended(NOW, |session| session == 77);
        assert_eq!(invitations.iter().count(), 1);
        invitations.forget_ended(NOW, |_| false);
        assert_eq!(invitations.iter().count(), 0);
    }

    #[test]
    fn others_last_until_they_end_or_are_revoked() {
        let mut invitations = Invitations::default();
        let (short, long) = (invite(false, Some(later(10))), invite(false, None));
        let (short, long) = (add(&mut invitations, short).unwrap(), add(&mut invitations, long).unwrap());
        for id in [short, long] {
            invitations.take(id, 77);
            assert!(invitations.grant(id, None).is_some(), "for a second session");
        }
        invitations.forget_ended(later(9), |_| false);
        assert_eq!(invitations.secrets().count(), 2);
        invitations.forget_ended(later(10), |_| false);
        assert!(invitations.grant(short, None).is_none() && invitations.grant(long, None).is_some());
        assert!(invitations.remove(long) && !invitations.remove(long) && !invitations.remove(short));
        assert_eq!(add(&mut invitations, invite(false, Some(NOW))), Err(InviteError::Past));
    }

    #[test]
    fn the_invited_have_names_of_users() {
        assert_eq!((user_name(7), of_user("invitation-7")), ("invitation-7".to_owned(), Some(7)));
        for other in
            ["ann", "invitation-", "invitation-x", "invitation-+7", "invitation-07", "invitation-4294967296"]
        {
            assert_eq!(of_user(other), None, "{other}");
        }
    }

    #[test]
    fn they_are_bounded_in_number_and_name() {
        let mut invitations = Invitations::default();
        for _ in 0..MAX_INVITATIONS {
            add(&mut invitations, invite(true, None)).unwrap();
        }
        assert_eq!(add(&mut invitations, invite(true, None)), Err(InviteError::TooMany));
        assert!(invitations.remove(7));
        assert!(add(&mut invitations, invite(true, None)).is_ok());
        let named = |name: &str| Invite { name: name.to_owned(), ..invite(true, None) };
        for wrong in ["a\nb", &"x".repeat(MAX_NAME + 1)] {
            assert_eq!(add(&mut invitations, named(wrong)), Err(InviteError::Name));
        }
    }
}
