//! Drives an inputs channel: what the client does goes to the guest, the keyboard's lights come back.

use std::time::Instant;

use spice_proto::channels::inputs::InputsChannel;
use spice_proto::link::LinkRequest;

use super::connection::{Connection, Turn};
use super::convert::{command, lights};
use super::{ChannelEnd, Server};
use crate::frame::GuestCommand;

/// Starts the machine with the lights as they are now.
pub(super) fn start(server: &Server, request: &LinkRequest, now: Instant) -> InputsChannel {
    let guest = server.hub.guest();
    let guest = guest.borrow();
    // Motion has no console of its own; it goes to the first one.
    let first = guest.consoles.keys().next().and_then(|console| u8::try_from(console.0).ok());
    InputsChannel::new(request.header_form(), lights(guest.leds), first.unwrap_or(0), now)
}

/// Serves the channel until the client leaves; then nothing it held stays pressed.
pub(super) async fn run(server: &Server, connection: Connection<InputsChannel>) -> Result<(), ChannelEnd> {
    let mut held = Held { server, connection };
    held.run().await
}

/// Lets go of everything when dropped: the session may end in the middle of a key.
struct Held<'a> {
    server: &'a Server,
    connection: Connection<InputsChannel>,
}

impl Held<'_> {
    async fn run(&mut self) -> Result<(), ChannelEnd> {
        let mut guest = self.server.hub.guest();
        guest.mark_changed();
        loop {
            tokio::select! {
                turn = self.connection.turn(|_| false) => {
                    if let Turn::Event(event) = turn? {
                        self.send(command(event)).await;
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

    /// Waits while the queue to the guest is full: so does this client, and no other.
    async fn send(&self, command: GuestCommand) {
        let _ = self.server.commands.send(command).await; // closed only when the program ends
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let commands = self.server.commands.clone();
        let held = self.connection.machine.release_all();
        if let (false, Ok(runtime)) = (held.is_empty(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                for event in held {
                    let _ = commands.send(command(event)).await;
                }
            });
        }
    }
}
