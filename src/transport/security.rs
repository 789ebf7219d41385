use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::carrier::Carrier;
use super::http::{Http, HttpError, Origins};
use super::peeked::Peeked;
use super::proxy::{self, Start};
use super::{Peer, Socket, Stream, Tls, Traffic, TrustedProxies};

/// How long a client may send nothing. SPICE, TLS and HTTP clients begin at once.
const SILENT: Duration = Duration::from_secs(3);

/// How long a client has for its TLS handshake, two round trips, or for its HTTP request.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The first byte of a TLS record with a handshake in it.
const TLS_HANDSHAKE: u8 = 22;

/// The protection that connections get.
#[derive(Debug, Default)]
pub(crate) struct Security {
    tls: Option<Tls>,
    origins: Origins,
    proxies: TrustedProxies,
    traffic: Arc<Traffic>,
}

/// What becomes known of a connection while it is opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sign {
    /// The client has sent a whole TLS greeting.
    Greeted,
    /// A trusted proxy has connected for this client.
    ComesFrom(Peer),
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
    /// Somebody writes who is behind it, and is not believed.
    #[error("a PROXY header from {0}, which no --trusted-proxy names")]
    Untrusted(Peer),
    /// A trusted proxy's header cannot be read.
    #[error("a malformed PROXY header")]
    Header,
    /// The handshake failed.
    #[error("TLS: {0}")]
    Handshake(io::Error),
    /// The request was refused.
    #[error("HTTP: {0}")]
    Http(#[from] HttpError),
    /// The connection broke.
    #[error("connection: {0}")]
    Socket(#[from] io::Error),
}

impl Security {
    /// Offers `tls`, if there is one, and WebSockets to the pages of `origins`. Believes `proxies`.
    #[must_use]
    pub(crate) fn new(tls: Option<Tls>, origins: Origins, proxies: TrustedProxies) -> Self {
        Self { tls, origins, proxies, traffic: Arc::default() }
    }

    /// Returns how many bytes went over connections that were opened.
    #[must_use]
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Returns the certificates in use, if TLS is offered.
    #[must_use]
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Finds out by its first byte what a client speaks, and takes it through TLS and to a WebSocket if it wants them.
    /// What becomes known meanwhile is `noticed`.
    ///
    /// # Errors
    /// If the client leaves, is too slow, or cannot have what it wants.
    pub(crate) async fn open(
        &self,
        socket: Socket,
        mut noticed: impl FnMut(Sign),
    ) -> Result<Stream, OpenError> {
        // Browsers connect to a page's address ahead of their requests, and may have none after all.
        let may_be_silent = socket.has_page();
        let mut socket = Peeked::new(socket);
        match first(socket.first_byte()).await {
            Err(OpenError::Late(..)) if may_be_silent => return Err(OpenError::Closed),
            first => first?,
        };
        if let Some(client) = within("send its PROXY header", self.header(&mut socket)).await?? {
            noticed(Sign::ComesFrom(client));
        }
        let mut carrier = match first(socket.first_byte()).await? {
            TLS_HANDSHAKE => {
                let tls = self.tls.as_ref().ok_or(OpenError::NoTls)?;
                let accepted = tls.accept(socket, |_| noticed(Sign::Greeted));
                let accepted = within("finish its TLS handshake", accepted).await?;
                let stream = accepted.map_err(OpenError::Handshake)?;
                Carrier::Tls(Box::new(Peeked::new(stream)))
            }
            _ => Carrier::Plain(socket),
        };
        // SPICE begins with "REDQ". Methods of HTTP begin with other capitals.
        let stream: Stream = match first(carrier.first_byte()).await? {
            b'R' => carrier.into(),
            byte if byte.is_ascii_uppercase() => {
                let (origins, proxies) = (&self.origins, &self.proxies);
                let mut http = Http { origins, proxies, has_tls: self.tls.is_some(), has_served: false };
                let served = http.serve(carrier, |client| noticed(Sign::ComesFrom(client)));
                match within("send its HTTP request", served).await {
                    Err(_) if http.has_served => return Err(HttpError::Served.into()),
                    served => served??.into(),
                }
            }
            _ => carrier.into(),
        };
        Ok(stream.counted_in(&self.traffic))
    }

    /// Reads the PROXY header of a connection, if there is one. Returns the client that it names.
    async fn header(&self, socket: &mut Peeked<Socket>) -> Result<Option<Peer>, OpenError> {
        loop {
            match proxy::start(socket.bytes()) {
                Start::Client => return Ok(None),
                Start::Incomplete => {
                    if socket.more().await? == 0 {
                        return Err(OpenError::Closed);
                    }
                }
                Start::Header(..) | Start::Malformed if !self.proxies.trusts(socket.get_ref().peer()) => {
                    return Err(OpenError::Untrusted(socket.get_ref().peer()));
                }
                Start::Malformed => return Err(OpenError::Header),
                Start::Header(length, client) => {
                    socket.skip(length);
                    let client = client.map(Peer::Network);
                    if let Some(client) = client {
                        socket.get_mut().comes_from(client);
                    }
                    return Ok(client);
                }
            }
        }
    }
}

async fn first(byte: impl Future<Output = io::Result<Option<u8>>>) -> Result<u8, OpenError> {
    let byte = tokio::time::timeout(SILENT, byte).await;
    byte.map_err(|_| OpenError::Late("say anything", SILENT))??.ok_or(OpenError::Closed)
}

async fn within<T>(what: &'static str, done: impl Future<Output = T>) -> Result<T, OpenError> {
    tokio::time::timeout(HANDSHAKE, done).await.map_err(|_| OpenError::Late(what, HANDSHAKE))
}
