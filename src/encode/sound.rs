//! One encode of the guest's sound, for all who listen.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender, WeakSender};
use tracing::warn;

use super::gst::OpusEncoder;
use super::{EncodeError, lock};
use crate::hub::{Playback, Played};

/// The packets that a listener may be behind: 320 ms. It misses the oldest then.
const PACKETS: usize = 32;

/// The encoder of the guest's sound. It works while someone listens, and the guest plays. Cheap to clone; all clones
/// are the same.
#[derive(Clone, Debug)]
pub(crate) struct SoundEncoder {
    playback: Arc<Playback>,
    running: Arc<Mutex<Option<WeakSender<Encoded>>>>,
}

/// A piece of the guest's sound, encoded.
#[derive(Clone, Debug)]
pub(crate) enum Encoded {
    /// A packet of Opus that has one block.
    Packet {
        /// When its first frame was made.
        at: Instant,
        /// Its bytes.
        data: Bytes,
    },
    /// The sound ends, until the next packet.
    Stop,
}

impl SoundEncoder {
    /// Makes an encoder of what is played. It does nothing until someone listens.
    pub(crate) fn new(playback: Arc<Playback>) -> Self {
        Self { playback, running: Arc::default() }
    }

    /// Returns the sound from now on. If the encoder fails, the receiver is closed, and it can be tried again.
    ///
    /// # Errors
    /// If GStreamer has no encoder, or the system no thread for it.
    pub(crate) fn listen(&self) -> Result<Receiver<Encoded>, EncodeError> {
        let mut running = lock(&self.running);
        if let Some(sender) = running.as_ref().and_then(WeakSender::upgrade) {
            return Ok(sender.subscribe());
        }
        let encoder = OpusEncoder::new()?;
        let (sender, receiver) = broadcast::channel(PACKETS);
        *running = Some(sender.downgrade());
        let (playback, ours) = (self.playback.clone(), self.running.clone());
        let played = playback.subscribe();
        let run = move || run(encoder, played, &playback, sender, &ours);
        std::thread::Builder::new().name("sound".to_owned()).spawn(run).map_err(EncodeError::Thread)?;
        Ok(receiver)
    }
}

/// Encodes what is played until nobody listens any more, which is noticed at the next block.
fn run(
    mut encoder: OpusEncoder,
    mut played: Receiver<Played>,
    playback: &Playback,
    sender: Sender<Encoded>,
    running: &Mutex<Option<WeakSender<Encoded>>>,
) {
    loop {
        let encoded = match played.blocking_recv() {
            Ok(Played::Block(block)) => match encoder.encode(&block) {
                Ok(data) => Encoded::Packet { at: block.at, data },
                Err(error) => return warn!(%error, "the sound cannot be encoded"),
            },
            Ok(Played::Stop) => Encoded::Stop,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        // Held so that nobody begins to listen to an encoder that ends.
        let mut running = lock(running);
        if sender.send(encoded).is_err() {
            *running = None;
            return;
        }
        drop(running);
        playback.count_encoded();
    }
}
