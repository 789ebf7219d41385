use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::connect::Qemu;
use super::consoles;
use crate::frame::{ConsoleId, GuestCommand, Size};
use crate::hub::{Guest, Hub};

/// The most commands taken at once: as many as a fast mouse makes while QEMU is busy for a tenth of a second.
const BATCH: usize = 128;
/// Least time between two moves of the pointer that nothing came between: a common USB mouse's, as QEMU's own. A guest
/// that does not run for a moment loses what its device's queue cannot hold: what follows 21 moves, with QEMU's virtio
/// tablet and mouse, also if that is a button. So it may halt for 160 ms, in the place of 21 with a mouse of 1000 Hz.
const MOVE_EVERY: Duration = Duration::from_millis(8);

const KEYBOARD: &str = "org.qemu.Display1.Keyboard";
const MOUSE: &str = "org.qemu.Display1.Mouse";

/// Brings commands to QEMU, in order. While QEMU is slow they wait in `commands`, which is bounded.
pub(super) async fn forward(
    qemu: &Qemu,
    hub: &Hub,
    commands: &mut mpsc::Receiver<GuestCommand>,
) -> std::convert::Infallible {
    let guest = hub.guest();
    let mut batch = Vec::new();
    let mut move_due = Instant::now();
    while gather(commands, &mut batch, move_due).await {
        for command in batch.drain(..) {
            if is_move(&command) {
                move_due = Instant::now() + MOVE_EVERY;
            }
            let size = |console| hub.console(console).and_then(|console| console.size());
            let Some(call) = call(command, &guest.borrow(), size) else { continue };
            let path = consoles::path(call.console);
            let told = match call.arguments {
                Arguments::Number(n) => qemu.tell(&path, call.interface, call.method, &n).await,
                Arguments::Place(x, y) => qemu.tell(&path, call.interface, call.method, &(x, y)).await,
                Arguments::Way(dx, dy) => qemu.tell(&path, call.interface, call.method, &(dx, dy)).await,
            };
            if told.is_err() {
                break; // QEMU is going; whoever watches for that ends this
            }
        }
        batch.clear();
    }
    std::future::pending().await
}

/// Takes the commands that wait, at least one. A move alone waits until `move_due` for the next one to join it, or for
/// what has to come after it. False when no more will come.
async fn gather(
    commands: &mut mpsc::Receiver<GuestCommand>,
    batch: &mut Vec<GuestCommand>,
    move_due: Instant,
) -> bool {
    let mut more = commands.recv_many(batch, BATCH).await > 0;
    coalesce(batch);
    while more && matches!(&batch[..], [alone] if is_move(alone)) {
        match timeout_at(move_due, commands.recv_many(batch, BATCH)).await {
            Ok(taken) => more = taken > 0,
            Err(_) => break,
        }
        coalesce(batch);
    }
    !batch.is_empty()
}

fn is_move(command: &GuestCommand) -> bool {
    matches!(command, GuestCommand::Position { .. } | GuestCommand::Motion { .. })
}

/// Moves that follow each other become one: of places only the last matters, ways add up.
fn coalesce(batch: &mut Vec<GuestCommand>) {
    use GuestCommand::{Motion, Position};
    batch.dedup_by(|next, kept| match (*next, *kept) {
        (Position { console: a, .. }, Position { console: b, .. }) if a == b => {
            *kept = *next;
            true
        }
        (Motion { console: a, dx, dy }, Motion { console: b, dx: x, dy: y }) if a == b => {
            *kept = Motion { console: a, dx: x.saturating_add(dx), dy: y.saturating_add(dy) };
            true
        }
        _ => false,
    });
}

/// A call of a console's keyboard or mouse.
#[derive(Debug, Eq, PartialEq)]
struct Call {
    console: ConsoleId,
    interface: &'static str,
    method: &'static str,
    arguments: Arguments,
}

#[derive(Debug, Eq, PartialEq)]
enum Arguments {
    Number(u32),
    Place(u32, u32),
    Way(i32, i32),
}

/// What a command is to QEMU. Nothing, if it is for a console that is not there, a pointing device that the guest does
/// not use now, or a place that is not on screen: QEMU would refuse it.
fn call(command: GuestCommand, guest: &Guest, size: impl Fn(ConsoleId) -> Option<Size>) -> Option<Call> {
    let absolute = |console: &ConsoleId| guest.consoles.get(console).map(|info| info.absolute);
    Some(match command {
        GuestCommand::Key { qnum, down } => {
            // Every console has the VM's one keyboard.
            let (&console, _) = guest.consoles.first_key_value()?;
            Call { console, interface: KEYBOARD, method: press(down), arguments: Arguments::Number(qnum) }
        }
        GuestCommand::Button { console, button, down } => {
            absolute(&console)?;
            let arguments = Arguments::Number(button.qemu_number());
            Call { console, interface: MOUSE, method: press(down), arguments }
        }
        GuestCommand::Position { console, x, y } => {
            absolute(&console).filter(|&absolute| absolute)?;
            let size = size(console)?;
            let place =
                Arguments::Place(x.min(size.width.checked_sub(1)?), y.min(size.height.checked_sub(1)?));
            Call { console, interface: MOUSE, method: "SetAbsPosition", arguments: place }
        }
        GuestCommand::Motion { console, dx, dy } => {
            absolute(&console).filter(|&absolute| !absolute)?;
            Call { console, interface: MOUSE, method: "RelMotion", arguments: Arguments::Way(dx, dy) }
        }
    })
}

