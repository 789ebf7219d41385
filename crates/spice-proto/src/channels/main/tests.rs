use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::channels::base::{self, Ping, QUEUED_FRAMES_MAX};
use crate::channels::{ChannelError, Machine};
use crate::wire::{Caps, ChannelId, ChannelType, HeaderForm};

const DISPLAY: ChannelId = ChannelId { kind: ChannelType::Display, id: 0 };
const INPUTS: ChannelId = ChannelId { kind: ChannelType::Inputs, id: 0 };
const RELATIVE: MouseModes = MouseModes { server: true, client: false, current: MouseMode::Server };
const ABSOLUTE: MouseModes = MouseModes { server: true, client: true, current: MouseMode::Client };

fn start() -> MainStart {
    MainStart {
        session_id: 42,
        caps: Caps::from(0xf),
        channels: vec![DISPLAY, INPUTS],
        mouse: RELATIVE,
        has_agent: false,
        multi_media_time: 1000,
        name: Some("v\0m".to_owned()),
        uuid: Some([1; 16]),
    }
}

fn channel(start: MainStart) -> MainChannel {
    MainChannel::new(HeaderForm::Mini, start, Instant::now())
}

/// The messages that wait, pings left out.
fn sent(channel: &mut MainChannel) -> Vec<FromServer> {
    let mut messages = Vec::new();
    while let Some(frame) = channel.poll_frame(Instant::now()) {
        let bytes = frame.slices().concat();
        let id = u16::from_le_bytes([bytes[0], bytes[1]]);
        if id > base::LAST {
            messages.push(FromServer::decode(id, &bytes[6..]).unwrap());
        }
    }
    messages
}

fn from_client(channel: &mut MainChannel, message: FromClient) -> Option<MainEvent> {
    let bytes = message.encode().into_frame(HeaderForm::Mini, 1).head;
    channel.recv(&mut &bytes[..], Instant::now()).unwrap()
}

#[test]
fn the_session_starts_with_init_and_lists_channels_only_when_asked() {
    let mut channel = channel(start());
    let opening = sent(&mut channel);
    let FromServer::Init(init) = &opening[0] else { panic!("{opening:?}") };
    assert_eq!((init.session_id, init.display_channels_hint), (42, 1));
    assert_eq!(opening[1..], [FromServer::Name("vm".to_owned()), FromServer::Uuid([1; 16])]);
    assert_eq!(from_client(&mut channel, FromClient::AttachChannels), None);
    assert_eq!(sent(&mut channel), [FromServer::ChannelsList(vec![DISPLAY, INPUTS])]);
}

#[test]
fn clients_without_the_capability_get_no_name() {
    let mut channel = channel(MainStart { caps: Caps::NONE, ..start() });
    assert_eq!(sent(&mut channel).len(), 1);
}

#[test]
fn a_later_console_is_told_once() {
    let second = ChannelId { id: 1, ..DISPLAY };
    let mut early = channel(start());
    sent(&mut early);
    early.add_channels(&[second], Instant::now()).unwrap();
    assert_eq!(sent(&mut early), []);
    from_client(&mut early, FromClient::AttachChannels);
    assert_eq!(sent(&mut early), [FromServer::ChannelsList(vec![DISPLAY, INPUTS, second])]);
    let third = ChannelId { id: 2, ..DISPLAY };
    early.add_channels(&[third], Instant::now()).unwrap();
    assert_eq!(sent(&mut early), [FromServer::ChannelsList(vec![third])]);
}

#[test]
fn a_pointer_mode_is_given_if_it_is_supported() {
    let mut channel = channel(start());
    sent(&mut channel);
    let wants_client = FromClient::MouseModeRequest(MouseMode::Client);
    assert_eq!(from_client(&mut channel, wants_client.clone()), None);
    assert_eq!(sent(&mut channel), []);

    channel.set_mouse(MouseModes { current: MouseMode::Server, ..ABSOLUTE }, Instant::now()).unwrap();
    assert_eq!(sent(&mut channel).len(), 1);
    assert_eq!(from_client(&mut channel, wants_client), Some(MainEvent::MouseMode(MouseMode::Client)));
    assert_eq!(sent(&mut channel), [FromServer::MouseMode(ABSOLUTE)]);
    channel.set_mouse(ABSOLUTE, Instant::now()).unwrap();
    assert_eq!(sent(&mut channel), [], "the client knows");
}

