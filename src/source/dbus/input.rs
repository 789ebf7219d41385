use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use zbus::zvariant::Structure;

use super::connect::Qemu;
use super::consoles;
use crate::display1::{CONSOLE, KEYBOARD, MOUSE, console_path};
use crate::frame::{ConsoleId, GuestCommand, Size, Window};
use crate::hub::{Guest, Hub};
use crate::source::SourceError;
use crate::source::moves::{coalesce, is_move};

/// The most commands taken at once: as many as a fast mouse makes while QEMU is busy for a tenth of a second.
const BATCH: usize = 128;
/// Least time for a move of the pointer that nothing came after: a common USB mouse's, as QEMU's own. A guest
/// that does not run for a moment loses what its device's queue cannot hold: what follows 21 moves, with QEMU's virtio
/// tablet and mouse, also if that is a button. So it may halt for 160 ms, in the place of 21 with a mouse of 1000 Hz.
/// All consoles can have the same device.
const MOVE_EVERY: Duration = Duration::from_millis(8);

/// Brings commands to QEMU, in order. While QEMU is slow they wait in `commands`, which is bounded.
pub(super) async fn forward(
    qemu: &Qemu,
    hub: &Hub,
    commands: &mut mpsc::Receiver<GuestCommand>,
) -> std::convert::Infallible {
    let guest = hub.guest();
    let size = |console| hub.console(console).and_then(|console| console.size());
    let (mut batch, mut calls) = (Vec::new(), Vec::new());
    let mut move_due = Instant::now();
    while gather(commands, &mut batch, tell(qemu, &calls), move_due).await {
        if let Some(pause) = pause_after(&batch) {
            move_due = Instant::now() + pause;
        }
        calls.clear();
        calls.extend(batch.drain(..).filter_map(|command| call(command, &guest.borrow(), size)));
    }
    std::future::pending().await
}

/// Makes calls in their order, and waits until QEMU has carried out the last.
///
/// A QEMU that is busy reads calls without limit, 2 KB of its memory for each, and a bus takes them without limit for
/// one that does not read: so no more than these are ever under way.
async fn tell(qemu: &Qemu, calls: &[InputCall]) {
    let Some((last, before)) = calls.split_last() else { return };
    for call in before {
        let InputCall { console, interface, method, arguments } = call;
        if qemu.tell(&console_path(*console), interface, method, &arguments.body()).await.is_err() {
            return; // QEMU is going; whoever watches for that ends this
        }
    }
    let InputCall { console, interface, method, arguments } = last;
    let path = console_path(*console);
    let mut answer = qemu.call(&path, interface, method, &arguments.body()).await;
    // Whatever else the answer is, QEMU was there.
    while matches!(answer, Err(SourceError::Deadline { .. })) {
        answer = consoles::ask(qemu, *console).await;
    }
}

/// Takes the commands that wait, at least one, once what was `told` before has been. Moves alone wait until `move_due`
/// for the next ones to join them, or for what has to come after them. False when no more will come.
async fn gather(
    commands: &mut mpsc::Receiver<GuestCommand>,
    batch: &mut Vec<GuestCommand>,
    told: impl Future<Output = ()>,
    move_due: Instant,
) -> bool {
    tokio::pin!(told);
    let (mut telling, mut more) = (true, true);
    while telling || more || !batch.is_empty() {
        let wanting = more && batch.iter().all(is_move);
        let room = BATCH.saturating_sub(batch.len());
        tokio::select! {
            biased;
            () = &mut told, if telling => telling = false,
            () = sleep_until(move_due), if !telling && wanting && !batch.is_empty() => return true,
            () = std::future::ready(()), if !telling && !wanting => return true,
            taken = commands.recv_many(batch, room), if more && room > 0 => {
                more = taken > 0;
                coalesce(batch);
            }
        }
    }
    false
}

/// Returns the time until the next move after these commands: [`MOVE_EVERY`] for each move at their end.
fn pause_after(batch: &[GuestCommand]) -> Option<Duration> {
    batch.iter().any(is_move).then(|| {
        let moves = batch.iter().rev().take_while(|command| is_move(command));
        moves.skip(1).fold(MOVE_EVERY, |pause, _| pause + MOVE_EVERY)
    })
}

/// A call of a console, its keyboard or its mouse.
#[derive(Debug, Eq, PartialEq)]
struct InputCall {
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
    Window(Window),
}

impl Arguments {
    fn body(&self) -> Structure<'static> {
        match *self {
            Self::Number(n) => (n,).into(),
            Self::Place(x, y) => (x, y).into(),
            Self::Way(dx, dy) => (dx, dy).into(),
            Self::Window(Window { size: Size { width, height }, width_mm, height_mm, x, y }) => {
                (width_mm, height_mm, x, y, width, height).into()
            }
        }
    }
}

