//! The cursor channel: what the guest's pointer looks like and where it is.

use std::convert::Infallible;
use std::time::Instant;

use super::{ChannelError, Flow, Machine};
use crate::frame::{Cursor, Pointer};
use crate::spice::wire::msg::cursor::{FromServer, Position, Shape, State};
use crate::spice::wire::msg::main::MouseMode;
use crate::spice::wire::{Frame, HeaderForm, Payload};

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

/// Everything a client can know of a cursor.
#[derive(Debug, Clone)]
struct Look {
    shape: Option<Cursor>,
    pointer: Pointer,
}

impl CursorChannel {
    /// Starts the channel with the cursor as it is: `None` when the guest has not defined one.
    pub fn new(
        form: HeaderForm,
        shape: Option<Cursor>,
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
    pub fn set_shape(&mut self, shape: Option<Cursor>) {
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
        let reshaped = !same_shape(self.now.shape.as_ref(), self.sent.shape.as_ref());
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
        let (hot_x, hot_y) = self.shape.as_ref().map_or((0, 0), Cursor::hot_spot);
        let at = |corner: i32, hot: u16| saturated_i16(corner.saturating_add(i32::from(hot)));
        Position { x: at(self.pointer.x, hot_x), y: at(self.pointer.y, hot_y) }
    }

    fn state(&self) -> State {
        let shape = self.shape.as_ref().and_then(wire_shape);
        State { position: self.position(), visible: self.is_shown(), shape }
    }
}

/// The shape for the wire. Its bytes go as the guest gave them: clients were made for that, though the protocol leaves
/// open whether the colours are multiplied by alpha.
fn wire_shape(cursor: &Cursor) -> Option<Shape> {
    let (hot_x, hot_y) = cursor.hot_spot();
    let pixels = Payload::new(cursor.pixels().clone());
    Shape::new(cursor.width(), cursor.height(), hot_x, hot_y, pixels)
}

/// Whether two shapes are one, which is quick when they share their pixels.
fn same_shape(a: Option<&Cursor>, b: Option<&Cursor>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => {
            let alike = (a.width(), a.height(), a.hot_spot()) == (b.width(), b.height(), b.hot_spot());
            alike && (std::sync::Arc::ptr_eq(a.pixels(), b.pixels()) || a.pixels() == b.pixels())
        }
        (None, None) => true,
        _ => false,
    }
}

