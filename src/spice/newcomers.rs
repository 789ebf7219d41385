//! Connections that others made, on their way to the server.

use std::os::fd::OwnedFd;

use tokio::sync::mpsc;

use crate::transport::{HandedError, Socket};

/// The most connections on their way. A client has about four.
const QUEUE: usize = 32;

/// Where to hand over connections. Clones are the same. Without a server, as by default, none is taken.
#[derive(Clone, Debug)]
pub struct Newcomers(mpsc::Sender<Socket>);

/// Why a connection was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NewcomerError {
    /// It cannot be used.
    #[error(transparent)]
    Socket(#[from] HandedError),
    /// There are too many, or it is over.
    #[error("too many connections wait: try again")]
    Busy,
}

impl Default for Newcomers {
    fn default() -> Self {
        Self::new().0
    }
}

impl Newcomers {
    /// Makes the two ends of the way.
    #[must_use]
    pub(crate) fn new() -> (Self, mpsc::Receiver<Socket>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Hands over a connection, whose client need not log in if it `is_admitted`.
    ///
    /// # Errors
    /// If `fd` is none, or there are too many.
    pub(crate) fn hand_over(&self, fd: OwnedFd, is_admitted: bool) -> Result<(), NewcomerError> {
        self.0.try_send(Socket::handed_over(fd, is_admitted)?).map_err(|_| NewcomerError::Busy)
    }
}
