//! The state machine of an inputs channel.

use std::collections::VecDeque;
use std::time::Instant;

use super::event::{Button, InputEvent};
use super::messages::{FromClient, FromServer, LockKeys};
use super::pressed::Pressed;
use super::scancode::{Key, Scancodes};
use crate::channels::base::Flow;
use crate::channels::{ChannelError, Machine};
use crate::wire::{Frame, HeaderForm};

/// Most bytes of a client's message, as libspice-server.
pub const INPUTS_BODY_MAX: u32 = 2048;
/// Motions for each acknowledgement; clients stop at twice as many: `SPICE_INPUT_MOTION_ACK_BUNCH`.
const MOTION_ACK_BUNCH: u32 = 4;

const CAPS_LOCK: u8 = 0x3a;
const NUM_LOCK: u8 = 0x45;
const SCROLL_LOCK: u8 = 0x46;

/// The server's side of an inputs channel.
///
/// INVARIANT: events that wait come from one message of at most [`INPUTS_BODY_MAX`] bytes.
#[derive(Debug)]
pub struct InputsChannel {
    flow: Flow,
    pub(super) waiting: VecDeque<InputEvent>,
    scancodes: Scancodes,
    held: Pressed,
    /// Motions since the last acknowledgement.
    motions: u32,
    /// The display the pointer was on last.
    display: u8,
    /// The lock lights as the client knows them.
    told: LockKeys,
    /// The lock lights as they will be once the guest has handled every key we passed on.
    expected: LockKeys,
}

impl InputsChannel {
    /// Starts the channel with the guest's lock lights. Until the client points elsewhere, buttons and motion are for
    /// `display`.
    pub fn new(form: HeaderForm, lights: LockKeys, display: u8, now: Instant) -> Self {
        let mut channel = Self {
            flow: Flow::new(form, INPUTS_BODY_MAX, now),
            waiting: VecDeque::new(),
            scancodes: Scancodes::default(),
            held: Pressed::default(),
            motions: 0,
            display,
            told: lights,
            expected: lights,
        };
        channel.flow.queue(FromServer::Init(lights).encode(), now);
        channel
    }

    /// The guest's lock lights are these now; tells the client.
    ///
    /// # Errors
    /// When the client does not read.
    pub fn set_lights(&mut self, lights: LockKeys, now: Instant) -> Result<(), ChannelError> {
        self.expected = lights;
        if lights != self.told {
            self.told = lights;
            self.flow.send(FromServer::KeyModifiers(lights).encode(), now)?;
        }
        Ok(())
    }

    /// Lets go of every key and button the client holds. For the end of the channel, however it came.
    pub fn release_all(&mut self) -> Vec<InputEvent> {
        let (keys, buttons) = self.held.take();
        let display = self.display;
        let keys = keys.into_iter().map(|code| InputEvent::Key { code, down: false });
        let buttons = buttons.into_iter().map(|button| InputEvent::Button { display, button, down: false });
        keys.chain(buttons).collect()
    }

    fn handle(&mut self, message: FromClient, now: Instant) -> Result<(), ChannelError> {
        match message {
            FromClient::KeyDown(codes) | FromClient::KeyUp(codes) => {
                let bytes = codes.to_le_bytes();
                self.scan(bytes.iter().take_while(|byte| **byte != 0), now);
            }
            FromClient::KeyScancode(codes) => self.scan(&codes, now),
            FromClient::KeyModifiers(wanted) => self.bring_locks_to(wanted),
            FromClient::MouseMotion { dx, dy, .. } => {
                self.waiting.push_back(InputEvent::Motion { display: self.display, dx, dy });
                self.count_motion(now)?;
            }
            FromClient::MousePosition { x, y, display_id, .. } => {
                self.display = display_id;
                self.waiting.push_back(InputEvent::Position { display: self.display, x, y });
                self.count_motion(now)?;
            }
            FromClient::MousePress { button, .. } => self.button(button, true),
            FromClient::MouseRelease { button, .. } => self.button(button, false),
            FromClient::Unknown { id } => tracing::debug!(id, "ignored an inputs message"),
        }
        Ok(())
    }

    fn scan<'a>(&mut self, codes: impl IntoIterator<Item = &'a u8>, now: Instant) {
        for code in codes {
            if let Some(key) = self.scancodes.push(*code, now) {
                self.key(key);
            }
        }
    }

    fn key(&mut self, key: Key) {
        let was_down = self.held.key(key);
        if key.down && !was_down {
            self.expect_toggle(key.code);
        }
        self.waiting.push_back(InputEvent::Key { code: key.code, down: key.down });
    }

    /// A lock key toggles its light, but the guest tells us only later. Without this, the lock state a client sends
    /// right after the key would look wrong and the lock would be toggled back.
    fn expect_toggle(&mut self, code: u8) {
        match code {
            CAPS_LOCK => self.expected.caps = !self.expected.caps,
            NUM_LOCK => self.expected.num = !self.expected.num,
            SCROLL_LOCK => self.expected.scroll = !self.expected.scroll,
            _ => {}
        }
    }

    /// Presses the lock keys whose lights differ from what the client wants. A guest that ignores them is not pressed
    /// again: what was pressed counts as done until the guest says otherwise.
    fn bring_locks_to(&mut self, wanted: LockKeys) {
        let is = self.expected;
        for (code, differs) in [
            (SCROLL_LOCK, is.scroll != wanted.scroll),
            (NUM_LOCK, is.num != wanted.num),
            (CAPS_LOCK, is.caps != wanted.caps),
        ] {
            if differs {
                self.key(Key { code, down: true });
                self.key(Key { code, down: false });
            }
        }
    }

    fn button(&mut self, number: u8, down: bool) {
        if let Some(button) = Button::from_code(number) {
            self.held.button(button, down);
            self.waiting.push_back(InputEvent::Button { display: self.display, button, down });
        }
    }

    fn count_motion(&mut self, now: Instant) -> Result<(), ChannelError> {
        self.motions = self.motions.saturating_add(1);
        if self.motions >= MOTION_ACK_BUNCH {
            self.motions = 0;
            self.flow.send(FromServer::MouseMotionAck.encode(), now)?;
        }
        Ok(())
    }
}

impl Machine for InputsChannel {
    type Event = InputEvent;

    fn recv(&mut self, input: &mut &[u8], now: Instant) -> Result<Option<InputEvent>, ChannelError> {
        while self.waiting.is_empty() {
            let Some(message) = self.flow.recv(input, now)? else {
                break;
            };
            self.handle(FromClient::decode(message.id, &message.body)?, now)?;
        }
        Ok(self.waiting.pop_front())
    }

    fn poll_frame(&mut self, _now: Instant) -> Option<Frame> {
        self.flow.poll_frame()
    }

    fn deadline(&self) -> Option<Instant> {
        self.flow.deadline()
    }

    fn handle_timeout(&self, now: Instant) -> Result<(), ChannelError> {
        self.flow.handle_timeout(now)
    }
}
