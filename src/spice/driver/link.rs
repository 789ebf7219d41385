//! Drives the link stage of a connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use spice_proto::auth::{Admission, TicketKey};
use spice_proto::channels::Machine;
use spice_proto::link::{LinkError, LinkEvent, LinkFailure, LinkMachine, LinkRequest, SaslMessage, caps};
use spice_proto::wire::{Caps, ChannelId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::sasl::{self, Exchange, Step};
use super::{ChannelEnd, Connection, Server, channels};
use crate::frame::ConsoleId;
use crate::hub::{Console, Hub};
use crate::spice::access::Shown;
use crate::spice::lobby::Place;
use crate::spice::session::Standing;
use crate::transport::{Route, Stream};
use crate::viewer::sleep_until;

/// How long someone with a wrong password waits for the answer. How many passwords can be tried in a second
/// is bounded by how many keys are made.
const WRONG_PASSWORD_PAUSE: Duration = Duration::from_secs(1);

/// How long someone waits, at most, who has to wait before the next attempt. Whoever would wait longer is turned away.
const PATIENCE: Duration = Duration::from_secs(4);

/// Bytes read at a time; the whole stage has a few hundred.
const READ_SIZE: usize = 1024;

/// A connection that links.
pub(super) struct Linking {
    machine: LinkMachine,
    stream: Stream,
    /// What the machine has not taken yet.
    input: Vec<u8>,
    /// The exchange of a client that logs in by name.
    exchange: Option<Exchange>,
    /// The channel that the client asks for, once it does.
    channel: Option<ChannelId>,
}

/// A connection that may attach, if there is a place for it.
pub(super) struct Linked {
    pub(super) request: LinkRequest,
    /// What it has shown.
    pub(super) shown: Shown,
    linking: Linking,
}

/// Runs the stage until the client has logged in.
pub(super) async fn run(
    server: &Server,
    linking: &mut Linking,
    place: &mut Place,
) -> Result<(LinkRequest, Shown), ChannelEnd> {
    loop {
        match linking.next_event(server).await? {
            Some(LinkEvent::Hello(request)) => linking.greet(server, place, &request).await?,
            Some(LinkEvent::Linked(request, proof)) => return Ok((request, Shown::Ticket(proof))),
            Some(LinkEvent::Sasl(message)) => {
                if let Some((request, name)) = linking.answer_sasl(server, message).await? {
                    return Ok((request, Shown::User(name)));
                }
            }
            None => linking.read().await?,
        }
    }
}

/// Why a client is not asked for a secret.
enum NotAsked {
    /// It has to wait too long.
    TooSoon,
    /// There is no key for it.
    NoKey,
}

/// Returns whether a client can log in by name.
fn can_sasl(common_caps: Caps) -> bool {
    common_caps.has(caps::AUTH_SELECTION) && common_caps.has(caps::AUTH_SASL)
}

/// Who wants to log in, and how it could.
struct Asker {
    standing: Standing,
    /// It is let in already.
    is_admitted: bool,
    /// It can log in by name.
    by_name: bool,
}

/// Returns what a client has to show, once it may try; nothing if it is let in already, its name if it can and there
/// are names.
async fn admission(server: &Server, asker: Asker) -> Result<Admission, NotAsked> {
    let Asker { standing, is_admitted, by_name } = asker;
    // Who knows a session has logged in already.
    while let (Standing::Stranger(origin), false) = (standing, is_admitted) {
        match server.access.attempt(origin) {
            Ok(()) => break,
            Err(wait) if wait > PATIENCE => return Err(NotAsked::TooSoon),
            Err(wait) => tokio::time::sleep(wait).await,
        }
    }
    if by_name && !is_admitted && server.access.wants_names() {
        return Ok(Admission::Sasl(sasl::OFFERED.to_owned()));
    }
    server.login.admission(standing, is_admitted).await.map_err(|_| NotAsked::NoKey)
}

impl Linking {
    pub(super) fn new(stream: Stream) -> Self {
        let machine = LinkMachine::new(Instant::now());
        Self { machine, stream, input: Vec::with_capacity(READ_SIZE), exchange: None, channel: None }
    }

    /// Takes what has come. `None` if more has to come.
    async fn next_event(&mut self, server: &Server) -> Result<Option<LinkEvent>, ChannelEnd> {
        let mut rest = self.input.as_slice();
        let event = self.machine.recv(&mut rest);
        let used = self.input.len().saturating_sub(rest.len());
        self.input.drain(..used);
        match event {
            Ok(event) => Ok(event),
            Err(LinkFailure::WrongPassword) => {
                self.punish(server).await;
                self.fail(LinkFailure::WrongPassword).await
            }
            Err(failure) => self.fail(failure).await,
        }
    }

    /// Writes what waits, and reads more.
    async fn read(&mut self) -> Result<(), ChannelEnd> {
        self.write().await?;
        self.input.reserve(READ_SIZE);
        let deadline = self.machine.deadline().unwrap_or_else(Instant::now);
        match tokio::time::timeout_at(deadline.into(), self.stream.read_buf(&mut self.input)).await {
            Ok(Ok(0)) => Err(ChannelEnd::Closed),
            Ok(read) => Ok(read.map(drop)?),
            Err(_) => Ok(self.machine.handle_timeout(Instant::now())?),
        }
    }

    async fn write(&mut self) -> Result<(), ChannelEnd> {
        let output = self.machine.take_output();
        if !output.is_empty() {
            self.stream.write_all(&output).await?;
            self.stream.flush().await?;
        }
        Ok(())
    }

    /// Answers the client's link message: with what it has to show, or why it may not.
    async fn greet(
        &mut self,
        server: &Server,
        place: &mut Place,
        request: &LinkRequest,
    ) -> Result<(), ChannelEnd> {
        self.channel = Some(request.channel);
        let Some(channel) = channels::find(request.channel.kind) else {
            return self.reject(LinkError::ChannelNotAvailable).await;
        };
        if !self.stream.is_secure() && !server.plain.has(request.channel.kind) {
            return self.reject(LinkError::NeedSecured).await;
        }
        place.links();
        // A peer that left with its link message is seen to have left only after the next look at sockets.
        tokio::task::yield_now().await;
        let deadline = self.machine.deadline();
        let origin = self.stream.peer().origin();
        let asker = Asker {
            standing: server.access.sessions().standing(origin, request.connection_id),
            is_admitted: self.stream.route().is_admitted,
            by_name: self.stream.route().tls && can_sasl(request.common_caps),
        };
        let admission = tokio::select! {
            biased;
            () = closed(&mut self.stream, &mut self.input) => return Err(ChannelEnd::Closed),
            () = sleep_until(deadline) => return Ok(self.machine.handle_timeout(Instant::now())?),
            admission = admission(server, asker) => admission,
        };
        match admission {
            Ok(admission) => self.machine.greet(admission, (channel.caps)()),
            Err(NotAsked::TooSoon) => {
                self.machine.reject(LinkError::PermissionDenied);
                return self.fail(ChannelEnd::HeldOff).await;
            }
            Err(NotAsked::NoKey) => return self.reject(LinkError::Error).await,
        }
        self.write().await
    }

    /// Answers a message of SASL's. Returns the request and the name of who has logged in.
    async fn answer_sasl(
        &mut self,
        server: &Server,
        message: SaslMessage,
    ) -> Result<Option<(LinkRequest, String)>, ChannelEnd> {
        let SaslMessage { mechanism, data } = message;
        if let Some(mechanism) = mechanism {
            self.exchange = Exchange::start(Arc::new(server.access.clone()), &mechanism);
        }
        let step = match self.exchange.take() {
            Some(mut exchange) => {
                let stepped = tokio::task::spawn_blocking(move || {
                    let step = exchange.step(data.as_ref().map(|data| data.as_slice()));
                    (step, exchange)
                });
                let (step, exchange) = stepped.await.map_err(|_| LinkFailure::WrongPassword)?;
                self.exchange = Some(exchange);
                step
            }
            None => Step::Refused(None),
        };
        match step {
            Step::Continue(data) => self.machine.continue_sasl(&data),
            // What it writes leaves with the decision.
            Step::Entered(name, data) => match self.machine.finish_sasl(data.as_deref()) {
                Some(LinkEvent::Linked(request, _)) => return Ok(Some((request, name))),
                _ => return Err(LinkFailure::WrongPassword.into()),
            },
            Step::Refused(data) => {
                self.punish(server).await;
                let failure = self.machine.refuse_sasl(data.as_deref());
                return self.fail(failure).await;
            }
        }
        self.write().await?;
        Ok(None)
    }

    /// Lets someone wait who has shown a wrong password, and notes where they come from.
    async fn punish(&self, server: &Server) {
        server.access.failed(self.stream.peer().origin());
        tokio::time::sleep(WRONG_PASSWORD_PAUSE).await;
    }

    async fn reject<T>(&mut self, error: LinkError) -> Result<T, ChannelEnd> {
        let failure = self.machine.reject(error);
        self.fail(failure).await
    }

    /// Sends the machine's last output, and fails with `failure`.
    async fn fail<T>(&mut self, failure: impl Into<ChannelEnd>) -> Result<T, ChannelEnd> {
        self.stream.write_all(&self.machine.take_output()).await?;
        self.stream.shutdown().await?;
        Err(failure.into())
    }

    /// Returns the channel that the client asks for, once it does.
    pub(super) fn channel(&self) -> Option<ChannelId> {
        self.channel
    }

    /// Takes back the key of a ticket that has not come.
    pub(super) fn unused_key(&mut self) -> Option<TicketKey> {
        self.machine.unused_key()
    }

    /// Ends the stage with what [`run`] came to.
    pub(super) fn linked(self, (request, shown): (LinkRequest, Shown)) -> Linked {
        Linked { request, shown, linking: self }
    }
}

impl Linked {
    /// Returns how it came.
    pub(super) fn route(&self) -> Route {
        self.linking.stream.route()
    }

    /// Returns the shortest round trip to the peer that the kernel has seen; `None` on a unix socket.
    pub(super) fn network(&self) -> Option<std::time::Duration> {
        self.linking.stream.send_queue().ok()?.network().map(|state| state.min_rtt)
    }

    /// Returns the console that the channel's id names.
    pub(super) fn console(&self, hub: &Hub) -> Option<Arc<Console>> {
        hub.console(ConsoleId(u32::from(self.request.channel.id)))
    }

    /// Tells the client that it is in, and makes the connection of its channel, whose machine `start` makes.
    pub(super) async fn accept<M: Machine>(
        self,
        start: impl FnOnce(&LinkRequest, Instant) -> M,
    ) -> Result<Connection<M>, ChannelEnd> {
        let Self { request, linking: Linking { mut machine, mut stream, input, .. }, .. } = self;
        machine.accept();
        stream.write_all(&machine.take_output()).await?;
        stream.flush().await?;
        Ok(Connection::new(stream, start(&request, Instant::now()), input)?)
    }

    /// Refuses the client as if its password were wrong.
    pub(super) async fn refuse_secret(mut self, server: &Server) -> Result<(), ChannelEnd> {
        self.linking.punish(server).await;
        self.linking.machine.refuse(LinkError::PermissionDenied);
        self.linking.fail(LinkFailure::WrongPassword).await
    }

    /// Refuses the client with `error`.
    pub(super) async fn refuse(mut self, error: LinkError) -> Result<(), ChannelEnd> {
        let failure = self.linking.machine.refuse(error);
        self.linking.fail(failure).await
    }
}

/// Waits until the peer has left. Bytes that come meanwhile go into `input`, at most [`READ_SIZE`].
async fn closed(stream: &mut Stream, input: &mut Vec<u8>) {
    while input.len() < READ_SIZE {
        if stream.read_buf(input).await.unwrap_or(0) == 0 {
            return;
        }
    }
    std::future::pending().await
}
