//! The guest's sound: one listener to what it plays, and one that gives it what it records.
//!
//! QEMU stands still until a listener has connected, and while it reads what is recorded: both listeners answer each
//! call at once, whatever viewers do. Between the calls nothing here wakes up.

mod capture;
mod playback;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use futures_util::StreamExt;
use tokio::task::JoinSet;
use tracing::{debug, warn};
use zbus::Connection;
use zbus::message::{Body, Message, Type};
use zbus::zvariant::Fd;

use super::connect::Qemu;
use super::listener::connect;
use super::object::{Answer, Object, reply};
use crate::display1::{AUDIO, AUDIO_PATH, AudioInit, Refusal, is_end};
use crate::hub::Hub;
use crate::sound::{Described, Format};
use crate::source::SourceError;
use crate::source::warning_limit::WarningLimit;

/// Both listeners of one QEMU.
pub(super) struct Audio(JoinSet<()>);

/// One side of the guest's sound.
trait Side {
    /// What QEMU calls.
    const OBJECT: Object;

    /// Carries out a call; the answer goes to QEMU at once.
    ///
    /// # Errors
    /// If there is no such call, or it makes no sense.
    fn handle(
        &mut self,
        interface: Option<&str>,
        member: &str,
        body: &Body,
        now: Instant,
    ) -> Result<Answer, Refusal>;
}

/// Both sides of the guest's sound without their sockets, to be given anything.
pub struct SoundCalls {
    out: playback::Out,
    input: capture::In,
}

impl SoundCalls {
    /// Makes both sides for `hub`.
    #[must_use]
    pub fn new(hub: &Hub) -> Self {
        Self { out: playback::Out::new(hub.clone()), input: capture::In::new(hub.clone()) }
    }

    /// Carries out a call of what the guest plays, at the time `now`; returns whether it was refused.
    pub fn play(&mut self, message: &Message, now: Instant) -> bool {
        let (header, body) = (message.header(), message.body());
        let member = header.member().map_or("", |member| member.as_str());
        self.out.handle(None, member, &body, now).is_err()
    }

    /// Carries out a call of what the guest records, at the time `now`; returns how many bytes it gets, if it gets any.
    pub fn record(&mut self, message: &Message, now: Instant) -> Option<usize> {
        let (header, body) = (message.header(), message.body());
        let member = header.member().map_or("", |member| member.as_str());
        match self.input.handle(None, member, &body, now) {
            Ok(Answer::Bytes(bytes)) => Some(bytes.len()),
            _ => None,
        }
    }
}

impl Audio {
    /// Starts without a listener.
    pub(super) fn new() -> Self {
        Self(JoinSet::new())
    }

    /// Listens to the guest's sound. A picture without sound is better than none: where QEMU refuses, there is none.
    pub(super) async fn attach(&mut self, qemu: &Qemu, hub: &Hub) {
        let (playback, capture) = (playback::Out::new(hub.clone()), capture::In::new(hub.clone()));
        let attached = async {
            self.register(qemu, "RegisterOutListener", playback).await?;
            self.register(qemu, "RegisterInListener", capture).await
        };
        if let Err(error) = attached.await {
            warn!(%error, "no sound: does another program listen to it?");
        }
    }

    /// Ends both listeners. Neither writes into the hub afterwards.
    pub(super) async fn stop(mut self) {
        self.0.shutdown().await;
    }

    async fn register(
        &mut self,
        qemu: &Qemu,
        method: &'static str,
        side: impl Side + Send + 'static,
    ) -> Result<(), SourceError> {
        let socket = |error: std::io::Error| SourceError::Refused { what: method, error: error.into() };
        let (ours, theirs) = UnixStream::pair().map_err(socket)?;
        // QEMU answers, then waits for us on the new socket, and stands still meanwhile: both ends run at once.
        self.0.spawn(async move {
            match serve(ours, side).await {
                Ok(()) => debug!(method, "QEMU closed a connection of its sound"),
                Err(error) => warn!(method, %error, "a connection of QEMU's sound broke"),
            }
        });
        let theirs = Fd::from(OwnedFd::from(theirs));
        qemu.call(AUDIO_PATH, AUDIO, method, &theirs).await.map(|_| ())
    }
}

/// Serves QEMU on this socket until it closes it. Calls are handled one at a time, in the order they were sent.
async fn serve<S: Side>(socket: UnixStream, mut side: S) -> zbus::Result<()> {
    let mut stream = connect(socket).await?;
    let connection = Connection::from(&stream);
    let mut warnings = WarningLimit::default();
    loop {
        match stream.next().await {
            Some(Ok(message)) if message.message_type() == Type::MethodCall => {
                let answer = answer(&mut side, &message, &mut warnings);
                reply(&connection, &message, answer).await?;
            }
            Some(Ok(_)) => {}
            Some(Err(error)) if is_end(&error) => return Ok(()),
            Some(Err(error)) => return Err(error),
            None => return Ok(()),
        }
    }
}

fn answer<S: Side>(side: &mut S, message: &Message, warnings: &mut WarningLimit) -> Result<Answer, Refusal> {
    let now = Instant::now();
    let (header, body) = (message.header(), message.body());
    let path = header.path().map(|path| path.as_str());
    let interface = header.interface().map(|interface| interface.as_str());
    let member = header.member().map_or("", |member| member.as_str());
    let answer = match S::OBJECT.answer(path, interface, member, &body) {
        Some(answer) => answer,
        None => side.handle(interface, member, &body, now),
    };
    if let Err(refusal) = &answer
        && refusal.is_remarkable()
        && let Some(kept_back) = warnings.pass(now)
    {
        warn!(call = member, error = %refusal, kept_back, "refused what QEMU sent of its sound");
    }
    answer
}

