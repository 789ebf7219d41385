use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use super::turns::{Turn, Turns};
use crate::sound::{Frame, Loudness};

/// Pieces of sound that may wait for the guest, which asks for them 100 times a second. The oldest go first.
const PIECES: usize = 64;

/// What goes into the guest's microphone: one speaker at a time, many readers.
#[derive(Debug)]
pub(crate) struct Microphone {
    sound: broadcast::Sender<Arc<[Frame]>>,
    /// Those that may speak.
    turns: Arc<Turns>,
    wanted: watch::Sender<Wanted>,
}

/// What the guest wants to record.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Wanted {
    /// Whether it records.
    pub recording: bool,
    /// How loud.
    pub loudness: Loudness,
}

/// A viewer that may speak. It stops waiting when dropped.
#[derive(Debug)]
pub(crate) struct Speaker<'a> {
    microphone: &'a Microphone,
    turn: Turn,
    wanted: watch::Receiver<Wanted>,
}

impl Default for Microphone {
    fn default() -> Self {
        Self {
            sound: broadcast::Sender::new(PIECES),
            turns: Arc::default(),
            wanted: watch::Sender::default(),
        }
    }
}

impl Microphone {
    /// Lets the client with this number speak when it is its turn.
    pub(crate) fn enter(&self, client: u64) -> Speaker<'_> {
        let (mut wanted, turn) = (self.wanted.subscribe(), self.turns.enter(client));
        wanted.mark_changed();
        Speaker { microphone: self, turn, wanted }
    }

    /// Returns the number of the client that speaks when the guest records.
    pub(crate) fn holder(&self) -> Option<u64> {
        self.turns.clients().first().copied()
    }

    /// Returns what the guest wants.
    pub(crate) fn wanted(&self) -> Wanted {
        self.wanted.borrow().clone()
    }

    /// Changes what the guest wants. For the source alone.
    pub(crate) fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|known| std::mem::replace(known, wanted.clone()) != wanted);
    }

    /// Returns what is said from now on. For the source alone.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<[Frame]>> {
        self.sound.subscribe()
    }
}

impl Speaker<'_> {
    /// Waits until something changes in what this viewer is to record; gives what that is now. Cancel-safe.
    pub(crate) async fn wanted(&mut self) -> Wanted {
        tokio::select! {
            () = self.turn.changed() => {}
            changed = self.wanted.changed() => if changed.is_err() {
                std::future::pending::<()>().await; // it lives as long as the microphone
            }
        }
        let mut wanted = self.wanted.borrow_and_update().clone();
        wanted.recording &= self.has_turn();
        wanted
    }

    /// Returns whether it is this viewer's turn.
    pub(crate) fn has_turn(&self) -> bool {
        self.turn.has_come()
    }

    /// Gives the guest what this viewer says, if it is its turn.
    pub(crate) fn say(&self, frames: Vec<Frame>) {
        if self.has_turn() {
            let _ = self.microphone.sound.send(frames.into()); // the guest may have stopped
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn records(speaker: &mut Speaker<'_>) -> Option<bool> {
        speaker.wanted().now_or_never().map(|wanted| wanted.recording)
    }

    #[test]
    fn the_first_speaks_and_the_next_when_it_leaves() {
        let microphone = Microphone::default();
        let mut one = microphone.enter(11);
        let (mut two, mut three) = (microphone.enter(12), microphone.enter(13));
        assert_eq!([&mut one, &mut two, &mut three].map(records), [Some(false); 3]);
        microphone.want(Wanted { recording: true, ..Wanted::default() });
        assert_eq!([&mut one, &mut two, &mut three].map(records), [Some(true), Some(false), Some(false)]);
        assert_eq!(microphone.holder(), Some(11));

        let mut guest = microphone.subscribe();
        one.say(vec![[1, 1]]);
        two.say(vec![[2, 2]]);
        assert_eq!(guest.try_recv().unwrap()[..], [[1, 1]]);
        assert!(guest.try_recv().is_err(), "it is not its turn");

        drop(two);
        assert_eq!(records(&mut three), None);
        drop(one);
        assert_eq!((records(&mut three), microphone.holder()), (Some(true), Some(13)));
        drop(three);
        assert_eq!(microphone.holder(), None);
    }
}
