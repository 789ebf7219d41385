use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::channels::{ChannelError, Machine};
use crate::wire::HeaderForm;

const DARK: LockKeys = LockKeys { scroll: false, num: false, caps: false };
const CAPS: LockKeys = LockKeys { caps: true, ..DARK };

fn channel() -> InputsChannel {
    let mut channel = InputsChannel::new(HeaderForm::Mini, DARK, 0, Instant::now());
    assert_eq!(sent(&mut channel), [FromServer::Init(DARK)]);
    channel
}

fn sent(channel: &mut InputsChannel) -> Vec<FromServer> {
    std::iter::from_fn(|| channel.poll_frame(Instant::now()))
        .map(|frame| {
            let id = u16::from_le_bytes([frame.head[0], frame.head[1]]);
            FromServer::decode(id, &frame.head[6..]).unwrap()
        })
        .collect()
}

fn does(channel: &mut InputsChannel, messages: &[FromClient]) -> Vec<InputEvent> {
    let wire: Vec<u8> =
        messages.iter().flat_map(|message| message.encode().into_frame(HeaderForm::Mini, 1).head).collect();
    let mut input = &wire[..];
    std::iter::from_fn(|| channel.recv(&mut input, Instant::now()).unwrap()).collect()
}

fn press(code: u8) -> InputEvent {
    InputEvent::Key { code, down: true }
}

fn release(code: u8) -> InputEvent {
    InputEvent::Key { code, down: false }
}

#[test]
fn keys_arrive_with_one_number_each() {
    let typed = [
        FromClient::KeyDown(0x1e),
        FromClient::KeyUp(0x9e),
        FromClient::KeyDown(0x1ce0),
        FromClient::KeyUp(0x9ce0),
        FromClient::KeyDown(0x45_1de1),
        FromClient::KeyUp(0xc5_9de1),
    ];
    let guest = [press(0x1e), release(0x1e), press(0x9c), release(0x9c), press(0xc6), release(0xc6)];
    assert_eq!(does(&mut channel(), &typed), guest);
}

#[test]
fn one_message_may_hold_many_scan_codes_and_one_sequence_many_messages() {
    let short_press = FromClient::KeyScancode(vec![0xe0, 0x1c, 0xe0, 0x9c]);
    assert_eq!(does(&mut channel(), &[short_press]), [press(0x9c), release(0x9c)]);
    let split = [FromClient::KeyScancode(vec![0xe1, 0x1d]), FromClient::KeyScancode(vec![0x45])];
    assert_eq!(does(&mut channel(), &split), [press(0xc6)]);
}

#[test]
fn every_fourth_motion_is_acknowledged() {
    let mut channel = channel();
    let motion = FromClient::MouseMotion { dx: 1, dy: -2, buttons: 0 };
    let position = FromClient::MousePosition { x: 5, y: 6, buttons: 0, display_id: 1 };
    does(&mut channel, &[motion.clone(), position.clone(), motion.clone()]);
    assert_eq!(sent(&mut channel), []);
    does(&mut channel, &[position, motion]);
    assert_eq!(sent(&mut channel), [FromServer::MouseMotionAck]);
}

#[test]
fn buttons_and_motion_are_for_the_display_pointed_at() {
    let display = 2;
    let messages = [
        FromClient::MousePosition { x: 5, y: 6, buttons: 0, display_id: 2 },
        FromClient::MousePress { button: 1, buttons: 1 },
        FromClient::MousePress { button: 5, buttons: 0 },
        FromClient::MouseRelease { button: 7, buttons: 0 },
        FromClient::MousePress { button: 0, buttons: 0 },
        FromClient::MousePress { button: 8, buttons: 0 },
        FromClient::MouseMotion { dx: 3, dy: 4, buttons: 0 },
    ];
    let guest = [
        InputEvent::Position { display, x: 5, y: 6 },
        InputEvent::Button { display, button: Button::Left, down: true },
        InputEvent::Button { display, button: Button::WheelDown, down: true },
        InputEvent::Button { display, button: Button::Extra, down: false },
        InputEvent::Motion { display, dx: 3, dy: 4 },
    ];
    assert_eq!(does(&mut channel(), &messages), guest);
}

