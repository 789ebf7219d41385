//! What takes frames to a media server: a pipeline of GStreamer, or WebRTC.

use bytes::Bytes;

use super::Target;
use super::pipeline::{Pipeline, PipelineError};
use super::whip::{Whip, WhipError};

/// Takes access units to a server. Ends when dropped.
pub(super) enum Sink {
    Pipeline(Pipeline),
    Whip(Whip),
}

/// Why a server takes nothing more.
#[derive(Debug, thiserror::Error)]
pub(super) enum SinkError {
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    #[error(transparent)]
    Whip(#[from] WhipError),
}

impl Sink {
    /// Starts, and waits until the server takes something where that is known.
    ///
    /// # Errors
    /// If GStreamer lacks a part, or the server refuses at once.
    pub(super) async fn start(target: &Target) -> Result<Self, SinkError> {
        Ok(match target {
            Target::Whip(address) => Self::Whip(Whip::start(address).await?),
            target => Self::Pipeline(Pipeline::start(target.clone()).await?),
        })
    }

    /// Returns whether the server takes another frame.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Pipeline(pipeline) => pipeline.has_room(),
            Self::Whip(whip) => whip.has_room(),
        }
    }

    /// Gives an access unit to the server.
    ///
    /// # Errors
    /// If it takes no more.
    pub(super) fn push(&self, data: Bytes) -> Result<(), SinkError> {
        match self {
            Self::Pipeline(pipeline) => pipeline.push(data)?,
            Self::Whip(whip) => whip.push(data),
        }
        Ok(())
    }

    /// Waits until the server asks for a key frame. Cancel-safe.
    ///
    /// # Errors
    /// If the server fails.
    pub(super) async fn wants_key(&mut self) -> Result<(), SinkError> {
        match self {
            Self::Pipeline(pipeline) => pipeline.wants_key().await.map_err(SinkError::from),
            Self::Whip(whip) => whip.wants_key().await.map_err(SinkError::from),
        }
    }

    /// Ends, when the server has taken all that it was given, or time is up.
    ///
    /// # Errors
    /// If the server fails meanwhile.
    pub(super) async fn finish(self) -> Result<(), SinkError> {
        match self {
            Self::Pipeline(pipeline) => pipeline.finish().await.map_err(SinkError::from),
            Self::Whip(whip) => whip.finish().await.map_err(SinkError::from),
        }
    }
}
