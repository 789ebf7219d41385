//! The programs that have listeners, and the keys and buttons that each holds down.

use std::collections::{BTreeMap, BTreeSet};

use crate::frame::{ConsoleId, GuestCommand, PointerButton};

/// The most listeners at a time.
const MAX_LISTENERS: usize = 64;

/// The most listeners of one peer: one for each console a VM can have.
const MAX_LISTENERS_EACH: usize = 16;

/// The programs that have listeners, by their names on the bus.
///
/// INVARIANT: a peer is known as long as it has a listener. What a peer without one holds down is its own business,
/// as it is with QEMU.
#[derive(Debug, Default)]
pub(super) struct Peers {
    known: BTreeMap<String, PeerState>,
    listeners: usize,
}

#[derive(Debug, Default)]
struct PeerState {
    listeners: usize,
    keys: BTreeSet<u32>,
    buttons: BTreeSet<(ConsoleId, u32)>,
}

impl Peers {
    /// Adds a listener of peer `name`. Returns false if there are too many.
    pub(super) fn enter(&mut self, name: &str) -> bool {
        let its = self.known.get(name).map_or(0, |peer| peer.listeners);
        if self.listeners >= MAX_LISTENERS || its >= MAX_LISTENERS_EACH {
            return false;
        }
        self.listeners += 1;
        self.known.entry(name.to_owned()).or_default().listeners += 1;
        true
    }

    /// Removes a listener of peer `name`. After its last one, returns the commands that release what it holds down.
    pub(super) fn leave(&mut self, name: &str) -> Vec<GuestCommand> {
        let Some(peer) = self.known.get_mut(name) else { return Vec::new() };
        self.listeners = self.listeners.saturating_sub(1);
        peer.listeners = peer.listeners.saturating_sub(1);
        if peer.listeners > 0 {
            return Vec::new();
        }
        let peer = self.known.remove(name).unwrap_or_default();
        let keys = peer.keys.into_iter().map(|qnum| GuestCommand::Key { qnum, down: false });
        let buttons = peer.buttons.into_iter().filter_map(|(console, number)| {
            let button = PointerButton::from_qemu_number(number)?;
            Some(GuestCommand::Button { console, button, down: false })
        });
        keys.chain(buttons).collect()
    }

    /// Records that peer `name` sent `command` to the guest.
    pub(super) fn sent(&mut self, name: &str, command: GuestCommand) {
        let Some(peer) = self.known.get_mut(name) else { return };
        match command {
            GuestCommand::Key { qnum, down: true } => _ = peer.keys.insert(qnum),
            GuestCommand::Key { qnum, down: false } => _ = peer.keys.remove(&qnum),
            GuestCommand::Button { console, button, down: true } => {
                peer.buttons.insert((console, button.qemu_number()));
            }
            GuestCommand::Button { console, button, down: false } => {
                peer.buttons.remove(&(console, button.qemu_number()));
            }
            GuestCommand::Position { .. } | GuestCommand::Motion { .. } | GuestCommand::Window { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_held_comes_up_with_its_last_listener() {
        let mut peers = Peers::default();
        let key = |qnum, down| GuestCommand::Key { qnum, down };
        let button =
            |down| GuestCommand::Button { console: ConsoleId(1), button: PointerButton::Right, down };
        peers.sent(":1.1", key(9, true)); // not known yet
        assert!(peers.enter(":1.1") && peers.enter(":1.1") && peers.enter(":1.2"));
        for command in [key(30, true), key(31, true), key(30, false), button(true)] {
            peers.sent(":1.1", command);
        }
        peers.sent(":1.2", key(31, true));
        assert_eq!(peers.leave(":1.1"), []);
        assert_eq!(peers.leave(":1.1"), [key(31, false), button(false)]);
        assert_eq!(peers.leave(":1.1"), [], "left already");
        assert_eq!(peers.leave(":1.2"), [key(31, false)]);
        assert!(peers.known.is_empty() && peers.listeners == 0);
    }

    #[test]
    fn no_peer_can_have_all_places() {
        let mut peers = Peers::default();
        assert_eq!((0..100).filter(|_| peers.enter(":1.1")).count(), MAX_LISTENERS_EACH);
        assert!(peers.enter(":1.2"));
        let others = (0..100).filter(|n| peers.enter(&format!(":2.{n}"))).count();
        assert_eq!(others, MAX_LISTENERS - MAX_LISTENERS_EACH - 1);
        peers.leave(":1.1");
        assert!(peers.enter(":3.1"));
    }
}
