//! One console's connection, on which QEMU calls us.
//!
//! INVARIANT: calls are handled in the order they were sent, each completely before the next. zbus's own object
//! server would run each in a task of its own, and a `Disable` could overtake the scanout it came before.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, warn};
use zbus::connection::Builder;
use zbus::message::{Flags, Message, Type};
use zbus::{Connection, MessageStream};

use super::calls::Call;
use super::connect::DEADLINE;
use super::object::{self, Answer};
use super::refusal::Refusal;
use super::screen::Screen;
use super::socket::QemuSocket;
use super::warnings::Warnings;
use crate::frame::{ConsoleId, DmabufReads};
use crate::hub::{Console, Ledger, ReleaseQueue};

/// The latest that a frame is released to the guest, whatever its readers do: one interval of a 60 Hz display.
const RELEASE_DEADLINE: Duration = Duration::from_millis(16);

/// The most messages that wait to be handled. Each can have the 128 MiB that D-Bus allows.
const QUEUE: usize = 4;

/// Sockets for QEMU to show a console on once more.
pub(super) type Replays = mpsc::Sender<(ConsoleId, OwnedFd)>;

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
        warnings: Warnings::default(),
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

/// The stream is there before the first message, which QEMU sends at once and waits for, VM and all.
async fn connect(socket: UnixStream) -> zbus::Result<MessageStream> {
    let socket = QemuSocket::new(socket)?;
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
    warnings: Warnings,
}

/// The numbers of the messages on a connection: one that is missing was discarded by QEMU.
///
/// What replaces a picture discards what was to be drawn before it, but not the pointer's messages in between: on the
/// wire the gap may be before one of those.
#[derive(Debug, Default)]
struct Serials {
    last: Option<u32>,
    /// It numbers this connection's messages by themselves, from 1 on, as GDBus does. Of a program that does not, what is
    /// missing says nothing.
    ours_alone: bool,
    /// How many are missing since a picture was replaced.
    missing: u32,
}

impl Serials {
    /// How many messages QEMU discarded since a picture was replaced the last time, where `message` replaces one and
    /// came right after such a gap; 0 otherwise.
    fn missing_before(&mut self, message: &Message) -> u32 {
        let header = message.header();
        let member = header.member().map_or("", |member| member.as_str());
        let replaces = member == "Disable" || member.starts_with("Scanout");
        self.see(message.primary_header().serial_num().get(), replaces)
    }

    fn see(&mut self, serial: u32, replaces: bool) -> u32 {
        let Some(last) = self.last.replace(serial) else {
            self.ours_alone = serial == 1;
            return 0;
        };
        let gap = serial.wrapping_sub(last).wrapping_sub(1);
        self.missing = self.missing.saturating_add(gap);
        if !replaces {
            return 0;
        }
        let missing = std::mem::take(&mut self.missing);
        if gap > 0 && self.ours_alone { missing } else { 0 }
    }
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
        let answer = match object::answer(path, interface, member, &body) {
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
                Ok(Call::Disable) if missing > 0 => {
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
        match self.answering(stream, connect(ours)).await {
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

    /// Waits for a new connection, and answers at once what QEMU says on the old one until then: it may have more to do
    /// before it comes to us. What it says is shown again on the new one.
    async fn answering(
        &self,
        old: &mut MessageStream,
        connecting: impl Future<Output = zbus::Result<MessageStream>>,
    ) -> zbus::Result<MessageStream> {
        tokio::pin!(connecting);
        loop {
            tokio::select! {
                connected = &mut connecting => return connected,
                Some(Ok(message)) = old.next() => {
                    if message.message_type() == Type::MethodCall {
                        self.reply(&message, Ok(Answer::Nothing)).await?;
                    }
                }
            }
        }
    }

    /// Answers a call, if QEMU wants to know.
    async fn reply(&self, call: &Message, answer: Result<Answer, Refusal>) -> zbus::Result<()> {
        reply(&self.connection, call, answer).await
    }
}

/// Answers whatever QEMU still says on a connection that another took the place of.
async fn answer_all(mut stream: MessageStream) {
    let connection = Connection::from(&stream);
    while let Some(Ok(message)) = stream.next().await {
        let call = message.message_type() == Type::MethodCall;
        if call && reply(&connection, &message, Ok(Answer::Nothing)).await.is_err() {
            return;
        }
    }
}

async fn reply(connection: &Connection, call: &Message, answer: Result<Answer, Refusal>) -> zbus::Result<()> {
    if !wants_reply(call) {
        return Ok(());
    }
    let header = call.header();
    match answer {
        Ok(Answer::Nothing) => connection.reply(&header, &()).await,
        Ok(Answer::Text(text)) => connection.reply(&header, &text).await,
        Ok(Answer::Property(value)) => connection.reply(&header, &value).await,
        Ok(Answer::Properties(values)) => connection.reply(&header, &values).await,
        Err(refusal) => connection.reply_error(&header, refusal.name(), &refusal.to_string()).await,
    }
}

fn wants_reply(call: &Message) -> bool {
    !call.primary_header().flags().contains(Flags::NoReplyExpected)
}

/// Whether an error is merely the other end's going away.
fn is_end(error: &zbus::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error, zbus::Error::InputOutput(error) if matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is missing before each of these messages, given by their numbers and whether they replace a picture.
    fn missing<const N: usize>(messages: [(u32, bool); N]) -> [u32; N] {
        let mut serials = Serials::default();
        messages.map(|(serial, replaces)| serials.see(serial, replaces))
    }

    #[test]
    fn what_qemu_discards_is_missed() {
        let seen = [(1, false), (2, true), (4, true), (5, false), (8, true), (9, true)];
        assert_eq!(missing(seen), [0, 0, 1, 0, 2, 0]);
    }

    #[test]
    fn what_is_discarded_around_a_pointer_that_moves_is_missed_too() {
        // A new connection: both first scanouts are discarded, the pointer's place is not.
        let seen = [(1, false), (2, false), (5, false), (6, true), (7, true), (8, false), (10, true)];
        assert_eq!(missing(seen), [0, 0, 0, 0, 0, 0, 1]);
        // The flip after it as well.
        let seen = [(1, false), (2, false), (5, false), (7, true), (8, false), (10, true)];
        assert_eq!(missing(seen), [0, 0, 0, 3, 0, 1]);
    }

    #[test]
    fn a_program_that_counts_for_all_its_connections_loses_nothing() {
        assert_eq!(missing([(7, false), (9, false), (12, true), (13, false), (20, true)]), [0; 5]);
    }
}
