//! The cursor channel: what the guest's pointer looks like and where it is.

use std::convert::Infallible;
use std::time::Instant;

use super::messages::{FromServer, Position, Shape, State};
use crate::channels::base::Flow;
use crate::channels::main::MouseMode;
use crate::channels::{ChannelError, Machine};
use crate::wire::{Frame, HeaderForm};

/// Most bytes of a client's message, as libspice-server; clients send no more than acknowledgements.
pub const CURSOR_BODY_MAX: u32 = 1024;
/// Messages for each acknowledgement, as libspice-server.
const ACK_WINDOW: u32 = 20;

/// The server's side of a cursor channel.
///
/// Only the newest state is kept: a client that lags behind gets that, and nothing in between.
#[derive(Debug)]
pub struct CursorChannel {
    flow: Flow,
    now: Look,
    sent: Look,
    mode: MouseMode,
}

/// Where the guest draws its cursor, and whether.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pointer {
    /// Column of the shape's left edge, in the display's pixels.
    pub x: i32,
    /// Row of the shape's top edge, in the display's pixels.
    pub y: i32,
    /// Whether the guest shows a cursor at all.
    pub visible: bool,
}

/// Everything a client can know of a cursor.
#[derive(Debug, Clone)]
struct Look {
    shape: Option<Shape>,
    pointer: Pointer,
}

impl CursorChannel {
    /// Starts the channel with the cursor as it is: `None` when the guest has not defined one.
    pub fn new(
        form: HeaderForm,
        shape: Option<Shape>,
        pointer: Pointer,
        mode: MouseMode,
        now: Instant,
    ) -> Self {
        let look = Look { shape, pointer };
        let mut flow = Flow::new(form, CURSOR_BODY_MAX, now);
        flow.ask_for_acks(ACK_WINDOW, now);
        flow.queue(FromServer::Init(look.state()).encode(), now);
        Self { flow, now: look.clone(), sent: look, mode }
    }

    /// The guest's cursor looks like this now.
    pub fn set_shape(&mut self, shape: Option<Shape>) {
        self.now.shape = shape;
    }

    /// The guest's cursor is here now.
    pub fn set_pointer(&mut self, pointer: Pointer) {
        self.now.pointer = pointer;
    }

    /// Who moves the pointer now. While the client does, it is not told where the guest draws it.
    pub fn set_mouse_mode(&mut self, mode: MouseMode) {
        self.mode = mode;
    }

    /// The one message that brings the client from what it knows to what is.
    fn next_change(&mut self) -> Option<FromServer> {
        let shown = self.now.is_shown();
        let reshaped = self.now.shape != self.sent.shape;
        let change = if !shown {
            // A new shape of a hidden cursor waits until it shows.
            self.sent.is_shown().then_some(FromServer::Hide)
        } else if reshaped || !self.sent.is_shown() {
            Some(FromServer::Set(self.now.state()))
        } else if self.mode == MouseMode::Server && self.now.position() != self.sent.position() {
            Some(FromServer::Move(self.now.position()))
        } else {
            None
        }?;
        match change {
            FromServer::Hide => self.sent.pointer.visible = false,
            _ => self.sent = self.now.clone(),
        }
        Some(change)
    }
}

impl Machine for CursorChannel {
    type Event = Infallible;

    fn recv(&mut self, input: &mut &[u8], now: Instant) -> Result<Option<Infallible>, ChannelError> {
        while let Some(message) = self.flow.recv(input, now)? {
            tracing::debug!(id = message.id, "ignored a cursor message");
        }
        Ok(None)
    }

    fn poll_frame(&mut self, now: Instant) -> Option<Frame> {
        let waiting = self.flow.poll_frame();
        if waiting.is_some() {
            return waiting;
        }
        if self.flow.may_send() {
            let change = self.next_change()?;
            self.flow.queue(change.encode(), now);
        }
        self.flow.poll_frame()
    }

    fn deadline(&self) -> Option<Instant> {
        self.flow.deadline()
    }

    fn handle_timeout(&self, now: Instant) -> Result<(), ChannelError> {
        self.flow.handle_timeout(now)
    }
}

impl Look {
    /// A cursor without a shape shows nothing.
    fn is_shown(&self) -> bool {
        self.pointer.visible && self.shape.is_some()
    }

    /// Where the hot spot is: the guest tells the shape's corner, SPICE wants the hot spot.
    fn position(&self) -> Position {
        let (hot_x, hot_y) = self.shape.as_ref().map_or((0, 0), Shape::hot_spot);
        let at = |corner: i32, hot: u16| saturated_i16(corner.saturating_add(i32::from(hot)));
        Position { x: at(self.pointer.x, hot_x), y: at(self.pointer.y, hot_y) }
    }

    fn state(&self) -> State {
        State { position: self.position(), visible: self.is_shown(), shape: self.shape.clone() }
    }
}

fn saturated_i16(value: i32) -> i16 {
    i16::try_from(value).unwrap_or(if value < 0 { i16::MIN } else { i16::MAX })
}
