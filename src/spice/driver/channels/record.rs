//! A record channel: a client's microphone, for the guest to record.

use std::time::Instant;

use spice_proto::channels::base::Severity;
use spice_proto::channels::record::{RecordChannel, Recorded, caps};
use spice_proto::link::LinkRequest;
use spice_proto::wire::{Caps, ChannelType};

use super::{Channel, sound};
use crate::encode::{OpusDecoder, has_opus};
use crate::hub::Speaker;
use crate::sound::{Frame, Pace, frames_of, packet_time, time_of};
use crate::spice::driver::connection::{Connection, Progress};
use crate::spice::driver::convert::volume;
use crate::spice::driver::link::Linked;
use crate::spice::driver::{ChannelEnd, Server};
use crate::spice::grant::Deed;
use crate::spice::session::{Session, Single};

pub(super) const CHANNEL: Channel = Channel {
    kind: ChannelType::Record,
    caps: || match has_opus() {
        true => Caps::of(&[caps::VOLUME, caps::OPUS]),
        false => Caps::of(&[caps::VOLUME]),
    },
    ids: sound,
    serve: |server, session, linked| Box::pin(serve(server, session, linked)),
};

/// Serves the channel. A client that may not speak keeps it, and is never asked to record.
async fn serve(server: &Server, session: &Session, linked: Linked) -> Result<(), ChannelEnd> {
    let mut connection = linked.accept(start).await?;
    if !session.grant.allows(Deed::Speak) {
        loop {
            connection.turn(|_| false).await?;
        }
    }
    let speaker = server.hub.microphone().enter(session.number);
    run(speaker, connection, session).await
}

fn start(request: &LinkRequest, now: Instant) -> RecordChannel {
    RecordChannel::new(request.header_form(), request.channel_caps, now)
}

/// Serves the channel until the client leaves.
async fn run(
    mut speaker: Speaker<'_>,
    mut connection: Connection<RecordChannel>,
    session: &Session,
) -> Result<(), ChannelEnd> {
    let (mut pace, mut ear) = (Pace::default(), Ear::default());
    let (mut holding, mut waits) = (None, false);
    loop {
        tokio::select! {
            turn = connection.turn(|_| false) => {
                if let Progress::Event(recorded) = turn? {
                    speaker.say(ear.hear(recorded, &mut pace, Instant::now()));
                }
            }
            wanted = speaker.wanted() => {
                let now = Instant::now();
                if speaker.has_turn() && holding.is_none() {
                    holding = Some(session.hold(Single::Microphone));
                    if waits {
                        connection.machine.notify(Severity::Info, "the microphone is yours now", now)?;
                    }
                } else if !speaker.has_turn() && !waits {
                    waits = true;
                    connection.machine.notify(Severity::Info, "another viewer has the microphone", now)?;
                }
                connection.machine.set_volume(volume(&wanted.loudness), now)?;
                connection.machine.record(wanted.recording, now)?;
                if !wanted.recording {
                    ear = Ear::default();
                }
            }
        }
    }
}

/// What a client's sound is decoded with.
#[derive(Default)]
struct Ear {
    decoder: Option<OpusDecoder>,
}

impl Ear {
    /// Returns the frames of what a client recorded; none if that comes too fast, or cannot be read.
    fn hear(&mut self, recorded: Recorded, pace: &mut Pace, now: Instant) -> Vec<Frame> {
        match recorded {
            Recorded::Raw(bytes) => {
                let frames = frames_of(&bytes);
                if pace.admits(time_of(frames.len()), now) { frames } else { Vec::new() }
            }
            Recorded::Opus(packet) => match packet_time(&packet) {
                Some(time) if pace.admits(time, now) => self.decode(packet, time),
                _ => Vec::new(),
            },
        }
    }

    fn decode(&mut self, packet: Vec<u8>, time: std::time::Duration) -> Vec<Frame> {
        if self.decoder.is_none() {
            self.decoder = OpusDecoder::new().inspect_err(|error| tracing::debug!(%error, "not heard")).ok();
        }
        let decoded = self.decoder.as_mut().map(|decoder| decoder.decode(packet, time));
        match decoded {
            Some(Ok(frames)) => frames,
            Some(Err(error)) => {
                tracing::debug!(%error, "not heard");
                self.decoder = None;
                Vec::new()
            }
            None => Vec::new(),
        }
    }
}
