//! HTTP, as far as there is any: a browser's requests for the page, and one to go on as a WebSocket.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::handshake::server::{Request, create_response, write_response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};

use super::carrier::Carrier;
use super::web_socket::WebSocket;
use super::{Peer, TrustedProxies};
use crate::page::{self, Answer};

/// The most bytes of a request's head. A browser's has about 600, and cookies.
const MAX_HEAD: usize = 16 << 10;

/// The subprotocol that SPICE clients for browsers ask for, as with websockify.
const SUBPROTOCOL: &str = "binary";

/// The web pages whose scripts may connect.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins(Vec<String>);

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// Its head does not end, or is no HTTP.
    #[error("a malformed HTTP request")]
    Malformed,
    /// It wants a page, or another protocol than WebSocket.
    #[error("an HTTP request that is none for a WebSocket")]
    NoUpgrade,
    /// It wanted the page, and got it.
    #[error("the page was served")]
    Served,
    /// It comes from a page of another site.
    #[error("the page at {0} may not connect: `--web-origin {0}` would allow it")]
    Origin(String),
    /// The connection broke.
    #[error("connection: {0}")]
    Socket(#[from] io::Error),
}

impl HttpError {
    /// Returns the answer's status line, and a word for whoever reads it; `None` if nobody is there to read it.
    fn answer(&self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Self::Malformed => ("400 Bad Request", "This is no HTTP request."),
            Self::NoUpgrade => {
                ("426 Upgrade Required", "SPICE clients are served here, also over WebSocket.")
            }
            Self::Origin(_) => ("403 Forbidden", "Pages of this origin may not connect."),
            Self::Served | Self::Socket(_) => return None,
        })
    }
}

impl Origins {
    /// Allows the pages of these origins, such as `https://vm.example`, besides those of the server's own address.
    #[must_use]
    pub(crate) fn new(allowed: Vec<String>) -> Self {
        Self(allowed)
    }

    /// Checks the page that a request comes from. Other programs than browsers name none.
    ///
    /// A page of our own address has the same host as the request. Without TLS that is believed only of addresses, not
    /// of names: whoever has a name can point it at any address, also at this machine's own (DNS rebinding).
    fn check(&self, request: &Request, is_tls: bool) -> Result<(), HttpError> {
        let text = |name| request.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let Some(origin) = text(header::ORIGIN) else { return Ok(()) };
        if self.0.iter().any(|allowed| *allowed == origin) {
            return Ok(());
        }
        let host = text(header::HOST).unwrap_or_default();
        let scheme = if is_tls { "https://" } else { "http://" };
        if origin.strip_prefix(scheme) == Some(&*host) && (is_tls || is_address(&host)) {
            return Ok(());
        }
        // Whoever connects can write what it likes there.
        Err(HttpError::Origin(origin.chars().filter(|c| !c.is_control()).take(100).collect()))
    }
}

/// Returns whether a `Host` header names an IP address or this machine, rather than a name that anybody can have.
fn is_address(host: &str) -> bool {
    let port = |text: &str| text.is_empty() || text.starts_with(':');
    if let Some(rest) = host.strip_prefix('[') {
        return rest
            .split_once(']')
            .is_some_and(|(ip, rest)| ip.parse::<std::net::Ipv6Addr>().is_ok() && port(rest));
    }
    let name = host.split(':').next().unwrap_or_default();
    name == "localhost" || name.parse::<std::net::Ipv4Addr>().is_ok()
}

/// What a connection is read for.
pub(super) struct Http<'a> {
    /// The web pages whose scripts may connect.
    pub(super) origins: &'a Origins,
    /// Who may say for whom it connects.
    pub(super) proxies: &'a TrustedProxies,
    /// Whether TLS is offered.
    pub(super) has_tls: bool,
    /// Whether the page was served on this connection.
    pub(super) has_served: bool,
}

