//! Who may send how much, between a client and the guest's agent.

use crate::channels::ChannelError;

/// Pieces of agent data that a client may send before it is given more. libspice-server gives 10, and a client over a
/// network of 100 ms then sends 200 kB a second at most.
pub(super) const AGENT_TOKENS: u32 = 32;

/// The agent as one client knows it.
#[derive(Debug)]
pub(super) enum Agent {
    /// There is none for this client.
    Gone,
    /// The client was told of it. What it sends before it starts was meant for the one before.
    Announced,
    /// The client speaks with it.
    Started {
        /// Pieces that the client may still send.
        for_guest: u32,
        /// Pieces that it may still be sent.
        for_client: u32,
    },
}

impl Agent {
    /// The state of a client that has just been told.
    pub(super) fn new(is_there: bool) -> Self {
        if is_there { Self::Announced } else { Self::Gone }
    }

    /// Whether the client was told of one.
    pub(super) fn is_there(&self) -> bool {
        !matches!(self, Self::Gone)
    }

    /// Begins, with `tokens` pieces that the client may be sent. `false` if nobody is there to speak with.
    pub(super) fn start(&mut self, tokens: u32) -> bool {
        if !matches!(self, Self::Announced) {
            return false;
        }
        *self = Self::Started { for_guest: AGENT_TOKENS, for_client: tokens };
        true
    }

    /// Counts a piece from the client; `false` if it is for nobody.
    ///
    /// # Errors
    /// When the client was not to send it.
    pub(super) fn take_for_guest(&mut self) -> Result<bool, ChannelError> {
        let Self::Started { for_guest, .. } = self else {
            return Ok(false);
        };
        *for_guest = for_guest.checked_sub(1).ok_or(ChannelError::AgentTokens)?;
        Ok(true)
    }

    /// Counts a piece for the client; `false` if it takes none.
    pub(super) fn take_for_client(&mut self) -> bool {
        let Self::Started { for_client, .. } = self else {
            return false;
        };
        let left = for_client.checked_sub(1);
        *for_client = left.unwrap_or(0);
        left.is_some()
    }

    /// Lets the client send `pieces` more, and returns how many these are: never more than at the start in all.
    pub(super) fn grant(&mut self, pieces: u32) -> u32 {
        let Self::Started { for_guest, .. } = self else {
            return 0;
        };
        let granted = pieces.min(AGENT_TOKENS.saturating_sub(*for_guest));
        *for_guest = for_guest.saturating_add(granted);
        granted
    }

    /// The client may be sent `tokens` pieces more.
    pub(super) fn granted(&mut self, tokens: u32) {
        if let Self::Started { for_client, .. } = self {
            *for_client = for_client.saturating_add(tokens);
        }
    }

    /// Whether the client may be sent a piece.
    pub(super) fn may_send(&self) -> bool {
        matches!(self, Self::Started { for_client: 1.., .. })
    }
}
