//! Who was not let in, and why: counted, as strangers can do it without end.

use std::collections::BTreeMap;
use std::fmt;

/// Why a connection was not let in.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Refused {
    /// It gave its place to a newer connection before it had logged in.
    Displaced,
    /// It took too long to log in.
    Late,
    /// It does not speak our protocol.
    Malformed,
    /// Its password was wrong.
    WrongPassword,
    /// It came again too soon after wrong passwords.
    HeldOff,
    /// It asked for a channel that it was not offered, or for a session that there is not.
    NotOffered,
    /// There are too many viewers.
    Full,
}

/// How many connections were not let in, by why.
pub(crate) type RefusedCounts = BTreeMap<Refused, u64>;

impl Refused {
    /// Names the reason in a word, as `org.qemu.Spice1` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Displaced => "displaced",
            Self::Late => "late",
            Self::Malformed => "malformed",
            Self::WrongPassword => "wrong-password",
            Self::HeldOff => "held-off",
            Self::NotOffered => "not-offered",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