fn press(down: bool) -> &'static str {
    if down { "Press" } else { "Release" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PointerButton;
    use crate::hub::ConsoleInfo;

    const ZERO: ConsoleId = ConsoleId(0);
    const ONE: ConsoleId = ConsoleId(1);

    fn at(console: ConsoleId, x: u32) -> GuestCommand {
        GuestCommand::Position { console, x, y: 0 }
    }

    #[test]
    fn moves_that_follow_each_other_become_one() {
        let key = GuestCommand::Key { qnum: 30, down: true };
        let button = GuestCommand::Button { console: ZERO, button: PointerButton::Left, down: true };
        let mut batch =
            vec![at(ZERO, 1), at(ZERO, 2), button, at(ZERO, 3), key, at(ZERO, 4), at(ZERO, 5), at(ONE, 6)];
        coalesce(&mut batch);
        assert_eq!(batch, [at(ZERO, 2), button, at(ZERO, 3), key, at(ZERO, 5), at(ONE, 6)]);
        let motion = |dx, dy| GuestCommand::Motion { console: ZERO, dx, dy };
        let mut batch = vec![motion(1, -5), motion(2, 3), button, motion(7, i32::MIN), motion(7, -1)];
        coalesce(&mut batch);
        assert_eq!(batch, [motion(3, -2), button, motion(14, i32::MIN)]);
    }

    #[tokio::test]
    async fn a_move_waits_its_time_for_the_next_one_and_nothing_waits_for_it() {
        let (give, mut commands) = mpsc::channel(BATCH);
        let button = GuestCommand::Button { console: ZERO, button: PointerButton::Left, down: true };
        let (now, never) = (Instant::now(), Instant::now() + Duration::from_secs(3600));
        let mut batch = Vec::new();
        give.send(at(ZERO, 1)).await.unwrap();
        assert!(gather(&mut commands, &mut batch, now).await);
        assert_eq!(std::mem::take(&mut batch), [at(ZERO, 1)], "it is time for it");

        for command in [at(ZERO, 2), at(ZERO, 3)] {
            give.send(command).await.unwrap();
            let gathering = gather(&mut commands, &mut batch, never);
            assert!(tokio::time::timeout(Duration::from_millis(20), gathering).await.is_err(), "too soon");
        }
        give.send(button).await.unwrap();
        assert!(gather(&mut commands, &mut batch, never).await);
        assert_eq!(std::mem::take(&mut batch), [at(ZERO, 3), button]);

        give.send(at(ZERO, 4)).await.unwrap();
        drop(give);
        assert!(gather(&mut commands, &mut batch, never).await);
        assert_eq!(std::mem::take(&mut batch), [at(ZERO, 4)], "nothing will come after it");
        assert!(!gather(&mut commands, &mut batch, now).await);
    }

    #[test]
    fn a_device_gets_only_what_it_takes() {
        let mut guest = Guest::default();
        let size = |_| Some(Size::new(640, 480));
        let key = GuestCommand::Key { qnum: 0xb7, down: false };
        assert_eq!(call(key, &guest, size), None, "no console, no keyboard");
        guest.consoles.insert(ONE, ConsoleInfo { absolute: true, ..Default::default() });
        let release =
            Call { console: ONE, interface: KEYBOARD, method: "Release", arguments: Arguments::Number(0xb7) };
        assert_eq!(call(key, &guest, size), Some(release));
        let place = |x| call(at(ONE, x), &guest, size).map(|call| call.arguments);
        assert_eq!(
            (place(639), place(9999)),
            (Some(Arguments::Place(639, 0)), Some(Arguments::Place(639, 0)))
        );
        let motion = GuestCommand::Motion { console: ONE, dx: -3, dy: 4 };
        assert_eq!(call(motion, &guest, size), None);
        assert_eq!(call(at(ONE, 1), &guest, |_| None), None, "nothing on screen");
        assert_eq!(call(at(ZERO, 1), &guest, size), None, "no such console");
        guest.consoles.insert(ONE, ConsoleInfo::default());
        assert_eq!(call(at(ONE, 1), &guest, size), None);
        assert_eq!(call(motion, &guest, size).map(|call| call.arguments), Some(Arguments::Way(-3, 4)));
    }
}
