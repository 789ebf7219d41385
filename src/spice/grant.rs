//! What a session may do, by whom it was let in, and until when.

use std::fmt;
use std::time::SystemTime;

/// What a client was granted when it logged in. It is the session's: all channels have the same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Grant {
    /// By what it was let in.
    pub who: Who,
    /// What it may do.
    pub rights: Rights,
    /// When its session ends; `None` if it may stay.
    pub until: Option<SystemTime>,
}

/// By what a client was let in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Who {
    /// By nothing, as nothing was asked for.
    Anyone,
    /// By the password.
    Password,
    /// By an invitation.
    Invitation {
        /// Its number.
        id: u32,
        /// Whom it is for; may be empty.
        name: String,
    },
    /// By their own name and password.
    User(String),
}

/// What a client may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rights {
    /// See the guest and use it.
    Use,
    /// See the guest.
    Look,
}

/// Something that not every client may do. Seeing, hearing and the keyboard's lights are for all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Deed {
    /// Press keys and move the pointer.
    Input,
    /// Choose who moves the pointer.
    PointerMode,
    /// Copy and paste, send files, and set the guest's size.
    Agent,
    /// Speak when the guest records.
    Speak,
    /// Give the guest devices of its own, and use its ports.
    Devices,
}

impl Grant {
    /// Returns what a client gets that nothing was asked of.
    #[must_use]
    pub(crate) fn of_anyone() -> Self {
        Self { who: Who::Anyone, rights: Rights::Use, until: None }
    }

    /// Returns whether a session may do `deed`. There is no other place that decides it.
    #[must_use]
    pub(crate) fn allows(&self, deed: Deed) -> bool {
        match (self.rights, deed) {
            (Rights::Use, _) => true,
            (Rights::Look, Deed::Input | Deed::PointerMode | Deed::Agent | Deed::Speak | Deed::Devices) => {
                false
            }
        }
    }

    /// Returns whether a channel that was let in by `who` belongs to a session of this grant. What asked for nothing
    /// when the session began may ask for something now.
    #[must_use]
    pub(crate) fn is_of(&self, who: &Who) -> bool {
        self.who == Who::Anyone || self.who == *who
    }
}

impl Rights {
    /// Names them in a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Use => "use",
            Self::Look => "look",
        }
    }
}

impl Rights {
    /// Returns those of a name.
    #[must_use]
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Use, Self::Look].into_iter().find(|rights| rights.name() == name)
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::Password => f.write_str("the password"),
            Self::User(name) => write!(f, "user {name}"),
            Self::Invitation { id, name } if name.is_empty() => write!(f, "invitation {id}"),
            Self::Invitation { id, name } => write!(f, "invitation {id} ({name})"),
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "its keyboard and pointer are ignored",
            Self::PointerMode => "its choice of the pointer's mode is ignored",
            Self::Agent => "it has no agent",
            Self::Speak => "it gets no microphone",
            Self::Devices => "it gets no devices",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_only_look_does_nothing() {
        let grant = |rights| Grant { who: Who::Password, rights, until: None };
        for deed in [Deed::Input, Deed::PointerMode, Deed::Agent, Deed::Speak, Deed::Devices] {
            assert!(grant(Rights::Use).allows(deed) && !grant(Rights::Look).allows(deed), "{deed}");
        }
    }

    #[test]
    fn a_channel_belongs_to_the_session_of_the_same_secret() {
        let invited = |id| Who::Invitation { id, name: String::new() };
        let session = |who| Grant { who, rights: Rights::Use, until: None };
        assert!(session(invited(1)).is_of(&invited(1)) && !session(invited(1)).is_of(&invited(2)));
        assert!(!session(invited(1)).is_of(&Who::Password) && !session(Who::Password).is_of(&invited(1)));
        assert!(Grant::of_anyone().is_of(&Who::Password), "a password was set meanwhile");
        assert!(!session(Who::Password).is_of(&Who::Anyone));
    }
}
