//! An inputs channel: what the client does goes to the guest, the keyboard's lights come back.

use std::time::Instant;

use spice_proto::channels::inputs::{self, InputEvent, InputsChannel};
use spice_proto::link::LinkRequest;
use spice_proto::wire::{Caps, ChannelType};

use super::Channel;
use crate::frame::GuestCommand;
use crate::hub::Guest;
use crate::spice::driver::agent::AgentPointer;
use crate::spice::driver::connection::{Connection, Progress};
use crate::spice::driver::convert::{command, lights};
use crate::spice::driver::link::Linked;
use crate::spice::driver::{ChannelEnd, Server};
use crate::spice::grant::Deed;
use crate::spice::session::Session;

pub(super) const CHANNEL: Channel = Channel {
    kind: ChannelType::Inputs,
    caps: || Caps::of(&[inputs::caps::KEY_SCANCODE]),
    ids: |_| vec![0],
    serve: |server, session, linked| Box::pin(serve(server, session, linked)),
};

/// Serves the channel until the client leaves. Nothing that the client held stays pressed.
async fn serve(server: &Server, session: &Session, linked: Linked) -> Result<(), ChannelEnd> {
    let connection = linked.accept(|request, now| start(server, request, now)).await?;
    Inputs { server, session, connection, pointer: AgentPointer::default() }.run().await
}

/// Starts the machine with the lights as they are now.
fn start(server: &Server, request: &LinkRequest, now: Instant) -> InputsChannel {
    let guest = server.hub.guest();
    let guest = guest.borrow();
    // Motion has no console of its own; it goes to the first one.
    let first = guest.consoles.keys().next().and_then(|console| u8::try_from(console.0).ok());
    InputsChannel::new(request.header_form(), lights(guest.leds), first.unwrap_or(0), now)
}

/// A client's inputs. Releases everything it holds when dropped, because the session may end in the middle of
/// a key.
struct Inputs<'a> {
    server: &'a Server,
    session: &'a Session,
    connection: Connection<InputsChannel>,
    pointer: AgentPointer,
}

impl Inputs<'_> {
    async fn run(&mut self) -> Result<(), ChannelEnd> {
        let mut guest = self.server.hub.guest();
        guest.mark_changed();
        loop {
            tokio::select! {
                turn = self.connection.turn(|_| false) => {
                    match turn? {
                        Progress::Event(event) if self.session.may(Deed::Input, &self.server.log) => {
                            let by_agent = self.goes_by_agent(&guest.borrow());
                            self.take(event, by_agent).await;
                        }
                        Progress::Event(_) | Progress::Ready => {}
                    }
                }
                changed = guest.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let leds = guest.borrow_and_update().leds;
                    self.connection.machine.set_lights(lights(leds), Instant::now())?;
                }
            }
        }
    }

    /// Returns whether the guest's agent moves the pointer to where this client says.
    fn goes_by_agent(&self, guest: &Guest) -> bool {
        !guest.is_absolute() && *self.session.absolute.borrow() && *self.server.agent.mouse.takes().borrow()
    }

    async fn take(&mut self, event: InputEvent, by_agent: bool) {
        match self.pointer.take(event) {
            Some(state) if by_agent => self.server.agent.mouse.point(state),
            _ => self.send(command(event)).await,
        }
    }

    /// Sends `command` to the guest. Waits while the queue is full, and this client with it.
    async fn send(&self, command: GuestCommand) {
        let _ = self.server.commands.send(command).await; // closed only when the program ends
    }
}

impl Drop for Inputs<'_> {
    fn drop(&mut self) {
        let commands = self.server.commands.clone();
        let mut held = self.connection.machine.release_all();
        if !self.session.grant.allows(Deed::Input) {
            held.clear(); // somebody else may hold these keys
        } else if let Some(state) = self.pointer.release() {
            self.server.agent.mouse.leave(state);
        }
        if let (false, Ok(runtime)) = (held.is_empty(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                for event in held {
                    let _ = commands.send(command(event)).await;
                }
            });
        }
    }
}
