//! Viewers' commands as events of a Linux input device.

use super::{PointingDevice, keys};
use crate::frame::{GuestCommand, PointerButton, Size};

/// The largest place on an axis: the right or lower edge of the screen.
pub(super) const MAX_PLACE: u32 = 0x7fff;

/// Event types and codes of `linux/input-event-codes.h`.
pub(super) const EV_KEY: u16 = 1;
pub(super) const EV_REL: u16 = 2;
pub(super) const EV_ABS: u16 = 3;
pub(super) const EV_LED: u16 = 0x11;
pub(super) const EV_REP: u16 = 0x14;
pub(super) const REL_X: u16 = 0;
pub(super) const REL_Y: u16 = 1;
pub(super) const REL_WHEEL: u16 = 8;
pub(super) const ABS_X: u16 = 0;
pub(super) const ABS_Y: u16 = 1;

/// The buttons of the pointer: left, right, middle, side, extra.
pub(super) const BUTTONS: [u16; 5] = [0x110, 0x111, 0x112, 0x113, 0x114];

/// One event: type, code, value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Event {
    pub(super) kind: u16,
    pub(super) code: u16,
    pub(super) value: u32,
}

/// The event that ends a group.
const SYN: Event = Event { kind: 0, code: 0, value: 0 };

impl Event {
    /// Encodes the event for the guest.
    pub(super) fn encode(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        let fields = self.kind.to_le_bytes().into_iter().chain(self.code.to_le_bytes());
        for (to, from) in bytes.iter_mut().zip(fields.chain(self.value.to_le_bytes())) {
            *to = from;
        }
        bytes
    }

    /// Reads an event that the guest sent.
    pub(super) fn decode(bytes: [u8; 8]) -> Self {
        let [a, b, c, d, value @ ..] = bytes;
        let (kind, code) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        Self { kind, code, value: u32::from_le_bytes(value) }
    }
}

/// Returns the group of events that `command` is; none for what this device cannot do, whose pointer is a `pointer`.
/// `size` is that of the picture in which a place is given.
pub(super) fn events(command: GuestCommand, pointer: PointingDevice, size: Option<Size>) -> Vec<Event> {
    let mut group = match command {
        GuestCommand::Key { qnum, down } => {
            let key = |code| Event { kind: EV_KEY, code, value: down.into() };
            keys::linux_code(qnum).map(key).into_iter().collect()
        }
        GuestCommand::Button { button, down, .. } => button_event(button, down).into_iter().collect(),
        GuestCommand::Position { x, y, .. } if pointer == PointingDevice::Tablet => {
            size.map_or_else(Vec::new, |size| {
                let axis = |code, at, side| Event { kind: EV_ABS, code, value: place(at, side) };
                vec![axis(ABS_X, x, size.width), axis(ABS_Y, y, size.height)]
            })
        }
        GuestCommand::Motion { dx, dy, .. } if pointer == PointingDevice::Mouse => {
            let ways = [(REL_X, dx), (REL_Y, dy)].into_iter().filter(|(_, way)| *way != 0);
            ways.map(|(code, way)| Event { kind: EV_REL, code, value: way.cast_unsigned() }).collect()
        }
        GuestCommand::Position { .. } | GuestCommand::Motion { .. } | GuestCommand::Window { .. } => {
            Vec::new()
        }
    };
    if !group.is_empty() {
        group.push(SYN);
    }
    group
}

fn button_event(button: PointerButton, down: bool) -> Option<Event> {
    let [left, right, middle, side, extra] = BUTTONS;
    let code = match button {
        PointerButton::Left => left,
        PointerButton::Right => right,
        PointerButton::Middle => middle,
        PointerButton::Side => side,
        PointerButton::Extra => extra,
        // One notch, when it begins.
        PointerButton::WheelUp => {
            return down.then_some(Event { kind: EV_REL, code: REL_WHEEL, value: 1 });
        }
        PointerButton::WheelDown => {
            return down.then_some(Event { kind: EV_REL, code: REL_WHEEL, value: u32::MAX });
        }
    };
    Some(Event { kind: EV_KEY, code, value: down.into() })
}

/// Returns where pixel `at` of a side of `side` pixels is on an axis.
fn place(at: u32, side: u32) -> u32 {
    let at = u64::from(at.min(side.saturating_sub(1)));
    let place = (at * u64::from(MAX_PLACE + 1)).div_ceil(u64::from(side.max(1)));
    u32::try_from(place).unwrap_or(MAX_PLACE).min(MAX_PLACE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::ConsoleId;

    const CONSOLE: ConsoleId = ConsoleId(0);

    fn plain(command: GuestCommand) -> Vec<(u16, u16, i32)> {
        let events = events(command, PointingDevice::Tablet, Some(Size::new(1280, 720)));
        events.into_iter().map(|event| (event.kind, event.code, event.value.cast_signed())).collect()
    }

    #[test]
    fn each_command_is_a_group_of_events() {
        let end = (0, 0, 0);
        assert_eq!(plain(GuestCommand::Key { qnum: 0x9c, down: true }), [(1, 96, 1), end]);
        assert_eq!(plain(GuestCommand::Key { qnum: 0x1e, down: false }), [(1, 30, 0), end]);
        assert_eq!(plain(GuestCommand::Key { qnum: 0xffff, down: true }), []);
        let button = |button, down| plain(GuestCommand::Button { console: CONSOLE, button, down });
        assert_eq!(button(PointerButton::Right, true), [(1, 0x111, 1), end]);
        assert_eq!(button(PointerButton::WheelDown, true), [(2, 8, -1), end]);
        assert_eq!(button(PointerButton::WheelUp, false), []);
        let event = Event { kind: 0x11, code: 1, value: 0x0102_0304 };
        assert_eq!(Event::decode(event.encode()), event);
        assert_eq!(event.encode(), [0x11, 0, 1, 0, 4, 3, 2, 1]);
    }

    #[test]
    fn every_pixel_is_met() {
        for side in [1, 2, 481, 800, 853, 1280, 1920, 3840, 16_384] {
            for at in 0..side {
                let place = place(at, side);
                assert_eq!(place * side / 32_768, at, "{at} of {side}");
                assert!(place <= MAX_PLACE);
            }
            assert_eq!(place(u32::MAX, side), place(side - 1, side), "beyond the edge");
        }
        assert_eq!(place(0, 0), 0);
        let position = GuestCommand::Position { console: CONSOLE, x: 1, y: 1 };
        assert!(events(position, PointingDevice::Tablet, None).is_empty());
    }

    #[test]
    fn a_mouse_moves_by_a_way_and_a_tablet_to_a_place() {
        let position = GuestCommand::Position { console: CONSOLE, x: 1, y: 1 };
        let motion = |dx, dy| GuestCommand::Motion { console: CONSOLE, dx, dy };
        let by = |command| -> Vec<_> {
            let events = events(command, PointingDevice::Mouse, Some(Size::new(1280, 720)));
            events.into_iter().map(|event| (event.kind, event.code, event.value.cast_signed())).collect()
        };
        assert_eq!(by(motion(5, -3)), [(2, 0, 5), (2, 1, -3), (0, 0, 0)]);
        assert_eq!((by(motion(0, 7)), by(motion(0, 0))), (vec![(2, 1, 7), (0, 0, 0)], vec![]));
        assert_eq!((by(position), plain(motion(5, -3))), (vec![], vec![]));
    }
}
