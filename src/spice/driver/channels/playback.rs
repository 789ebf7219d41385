//! A playback channel: the guest's sound.

use std::time::{Duration, Instant};

use spice_proto::channels::playback::{Packet, PlaybackChannel, caps};
use spice_proto::channels::sound::Mode;
use spice_proto::link::LinkRequest;
use spice_proto::wire::{Caps, ChannelType, Payload};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::{Channel, sound};
use crate::encode::{EncodeError, Encoded, has_opus};
use crate::hub::{Listening, Played};
use crate::sound::bytes_of;
use crate::spice::driver::connection::Connection;
use crate::spice::driver::convert::volume;
use crate::spice::driver::link::Linked;
use crate::spice::driver::{ChannelEnd, Server};

/// What a client is asked to hold of the sound, for a network that is late now and then, in milliseconds. Of itself
/// spice-gtk 0.42 holds 200.
const LATENCY: u32 = 40;

/// The most that it is asked to hold.
const MAX_LATENCY: u32 = 200;

pub(super) const CHANNEL: Channel = Channel {
    kind: ChannelType::Playback,
    caps: || match has_opus() {
        true => Caps::of(&[caps::VOLUME, caps::LATENCY, caps::OPUS]),
        false => Caps::of(&[caps::VOLUME, caps::LATENCY]),
    },
    ids: sound,
    serve: |server, _, linked| Box::pin(serve(server, linked)),
};

async fn serve(server: &Server, linked: Linked) -> Result<(), ChannelEnd> {
    let listening = server.hub.playback().enter();
    let network = linked.network();
    let connection = linked.accept(|request, now| start(server, request, latency(network), now)).await?;
    run(server, &listening, connection).await
}

fn start(server: &Server, request: &LinkRequest, latency: u32, now: Instant) -> PlaybackChannel {
    let can = request.channel_caps;
    let mode = if can.has(caps::OPUS) && has_opus() { Mode::Opus } else { Mode::Raw };
    let loudness = volume(&server.hub.playback().loudness().borrow());
    PlaybackChannel::new(request.header_form(), can, mode, latency, loudness, server.clock.past(now), now)
}

/// Returns how much sound a client is to hold over a network with this round trip: what is late is late by a part of
/// it.
fn latency(round_trip: Option<Duration>) -> u32 {
    let round_trip = round_trip.map_or(0, |time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
    LATENCY.saturating_add(round_trip / 2).min(MAX_LATENCY)
}

/// Serves the channel until the client leaves.
async fn run(
    server: &Server,
    listening: &Listening<'_>,
    mut connection: Connection<PlaybackChannel>,
) -> Result<(), ChannelEnd> {
    let mut loudness = server.hub.playback().loudness();
    let mut sound = Sound::listen(server, connection.machine.mode())?;
    let mut dropped = 0;
    loop {
        tokio::select! {
            turn = connection.turn(|_| false) => {
                turn?;
            }
            piece = sound.next() => match piece {
                Ok(Piece::Sound(at, data)) => {
                    connection.machine.play(Packet { time: server.clock.past(at), data });
                    let now = connection.machine.dropped();
                    listening.count_missed(now.saturating_sub(std::mem::replace(&mut dropped, now)));
                }
                Ok(Piece::Stop) => connection.machine.stop(),
                Err(RecvError::Lagged(blocks)) => listening.count_missed(blocks),
                // The encoder failed, and said so. A new one may do.
                Err(RecvError::Closed) => sound = Sound::listen(server, connection.machine.mode())?,
            },
            changed = loudness.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                connection.machine.set_volume(volume(&loudness.borrow_and_update()));
            }
        }
    }
}

/// The guest's sound as one client gets it.
enum Sound {
    Opus(Receiver<Encoded>),
    Raw(Receiver<Played>),
}

enum Piece {
    Sound(Instant, Payload),
    Stop,
}

impl Sound {
    fn listen(server: &Server, mode: Mode) -> Result<Self, EncodeError> {
        Ok(match mode {
            Mode::Opus => Self::Opus(server.sound.listen()?),
            _ => Self::Raw(server.hub.playback().subscribe()),
        })
    }

    /// Waits for the next piece. Cancel-safe.
    async fn next(&mut self) -> Result<Piece, RecvError> {
        Ok(match self {
            Self::Opus(sound) => match sound.recv().await? {
                Encoded::Packet { at, data } => Piece::Sound(at, Payload::new(data)),
                Encoded::Stop => Piece::Stop,
            },
            Self::Raw(sound) => match sound.recv().await? {
                Played::Block(block) => Piece::Sound(block.at, Payload::from(bytes_of(&block.frames))),
                Played::Stop => Piece::Stop,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_far_away_holds_more_sound() {
        let of = |ms: u64| latency(Some(Duration::from_millis(ms)));
        assert_eq!([latency(None), of(0), of(30), of(200), of(9000)], [40, 40, 55, 140, 200]);
    }
}
