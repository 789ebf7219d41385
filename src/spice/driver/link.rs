//! Drives the link stage of a connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use spice_proto::auth::{Admission, Proof, TicketKey};
use spice_proto::channels::Machine;
use spice_proto::link::{LinkError, LinkEvent, LinkFailure, LinkMachine, LinkRequest};
use spice_proto::wire::ChannelId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{ChannelEnd, Connection, Server, channels};
use crate::frame::ConsoleId;
use crate::hub::{Console, Hub};
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
    /// The channel that the client asks for, once it does.
    channel: Option<ChannelId>,
}

/// A connection that may attach, if there is a place for it.
pub(super) struct Linked {
    pub(super) request: LinkRequest,
    /// What it has shown.
    pub(super) proof: Proof,
    linking: Linking,
}

/// Runs the stage until the client has logged in.
pub(super) async fn run(
    server: &Server,
    linking: &mut Linking,
    place: &mut Place,
) -> Result<(LinkRequest, Proof), ChannelEnd> {
    let Linking { machine, stream, input, channel: asked } = linking;
    loop {
        let mut rest = input.as_slice();
        let event = machine.recv(&mut rest);
        let used = input.len().saturating_sub(rest.len());
        input.drain(..used);
        let event = match event {
            Ok(event) => event,
            Err(failure) => {
                if failure == LinkFailure::WrongPassword {
                    server.access.failed(stream.peer().origin());
                    tokio::time::sleep(WRONG_PASSWORD_PAUSE).await;
                }
                return fail(stream, machine, failure).await;
            }
        };
        if let Some(LinkEvent::Hello(request)) = &event {
            *asked = Some(request.channel);
        }
        match event {
            Some(LinkEvent::Hello(request)) => match channels::find(request.channel.kind) {
                Some(_) if !stream.is_secure() && !server.plain.has(request.channel.kind) => {
                    let failure = machine.reject(LinkError::NeedSecured);
                    return fail(stream, machine, failure).await;
                }
                Some(channel) => {
                    place.links();
                    // A peer that left with its link message is seen to have left only after the next look at
                    // sockets.
                    tokio::task::yield_now().await;
                    let (deadline, is_admitted) = (machine.deadline(), stream.route().is_admitted);
                    let asks =
                        server.access.sessions().standing(stream.peer().origin(), request.connection_id);
                    let admission = tokio::select! {
                        biased;
                        () = closed(stream, input) => return Err(ChannelEnd::Closed),
                        () = sleep_until(deadline) => {
                            machine.handle_timeout(Instant::now())?;
                            continue;
                        }
                        admission = admission(server, asks, is_admitted) => admission,
                    };
                    let admission = match admission {
                        Ok(admission) => admission,
                        Err(NotAsked::TooSoon) => {
                            machine.reject(LinkError::PermissionDenied);
                            return fail(stream, machine, ChannelEnd::HeldOff).await;
                        }
                        Err(NotAsked::NoKey) => {
                            let failure = machine.reject(LinkError::Error);
                            return fail(stream, machine, failure).await;
                        }
                    };
                    machine.greet(admission, (channel.caps)());
                    stream.write_all(&machine.take_output()).await?;
                    stream.flush().await?;
                    continue;
                }
                None => {
                    let failure = machine.reject(LinkError::ChannelNotAvailable);
                    return fail(stream, machine, failure).await;
                }
            },
            Some(LinkEvent::Linked(request, proof)) => return Ok((request, proof)),
            None => {}
        }
        input.reserve(READ_SIZE);
        let deadline = machine.deadline().unwrap_or_else(Instant::now);
        match tokio::time::timeout_at(deadline.into(), stream.read_buf(input)).await {
            Ok(Ok(0)) => return Err(ChannelEnd::Closed),
            Ok(read) => {
                read?;
            }
            Err(_) => machine.handle_timeout(Instant::now())?,
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

/// Returns what a client has to show, once it may try; nothing if it `is_admitted` already.
async fn admission(server: &Server, asks: Standing, is_admitted: bool) -> Result<Admission, NotAsked> {
    // Who knows a session has logged in already.
    while let (Standing::Stranger(origin), false) = (asks, is_admitted) {
        match server.access.attempt(origin) {
            Ok(()) => break,
            Err(wait) if wait > PATIENCE => return Err(NotAsked::TooSoon),
            Err(wait) => tokio::time::sleep(wait).await,
        }
    }
    server.login.admission(asks, is_admitted).await.map_err(|_| NotAsked::NoKey)
}

impl Linking {
    pub(super) fn new(stream: Stream) -> Self {
        let machine = LinkMachine::new(Instant::now());
        Self { machine, stream, input: Vec::with_capacity(READ_SIZE), channel: None }
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
    pub(super) fn linked(self, (request, proof): (LinkRequest, Proof)) -> Linked {
        Linked { request, proof, linking: self }
    }
}

impl Linked {
    /// Returns how it came.
    pub(super) fn route(&self) -> Route {
        self.linking.stream.route()
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
        let Linking { machine, stream, .. } = &mut self.linking;
        server.access.failed(stream.peer().origin());
        tokio::time::sleep(WRONG_PASSWORD_PAUSE).await;
        machine.refuse(LinkError::PermissionDenied);
        fail(stream, machine, LinkFailure::WrongPassword).await
    }

    /// Refuses the client with `error`.
    pub(super) async fn refuse(mut self, error: LinkError) -> Result<(), ChannelEnd> {
        let failure = self.linking.machine.refuse(error);
        fail(&mut self.linking.stream, &mut self.linking.machine, failure).await
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

/// Sends the machine's last output, and fails with `failure`.
async fn fail<T>(
    stream: &mut Stream,
    machine: &mut LinkMachine,
    failure: impl Into<ChannelEnd>,
) -> Result<T, ChannelEnd> {
    stream.write_all(&machine.take_output()).await?;
    stream.shutdown().await?;
    Err(failure.into())
}
