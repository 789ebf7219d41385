use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::channels::Machine;
use crate::channels::base::{self, ACK_TIMEOUT};
use crate::channels::main::MouseMode;
use crate::wire::HeaderForm;

fn arrow(shade: u8) -> Shape {
    Shape::new(2, 2, 1, 0, [shade; 16].into()).unwrap()
}

fn pointer(x: i32, y: i32) -> Pointer {
    Pointer { x, y, visible: true }
}

fn channel(shape: Option<Shape>, mode: MouseMode) -> CursorChannel {
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
    State { position: Position { x, y }, visible: true, shape: Some(arrow(shade)) }
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
