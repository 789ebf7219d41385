use spice_proto::agent::AgentError;
use spice_proto::channels::ChannelError;
use spice_proto::link::{LinkError, LinkFailure};
use spice_proto::wire::WireError;

use crate::encode::EncodeError;
use crate::transport::{HttpError, OpenError};
use crate::viewer::Refused;

/// Why a channel ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChannelEnd {
    #[error("the connection was closed")]
    Closed,
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("not linked: {0}")]
    Link(#[from] LinkFailure),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("guest agent: {0}")]
    Agent(#[from] AgentError),
    #[error("malformed message: {0}")]
    Malformed(#[from] WireError),
    #[error("the client took nothing of what waits for it for 30 s")]
    NotReading,
    #[error("no sound: {0}")]
    Sound(#[from] EncodeError),
    #[error("connection: {0}")]
    Socket(#[from] std::io::Error),
    #[error("it gave its place to a newer connection before it had logged in")]
    Displaced,
    #[error("it has to wait, because wrong passwords came from where it comes from")]
    HeldOff,
    #[error("the session ended")]
    Session,
}

impl ChannelEnd {
    /// Returns why the connection was refused; `None` if the channel ended for another reason.
    pub(super) fn refused(&self) -> Option<Refused> {
        Some(match self {
            Self::Displaced => Refused::Displaced,
            Self::HeldOff => Refused::HeldOff,
            Self::Link(LinkFailure::Deadline(_)) | Self::Open(OpenError::Late(..)) => Refused::Late,
            Self::Open(
                OpenError::NoTls | OpenError::Untrusted(_) | OpenError::Http(HttpError::Origin(_)),
            ) => Refused::NotOffered,
            Self::Open(OpenError::Http(HttpError::Served | HttpError::Socket(_))) => return None,
            Self::Open(OpenError::Handshake(_) | OpenError::Header | OpenError::Http(_)) => {
                Refused::Malformed
            }
            Self::Link(LinkFailure::WrongPassword) => Refused::WrongPassword,
            Self::Link(LinkFailure::TurnedAway(LinkError::PermissionDenied)) => Refused::Full,
            Self::Link(LinkFailure::TurnedAway(_)) => Refused::NotOffered,
            Self::Link(_) => Refused::Malformed,
            _ => return None,
        })
    }
}
