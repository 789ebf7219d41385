use std::fmt;

/// How much of a network the video of a viewer takes. Viewers of one tier share an encoder, and hold up no other.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Tier {
    /// For networks too slow for a picture of the guest's resolution: it has half of it each way.
    Half,
    /// For slow networks.
    Low,
    /// For networks that do not carry every frame.
    Middle,
    /// Every frame as good as it gets.
    Full,
}

impl Tier {
    /// Names it in a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Half => "half",
            Self::Low => "low",
            Self::Middle => "middle",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
