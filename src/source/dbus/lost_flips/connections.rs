//! The connections to QEMU while a console changes over to a new one.

use std::os::fd::OwnedFd;

use futures_util::StreamExt;
use tokio::sync::mpsc;
use zbus::message::{Message, Type};
use zbus::{Connection, MessageStream};

use crate::frame::ConsoleId;
use crate::source::dbus::object::{Answer, reply};

/// Sockets on which QEMU is to show a console again.
pub(in crate::source::dbus) type Replays = mpsc::Sender<(ConsoleId, OwnedFd)>;

/// Waits for a new connection, and until then answers each call on the `old` one at once, because QEMU may wait for
/// those answers before it makes the new one. Their contents are dropped: QEMU sends all of it again.
pub(in crate::source::dbus) async fn change_over(
    old: &mut MessageStream,
    connecting: impl Future<Output = zbus::Result<MessageStream>>,
) -> zbus::Result<MessageStream> {
    let connection = Connection::from(&*old);
    tokio::pin!(connecting);
    loop {
        tokio::select! {
            connected = &mut connecting => return connected,
            Some(Ok(message)) = old.next() => answer(&connection, &message).await?,
        }
    }
}

/// Answers each call on a connection that was replaced: QEMU waits for these answers too, and forgets no listener.
pub(in crate::source::dbus) async fn answer_all(mut replaced: MessageStream) {
    let connection = Connection::from(&replaced);
    while let Some(Ok(message)) = replaced.next().await {
        if answer(&connection, &message).await.is_err() {
            return;
        }
    }
}

async fn answer(connection: &Connection, message: &Message) -> zbus::Result<()> {
    match message.message_type() {
        Type::MethodCall => reply(connection, message, Ok(Answer::Nothing)).await,
        _ => Ok(()),
    }
}
