use std::io;
use std::time::Duration;

use super::{Socket, Stream, Tls};

/// How long a client may send nothing. SPICE and TLS clients begin at once.
const SILENT: Duration = Duration::from_secs(3);

/// How long a client has for its TLS handshake: two round trips.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The first byte of a TLS record with a handshake in it.
const TLS_HANDSHAKE: u8 = 22;

/// The protection that connections get.
#[derive(Debug, Default)]
pub(crate) struct Security {
    tls: Option<Tls>,
}

/// Why a connection was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// It was closed before it began.
    #[error("the connection was closed")]
    Closed,
    /// The client sent nothing, or did not come to an end.
    #[error("it did not {0} within {after} s", after = .1.as_secs())]
    Late(&'static str, Duration),
    /// The client wants TLS, and there is none.
    #[error("it wants TLS: start qemu-spice with --tls-creds, or connect without")]
    NoTls,
    /// The handshake failed.
    #[error("TLS: {0}")]
    Handshake(io::Error),
    /// The connection broke.
    #[error("connection: {0}")]
    Socket(#[from] io::Error),
}

impl Security {
    /// Offers `tls`, if there is one.
    #[must_use]
    pub(crate) fn new(tls: Option<Tls>) -> Self {
        Self { tls }
    }

    /// Returns the certificates in use, if TLS is offered.
    #[must_use]
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Finds out by the first byte whether a client wants TLS, and takes it through its handshake then. `greeted` is
    /// called when it has sent a whole TLS greeting.
    ///
    /// # Errors
    /// If the client leaves, is too slow, or cannot have what it wants.
    pub(crate) async fn open(&self, mut socket: Socket, greeted: impl FnOnce()) -> Result<Stream, OpenError> {
        let first = tokio::time::timeout(SILENT, socket.first_byte()).await;
        match first.map_err(|_| OpenError::Late("say anything", SILENT))?? {
            None => Err(OpenError::Closed),
            Some(TLS_HANDSHAKE) => {
                let tls = self.tls.as_ref().ok_or(OpenError::NoTls)?;
                let accepting = tokio::time::timeout(HANDSHAKE, tls.accept(socket, |_| greeted()));
                let accepted =
                    accepting.await.map_err(|_| OpenError::Late("finish its TLS handshake", HANDSHAKE))?;
                accepted.map(|stream| Stream::Tls(Box::new(stream))).map_err(OpenError::Handshake)
            }
            Some(_) => Ok(Stream::Plain(socket)),
        }
    }
}
