//! One listener's connection: authenticates the viewer, learns what it takes, and shows it a console.
//!
//! Nothing that the viewer does, or fails to do, delays any other task.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tracing::debug;
use zbus::message::{Flags, Message, Type};
use zbus::zvariant::Value;
use zbus::{Connection, Guid, MessageStream};

use super::calls::{self, CallError};
use super::listener_state::{ListenerState, Next, Takes};
use super::socket::ListenerSocket;
use crate::display1::{LISTENER, LISTENER_PATH, is_end};
use crate::hub::{Console, Subscription};
use crate::viewer::{Delivery, Listing, sleep_until};

/// How long a viewer has to connect on the socket it handed over, and to say what it takes.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The most messages of a listener that wait to be handled.
const QUEUE: usize = 4;

/// The most answers that wait to be sent to a listener that calls us, which none has to.
const MAX_REPLIES: usize = 16;

/// The most names of interfaces that a listener may have. There are two.
const MAX_INTERFACES: usize = 32;

/// Why a listener ended that did not close its connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenerError {
    /// It did not connect, or did not answer what QEMU asks too.
    #[error("it did not connect within {} s", HANDSHAKE.as_secs())]
    Handshake,
    /// Its connection broke, or was no D-Bus.
    #[error("{0}")]
    Connection(#[from] zbus::Error),
    /// An order cannot be told to it.
    #[error("{0}")]
    Call(#[from] CallError),
    /// It calls us and takes no answers.
    #[error("it calls, and does not read the answers")]
    Calls,
}

/// Shows a console to the listener at the other end of this socket until it closes it.
pub(super) async fn run(
    socket: ListenerSocket,
    console: Arc<Console>,
    listing: Listing,
    passthrough: bool,
) -> Result<(), ListenerError> {
    let connecting = tokio::time::timeout(HANDSHAKE, connect(socket));
    let (stream, interfaces) = connecting.await.map_err(|_| ListenerError::Handshake)??;
    let connection = Connection::from(&stream);
    debug!(?interfaces, "a listener is connected");
    let listener = ListenerTask {
        connection: connection.clone(),
        state: ListenerState::new(Takes::new(&interfaces, passthrough)),
        subscription: console.subscribe(),
        console,
        listing,
        delivery: None,
        calls: BTreeMap::new(),
        replies: VecDeque::new(),
    };
    let served = listener.serve(stream).await;
    let _ = tokio::time::timeout(HANDSHAKE, connection.close()).await;
    served
}

struct ListenerTask {
    connection: Connection,
    state: ListenerState,
    subscription: Subscription,
    console: Arc<Console>,
    listing: Listing,
    delivery: Option<(Delivery, &'static str)>,
    /// The orders whose calls have not been answered. As many as [`ListenerState`] lets there be.
    calls: BTreeMap<NonZeroU32, u64>,
    /// Our answers to its calls.
    replies: VecDeque<Message>,
}

/// The work under way for the listener: one piece at a time, in order.
type Work = BoxFuture<'static, Done>;

enum Done {
    /// The call of this order can be sent.
    Made(u64, Result<Message, CallError>),
    /// The call of this order, or an answer, is written.
    Sent(Option<u64>, zbus::Result<()>),
}

impl ListenerTask {
    async fn serve(mut self, mut stream: MessageStream) -> Result<(), ListenerError> {
        let mut cursor = self.console.cursor();
        cursor.mark_changed();
        let mut work: Option<Work> = None;
        loop {
            if work.is_none() {
                work = self.next_work()?;
                if work.is_some() {
                    // The guest must not wait for whatever takes the listener's attention now.
                    self.subscription.leave();
                }
            }
            let looks = work.is_none() && self.state.wants_change();
            let done = async {
                match &mut work {
                    Some(work) => work.await,
                    None => std::future::pending().await,
                }
            };
            let wake_at = self.state.wake_at();
            tokio::select! {
                done = done => work = self.done(done)?, // as busy as before, if there is more
                message = stream.next() => match message {
                    Some(Ok(message)) => self.handle(&message)?,
                    Some(Err(error)) if is_end(&error) => return Ok(()),
                    Some(Err(error)) => return Err(error.into()),
                    None => return Ok(()),
                },
                // Left to ring while the listener is not to be told: a stuck one costs the guest no wake-ups.
                rung = self.subscription.bell().recv(), if looks => {
                    if rung.is_err() {
                        return Ok(()); // the console rings as long as the subscription lives
                    }
                }
                changed = cursor.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.state.cursor(cursor.borrow_and_update().clone());
                }
                () = sleep_until(wake_at) => self.state.tick(Instant::now()),
            }
        }
    }

    /// Starts the next thing to do, if there is one.
    fn next_work(&mut self) -> Result<Option<Work>, ListenerError> {
        if let Some(reply) = self.replies.pop_front() {
            return Ok(Some(self.send(None, reply)));
        }
        loop {
            let now = Instant::now();
            if let Some(next) = self.state.poll(now) {
                return self.start(next).map(Some);
            }
            let change = self.state.wants_change().then(|| self.subscription.take()).flatten();
            let Some(change) = change else { return Ok(None) };
            self.listing.sent(change.missed);
            self.state.change(change, now);
            self.tell_delivery();
        }
    }

    fn start(&mut self, next: Next) -> Result<Work, ListenerError> {
        let Next { id, order, reading } = next;
        if !calls::reads_pixels(&order) {
            let message = calls::message(&order)?;
            return Ok(self.call(id, message));
        }
        Ok(Box::pin(async move {
            // Away from the async tasks: it takes milliseconds.
            let made = tokio::task::spawn_blocking(move || {
                let made = calls::message(&order);
                drop(reading);
                made
            });
            let made = made
                .await
                .unwrap_or_else(|error| Err(CallError::Message(std::io::Error::other(error).into())));
            Done::Made(id, made)
        }))
    }

    fn done(&mut self, done: Done) -> Result<Option<Work>, ListenerError> {
        match done {
            Done::Made(id, Ok(message)) => return Ok(Some(self.call(id, message))),
            Done::Made(id, Err(CallError::Pixels(error))) => {
                debug!(console = %self.console.id(), %error, "the picture cannot be read");
                self.state.failed(id);
            }
            Done::Made(_, Err(error)) => return Err(error.into()),
            // The listener did not agree to file descriptors when it connected.
            Done::Sent(Some(id), Err(zbus::Error::Unsupported)) => {
                self.state.answered(id, true, Instant::now());
                self.tell_delivery();
            }
            Done::Sent(_, Err(error)) if is_end(&error) => {} // the stream tells too
            Done::Sent(_, sent) => sent?,
        }
        Ok(None)
    }

    fn call(&mut self, id: u64, message: Message) -> Work {
        self.calls.insert(message.primary_header().serial_num(), id);
        self.send(Some(id), message)
    }

    fn send(&self, id: Option<u64>, message: Message) -> Work {
        let connection = self.connection.clone();
        Box::pin(async move { Done::Sent(id, connection.send(&message).await) })
    }

    fn handle(&mut self, message: &Message) -> Result<(), ListenerError> {
        let header = message.header();
        match message.message_type() {
            Type::MethodReturn | Type::Error => {
                let id = header.reply_serial().and_then(|serial| self.calls.remove(&serial));
                if let Some(id) = id {
                    let refused = message.message_type() == Type::Error;
                    self.state.answered(id, refused, Instant::now());
                    self.tell_delivery();
                }
            }
            Type::MethodCall if !message.primary_header().flags().contains(Flags::NoReplyExpected) => {
                if self.replies.len() >= MAX_REPLIES {
                    return Err(ListenerError::Calls);
                }
                let error = Message::error(&header, "org.freedesktop.DBus.Error.UnknownObject")?;
                self.replies.push_back(error.build(&"there is no object on this connection")?);
            }
            Type::MethodCall | Type::Signal => {}
        }
        Ok(())
    }

    /// Reports how the viewer gets the picture, if that changed.
    fn tell_delivery(&mut self) {
        let delivery = self.state.delivery();
        if let Some((how, why)) = delivery.filter(|_| delivery != self.delivery) {
            self.delivery = delivery;
            self.listing.deliver(how, why);
            debug!(console = %self.console.id(), delivery = %how, reason = why, "delivery chosen");
        }
    }
}

/// Becomes the viewer's server on its socket, and asks what its listener takes.
async fn connect(socket: ListenerSocket) -> Result<(MessageStream, Vec<String>), ListenerError> {
    let (user, connected) = (socket.user(), socket.connected());
    let builder = zbus::connection::Builder::socket(socket).server(Guid::generate())?.p2p();
    let mut stream = builder.user_id(user).max_queued(QUEUE).build_message_stream().await?;
    connected.store(true, Ordering::Relaxed);

    let ask = Message::method_call(LISTENER_PATH, "GetAll")?.interface("org.freedesktop.DBus.Properties")?;
    let ask = ask.build(&LISTENER)?;
    Connection::from(&stream).send(&ask).await?;
    let serial = ask.primary_header().serial_num();
    while let Some(message) = stream.next().await {
        let message = message?;
        if message.header().reply_serial() == Some(serial) {
            return Ok((stream, interfaces(&message)));
        }
    }
    Err(ListenerError::Handshake)
}

/// The optional interfaces, from the answer to `GetAll`. None if it is an error: QEMU before 8.1 asked nothing, and
/// listeners made for it know no answer.
fn interfaces(answer: &Message) -> Vec<String> {
    let body = answer.body();
    let Ok(properties) = body.deserialize::<HashMap<&str, Value<'_>>>() else { return Vec::new() };
    let listed =
        properties.get("Interfaces").and_then(|value| value.downcast_ref::<zbus::zvariant::Array<'_>>().ok());
    let names = listed.iter().flat_map(|list| list.iter()).take(MAX_INTERFACES);
    names.filter_map(|name| name.downcast_ref::<String>().ok()).collect()
}
