use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{broadcast, watch};

use crate::sound::{Block, Loudness};

/// The blocks that a listener may be behind: 320 ms. It misses the oldest then.
const BLOCKS: usize = 32;

/// What comes out of the guest's sound card: one writer, many listeners, none of whom is waited for.
#[derive(Debug)]
pub(crate) struct Playback {
    sound: broadcast::Sender<Played>,
    loudness: watch::Sender<Loudness>,
    playing: watch::Sender<bool>,
    listeners: AtomicUsize,
    missed: AtomicU64,
    encoded: AtomicU64,
}

/// A piece of the guest's sound.
#[derive(Clone, Debug)]
pub(crate) enum Played {
    /// It goes on, or begins.
    Block(Block),
    /// It ends: no block follows until it begins again.
    Stop,
}

/// How the sound is doing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Heard {
    /// Whether the guest plays.
    pub playing: bool,
    /// Who listens.
    pub listeners: usize,
    /// Blocks that were encoded, once for all listeners.
    pub encoded: u64,
    /// Blocks that listeners missed, because they did not keep up.
    pub missed: u64,
}

/// One listener, counted while it lives.
#[derive(Debug)]
pub(crate) struct Listening<'a>(&'a Playback);

impl Default for Playback {
    fn default() -> Self {
        Self {
            sound: broadcast::Sender::new(BLOCKS),
            loudness: watch::Sender::default(),
            playing: watch::Sender::default(),
            listeners: AtomicUsize::new(0),
            missed: AtomicU64::new(0),
            encoded: AtomicU64::new(0),
        }
    }
}

impl Playback {
    /// Gives `block` to all listeners. For the source alone.
    pub(crate) fn play(&self, block: Block) {
        self.set_playing(true);
        let _ = self.sound.send(Played::Block(block)); // nobody may listen
    }

    /// Ends the sound. For the source alone.
    pub(crate) fn stop(&self) {
        if self.set_playing(false) {
            let _ = self.sound.send(Played::Stop);
        }
    }

    /// Changes how loud listeners are to make it. For the source alone.
    pub(crate) fn set_loudness(&self, loudness: Loudness) {
        self.loudness.send_if_modified(|known| std::mem::replace(known, loudness.clone()) != loudness);
    }

    /// Returns the sound from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Played> {
        self.sound.subscribe()
    }

    /// Watches how loud listeners are to make it.
    pub(crate) fn loudness(&self) -> watch::Receiver<Loudness> {
        self.loudness.subscribe()
    }

    /// Counts a listener until the value is dropped.
    pub(crate) fn enter(&self) -> Listening<'_> {
        self.listeners.fetch_add(1, Ordering::Relaxed);
        Listening(self)
    }

    /// Counts a block that was encoded.
    pub(crate) fn count_encoded(&self) {
        self.encoded.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how the sound is doing.
    pub(crate) fn heard(&self) -> Heard {
        Heard {
            playing: *self.playing.borrow(),
            listeners: self.listeners.load(Ordering::Relaxed),
            encoded: self.encoded.load(Ordering::Relaxed),
            missed: self.missed.load(Ordering::Relaxed),
        }
    }

    /// Returns whether that is a change.
    fn set_playing(&self, on: bool) -> bool {
        self.playing.send_if_modified(|playing| std::mem::replace(playing, on) != on)
    }
}

impl Listening<'_> {
    /// Counts blocks that this listener missed.
    pub(crate) fn count_missed(&self, blocks: u64) {
        self.0.missed.fetch_add(blocks, Ordering::Relaxed);
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn block() -> Block {
        Block { at: Instant::now(), frames: Vec::new().into() }
    }

    #[test]
    fn a_listener_that_is_far_behind_misses_the_oldest_and_hears_the_end() {
        let playback = Playback::default();
        let mut slow = playback.subscribe();
        (0..100).for_each(|_| playback.play(block()));
        playback.stop();
        playback.stop();
        assert!(matches!(slow.try_recv(), Err(broadcast::error::TryRecvError::Lagged(69))));
        let rest: Vec<_> = std::iter::from_fn(|| slow.try_recv().ok()).collect();
        assert_eq!(rest.len(), BLOCKS);
        assert!(matches!(rest.last(), Some(Played::Stop)));
    }

    #[test]
    fn who_listens_is_counted() {
        let playback = Playback::default();
        let (one, two) = (playback.enter(), playback.enter());
        one.count_missed(3);
        drop(one);
        assert_eq!(playback.heard(), Heard { listeners: 1, missed: 3, ..Heard::default() });
        drop(two);
    }
}
