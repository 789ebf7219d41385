use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of frames of one listener that wait for their release; the oldest is released beyond it.
/// QEMU has one frame in flight, or a burst of damage rectangles.
const MAX_HELD: usize = 64;

/// Permission to read the guest's buffer. When the last clone is dropped, the guest may draw again.
#[derive(Clone, Debug)]
pub struct Release {
    _held: Arc<HeldFrame>,
}

#[derive(Debug)]
struct HeldFrame {
    id: u64,
    returned: async_channel::Sender<u64>,
}

impl Drop for HeldFrame {
    fn drop(&mut self) {
        // A queue that is full or closed loses the news; the ledger's deadline stands in for it.
        let _ = self.returned.try_send(self.id);
    }
}

/// Makes [`Release`]s and receives the ids of those whose last clone was dropped.
#[derive(Debug)]
pub struct ReleaseQueue {
    sender: async_channel::Sender<u64>,
    receiver: async_channel::Receiver<u64>,
}

impl Default for ReleaseQueue {
    fn default() -> Self {
        let (sender, receiver) = async_channel::bounded(MAX_HELD);
        Self { sender, receiver }
    }
}

impl ReleaseQueue {
    /// Makes the release of the frame that the ledger numbered `id`.
    #[must_use]
    pub fn release(&self, id: u64) -> Release {
        Release { _held: Arc::new(HeldFrame { id, returned: self.sender.clone() }) }
    }

    /// Waits for the next frame whose last reader is done and returns its id.
    pub async fn returned(&self) -> u64 {
        match self.receiver.recv().await {
            Ok(id) => id,
            Err(_) => std::future::pending().await, // unreachable while `sender` is ours
        }
    }
}

/// The replies owed to the source. Each is due when its last reader is done, at the latest at its deadline.
/// The caller supplies the time.
#[derive(Debug)]
pub(crate) struct Ledger<R> {
    deadline: Duration,
    held: VecDeque<Entry<R>>,
    next_id: u64,
    draws: Draws,
}

/// How long a guest was held for the frames it drew into its own buffers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Draws {
    /// Number of replies given.
    pub answered: u64,
    /// Number of replies given because the deadline passed while a reader was not done.
    pub late: u64,
    /// Time from each frame to its reply, added up.
    pub held: Duration,
}

#[derive(Debug)]
struct Entry<R> {
    id: u64,
    since: Instant,
    due: Instant,
    reply: R,
}

impl<R> Ledger<R> {
    /// Makes a ledger whose replies are all due within `deadline`.
    #[must_use]
    pub(crate) fn new(deadline: Duration) -> Self {
        Self { deadline, held: VecDeque::new(), next_id: 0, draws: Draws::default() }
    }

    /// Records a reply that is owed. Returns the id for its [`Release`]. Also returns the oldest reply, to be
    /// given now, if too many are held.
    pub(crate) fn hold(&mut self, reply: R, now: Instant) -> (u64, Option<R>) {
        let overflow = if self.held.len() >= MAX_HELD { self.pay(0, now) } else { None };
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.held.push_back(Entry { id, since: now, due: now + self.deadline, reply });
        (id, overflow)
    }

    /// Returns the reply of frame `id`, whose last reader is done, unless it was given already.
    pub(crate) fn returned(&mut self, id: u64, now: Instant) -> Option<R> {
        let at = self.held.iter().position(|entry| entry.id == id)?;
        self.pay(at, now)
    }

    /// Returns a reply whose deadline has passed. Call it until it returns `None`.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<R> {
        self.held.front().filter(|entry| entry.due <= now)?;
        self.draws.late = self.draws.late.saturating_add(1);
        self.pay(0, now)
    }

    /// Returns the oldest reply even if it is still being read. For a source that detaches.
    pub(crate) fn next(&mut self, now: Instant) -> Option<R> {
        self.pay(0, now)
    }

    /// Returns when to call [`Ledger::expired`] next.
    #[must_use]
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.held.front().map(|entry| entry.due)
    }

    /// Returns the counts so far.
    #[must_use]
    pub(crate) fn draws(&self) -> Draws {
        self.draws
    }

    fn pay(&mut self, at: usize, now: Instant) -> Option<R> {
        let Entry { since, reply, .. } = self.held.remove(at)?;
        let Draws { answered, held, .. } = &mut self.draws;
        *answered = answered.saturating_add(1);
        *held = held.saturating_add(now.saturating_duration_since(since));
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        Update,
        Return(usize),
        Wait(u64),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op =
            prop_oneof![Just(Op::Update), (0usize..80).prop_map(Op::Return), (0u64..20).prop_map(Op::Wait)];
        proptest::collection::vec(op, 0..300)
    }

    proptest! {
        #[test]
        fn every_frame_is_answered_once_and_in_time(ops in ops()) {
            let deadline = Duration::from_millis(16);
            let mut now = Instant::now();
            let mut ledger = Ledger::new(deadline);
            let mut sent_at = Vec::new();
            let mut answered = std::collections::BTreeMap::<usize, Instant>::new();
            let mut answer = |frame: Option<usize>, now| {
                frame.map(|frame| assert!(answered.insert(frame, now).is_none(), "answered twice"))
            };
            for op in ops {
                match op {
                    Op::Update => {
                        let (_, pushed_out) = ledger.hold(sent_at.len(), now);
                        sent_at.push(now);
                        answer(pushed_out, now);
                    }
                    Op::Return(id) => { answer(ledger.returned(id as u64, now), now); }
                    Op::Wait(ms) => {
                        let until = now + Duration::from_millis(ms);
                        while let Some(at) = ledger.wake_at().filter(|&at| at <= until) {
                            now = at.max(now);
                            while answer(ledger.expired(now), now).is_some() {}
                        }
                        now = until;
                    }
                }
                prop_assert!(ledger.held.len() <= MAX_HELD);
            }
            while let Some(at) = ledger.wake_at() {
                now = at.max(now);
                while answer(ledger.expired(now), now).is_some() {}
            }
            prop_assert_eq!(answered.len(), sent_at.len());
            let waited = answered.iter().map(|(&frame, &at)| at - sent_at[frame]).collect::<Vec<_>>();
            let late = waited.iter().filter(|&&waited| waited >= deadline).count();
            let draws = Draws { answered: sent_at.len() as u64, late: late as u64, held: waited.iter().sum() };
            prop_assert_eq!(ledger.draws(), draws, "what is told of it");
            for (frame, at) in answered {
                prop_assert!(at <= sent_at[frame] + deadline, "frame {} waited {:?}", frame, at - sent_at[frame]);
            }
        }
    }

    #[test]
    fn a_frame_is_returned_with_its_last_reader() {
        let queue = ReleaseQueue::default();
        let one = queue.release(7);
        let two = one.clone();
        drop(one);
        assert!(queue.receiver.try_recv().is_err());
        drop(two);
        assert_eq!(queue.receiver.try_recv(), Ok(7));
    }
}