/// Checks the format of a stream.
fn format(init: AudioInit) -> Result<Format, Refusal> {
    let AudioInit { bits, is_signed, is_float, rate, channels, frame_bytes, big_endian, .. } = init;
    Ok(Format::new(Described { bits, is_signed, is_float, rate, channels, frame_bytes, big_endian })?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;
    use crate::display1::{
        AudioEnabled, AudioInCall, AudioOutCall, AudioRead, AudioVolume, AudioWrite, Bytes,
    };
    use crate::hub::Played;
    use crate::sound::BLOCK;

    const ID: u64 = 0x55d0_1234;

    fn init() -> AudioInit {
        AudioInit {
            id: ID,
            bits: 16,
            is_signed: true,
            is_float: false,
            rate: 48_000,
            channels: 2,
            frame_bytes: 4,
            second_bytes: 192_000,
            big_endian: false,
        }
    }

    fn play(sound: &mut SoundCalls, call: AudioOutCall<'_>) -> bool {
        !sound.play(&call.message().unwrap(), Instant::now())
    }

    fn enable(on: bool) -> AudioEnabled {
        AudioEnabled { id: ID, on }
    }

    #[test]
    fn what_the_guest_plays_is_heard_until_it_stops_or_qemu_leaves() {
        let hub = Hub::default();
        let (mut sound, mut heard) = (SoundCalls::new(&hub), hub.playback().subscribe());
        let block = [1u8; 4 * BLOCK];
        let write = AudioOutCall::Write(AudioWrite { id: ID, data: Bytes(&block) });
        assert!(play(&mut sound, AudioOutCall::Init(init())));
        assert!(play(&mut sound, AudioOutCall::Write(AudioWrite { id: ID, data: Bytes(&block) })));
        assert!(matches!(heard.try_recv(), Err(TryRecvError::Empty)), "it is not enabled");
        for last in [AudioOutCall::SetEnabled(enable(false)), AudioOutCall::Fini(ID)] {
            assert!(
                play(&mut sound, AudioOutCall::SetEnabled(enable(true)))
                    && play(&mut sound, write_of(&write))
            );
            assert!(matches!(heard.try_recv(), Ok(Played::Block(_))));
            assert!(play(&mut sound, last));
            assert!(matches!(heard.try_recv(), Ok(Played::Stop)) && heard.try_recv().is_err());
        }
        assert!(
            play(&mut sound, AudioOutCall::Init(init()))
                && play(&mut sound, AudioOutCall::SetEnabled(enable(true)))
        );
        assert!(play(&mut sound, write_of(&write)));
        drop(sound);
        assert!(matches!((heard.try_recv(), heard.try_recv()), (Ok(Played::Block(_)), Ok(Played::Stop))));
    }

    fn write_of<'m>(call: &AudioOutCall<'m>) -> AudioOutCall<'m> {
        let AudioOutCall::Write(write) = call else { panic!() };
        AudioOutCall::Write(*write)
    }

    #[test]
    fn a_read_is_answered_with_what_was_said_or_with_silence() {
        let (hub, start) = (Hub::default(), Instant::now());
        let mut sound = SoundCalls::new(&hub);
        let mut speaker = hub.microphone().enter(7);
        let mut call = |call: AudioInCall<'_>, after: u64| {
            sound.record(&call.message().unwrap(), start + Duration::from_millis(after))
        };
        let read = |size| AudioInCall::Read(AudioRead { id: ID, size });
        assert_eq!(call(read(100), 0), None, "there is no such stream");
        call(AudioInCall::Init(init()), 0);
        assert_eq!(call(read(100), 0), Some(0));
        call(AudioInCall::SetVolume(AudioVolume { id: ID, mute: false, volume: Bytes(&[9, 8]) }), 0);
        call(AudioInCall::SetEnabled(enable(true)), 0);
        let wanted = speaker.wanted().now_or_never().unwrap();
        assert_eq!((wanted.recording, wanted.loudness.channels), (true, vec![9, 8]));
        assert_eq!(call(read(4 * 480), 10), Some(4 * 480), "silence, as nobody speaks");
        assert_eq!(call(read(u64::MAX), 20), Some(4 * 480), "no more than time has passed");
        speaker.say(vec![[5, 5]; 10 * BLOCK]);
        assert_eq!(call(read(400), 30), Some(400));
        call(AudioInCall::Fini(ID), 30);
        assert!(!speaker.wanted().now_or_never().unwrap().recording);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mut sound = SoundCalls::new(&Hub::default());
        for odd in [
            AudioInit { rate: u32::MAX, ..init() },
            AudioInit { channels: 255, frame_bytes: 510, ..init() },
            AudioInit { frame_bytes: 0, ..init() },
            AudioInit { bits: 24, frame_bytes: 6, ..init() },
        ] {
            assert!(!play(&mut sound, AudioOutCall::Init(odd)), "{odd:?}");
        }
        assert!(!play(&mut sound, AudioOutCall::SetEnabled(enable(true))));
        assert!(!play(&mut sound, AudioOutCall::Fini(ID)));
        assert!(play(&mut sound, AudioOutCall::Init(init())));
        let odd = AudioOutCall::Write(AudioWrite { id: ID, data: Bytes(&[1, 2, 3]) });
        assert!(play(&mut sound, odd), "what is no frame is dropped");
    }
}
