use super::Peer;

/// The way of a connection to us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Route {
    /// Who is at its other end, behind a proxy if there is one.
    pub peer: Peer,
    /// The proxy.
    pub proxy: Option<Peer>,
    /// Whether it is encrypted.
    pub tls: bool,
    /// Whether its bytes travel in a WebSocket.
    pub web_socket: bool,
    /// Whether somebody else has already seen to who the client is: it is asked for nothing.
    pub is_admitted: bool,
}

impl Route {
    /// Names what the connection is made of, in a word.
    #[must_use]
    pub(crate) fn transport(self) -> &'static str {
        match (self.web_socket, self.tls) {
            (true, true) => "wss",
            (true, false) => "ws",
            (false, true) => "tls",
            (false, false) => self.proxy.unwrap_or(self.peer).transport(),
        }
    }
}
