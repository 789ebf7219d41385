//! The state machine of a record channel.

use std::time::Instant;

use super::caps;
use super::messages::{FromClient, FromServer, Start};
use crate::channels::base::{self, Flow, Severity};
use crate::channels::sound::{CHANNELS, Mode, RATE, RAW_FRAME_BYTES, SampleFormat, Volume};
use crate::channels::{ChannelError, Machine};
use crate::wire::{Caps, Frame, HeaderForm};

/// Most bytes of a client's message, as libspice-server: 170 ms of raw sound.
pub const RECORD_BODY_MAX: u32 = 32 << 10;
/// Most bytes of a packet of Opus that are decoded: as much as Opus's authors give an encoder for any packet.
pub const OPUS_PACKET_MAX: usize = 4000;

/// The server's side of a record channel.
#[derive(Debug)]
pub struct RecordChannel {
    flow: Flow,
    caps: Caps,
    /// What the client said last.
    mode: Mode,
    started: bool,
    volume: Volume,
}

/// Sound that a client has recorded, while it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// Raw samples: whole frames.
    Raw(Vec<u8>),
    /// A packet of Opus, of at most [`OPUS_PACKET_MAX`] bytes and not empty.
    Opus(Vec<u8>),
}

impl RecordChannel {
    /// Starts the channel of a client that can do `caps`. Nothing is recorded yet.
    pub fn new(form: HeaderForm, caps: Caps, now: Instant) -> Self {
        let flow = Flow::new(form, RECORD_BODY_MAX, now);
        let volume = Volume { channels: Vec::new(), mute: false };
        Self { flow, caps, mode: Mode::Raw, started: false, volume }
    }

    /// Asks the client to record, or to stop. What arrives after it was to stop is ignored.
    ///
    /// # Errors
    /// When the client does not read.
    pub fn record(&mut self, on: bool, now: Instant) -> Result<(), ChannelError> {
        if on == self.started {
            return Ok(());
        }
        self.started = on;
        let (channels, format, frequency) = (CHANNELS, SampleFormat::S16, RATE);
        let message = match on {
            true => FromServer::Start(Start { channels, format, frequency }),
            false => FromServer::Stop,
        };
        self.flow.send(message.encode(), now)
    }

    /// Sets how loud the guest wants it.
    ///
    /// # Errors
    /// When the client does not read.
    pub fn set_volume(&mut self, volume: Volume, now: Instant) -> Result<(), ChannelError> {
        let told = std::mem::replace(&mut self.volume, volume);
        if !self.caps.has(caps::VOLUME) {
            return Ok(());
        }
        if told.channels != self.volume.channels {
            self.flow.send(FromServer::Volume(self.volume.channels.clone()).encode(), now)?;
        }
        if told.mute != self.volume.mute {
            self.flow.send(FromServer::Mute(self.volume.mute).encode(), now)?;
        }
        Ok(())
    }

    /// Gives the client a text for its log or its user.
    ///
    /// # Errors
    /// When the client does not read.
    pub fn notify(&mut self, severity: Severity, text: &str, now: Instant) -> Result<(), ChannelError> {
        self.flow.send(base::FromServer::Notify(base::Notify::of(severity, text)).encode(), now)
    }

    /// Takes what of `data` can be sound. Anything else a client may send is dropped: it costs only its own sound.
    fn recorded(&self, data: Vec<u8>) -> Option<Recorded> {
        let taken = match self.mode {
            _ if !self.started || data.is_empty() => None,
            Mode::Raw if data.len().is_multiple_of(RAW_FRAME_BYTES) => return Some(Recorded::Raw(data)),
            Mode::Opus if data.len() <= OPUS_PACKET_MAX => return Some(Recorded::Opus(data)),
            mode => Some((mode, data.len())),
        };
        if let Some((mode, bytes)) = taken {
            tracing::debug!(?mode, bytes, "ignored sound that is none");
        }
        None
    }
}

impl Machine for RecordChannel {
    type Event = Recorded;

    fn recv(&mut self, input: &mut &[u8], now: Instant) -> Result<Option<Recorded>, ChannelError> {
        while let Some(message) = self.flow.recv(input, now)? {
            match FromClient::decode(message.id, &message.body)? {
                FromClient::Data(data) => {
                    if let Some(recorded) = self.recorded(data.data) {
                        return Ok(Some(recorded));
                    }
                }
                FromClient::Mode { mode, .. } => self.mode = mode,
                FromClient::StartMark(_) => {}
                FromClient::Unknown { id } => tracing::debug!(id, "ignored a record message"),
            }
        }
        Ok(None)
    }

    fn poll_frame(&mut self, _now: Instant) -> Option<Frame> {
        self.flow.poll_frame()
    }

    fn deadline(&self) -> Option<Instant> {
        self.flow.deadline()
    }

    fn handle_timeout(&self, now: Instant) -> Result<(), ChannelError> {
        self.flow.handle_timeout(now)
    }
}