#[test]
fn agent_messages_without_an_agent_do_no_harm() {
    let mut channel = channel(start());
    sent(&mut channel);
    for message in [
        FromClient::AgentStart(u32::MAX),
        FromClient::AgentData(vec![0; 2048]),
        FromClient::AgentToken(1),
        FromClient::Unknown { id: 112 },
    ] {
        assert_eq!(from_client(&mut channel, message), None);
    }
    assert_eq!(sent(&mut channel), []);
}

#[test]
fn an_agent_gets_what_is_sent_after_the_start_and_no_more_than_was_asked_for() {
    let mut channel = channel(MainStart { has_agent: true, ..start() });
    let opening = sent(&mut channel);
    assert!(matches!(&opening[0], FromServer::Init(init) if init.agent_connected && init.agent_tokens == 32));
    let data = |byte| FromClient::AgentData(vec![byte]);
    assert_eq!(from_client(&mut channel, data(0)), None, "it has not started");
    assert_eq!(from_client(&mut channel, FromClient::AgentStart(1)), Some(MainEvent::AgentStart));
    for byte in 0..32 {
        assert_eq!(from_client(&mut channel, data(byte)), Some(MainEvent::AgentData(vec![byte])));
    }
    channel.grant_agent(1, Instant::now()).unwrap();
    assert_eq!(sent(&mut channel), [FromServer::AgentToken(1)]);
    assert_eq!(from_client(&mut channel, data(1)), Some(MainEvent::AgentData(vec![1])));
    let bytes = data(2).encode().into_frame(HeaderForm::Mini, 1).head;
    assert_eq!(channel.recv(&mut &bytes[..], Instant::now()), Err(ChannelError::AgentTokens));
}

#[test]
fn a_client_is_sent_no_more_of_the_agent_than_it_asked_for() {
    let mut channel = channel(MainStart { has_agent: true, ..start() });
    sent(&mut channel);
    assert!(!channel.has_room_for_agent());
    from_client(&mut channel, FromClient::AgentStart(1));
    for room in [true, false] {
        assert_eq!(channel.has_room_for_agent(), room);
        channel.send_agent(vec![1], Instant::now()).unwrap();
    }
    assert_eq!(sent(&mut channel), [FromServer::AgentData(vec![1])]);
    from_client(&mut channel, FromClient::AgentToken(u32::MAX));
    for _ in 0..16 {
        assert!(channel.has_room_for_agent());
        channel.send_agent(vec![1], Instant::now()).unwrap();
    }
    assert!(!channel.has_room_for_agent(), "it reads first");
}

#[test]
fn an_agent_that_comes_and_goes_is_told() {
    let mut channel = channel(start());
    sent(&mut channel);
    for (is_there, told) in [
        (true, FromServer::AgentConnectedTokens(32)),
        (false, FromServer::AgentDisconnected(0)),
        (true, FromServer::AgentConnectedTokens(32)),
    ] {
        channel.set_agent(is_there, Instant::now()).unwrap();
        channel.set_agent(is_there, Instant::now()).unwrap();
        assert_eq!(sent(&mut channel), [told]);
        channel.grant_agent(10, Instant::now()).unwrap();
        assert_eq!(sent(&mut channel), []);
    }
    assert_eq!(from_client(&mut channel, FromClient::AgentData(vec![1])), None, "for the one before");
}

#[test]
fn two_pings_measure_and_then_there_is_silence() {
    let start_time = Instant::now();
    let mut channel = MainChannel::new(HeaderForm::Mini, start(), start_time);
    for (id, ms) in [(1, 50), (2, 70)] {
        let pong = base::FromClient::Pong(Ping { id, timestamp: 0 }).encode();
        let bytes = pong.into_frame(HeaderForm::Mini, 1).head;
        channel.recv(&mut &bytes[..], start_time + Duration::from_millis(ms)).unwrap();
    }
    assert_eq!(channel.rtt(), Some(Duration::from_millis(20)));
    assert_eq!(channel.deadline(), None);
}

proptest! {
    #[test]
    fn random_messages_never_panic_nor_pile_up(
        messages in proptest::collection::vec(
            (prop_oneof![0u16..8, 100u16..114], proptest::collection::vec(any::<u8>(), 0..12)),
            0..600,
        ),
        chunk in 1usize..100,
    ) {
        let now = Instant::now();
        let mut channel = channel(start());
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
            }
            prop_assert!(channel.flow.queued() <= QUEUED_FRAMES_MAX);
        }
    }
}
