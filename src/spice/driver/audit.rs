//! The log of who comes and goes: one line for each client that logs in, each that ends, and each connection that is
//! refused.
//!
//! The lines have names, by which they are marked in the journal ([`crate::app`]).

use std::fmt::Display;
use std::time::SystemTime;

use spice_proto::wire::ChannelId;
use tracing::info;

use crate::spice::session::Session;
use crate::transport::{Peer, Route};
use crate::viewer::{LogLimit, Refused};

/// The log. What strangers do has a limit of its own, so that it hides no client.
#[derive(Debug, Default)]
pub(super) struct Audit {
    clients: LogLimit,
    refused: LogLimit,
}

/// What is known of a connection so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Who is at its other end.
    pub(super) peer: Peer,
    /// The proxy that it came through.
    pub(super) proxy: Option<Peer>,
    /// How it came, once that is known.
    pub(super) route: Option<Route>,
    /// The channel that it is to be, once it has asked for one.
    pub(super) channel: Option<ChannelId>,
}

impl Audit {
    /// Logs that the client of `session` has logged in, and is one of `clients`.
    pub(super) fn login(&self, session: &Session, clients: usize) {
        let Session { number, route, grant, .. } = session;
        let by = if route.is_admitted { "whoever handed it over".to_owned() } else { grant.who.to_string() };
        self.clients.log(|kept_back| {
            info!(
                name: "login",
                parent: None,
                client = number,
                peer = %route.peer,
                proxy = route.proxy.map(tracing::field::display),
                transport = route.transport(),
                by,
                rights = grant.rights.name(),
                clients,
                kept_back,
                "logged in"
            );
        });
    }

    /// Logs that the client of `session` is gone, and `clients` are left.
    pub(super) fn end(&self, session: &Session, reason: &str, clients: usize) {
        let Session { number, route, since, .. } = session;
        let seconds = SystemTime::now().duration_since(*since).map_or(0, |time| time.as_secs());
        self.clients.log(|kept_back| {
            info!(
                name: "end",
                parent: None,
                client = number,
                peer = %route.peer,
                proxy = route.proxy.map(tracing::field::display),
                transport = route.transport(),
                seconds,
                reason,
                clients,
                kept_back,
                "disconnected"
            );
        });
    }

    /// Logs that a connection was refused.
    pub(super) fn refused(&self, known: Known, why: Refused, error: &dyn Display) {
        self.refused.log(|kept_back| {
            info!(
                name: "refusal",
                parent: None,
                peer = %known.peer,
                proxy = known.proxy.map(tracing::field::display),
                transport = known.route.map(Route::transport),
                channel = known.channel.map(|channel| channel.to_string()),
                reason = why.name(),
                %error,
                kept_back,
                "refused"
            );
        });
    }
}