fn saturated_i16(value: i32) -> i16 {
    i16::try_from(value).unwrap_or(if value < 0 { i16::MIN } else { i16::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spice::channel::ACK_TIMEOUT;
    use crate::spice::wire::msg::base;

    fn arrow(shade: u8) -> Cursor {
        Cursor::new(2, 2, 1, 0, &[shade; 16]).unwrap()
    }

    fn pointer(x: i32, y: i32) -> Pointer {
        Pointer { x, y, visible: true }
    }

    fn channel(shape: Option<Cursor>, mode: MouseMode) -> CursorChannel {
        CursorChannel::new(HeaderForm::Mini, shape, pointer(10, 20), mode, Instant::now())
    }

    fn sent(channel: &mut CursorChannel) -> Vec<FromServer> {
        std::iter::from_fn(|| channel.poll_frame(Instant::now()))
            .map(|frame| {
                let bytes = frame.slices().concat();
                FromServer::decode(u16::from_le_bytes([bytes[0], bytes[1]]), &bytes[6..]).unwrap()
            })
            .collect()
    }

    /// A state whose shape is `shade`'s arrow.
    fn state(x: i16, y: i16, shade: u8) -> State {
        State { position: Position { x, y }, visible: true, shape: wire_shape(&arrow(shade)) }
    }

    #[test]
    fn the_channel_starts_with_acks_and_the_cursor_at_its_hot_spot() {
        let mut channel = channel(Some(arrow(1)), MouseMode::Server);
        let opening = sent(&mut channel);
        assert_eq!(opening, [FromServer::Unknown { id: 3 }, FromServer::Init(state(11, 20, 1))]);
    }

    #[test]
    fn only_the_newest_state_is_sent() {
        let mut channel = channel(Some(arrow(1)), MouseMode::Server);
        sent(&mut channel);
        for x in 0..50 {
            channel.set_pointer(pointer(x, 0));
        }
        assert_eq!(sent(&mut channel), [FromServer::Move(Position { x: 50, y: 0 })]);
        assert_eq!(sent(&mut channel), []);
    }

    #[test]
    fn a_client_that_moves_its_own_pointer_is_not_told_where_it_is() {
        let mut channel = channel(Some(arrow(1)), MouseMode::Client);
        sent(&mut channel);
        channel.set_pointer(pointer(1, 1));
        assert_eq!(sent(&mut channel), []);
        channel.set_shape(Some(arrow(2)));
        assert_eq!(sent(&mut channel), [FromServer::Set(state(2, 1, 2))]);
        channel.set_pointer(pointer(5, 5));
        channel.set_mouse_mode(MouseMode::Server);
        assert_eq!(sent(&mut channel), [FromServer::Move(Position { x: 6, y: 5 })]);
    }

    #[test]
    fn hiding_and_showing() {
        let mut channel = channel(Some(arrow(1)), MouseMode::Client);
        sent(&mut channel);
        channel.set_pointer(Pointer { visible: false, ..pointer(3, 3) });
        assert_eq!(sent(&mut channel), [FromServer::Hide]);
        channel.set_shape(Some(arrow(2)));
        assert_eq!(sent(&mut channel), [], "nobody sees it");
        channel.set_pointer(pointer(3, 3));
        assert_eq!(sent(&mut channel), [FromServer::Set(state(4, 3, 2))]);
    }

    #[test]
    fn a_guest_without_a_cursor_shows_none_until_it_defines_one() {
        let mut channel = channel(None, MouseMode::Client);
        let opening = sent(&mut channel);
        let none = State { position: Position { x: 10, y: 20 }, visible: false, shape: None };
        assert_eq!(opening[1], FromServer::Init(none));
        channel.set_shape(Some(arrow(1)));
        assert_eq!(sent(&mut channel), [FromServer::Set(state(11, 20, 1))]);
    }

    #[test]
    fn a_client_that_does_not_acknowledge_gets_the_newest_state_when_it_does() {
        let start = Instant::now();
        let mut channel = channel(Some(arrow(1)), MouseMode::Server);
        sent(&mut channel);
        let mut moves = 0;
        for x in 100..300 {
            channel.set_pointer(pointer(x, 0));
            moves += sent(&mut channel).len();
        }
        assert_eq!(moves, 40, "Init and these make two windows and one");
        assert!(channel.deadline().unwrap() <= start + ACK_TIMEOUT + std::time::Duration::from_secs(9));
        for message in [base::FromClient::AckSync { generation: 1 }, base::FromClient::Ack] {
            let bytes = message.encode().into_frame(HeaderForm::Mini, 1).head;
            channel.recv(&mut &bytes[..], start).unwrap();
        }
        assert_eq!(sent(&mut channel), [FromServer::Move(Position { x: 300, y: 0 })]);
    }

    #[test]
    fn positions_out_of_reach_saturate() {
        let mut channel = channel(Some(arrow(1)), MouseMode::Server);
        sent(&mut channel);
        channel.set_pointer(pointer(i32::MAX, i32::MIN));
        assert_eq!(sent(&mut channel), [FromServer::Move(Position { x: i16::MAX, y: i16::MIN })]);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_nor_make_work(
            wire in proptest::collection::vec(prop_oneof![0u8..8, any::<u8>()], 0..600),
            chunk in 1usize..60,
        ) {
            let mut channel = channel(Some(arrow(1)), MouseMode::Server);
            sent(&mut channel);
            for mut piece in wire.chunks(chunk) {
                if channel.recv(&mut piece, Instant::now()).is_err() {
                    break;
                }
            }
            prop_assert_eq!(sent(&mut channel), vec![]);
        }
    }
}
