//! The state machine of a playback channel.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Instant;

use super::caps;
use super::messages::{Data, FromServer, Start};
use crate::channels::base::Flow;
use crate::channels::sound::{CHANNELS, Mode, RATE, SampleFormat, Volume};
use crate::channels::{ChannelError, Machine};
use crate::wire::{Caps, Frame, HeaderForm, Payload};

/// Most bytes of a client's message, as libspice-server; clients send no more than acknowledgements.
pub const PLAYBACK_BODY_MAX: u32 = 1024;
/// Most packets that wait for a client that does not keep up: 200 ms of 10 ms each. The oldest go first.
pub const LAG_MAX: usize = 20;
/// Messages for each acknowledgement. Two windows may be unacknowledged: 400 ms of sound.
const ACK_WINDOW: u32 = 20;

/// The server's side of a playback channel.
///
/// A client that lags behind misses sound, the oldest first, and is told in the times of the rest.
#[derive(Debug)]
pub struct PlaybackChannel {
    flow: Flow,
    caps: Caps,
    mode: Mode,
    waiting: VecDeque<Next>,
    volume: Volume,
    told: Volume,
    started: bool,
    dropped: u64,
}

/// A piece of sound, in the channel's mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// When its first sample was made, by the server's clock in milliseconds.
    pub time: u32,
    /// Its bytes.
    pub data: Payload,
}

#[derive(Debug)]
enum Next {
    Packet(Packet),
    Stop,
}

impl PlaybackChannel {
    /// Starts the channel of a client that can do `caps`, with sound in `mode` from now on. Clients that can are told
    /// to hold `latency` milliseconds of sound.
    pub fn new(
        form: HeaderForm,
        caps: Caps,
        mode: Mode,
        latency: u32,
        volume: Volume,
        time: u32,
        now: Instant,
    ) -> Self {
        let mut flow = Flow::new(form, PLAYBACK_BODY_MAX, now);
        flow.ask_for_acks(ACK_WINDOW, now);
        flow.queue(FromServer::Mode { time, mode }.encode(), now);
        if caps.has(caps::LATENCY) {
            flow.queue(FromServer::Latency(latency).encode(), now);
        }
        let told = Volume { channels: Vec::new(), mute: false };
        Self { flow, caps, mode, waiting: VecDeque::new(), volume, told, started: false, dropped: 0 }
    }

    /// Returns how sound is compressed for this client.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Plays `packet` after those before it. If too many wait, the oldest are dropped.
    pub fn play(&mut self, packet: Packet) {
        // A client that is not told of the volume would hear what the guest has muted.
        if self.volume.mute && !self.caps.has(caps::VOLUME) {
            return;
        }
        self.waiting.push_back(Next::Packet(packet));
        while self.waiting.len() > LAG_MAX {
            if let Some(Next::Packet(_)) = self.waiting.pop_front() {
                self.dropped = self.dropped.saturating_add(1);
            }
        }
    }

    /// Ends the sound after what was played. The next packet starts it again.
    pub fn stop(&mut self) {
        if self.waiting.is_empty() && !self.started || matches!(self.waiting.back(), Some(Next::Stop)) {
            return;
        }
        self.waiting.push_back(Next::Stop);
    }

    /// Sets how loud the guest wants it.
    pub fn set_volume(&mut self, volume: Volume) {
        self.volume = volume;
    }

    /// Returns how many packets the client missed because it did not keep up.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The next message, if there is something that the client does not know.
    fn next_message(&mut self) -> Option<FromServer> {
        if self.caps.has(caps::VOLUME) {
            if self.volume.channels != self.told.channels {
                self.told.channels.clone_from(&self.volume.channels);
                return Some(FromServer::Volume(self.volume.channels.clone()));
            }
            if self.volume.mute != self.told.mute {
                self.told.mute = self.volume.mute;
                return Some(FromServer::Mute(self.volume.mute));
            }
        }
        match self.waiting.front()? {
            Next::Packet(Packet { time, .. }) if !self.started => {
                self.started = true;
                let (channels, format, frequency) = (CHANNELS, SampleFormat::S16, RATE);
                return Some(FromServer::Start(Start { channels, format, frequency, time: *time }));
            }
            _ => {}
        }
        match self.waiting.pop_front()? {
            Next::Packet(Packet { time, data }) => Some(FromServer::Data(Data { time, data })),
            // The packets before it may all have been dropped.
            Next::Stop if !std::mem::take(&mut self.started) => self.next_message(),
            Next::Stop => Some(FromServer::Stop),
        }
    }
}

impl Machine for PlaybackChannel {
    type Event = Infallible;

    fn recv(&mut self, input: &mut &[u8], now: Instant) -> Result<Option<Infallible>, ChannelError> {
        while let Some(message) = self.flow.recv(input, now)? {
            tracing::debug!(id = message.id, "ignored a playback message");
        }
        Ok(None)
    }

    fn poll_frame(&mut self, now: Instant) -> Option<Frame> {
        let waiting = self.flow.poll_frame();
        if waiting.is_some() {
            return waiting;
        }
        if self.flow.may_send() {
            let message = self.next_message()?;
            self.flow.queue(message.encode(), now);
        }
        self.flow.poll_frame()
    }

    fn deadline(&self) -> Option<Instant> {
        self.flow.deadline()
    }

    fn handle_timeout(&self, now: Instant) -> Result<(), ChannelError> {
        self.flow.handle_timeout(now)
    }
}
