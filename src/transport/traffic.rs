use std::sync::atomic::{AtomicU64, Ordering};

/// How many bytes went over the connections of clients, without what TLS and WebSockets add.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Traffic {
    /// Returns the bytes sent and received so far.
    #[must_use]
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }

    pub(super) fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes.try_into().unwrap_or(0), Ordering::Relaxed);
    }

    pub(super) fn count_received(&self, bytes: usize) {
        self.received.fetch_add(bytes.try_into().unwrap_or(0), Ordering::Relaxed);
    }
}