#[test]
fn locks_follow_the_client_once() {
    let mut channel = channel();
    let wanted = [FromClient::KeyModifiers(CAPS)];
    assert_eq!(does(&mut channel, &wanted), [press(0x3a), release(0x3a)]);
    assert_eq!(does(&mut channel, &wanted), [], "the guest is slow or has no light: do not toggle back");
    channel.set_lights(CAPS, Instant::now()).unwrap();
    assert_eq!(sent(&mut channel), [FromServer::KeyModifiers(CAPS)]);
    assert_eq!(does(&mut channel, &wanted), []);
    channel.set_lights(CAPS, Instant::now()).unwrap();
    assert_eq!(sent(&mut channel), [], "the client knows");
}

#[test]
fn a_lock_key_and_the_state_after_it_toggle_once() {
    let mut channel = channel();
    let messages = [FromClient::KeyDown(0x3a), FromClient::KeyUp(0xba), FromClient::KeyModifiers(CAPS)];
    assert_eq!(does(&mut channel, &messages), [press(0x3a), release(0x3a)]);
}

#[test]
fn a_guest_that_turns_a_lock_back_is_brought_round_again_when_the_client_asks() {
    let mut channel = channel();
    does(&mut channel, &[FromClient::KeyModifiers(CAPS)]);
    channel.set_lights(CAPS, Instant::now()).unwrap();
    channel.set_lights(DARK, Instant::now()).unwrap();
    assert_eq!(does(&mut channel, &[FromClient::KeyModifiers(CAPS)]), [press(0x3a), release(0x3a)]);
}

#[test]
fn leaving_lets_everything_go() {
    let mut channel = channel();
    does(
        &mut channel,
        &[
            FromClient::KeyDown(0x1d),
            FromClient::KeyDown(0x53e0),
            FromClient::KeyDown(0x1e),
            FromClient::KeyUp(0x9e),
            FromClient::MousePress { button: 3, buttons: 4 },
        ],
    );
    let right = InputEvent::Button { display: 0, button: Button::Right, down: false };
    assert_eq!(channel.release_all(), [release(0x1d), release(0xd3), right]);
    assert_eq!(channel.release_all(), []);
}

#[test]
fn an_idle_channel_wakes_nobody() {
    let channel = channel();
    assert_eq!(channel.deadline(), None);
    assert_eq!(channel.handle_timeout(Instant::now() + Duration::from_secs(3600)), Ok(()));
}

#[test]
fn moving_without_reading_ends_the_channel() {
    let mut channel = channel();
    let motion = FromClient::MouseMotion { dx: 1, dy: 0, buttons: 0 }.encode();
    let wire = motion.into_frame(HeaderForm::Mini, 1).head.repeat(4000);
    let mut input = &wire[..];
    let end = loop {
        match channel.recv(&mut input, Instant::now()) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it went on"),
            Err(end) => break end,
        }
    };
    assert!(matches!(end, ChannelError::NotReading(_)));
}

proptest! {
    #[test]
    fn random_messages_never_panic_nor_pile_up(
        messages in proptest::collection::vec(
            (prop_oneof![0u16..8, 100u16..116], proptest::collection::vec(any::<u8>(), 0..12)),
            0..300,
        ),
        chunk in 1usize..100,
    ) {
        let now = Instant::now();
        let mut channel = channel();
        let mut wire = Vec::new();
        for (id, body) in messages {
            wire.extend(id.to_le_bytes());
            wire.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
            wire.extend(body);
        }
        'wire: for mut piece in wire.chunks(chunk) {
            loop {
                match channel.recv(&mut piece, now) {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => break 'wire,
                }
                prop_assert!(channel.waiting.len() <= 2048);
            }
        }
        let released = channel.release_all();
        prop_assert!(released.len() <= 256 + 7);
    }
}
