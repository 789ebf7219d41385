//! Waiting in a worker thread that others can interrupt.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

/// One worker's turn. It may wait in it, and whoever needs the worker to be done can end the wait.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Held by the worker while it works.
    busy: Mutex<()>,
    ending: AtomicBool,
    waiting: Mutex<Option<Thread>>,
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Turn {
    /// Begins to work. The turn ends when the guard is dropped.
    pub(super) fn begin(&self) -> MutexGuard<'_, ()> {
        lock(&self.busy)
    }

    /// Returns whether somebody waits for the worker to be done.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    /// Waits for `future`; gives up at `deadline`, and as soon as somebody wants the worker to be done.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>, deadline: Instant) -> Option<T> {
        let mut future = pin!(future);
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        *lock(&self.waiting) = Some(std::thread::current());
        let done = loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                break Some(value);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if self.is_ending() || left.is_zero() {
                break None;
            }
            std::thread::park_timeout(left);
        };
        *lock(&self.waiting) = None;
        done
    }

    /// Ends a wait, and waits until the worker has ended its turn.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
        if let Some(thread) = lock(&self.waiting).as_ref() {
            thread.unpark();
        }
        drop(lock(&self.busy));
        self.ending.store(false, Ordering::SeqCst);
    }
}

/// Locks `mutex` even if a thread panicked under it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_wait_ends_with_what_it_waits_for_or_at_its_deadline() {
        let turn = Turn::default();
        let (sender, receiver) = async_channel::bounded(1);
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(turn.wait(receiver.recv(), soon).is_none() && Instant::now() >= soon);
        let later = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            sender.send_blocking(7)
        });
        let never = Instant::now() + Duration::from_secs(60);
        assert_eq!(turn.wait(receiver.recv(), never), Some(Ok(7)));
        later.join().unwrap().unwrap();
    }

    #[test]
    fn whoever_needs_the_worker_ends_its_wait() {
        let turn = Arc::new(Turn::default());
        let worker = turn.clone();
        let (began, begins) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let _turn = worker.begin();
            began.send(()).unwrap();
            worker.wait(std::future::pending::<()>(), Instant::now() + Duration::from_secs(60))
        });
        begins.recv().unwrap();
        turn.end();
        assert!(thread.join().unwrap().is_none() && !turn.is_ending());
    }
}
