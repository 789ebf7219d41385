//! The requests of WHIP: an offer that is answered, and the end of what came of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::target::Address;

/// The most bytes of an answer that are read.
const MAX_ANSWER: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// The address.
    #[error("its URL has no host")]
    Url,
    /// The network.
    #[error("{0}")]
    Network(#[from] std::io::Error),
    /// It took too long.
    #[error("it does not answer")]
    Late,
    /// The certificates of this system.
    #[error("the system's certificates cannot be read, so no server can be trusted")]
    Certificates,
    /// HTTP itself.
    #[error("HTTP: {0}")]
    Http(String),
    /// It refuses.
    #[error("it answers {0} to the offer")]
    Refused(StatusCode),
}

/// A server, which answers to one offer.
pub(super) struct Exchange {
    uri: Uri,
    token: Option<String>,
    limit: Duration,
    local: IpAddr,
    /// What came of the offer.
    made: Option<Uri>,
    connection: Option<TcpStream>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Exchange {
    /// Connects to the server at `address`; each step may take as long as `limit`.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub(super) async fn connect(address: &Address, limit: Duration) -> Result<Self, ExchangeError> {
        let text = address.text().strip_prefix("whip+").unwrap_or_default();
        let uri: Uri = text.parse().map_err(|_| ExchangeError::Url)?;
        // What a URL has in front of its host is what a server of WHIP asks for as a token.
        let authority = uri.authority().ok_or(ExchangeError::Url)?.as_str();
        let token = authority.rsplit_once('@').map(|(token, _)| token.to_owned());
        let connection = tcp(&uri, limit).await?;
        let local = connection.local_addr()?.ip();
        Ok(Self { uri, token, limit, local, made: None, connection: Some(connection) })
    }

    /// Returns the address of this machine that the server sees.
    pub(super) fn local_address(&self) -> IpAddr {
        self.local
    }

    /// Makes an offer; returns the answer.
    ///
    /// # Errors
    /// If the server refuses, or does not answer.
    pub(super) async fn offer(&mut self, sdp: &str) -> Result<String, ExchangeError> {
        let answer = self.send(Method::POST, self.uri.clone(), sdp).await?;
        if answer.status() != StatusCode::CREATED {
            return Err(ExchangeError::Refused(answer.status()));
        }
        let place = answer.headers().get(LOCATION).and_then(|place| place.to_str().ok());
        self.made = place.and_then(|place| resolved(&self.uri, place));
        Ok(String::from_utf8_lossy(answer.body()).into_owned())
    }

    /// Ends what came of the offer.
    ///
    /// # Errors
    /// If the server does not answer.
    pub(super) async fn delete(&mut self) -> Result<(), ExchangeError> {
        match self.made.take() {
            Some(made) => self.send(Method::DELETE, made, "").await.map(drop),
            None => Ok(()),
        }
    }

    async fn send(&mut self, method: Method, uri: Uri, body: &str) -> Result<Response<Bytes>, ExchangeError> {
        let tcp = match self.connection.take() {
            Some(connection) => connection,
            None => tcp(&uri, self.limit).await?,
        };
        let host = uri.host().unwrap_or_default();
        let named = uri.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder().method(method).uri(path).header(HOST, named);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/sdp");
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).map_err(failed)?;
        let answer = async {
            let stream: Box<dyn Stream> = match uri.scheme_str() {
                Some("https") => Box::new(tls(host, tcp).await?),
                _ => Box::new(tcp),
            };
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
            let connection = async { (connection.await, std::future::pending::<()>().await).1 };
            let answer = async {
                let (head, body) = sender.send_request(request).await.map_err(failed)?.into_parts();
                let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(failed)?;
                Ok(Response::from_parts(head, body.to_bytes()))
            };
            tokio::select! {
                answer = answer => answer,
                () = connection => Err(ExchangeError::Late),
            }
        };
        tokio::time::timeout(self.limit, answer).await.map_err(|_| ExchangeError::Late)?
    }
}

async fn tcp(uri: &Uri, limit: Duration) -> Result<TcpStream, ExchangeError> {
    let host = uri.host().ok_or(ExchangeError::Url)?.trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let connected = tokio::time::timeout(limit, TcpStream::connect((host, port))).await;
    Ok(connected.map_err(|_| ExchangeError::Late)??)
}

/// Begins TLS with a server whose certificate the system trusts.
async fn tls(host: &str, tcp: TcpStream) -> Result<impl Stream + use<>, ExchangeError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(ExchangeError::Certificates);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().map_err(failed)?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = host.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(name).map_err(|_| ExchangeError::Url)?;
    Ok(TlsConnector::from(Arc::new(config)).connect(name, tcp).await?)
}

/// Returns where `place` is, which may lack the host that it was learnt from.
fn resolved(from: &Uri, place: &str) -> Option<Uri> {
    let place: Uri = place.parse().ok()?;
    if place.host().is_some() {
        return Some(place).filter(|place| place.scheme() == from.scheme() && place.host() == from.host());
    }
    let mut parts = from.clone().into_parts();
    parts.path_and_query = place.into_parts().path_and_query;
    Uri::from_parts(parts).ok()
}

fn failed(error: impl ToString) -> ExchangeError {
    ExchangeError::Http(error.to_string())
}