/// Returns the call that carries out `command`. `None` if QEMU would refuse it: if the console is not there, the guest
/// uses another pointing device, or the place is not on screen.
fn call(command: GuestCommand, guest: &Guest, size: impl Fn(ConsoleId) -> Option<Size>) -> Option<InputCall> {
    let absolute = |console: &ConsoleId| guest.consoles.get(console).map(|info| info.absolute);
    Some(match command {
        GuestCommand::Key { qnum, down } => {
            // Every console has the VM's one keyboard.
            let (&console, _) = guest.consoles.first_key_value()?;
            InputCall {
                console,
                interface: KEYBOARD,
                method: press(down),
                arguments: Arguments::Number(qnum),
            }
        }
        GuestCommand::Button { console, button, down } => {
            absolute(&console)?;
            let arguments = Arguments::Number(button.qemu_number());
            InputCall { console, interface: MOUSE, method: press(down), arguments }
        }
        GuestCommand::Position { console, x, y } => {
            absolute(&console).filter(|&absolute| absolute)?;
            let size = size(console)?;
            let place =
                Arguments::Place(x.min(size.width.checked_sub(1)?), y.min(size.height.checked_sub(1)?));
            InputCall { console, interface: MOUSE, method: "SetAbsPosition", arguments: place }
        }
        GuestCommand::Motion { console, dx, dy } => {
            absolute(&console).filter(|&absolute| !absolute)?;
            InputCall { console, interface: MOUSE, method: "RelMotion", arguments: Arguments::Way(dx, dy) }
        }
        GuestCommand::Window { console, window } => {
            absolute(&console)?;
            let arguments = Arguments::Window(window);
            InputCall { console, interface: CONSOLE, method: "SetUIInfo", arguments }
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
    const TWO: ConsoleId = ConsoleId(2);

    fn at(console: ConsoleId, x: u32) -> GuestCommand {
        GuestCommand::Position { console, x, y: 0 }
    }

    #[test]
    fn moves_by_turns_on_several_consoles_become_one_for_each() {
        let motion = |console, dx| GuestCommand::Motion { console, dx, dy: 0 };
        let mut batch: Vec<_> = (0..40).flat_map(|x| [at(ZERO, x), motion(ONE, 1), at(TWO, x)]).collect();
        batch.push(at(ZERO, 40));
        coalesce(&mut batch);
        assert_eq!(batch, [motion(ONE, 40), at(TWO, 39), at(ZERO, 40)], "the last comes last");
        assert_eq!(pause_after(&batch), Some(3 * MOVE_EVERY));

        let key = GuestCommand::Key { qnum: 30, down: true };
        batch.extend([key, at(ONE, 1), at(ZERO, 1), at(ONE, 2)]);
        coalesce(&mut batch);
        let after = [key, at(ZERO, 1), at(ONE, 2)];
        assert_eq!(batch, [&[motion(ONE, 40), at(TWO, 39), at(ZERO, 40)][..], &after].concat());
        assert_eq!(pause_after(&batch), Some(2 * MOVE_EVERY));
        assert_eq!((pause_after(&[at(ONE, 1), key]), pause_after(&[key])), (Some(MOVE_EVERY), None));
    }

    #[tokio::test]
    async fn a_move_waits_its_time_for_the_next_one_and_nothing_waits_for_it() {
        let (give, mut commands) = mpsc::channel(BATCH);
        let button = GuestCommand::Button { console: ZERO, button: PointerButton::Left, down: true };
        let (now, never) = (Instant::now(), Instant::now() + Duration::from_secs(3600));
        let mut batch = Vec::new();
        give.send(at(ZERO, 1)).await.unwrap();
        assert!(gather(&mut commands, &mut batch, async {}, now).await);
        assert_eq!(std::mem::take(&mut batch), [at(ZERO, 1)], "it is time for it");

        for command in [at(ZERO, 2), at(ONE, 5), at(ZERO, 3), at(ONE, 6), at(ZERO, 4)] {
            give.send(command).await.unwrap();
            let gathering = gather(&mut commands, &mut batch, async {}, never);
            assert!(tokio::time::timeout(Duration::from_millis(20), gathering).await.is_err(), "too soon");
        }
        give.send(button).await.unwrap();
        assert!(gather(&mut commands, &mut batch, async {}, never).await);
        assert_eq!(std::mem::take(&mut batch), [at(ONE, 6), at(ZERO, 4), button]);

        give.send(at(ZERO, 4)).await.unwrap();
        drop(give);
        assert!(gather(&mut commands, &mut batch, async {}, never).await);
        assert_eq!(std::mem::take(&mut batch), [at(ZERO, 4)], "nothing will come after it");
        assert!(!gather(&mut commands, &mut batch, async {}, now).await);
    }

    #[tokio::test]
    async fn what_comes_before_qemu_has_done_the_last_waits_and_moves_join() {
        let (give, mut commands) = mpsc::channel(4 * BATCH);
        let (done, told) = tokio::sync::oneshot::channel::<()>();
        let told = async { told.await.unwrap() };
        let keys = (0..100).map(|qnum| GuestCommand::Key { qnum, down: true });
        let moves = (0..200).map(|x| at(ZERO, x));
        let all: Vec<_> = keys.clone().chain(moves).chain(keys.clone()).collect();
        for command in &all {
            give.try_send(*command).unwrap();
        }
        let mut batch = Vec::new();
        {
            let gathering = gather(&mut commands, &mut batch, told, Instant::now());
            tokio::pin!(gathering);
            let early = tokio::time::timeout(Duration::from_millis(20), &mut gathering).await;
            assert!(early.is_err(), "QEMU was told of more");
            done.send(()).unwrap();
            assert!(gathering.await);
        }
        let joined: Vec<_> = keys.clone().chain([at(ZERO, 199)]).chain(keys).collect();
        assert_eq!(batch, joined[..BATCH]);
        assert!(gather(&mut commands, &mut batch, async {}, Instant::now()).await);
        assert!(batch.len() == BATCH, "full");
        batch.clear();
        assert!(gather(&mut commands, &mut batch, async {}, Instant::now()).await);
        assert_eq!(batch, joined[BATCH..]);
    }

    #[test]
    fn a_device_gets_only_what_it_takes() {
        let mut guest = Guest::default();
        let size = |_| Some(Size::new(640, 480));
        let key = GuestCommand::Key { qnum: 0xb7, down: false };
        assert_eq!(call(key, &guest, size), None, "no console, no keyboard");
        guest.consoles.insert(ONE, ConsoleInfo { absolute: true, ..Default::default() });
        let release = InputCall {
            console: ONE,
            interface: KEYBOARD,
            method: "Release",
            arguments: Arguments::Number(0xb7),
        };
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
