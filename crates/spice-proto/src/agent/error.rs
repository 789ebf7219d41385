//! Why an agent's stream ends.

use super::MessageKind;
use crate::wire::WireError;

/// Why a stream of agent messages cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// A malformed message.
    #[error("malformed: {0}")]
    Malformed(#[from] WireError),
    /// A message is larger than any of its kind.
    #[error("{kind:?} of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its kind.
        kind: MessageKind,
        /// Bytes of its body.
        size: u32,
        /// The most of its kind.
        limit: u32,
    },
}
