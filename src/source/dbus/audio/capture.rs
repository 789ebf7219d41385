use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;
use zbus::message::Body;

use super::playback::MAX_VOLUMES;
use super::{Side, format};
use crate::display1::{AudioEnabled, AudioInCall, AudioRead, AudioVolume, Refusal};
use crate::hub::{Hub, Wanted};
use crate::sound::{Capture, Frame, Loudness, MixerError};
use crate::source::dbus::object::{AUDIO_SPEAKER, Answer, Object};

/// The most streams that the guest records.
const MAX_STREAMS: usize = 16;

/// The most bytes given at a time: QEMU asks for a few thousand.
const MAX_READ: u64 = 1 << 20;

/// What the guest records.
pub(super) struct In {
    hub: Hub,
    streams: BTreeMap<u64, Stream>,
}

struct Stream {
    capture: Capture,
    /// What is said, while the stream is enabled.
    said: Option<Receiver<Arc<[Frame]>>>,
}

impl In {
    pub(super) fn new(hub: Hub) -> Self {
        Self { hub, streams: BTreeMap::new() }
    }

    fn carry_out(&mut self, call: AudioInCall<'_>, now: Instant) -> Result<Answer, Refusal> {
        match call {
            AudioInCall::Init(init) => {
                if self.streams.len() >= MAX_STREAMS && !self.streams.contains_key(&init.id) {
                    return Err(MixerError::Full.into());
                }
                self.streams.insert(init.id, Stream { capture: Capture::new(format(init)?), said: None });
            }
            AudioInCall::Fini(id) => {
                self.streams.remove(&id).ok_or(MixerError::Unknown)?;
            }
            AudioInCall::SetEnabled(AudioEnabled { id, on }) => {
                let said = on.then(|| self.hub.microphone().subscribe());
                let stream = self.streams.get_mut(&id).ok_or(MixerError::Unknown)?;
                stream.capture.enable(on, now);
                stream.said = said;
            }
            AudioInCall::SetVolume(AudioVolume { id, mute, volume }) => {
                let channels = volume.0.iter().copied().take(MAX_VOLUMES).collect();
                let stream = self.streams.get_mut(&id).ok_or(MixerError::Unknown)?;
                stream.capture.set_loudness(Loudness { channels, mute });
            }
            AudioInCall::Read(AudioRead { id, size }) => {
                let stream = self.streams.get_mut(&id).ok_or(MixerError::Unknown)?;
                return Ok(Answer::Bytes(stream.read(size.min(MAX_READ), now)));
            }
        }
        self.hub.microphone().want(self.wanted());
        Ok(Answer::Nothing)
    }

    /// Returns what the speaker is told: of several streams, the loudness of the first that is enabled.
    fn wanted(&self) -> Wanted {
        let enabled = self.streams.values().find(|stream| stream.capture.is_enabled());
        let first = enabled.or(self.streams.values().next());
        let loudness = first.map(|stream| stream.capture.loudness().clone()).unwrap_or_default();
        Wanted { recording: enabled.is_some(), loudness }
    }
}

impl Stream {
    fn read(&mut self, size: u64, now: Instant) -> Vec<u8> {
        while let Some(said) = &mut self.said {
            match said.try_recv() {
                Ok(frames) => self.capture.push(&frames),
                Err(TryRecvError::Lagged(_)) => {} // the oldest is lost, the rest comes
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        self.capture.read(size, now)
    }
}

impl Side for In {
    const OBJECT: Object = AUDIO_SPEAKER;

    fn handle(
        &mut self,
        interface: Option<&str>,
        member: &str,
        body: &Body,
        now: Instant,
    ) -> Result<Answer, Refusal> {
        let call = AudioInCall::decode(interface, member, body)?;
        self.carry_out(call, now)
    }
}

impl Drop for In {
    fn drop(&mut self) {
        self.hub.microphone().want(Wanted::default());
    }
}
