//! Movements of the pointer, and of a window's edges, that wait: of those that nothing comes between, only the last
//! place counts.

use crate::frame::GuestCommand;

/// Returns whether `command` moves the pointer or a window's edges and nothing else.
pub(super) fn is_move(command: &GuestCommand) -> bool {
    matches!(
        command,
        GuestCommand::Position { .. } | GuestCommand::Motion { .. } | GuestCommand::Window { .. }
    )
}

/// Of moves that nothing comes between, those of one console become one, in the place of the last: of places only the
/// last matters, ways add up.
pub(super) fn coalesce(batch: &mut Vec<GuestCommand>) {
    let mut kept: Vec<GuestCommand> = Vec::with_capacity(batch.len());
    for command in batch.drain(..) {
        let moves = kept.iter().rev().take_while(|command| is_move(command)).count();
        let first = kept.len().saturating_sub(moves);
        let joined = kept.iter().skip(first).position(|earlier| join(*earlier, command).is_some());
        let command = joined.and_then(|at| join(kept.remove(first + at), command)).unwrap_or(command);
        kept.push(command);
    }
    *batch = kept;
}

/// Joins two moves of one console to one.
fn join(earlier: GuestCommand, later: GuestCommand) -> Option<GuestCommand> {
    use GuestCommand::{Motion, Position, Window};
    match (earlier, later) {
        (Position { console: a, .. }, Position { console: b, .. })
        | (Window { console: a, .. }, Window { console: b, .. })
            if a == b =>
        {
            Some(later)
        }
        (Motion { console, dx: x, dy: y }, Motion { console: b, dx, dy }) if console == b => {
            Some(Motion { console, dx: x.saturating_add(dx), dy: y.saturating_add(dy) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{ConsoleId, PointerButton, Size, Window};

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
        let window = |console, width| GuestCommand::Window {
            console,
            window: Window { size: Size::new(width, 600), ..Default::default() },
        };
        let mut batch = vec![window(ZERO, 800), window(ONE, 900), window(ZERO, 801), at(ZERO, 1), key];
        batch.push(window(ZERO, 802));
        coalesce(&mut batch);
        assert_eq!(batch, [window(ONE, 900), window(ZERO, 801), at(ZERO, 1), key, window(ZERO, 802)]);
    }
}
