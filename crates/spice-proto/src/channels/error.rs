//! Why a channel ends.

use std::time::Duration;

use crate::wire::WireError;

/// Why a channel ends. The connection is to be closed; nothing more may be sent on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The client said goodbye.
    #[error("the client left")]
    ClientLeft,
    /// The client sent something malformed, or larger than that channel takes.
    #[error("malformed message: {0}")]
    Malformed(#[from] WireError),
    /// The client sent a part of a message and then too little for too long.
    #[error("a message was not completed in {}", seconds(*.0))]
    HalfMessage(Duration),
    /// The client does not acknowledge what it gets.
    #[error("no acknowledgement for {}", seconds(*.0))]
    Stalled(Duration),
    /// The client did not answer a ping.
    #[error("no answer to a ping for {}", seconds(*.0))]
    PingTimeout(Duration),
    /// The client sent more for the guest's agent than it was allowed to.
    #[error("more agent data than was asked for")]
    AgentTokens,
    /// The client makes us answer and does not read the answers.
    #[error("over {0} messages wait for the client to read")]
    NotReading(usize),
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}
