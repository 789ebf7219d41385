//! Ticket keys in reserve.

use std::collections::VecDeque;

use super::TicketKey;

/// Keys made ahead of time, so that a client neither waits for one nor makes us work for it.
///
/// The owner makes keys in the background while [`wants_more`](Self::wants_more) says so. When the stock is empty, new
/// clients wait: whoever connects in a storm slows the others down no further than the maker's pace.
#[derive(Debug)]
pub struct KeyStock {
    keys: VecDeque<TicketKey>,
    capacity: usize,
}

impl KeyStock {
    /// An empty stock for at most `capacity` keys.
    pub fn new(capacity: usize) -> Self {
        Self { keys: VecDeque::new(), capacity }
    }

    /// A key that has opened no ticket.
    pub fn take(&mut self) -> Option<TicketKey> {
        self.keys.pop_front()
    }

    /// Whether there is room for another key.
    pub fn wants_more(&self) -> bool {
        self.keys.len() < self.capacity
    }

    /// Adds a key; one over the capacity is dropped.
    pub fn put(&mut self, key: TicketKey) {
        if self.wants_more() {
            self.keys.push_back(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::shared_key;
    use super::*;

    #[test]
    fn the_stock_fills_up_and_runs_out() {
        let mut stock = KeyStock::new(2);
        assert!(stock.take().is_none());
        for _ in 0..3 {
            stock.put(shared_key());
        }
        assert!(!stock.wants_more());
        assert!(stock.take().is_some() && stock.wants_more());
        assert!(stock.take().is_some());
        assert!(stock.take().is_none());
    }
}
