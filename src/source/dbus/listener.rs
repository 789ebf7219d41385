//! One console's connection, on which QEMU calls us.
//!
//! INVARIANT: calls are handled in the order they were sent, each completely before the next. zbus's own object
//! server would run each in a task of its own, and a `Disable` could overtake the scanout it came before.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, warn};
use zbus::connection::Builder;
use zbus::message::{Message, Type};
use zbus::{Connection, MessageStream};

use super::connect::DEADLINE;
use super::lost_flips::Serials;
use super::lost_flips::connections::{Replays, answer_all, change_over};
use super::object::{Answer, SCREEN, reply, wants_reply};
use super::screen::Screen;
use crate::display1::{Call, DisplaySocket, Refusal, is_end};
use crate::frame::DmabufReads;
use crate::hub::{Console, Ledger, ReleaseQueue};
use crate::source::warning_limit::WarningLimit;

/// The latest that a frame is released to the guest, whatever its readers do: one interval of a 60 Hz display.
const RELEASE_DEADLINE: Duration = Duration::from_millis(16);

/// The most messages that wait to be handled. Each can have the 128 MiB that D-Bus allows.
const QUEUE: usize = 4;

/// Serves QEMU on this socket until it closes it.
pub(super) async fn run(
    socket: UnixStream,
    console: Arc<Console>,
    reads: DmabufReads,
    replays: Replays,
) -> zbus::Result<()> {
    let stream = connect(socket).await?;
    let listener = Listener {
        connection: Connection::from(&stream),
        screen: Screen::new(console.clone(), reads),
        console,
        serials: Serials::default(),
        unanswered: Ledger::new(RELEASE_DEADLINE),
        releases: ReleaseQueue::default(),
        replays,
        replaced: JoinSet::new(),
        warnings: WarningLimit::default(),
    };
    listener.serve(stream).await
}

/// Serves QEMU on this socket alone: whoever asks to be shown a console once more is told that nobody can.
///
/// # Errors
/// If the connection breaks.
pub async fn listen(socket: UnixStream, console: Arc<Console>, reads: DmabufReads) -> zbus::Result<()> {
    let (replays, _) = mpsc::channel(1);
    run(socket, console, reads, replays).await
}

/// Connects to QEMU at the other end of a socket. The stream is there before the first message, which QEMU sends at
/// once and waits for, VM and all.
pub(super) async fn connect(socket: UnixStream) -> zbus::Result<MessageStream> {
    let socket = DisplaySocket::new(socket)?;
    let connecting = Builder::socket(socket).p2p().max_queued(QUEUE).build_message_stream();
    let connected = tokio::time::timeout(DEADLINE, connecting).await;
    connected.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
}

struct Listener {
    connection: Connection,
    console: Arc<Console>,
    screen: Screen,
    serials: Serials,
    /// The `UpdateDMABUF`s whose frames are being read.
    unanswered: Ledger<Message>,
    releases: ReleaseQueue,
    replays: Replays,
    /// The connections before this one. QEMU waits for their answers as well, and forgets none of them.
    replaced: JoinSet<()>,
    warnings: WarningLimit,
}

impl Listener {
    async fn serve(mut self, mut stream: MessageStream) -> zbus::Result<()> {
        loop {
            let wake_at = self.unanswered.wake_at().into_iter().chain(self.screen.wake_at()).min();
            let woken = async {
                match wake_at {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased; // the guest waits for the first two
                id = self.releases.returned() => {
                    if let Some(call) = self.unanswered.returned(id, Instant::now()) {
                        self.release(&call).await?;
                    }
                }
                () = woken => {
                    let now = Instant::now();
                    while let Some(call) = self.unanswered.expired(now) {
                        self.release(&call).await?;
                    }
                    if self.screen.tick(now) {
                        self.replay(&mut stream).await?;
                    }
                }
                () = self.screen.watched_or_not() => {}
                message = stream.next() => match message {
                    Some(Ok(message)) if message.message_type() == Type::MethodCall => self.handle(message).await?,
                    Some(Ok(_)) => {}
                    Some(Err(error)) if is_end(&error) => return Ok(()),
                    Some(Err(error)) => return Err(error),
                    None => return Ok(()),
                }
            }
        }
    }

    async fn handle(&mut self, message: Message) -> zbus::Result<()> {
        let now = Instant::now();
        let missing = self.serials.missing_before(&message);
        let (header, body) = (message.header(), message.body());
        let path = header.path().map(|path| path.as_str());
        let interface = header.interface().map(|interface| interface.as_str());
        let member = header.member().map_or("", |member| member.as_str());
        let answer = match SCREEN.answer(path, interface, member, &body) {
            Some(answer) => answer,
            None => match Call::decode(interface, member, &body) {
                Ok(Call::UpdateDmabuf(at)) if wants_reply(&message) => {
                    let (id, overdue) = self.unanswered.hold(message.clone(), now);
                    self.screen.damage(at, Some(self.releases.release(id)), now);
                    return match overdue {
                        Some(call) => self.release(&call).await,
                        None => Ok(()),
                    };
                }
                Ok(Call::Disable(())) if missing > 0 => {
                    self.screen.lose_flip(missing == 1, now);
                    Ok(Answer::Nothing)
                }
                Ok(call) => self.screen.apply(call, now).map(|()| Answer::Nothing),
                Err(refusal) => Err(refusal),
            },
        };
        if let Err(refusal) = &answer
            && refusal.is_remarkable()
            && let Some(kept_back) = self.warnings.pass(now)
        {
            warn!(console = %self.console.id(), call = member, error = %refusal, kept_back, "refused what QEMU sent");
        }
        self.reply(&message, answer).await
    }

    /// Lets the guest go on from the frame of this call, and tells how long it was held.
    async fn release(&self, call: &Message) -> zbus::Result<()> {
        self.console.count_draws(self.unanswered.draws());
        self.reply(call, Ok(Answer::Nothing)).await
    }

    /// Has QEMU show the console from anew, on another connection: it tells a new listener all that it knows.
    async fn replay(&mut self, stream: &mut MessageStream) -> zbus::Result<()> {
        while let Some(call) = self.unanswered.next(Instant::now()) {
            self.release(&call).await?;
        }
        let (ours, theirs) = UnixStream::pair()?;
        if self.replays.try_send((self.console.id(), theirs.into())).is_err() {
            return Ok(()); // nobody can ask QEMU any more
        }
        match change_over(stream, connect(ours)).await {
            Ok(new) => {
                debug!(console = %self.console.id(), "a flip was lost: QEMU shows the console again");
                self.connection = Connection::from(&new);
                self.serials = Serials::default();
                self.replaced.spawn(answer_all(std::mem::replace(stream, new)));
            }
            Err(error) => {
                debug!(console = %self.console.id(), %error, "a flip was lost, and QEMU does not show it again");
                self.screen.stay_in_doubt(Instant::now());
            }
        }
        Ok(())
    }

    /// Answers a call, if QEMU wants to know.
    async fn reply(&self, call: &Message, answer: Result<Answer, Refusal>) -> zbus::Result<()> {
        reply(&self.connection, call, answer).await
    }
}
