//! Drives the link stage of a connection.

use std::time::{Duration, Instant};

use spice_proto::auth::TicketKey;
use spice_proto::channels::display::DisplayChannel;
use spice_proto::channels::{Machine, inputs, main};
use spice_proto::link::{LinkError, LinkEvent, LinkFailure, LinkMachine, LinkRequest};
use spice_proto::wire::{Caps, ChannelType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connection::sleep_until;
use super::{ChannelEnd, Connection, Server};
use crate::spice::lobby::Place;
use crate::transport::Stream;

/// How long someone with a wrong password waits for the answer. How many passwords can be tried in a second is bounded by
/// how many keys are made.
const WRONG_PASSWORD_PAUSE: Duration = Duration::from_secs(1);

/// Bytes read at a time; the whole stage has a few hundred.
const READ_SIZE: usize = 1024;

/// A connection that links.
pub(super) struct Linking {
    machine: LinkMachine,
    stream: Stream,
    /// What the machine has not taken yet.
    input: Vec<u8>,
}

/// A connection that may attach, if there is a place for it.
pub(super) struct Linked {
    pub(super) request: LinkRequest,
    linking: Linking,
}

/// Runs the stage up to the question whether there is a place.
pub(super) async fn run(
    server: &Server,
    linking: &mut Linking,
    place: &mut Place,
) -> Result<LinkRequest, ChannelEnd> {
    let Linking { machine, stream, input } = linking;
    loop {
        let mut rest = input.as_slice();
        let event = machine.recv(&mut rest);
        let used = input.len().saturating_sub(rest.len());
        input.drain(..used);
        let event = match event {
            Ok(event) => event,
            Err(failure) => {
                if failure == LinkFailure::WrongPassword {
                    tokio::time::sleep(WRONG_PASSWORD_PAUSE).await;
                }
                return fail(stream, machine, failure).await;
            }
        };
        match event {
            Some(LinkEvent::Hello(request)) => match server_caps(request.channel.kind) {
                Some(caps) => {
                    place.links();
                    // A peer that left with its link message is seen to have left only after the next look at sockets.
                    tokio::task::yield_now().await;
                    let deadline = machine.deadline();
                    let asks = server.sessions.standing(stream.peer().origin(), request.connection_id);
                    let admission = tokio::select! {
                        biased;
                        () = closed(stream, input) => return Err(ChannelEnd::Closed),
                        () = sleep_until(deadline) => {
                            machine.handle_timeout(Instant::now())?;
                            continue;
                        }
                        admission = server.door.admission(asks) => admission,
                    };
                    let Ok(admission) = admission else {
                        let failure = machine.reject(LinkError::Error);
                        return fail(stream, machine, failure).await;
                    };
                    machine.greet(admission, caps);
                    stream.write_all(&machine.take_output()).await?;
                    continue;
                }
                None => {
                    let failure = machine.reject(LinkError::ChannelNotAvailable);
                    return fail(stream, machine, failure).await;
                }
            },
            Some(LinkEvent::Linked(request)) => return Ok(request),
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

impl Linking {
    pub(super) fn new(stream: Stream) -> Self {
        let machine = LinkMachine::new(Instant::now());
        Self { machine, stream, input: Vec::with_capacity(READ_SIZE) }
    }

    /// Takes back the key of a ticket that has not come.
    pub(super) fn unused_key(&mut self) -> Option<TicketKey> {
        self.machine.unused_key()
    }

    /// What [`run`] came to.
    pub(super) fn linked(self, request: LinkRequest) -> Linked {
        Linked { request, linking: self }
    }
}

impl Linked {
    /// Tells the client that it is in, and starts the machine that speaks from now on.
    pub(super) async fn accept<M: Machine>(
        self,
        start: impl FnOnce(&LinkRequest, Instant) -> M,
    ) -> Result<Connection<M>, ChannelEnd> {
        let Self { request, linking: Linking { mut machine, mut stream, input } } = self;
        machine.accept();
        stream.write_all(&machine.take_output()).await?;
        Ok(Connection::new(stream, start(&request, Instant::now()), input)?)
    }

    /// Tells the client why it is not.
    pub(super) async fn refuse(mut self, error: LinkError) -> Result<(), ChannelEnd> {
        let failure = self.linking.machine.refuse(error);
        fail(&mut self.linking.stream, &mut self.linking.machine, failure).await
    }
}

/// What we announce for a channel of this kind; `None` for kinds that we do not have.
fn server_caps(kind: ChannelType) -> Option<Caps> {
    match kind {
        ChannelType::Main => Some(Caps::of(&[main::caps::NAME_AND_UUID, main::caps::AGENT_CONNECTED_TOKENS])),
        ChannelType::Display => Some(DisplayChannel::server_caps()),
        ChannelType::Inputs => Some(Caps::of(&[inputs::caps::KEY_SCANCODE])),
        ChannelType::Cursor => Some(Caps::NONE),
        _ => None,
    }
}

/// Waits until the peer has left. What it says meanwhile is kept, as far as there is room.
async fn closed(stream: &mut Stream, input: &mut Vec<u8>) {
    while input.len() < READ_SIZE {
        if stream.read_buf(input).await.unwrap_or(0) == 0 {
            return;
        }
    }
    std::future::pending().await
}

/// Sends the machine's last words.
async fn fail<T>(
    stream: &mut Stream,
    machine: &mut LinkMachine,
    failure: LinkFailure,
) -> Result<T, ChannelEnd> {
    stream.write_all(&machine.take_output()).await?;
    stream.shutdown().await?;
    Err(failure.into())
}