impl Http<'_> {
    /// Reads the requests of a connection: answers those for the page, if its address has it, and goes on as a
    /// WebSocket if asked for that.
    ///
    /// # Errors
    /// If a request is refused, which the client has been told, or there are no more.
    pub(super) async fn serve(
        &mut self,
        mut carrier: Carrier,
        mut comes_from: impl FnMut(Peer),
    ) -> Result<WebSocket, HttpError> {
        let mut surplus = Vec::new();
        loop {
            let read = read(&mut carrier, surplus).await;
            if let Ok((request, _)) = &read
                && self.proxies.trusts(carrier.socket().peer())
                && let Some(client) = self.proxies.forwarded_for(request.headers())
            {
                let client = Peer::Network((client, 0).into());
                carrier.socket_mut().comes_from(client);
                comes_from(client);
            }
            let is_tls = matches!(carrier, Carrier::Tls(_));
            match read.and_then(|(request, rest)| Ok((self.answer(&request, &carrier, is_tls)?, rest))) {
                Ok((Reply::File(Answer { head, body }), rest)) => {
                    carrier.write_all(head.as_bytes()).await?;
                    carrier.write_all(body).await?;
                    carrier.flush().await?;
                    (self.has_served, surplus) = (true, rest);
                }
                Ok((Reply::Upgrade(head), rest)) => {
                    carrier.write_all(&head).await?;
                    carrier.flush().await?;
                    return Ok(WebSocket::new(carrier, rest).await);
                }
                Err(HttpError::Socket(_)) if self.has_served => return Err(HttpError::Served),
                Err(error) => {
                    turn_away(&mut carrier, &error).await?;
                    return Err(error);
                }
            }
        }
    }

    /// Answers a request, or upgrades its connection.
    fn answer(&self, request: &Request, carrier: &Carrier, is_tls: bool) -> Result<Reply, HttpError> {
        if carrier.socket().has_page() && !request.headers().contains_key(header::UPGRADE) {
            let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
            let path = request.uri().path();
            if self.has_tls && !is_tls && carrier.socket().proxy().is_none() {
                let host = text(header::HOST).unwrap_or_default();
                return page::redirect(host, path).map(Reply::File).ok_or(HttpError::Malformed);
            }
            return Ok(Reply::File(page::answer(path, text(header::IF_NONE_MATCH))));
        }
        self.origins.check(request, is_tls)?;
        upgrade(request).map(Reply::Upgrade)
    }
}

/// What a request is answered with.
enum Reply {
    /// A file of the page.
    File(Answer),
    /// This head, after which the connection is a WebSocket.
    Upgrade(Vec<u8>),
}

fn upgrade(request: &Request) -> Result<Vec<u8>, HttpError> {
    let mut response = create_response(request).map_err(|_| HttpError::NoUpgrade)?;
    let asked = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    if asked
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|name| name.trim() == SUBPROTOCOL)
    {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    let mut head = Vec::new();
    write_response(&mut head, &response).map_err(|_| HttpError::Malformed)?;
    Ok(head)
}

/// Tells a client why its request is refused, if somebody is there to read it.
async fn turn_away(carrier: &mut Carrier, error: &HttpError) -> Result<(), HttpError> {
    let Some((status, text)) = error.answer() else { return Ok(()) };
    let answer = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nUpgrade: websocket\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\n\r\n{text}\n",
        text.len().saturating_add(1)
    );
    carrier.write_all(answer.as_bytes()).await?;
    Ok(carrier.shutdown().await?)
}

/// Reads a whole request head, whose beginning is in `head`. Returns the bytes after it as well.
async fn read(carrier: &mut Carrier, mut head: Vec<u8>) -> Result<(Request, Vec<u8>), HttpError> {
    loop {
        match Request::try_parse(&head) {
            Ok(Some((length, request))) => return Ok((request, head.split_off(length.min(head.len())))),
            Ok(None) if head.len() < MAX_HEAD => {}
            Ok(None) | Err(_) => return Err(HttpError::Malformed),
        }
        head.reserve(1024);
        if carrier.read_buf(&mut head).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(origins: &Origins, is_tls: bool, origin: &str, host: &str) -> bool {
        let request = Request::builder().header("Host", host).header("Origin", origin).body(()).unwrap();
        origins.check(&request, is_tls).is_ok()
    }

    #[test]
    fn a_page_of_another_site_may_not_connect() {
        let none = Origins::default();
        assert!(none.check(&Request::builder().body(()).unwrap(), false).is_ok(), "no browser");
        assert!(checked(&none, false, "http://10.0.0.1:5900", "10.0.0.1:5900"));
        assert!(checked(&none, false, "http://localhost:5900", "localhost:5900"));
        assert!(checked(&none, false, "http://[::1]:5900", "[::1]:5900"));
        assert!(checked(&none, true, "https://vm.example:5900", "vm.example:5900"));
        assert!(!checked(&none, false, "http://evil.example:5900", "10.0.0.1:5900"));
        assert!(!checked(&none, false, "http://evil.example:5900", "evil.example:5900"), "DNS rebinding");
        assert!(!checked(&none, false, "http://[evil.example]:5900", "[evil.example]:5900"));
        assert!(!checked(&none, true, "http://vm.example", "vm.example"));
        assert!(!checked(&none, false, "null", "localhost:5900"));
        let some = Origins::new(vec!["https://vm.example".into()]);
        assert!(checked(&some, false, "https://vm.example", "10.0.0.1:5900"));
        assert!(!checked(&some, false, "https://vm.example.evil", "10.0.0.1:5900"));
    }
}
