//! Why a connection gets no further than its link stage.

use std::time::Duration;

use super::messages::LinkError;
use crate::wire::WireError;

/// Why linking ended. Write what [`LinkMachine::take_output`](super::LinkMachine::take_output) yields, then close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkFailure {
    /// The first bytes are not those of SPICE.
    #[error("not a SPICE client")]
    NotSpice,
    /// Another version of the protocol.
    #[error("protocol version {0} is not supported")]
    Version(u32),
    /// A malformed link message.
    #[error("malformed link message: {0}")]
    Malformed(#[from] WireError),
    /// The client chose an authentication we did not offer.
    #[error("authentication mechanism {0} is not offered")]
    Mechanism(u32),
    /// The client chose no mechanism of SASL that was offered.
    #[error("it chose no SASL mechanism that was offered")]
    SaslMechanism,
    /// The client sent more messages than any mechanism has.
    #[error("a SASL exchange without end")]
    SaslEndless,
    /// The password is wrong, or none would do.
    #[error("wrong password")]
    WrongPassword,
    /// The owner turned the client away.
    #[error("turned away: {0}")]
    TurnedAway(LinkError),
    /// The client took too long.
    #[error("not linked within {} s", .0.as_secs())]
    Deadline(Duration),
}
