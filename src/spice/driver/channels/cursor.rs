//! A cursor channel: the newest shape and place of one console's cursor.

use std::time::Instant;

use spice_proto::channels::cursor::CursorChannel;
use spice_proto::link::{LinkError, LinkRequest};
use spice_proto::wire::{Caps, ChannelType};

use super::{Channel, consoles};
use crate::hub::Console;
use crate::spice::driver::connection::Connection;
use crate::spice::driver::convert::{mouse_mode, pointer, shape};
use crate::spice::driver::link::Linked;
use crate::spice::driver::{ChannelEnd, Server};
use crate::spice::session::Session;

pub(super) const CHANNEL: Channel = Channel {
    kind: ChannelType::Cursor,
    caps: || Caps::NONE,
    ids: consoles,
    serve: |server, session, linked| Box::pin(serve(server, session, linked)),
};

async fn serve(server: &Server, session: &Session, linked: Linked) -> Result<(), ChannelEnd> {
    let Some(console) = linked.console(&server.hub) else {
        return linked.refuse(LinkError::ChannelNotAvailable).await;
    };
    let connection = linked.accept(|request, now| start(session, &console, request, now)).await?;
    run(session, &console, connection).await
}

/// Starts the machine with the cursor as it is now.
fn start(session: &Session, console: &Console, request: &LinkRequest, now: Instant) -> CursorChannel {
    let state = console.cursor().borrow().clone();
    let mode = mouse_mode(*session.absolute.borrow());
    let shape = state.shape.as_ref().and_then(shape);
    CursorChannel::new(request.header_form(), shape, pointer(state.pointer), mode, now)
}

/// Serves the channel until the client leaves.
async fn run(
    session: &Session,
    console: &Console,
    mut connection: Connection<CursorChannel>,
) -> Result<(), ChannelEnd> {
    let (mut cursor, mut absolute) = (console.cursor(), session.absolute.subscribe());
    cursor.mark_changed(); // it may have since the start
    absolute.mark_changed();
    loop {
        tokio::select! {
            turn = connection.turn(|_| false) => {
                turn?;
            }
            changed = cursor.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let state = cursor.borrow_and_update().clone();
                connection.machine.set_shape(state.shape.as_ref().and_then(shape));
                connection.machine.set_pointer(pointer(state.pointer));
            }
            changed = absolute.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                connection.machine.set_mouse_mode(mouse_mode(*absolute.borrow_and_update()));
            }
        }
    }
}
