use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The turns of clients that want something which one of them at a time can have.
///
/// The first that came has it. When it leaves, the one that has waited longest has it.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Those that want it, the one that has it first.
    queue: Mutex<Queue>,
    first: watch::Sender<Option<u64>>,
}

#[derive(Debug, Default)]
struct Queue {
    entered: u64,
    /// A number of our own, because a client may come again, and the client's number.
    waiting: VecDeque<(u64, u64)>,
}

/// A client that has something, or waits for it. It leaves the queue when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    id: u64,
    first: watch::Receiver<Option<u64>>,
}

impl Turns {
    /// Lets the client with this number wait for its turn.
    pub(crate) fn enter(self: &Arc<Self>, client: u64) -> Turn {
        let mut queue = self.queue();
        queue.entered = queue.entered.saturating_add(1);
        let id = queue.entered;
        queue.waiting.push_back((id, client));
        self.tell_first(&queue);
        drop(queue);
        Turn { turns: self.clone(), id, first: self.first.subscribe() }
    }

    /// Returns the numbers of the clients: of the one that has it, and of those that wait, in their order.
    pub(crate) fn clients(&self) -> Vec<u64> {
        self.queue().waiting.iter().map(|(_, client)| *client).collect()
    }

    fn tell_first(&self, queue: &Queue) {
        let first = queue.waiting.front().map(|(id, _)| *id);
        self.first.send_if_modified(|known| std::mem::replace(known, first) != first);
    }

    /// Locks the queue. A thread that panicked left it whole, because each change is one insert or remove.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Returns whether it is this client's turn.
    pub(crate) fn has_come(&self) -> bool {
        *self.first.borrow() == Some(self.id)
    }

    /// Waits until somebody else has the turn than at the last call. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        if self.first.changed().await.is_err() {
            std::future::pending::<()>().await; // it lives as long as the turns
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = self.turns.queue();
        queue.waiting.retain(|(id, _)| *id != self.id);
        self.turns.tell_first(&queue);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_first_has_it_and_the_next_when_it_leaves() {
        let turns = Arc::new(Turns::default());
        let [one, two, mut three] = [11, 12, 13].map(|client| turns.enter(client));
        assert_eq!([&one, &two, &three].map(Turn::has_come), [true, false, false]);
        assert_eq!(turns.clients(), [11, 12, 13]);
        drop(two);
        assert!(three.changed().now_or_never().is_none() && !three.has_come());
        drop(one);
        assert!(three.changed().now_or_never().is_some() && three.has_come());
        drop(three);
        assert!(turns.clients().is_empty());
    }
}
