use zbus::message::Message;

/// The serial numbers of the messages on one connection: QEMU discarded each message whose number is missing.
///
/// What replaces a picture discards what was to be drawn before it, but not the pointer's messages in between: on the
/// wire the gap may be before one of those.
#[derive(Debug, Default)]
pub(in crate::source::dbus) struct Serials {
    last: Option<u32>,
    /// Whether this connection's messages have numbers of their own, from 1, as GDBus gives them. If not, a gap says
    /// nothing.
    ours_alone: bool,
    /// The number of missing messages since a picture was replaced.
    missing: u32,
}

impl Serials {
    /// Returns the number of messages that QEMU discarded since a picture was last replaced, if `message` replaces one
    /// and came right after such a gap; 0 otherwise.
    pub(in crate::source::dbus) fn missing_before(&mut self, message: &Message) -> u32 {
        let header = message.header();
        let member = header.member().map_or("", |member| member.as_str());
        let replaces = member == "Disable" || member.starts_with("Scanout");
        self.see(message.primary_header().serial_num().get(), replaces)
    }

    fn see(&mut self, serial: u32, replaces: bool) -> u32 {
        let Some(last) = self.last.replace(serial) else {
            self.ours_alone = serial == 1;
            return 0;
        };
        let gap = serial.wrapping_sub(last).wrapping_sub(1);
        self.missing = self.missing.saturating_add(gap);
        if !replaces {
            return 0;
        }
        let missing = std::mem::take(&mut self.missing);
        if gap > 0 && self.ours_alone { missing } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is missing before each of these messages, given by their numbers and whether they replace a picture.
    fn missing<const N: usize>(messages: [(u32, bool); N]) -> [u32; N] {
        let mut serials = Serials::default();
        messages.map(|(serial, replaces)| serials.see(serial, replaces))
    }

    #[test]
    fn what_qemu_discards_is_missed() {
        let seen = [(1, false), (2, true), (4, true), (5, false), (8, true), (9, true)];
        assert_eq!(missing(seen), [0, 0, 1, 0, 2, 0]);
    }

    #[test]
    fn what_is_discarded_around_a_pointer_that_moves_is_missed_too() {
        // A new connection: both first scanouts are discarded, the pointer's place is not.
        let seen = [(1, false), (2, false), (5, false), (6, true), (7, true), (8, false), (10, true)];
        assert_eq!(missing(seen), [0, 0, 0, 0, 0, 0, 1]);
        // The flip after it as well.
        let seen = [(1, false), (2, false), (5, false), (7, true), (8, false), (10, true)];
        assert_eq!(missing(seen), [0, 0, 0, 3, 0, 1]);
    }

    #[test]
    fn a_program_that_counts_for_all_its_connections_loses_nothing() {
        assert_eq!(missing([(7, false), (9, false), (12, true), (13, false), (20, true)]), [0; 5]);
    }
}
