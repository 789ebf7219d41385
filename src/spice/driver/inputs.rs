//! Drives an inputs channel: what the client does goes to the guest, the keyboard's lights come back.

use std::time::Instant;

use super::connection::{Connection, Turn};
use super::{ChannelEnd, Server};
use crate::frame::{ConsoleId, GuestCommand};
use crate::hub::Leds;
use crate::spice::channel::{InputsChannel, LinkRequest};
use crate::spice::wire::msg::inputs::LockKeys;

/// Starts the machine with the lights as they are now.
pub(super) fn start(server: &Server, request: &LinkRequest, now: Instant) -> InputsChannel {
    let guest = server.hub.guest();
    let guest = guest.borrow();
    // Motion has no console of its own; it goes to the first one.
    let console = guest.consoles.keys().next().copied().unwrap_or(ConsoleId(0));
    InputsChannel::new(request.header_form(), lights(guest.leds), console, now)
}

fn lights(leds: Leds) -> LockKeys {
    LockKeys::from_bits(u16::from(leds.bits()))
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
                    if let Turn::Event(command) = turn? {
                        self.send(command).await;
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
                for command in held {
                    let _ = commands.send(command).await;
                }
            });
        }
    }
}
