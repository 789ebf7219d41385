//! The guest's pointer, moved by the guest's agent where no tablet does it.

use std::sync::Arc;

use spice_proto::agent::MouseState;
use spice_proto::channels::inputs::{Button, InputEvent};
use tokio::sync::{Notify, mpsc, watch};

/// States of the pointer that may wait for the agent. One that does not read misses the next: each has all there is to
/// know.
const STATES: usize = 128;

/// The way from clients that move the pointer to the agent.
#[derive(Debug)]
pub(in crate::spice::driver) struct AgentMouse {
    takes: watch::Sender<bool>,
    states: mpsc::Sender<MouseState>,
    /// Has the agent's keeper see what is left.
    left: Arc<Notify>,
}

/// A client's pointer, as the agent knows it.
#[derive(Debug, Default)]
pub(in crate::spice::driver) struct AgentPointer(MouseState);

impl AgentMouse {
    /// Makes it, and the end at which the agent is. `left` is told of what a client leaves that ends.
    pub(super) fn new(left: Arc<Notify>) -> (Self, mpsc::Receiver<MouseState>) {
        let (states, taken) = mpsc::channel(STATES);
        (Self { takes: watch::Sender::default(), states, left }, taken)
    }

    /// Watches whether the agent takes the pointer.
    pub(in crate::spice::driver) fn takes(&self) -> watch::Receiver<bool> {
        self.takes.subscribe()
    }

    /// Moves the pointer.
    pub(in crate::spice::driver) fn point(&self, state: MouseState) {
        let _ = self.states.try_send(state);
    }

    /// Moves the pointer on behalf of a client that ends, and may have had the agent.
    pub(in crate::spice::driver) fn leave(&self, state: MouseState) {
        self.point(state);
        self.left.notify_one();
    }

    /// Says whether the agent takes the pointer from now on.
    pub(super) fn set(&self, takes: bool) {
        self.takes.send_if_modified(|known| std::mem::replace(known, takes) != takes);
    }
}

impl AgentPointer {
    /// Takes what the client did; returns the new state if it moved the pointer to a place, or used a button.
    pub(in crate::spice::driver) fn take(&mut self, event: InputEvent) -> Option<MouseState> {
        match event {
            InputEvent::Position { display, x, y } => {
                self.0 = MouseState { x, y, display, buttons: self.0.buttons };
            }
            InputEvent::Button { display, button, down } => {
                let bit = bit(button);
                self.0.display = display;
                self.0.buttons = if down { self.0.buttons | bit } else { self.0.buttons & !bit };
            }
            InputEvent::Key { .. } | InputEvent::Motion { .. } => return None,
        }
        Some(self.0)
    }

    /// Releases all buttons; returns the new state if there were any.
    pub(in crate::spice::driver) fn release(&mut self) -> Option<MouseState> {
        (std::mem::take(&mut self.0.buttons) != 0).then_some(self.0)
    }
}

/// `VD_AGENT_LBUTTON_MASK` and so on.
fn bit(button: Button) -> u32 {
    match button {
        Button::Left => 1 << 1,
        Button::Middle => 1 << 2,
        Button::Right => 1 << 3,
        Button::WheelUp => 1 << 4,
        Button::WheelDown => 1 << 5,
        Button::Side => 1 << 6,
        Button::Extra => 1 << 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_the_place_and_all_buttons() {
        let mut pointer = AgentPointer::default();
        let mut state =
            |event| pointer.take(event).map(|state| (state.x, state.y, state.buttons, state.display));
        let press = |button, down| InputEvent::Button { display: 1, button, down };
        assert_eq!(state(InputEvent::Position { display: 1, x: 5, y: 6 }), Some((5, 6, 0, 1)));
        assert_eq!(state(press(Button::Left, true)), Some((5, 6, 2, 1)));
        assert_eq!(state(press(Button::Right, true)), Some((5, 6, 10, 1)));
        assert_eq!(state(press(Button::Left, false)), Some((5, 6, 8, 1)));
        assert_eq!(state(InputEvent::Motion { display: 1, dx: 1, dy: 1 }), None);
        assert_eq!(pointer.release().map(|state| state.buttons), Some(0));
        assert_eq!(pointer.release(), None);
    }
}
