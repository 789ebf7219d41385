use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};

use crate::sound::{Frame, Loudness};

/// Pieces of sound that may wait for the guest, which asks for them 100 times a second. The oldest go first.
const PIECES: usize = 64;

/// What goes into the guest's microphone: one speaker at a time, many readers.
///
/// The first that may speak is the speaker. When it leaves, the one that has waited longest is.
#[derive(Debug)]
pub(crate) struct Microphone {
    sound: broadcast::Sender<Arc<[Frame]>>,
    /// Those that may speak, the speaker first.
    queue: Mutex<Queue>,
    speaker: watch::Sender<Option<u64>>,
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

#[derive(Debug, Default)]
struct Queue {
    entered: u64,
    /// A number of our own, because a client may come again, and the client's number.
    waiting: VecDeque<(u64, u64)>,
}

/// A viewer that may speak. It leaves the queue when dropped.
#[derive(Debug)]
pub(crate) struct Speaker<'a> {
    microphone: &'a Microphone,
    id: u64,
    speaker: watch::Receiver<Option<u64>>,
    wanted: watch::Receiver<Wanted>,
}

impl Default for Microphone {
    fn default() -> Self {
        Self {
            sound: broadcast::Sender::new(PIECES),
            queue: Mutex::default(),
            speaker: watch::Sender::default(),
            wanted: watch::Sender::default(),
        }
    }
}

impl Microphone {
    /// Lets the client with this number speak when it is its turn.
    pub(crate) fn enter(&self, client: u64) -> Speaker<'_> {
        let mut queue = self.queue();
        queue.entered = queue.entered.saturating_add(1);
        let id = queue.entered;
        queue.waiting.push_back((id, client));
        self.tell_turn(&queue);
        drop(queue);
        let (mut speaker, mut wanted) = (self.speaker.subscribe(), self.wanted.subscribe());
        speaker.mark_changed();
        wanted.mark_changed();
        Speaker { microphone: self, id, speaker, wanted }
    }

    /// Returns the number of the client that speaks when the guest records.
    pub(crate) fn holder(&self) -> Option<u64> {
        self.queue().waiting.front().map(|(_, client)| *client)
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

    fn tell_turn(&self, queue: &Queue) {
        let first = queue.waiting.front().map(|(id, _)| *id);
        self.speaker.send_if_modified(|known| std::mem::replace(known, first) != first);
    }

    /// Locks the queue. A thread that panicked left it whole, because each change is one insert or remove.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Speaker<'_> {
    /// Waits until something changes in what this viewer is to record; gives what that is now. Cancel-safe.
    pub(crate) async fn wanted(&mut self) -> Wanted {
        let ended = tokio::select! {
            changed = self.speaker.changed() => changed,
            changed = self.wanted.changed() => changed,
        };
        if ended.is_err() {
            std::future::pending::<()>().await; // they live as long as the microphone
        }
        let mut wanted = self.wanted.borrow_and_update().clone();
        wanted.recording &= *self.speaker.borrow_and_update() == Some(self.id);
        wanted
    }

    /// Gives the guest what this viewer says, if it is its turn.
    pub(crate) fn say(&self, frames: Vec<Frame>) {
        if *self.microphone.speaker.borrow() == Some(self.id) {
            let _ = self.microphone.sound.send(frames.into()); // the guest may have stopped
        }
    }
}

impl Drop for Speaker<'_> {
    fn drop(&mut self) {
        let mut queue = self.microphone.queue();
        queue.waiting.retain(|(id, _)| *id != self.id);
        self.microphone.tell_turn(&queue);
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
