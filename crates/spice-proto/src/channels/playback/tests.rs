use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::channels::Machine;
use crate::channels::base;
use crate::channels::sound::{Mode, SampleFormat, Volume};
use crate::wire::{Caps, HeaderForm, Payload};

const LOUD: Volume = Volume { channels: Vec::new(), mute: false };

fn channel(caps: Caps) -> PlaybackChannel {
    PlaybackChannel::new(HeaderForm::Mini, caps, Mode::Opus, 40, LOUD, 7, Instant::now())
}

fn all() -> Caps {
    Caps::of(&[caps::VOLUME, caps::LATENCY, caps::OPUS])
}

fn packet(time: u32) -> Packet {
    Packet { time, data: Payload::from(vec![1, 2, 3]) }
}

fn data(time: u32) -> FromServer {
    FromServer::Data(Data { time, data: Payload::from(vec![1, 2, 3]) })
}

fn start(time: u32) -> FromServer {
    FromServer::Start(Start { channels: 2, format: SampleFormat::S16, frequency: 48_000, time })
}

fn sent(channel: &mut PlaybackChannel) -> Vec<FromServer> {
    std::iter::from_fn(|| channel.poll_frame(Instant::now()))
        .map(|frame| {
            let bytes = frame.slices().concat();
            FromServer::decode(u16::from_le_bytes([bytes[0], bytes[1]]), &bytes[6..]).unwrap()
        })
        .collect()
}

/// A channel whose opening messages were sent.
fn opened(caps: Caps) -> PlaybackChannel {
    let mut channel = channel(caps);
    sent(&mut channel);
    channel
}

#[test]
fn the_channel_opens_with_the_mode_and_the_latency() {
    let mode = FromServer::Mode { time: 7, mode: Mode::Opus };
    let acks = FromServer::Unknown { id: 3 };
    assert_eq!(sent(&mut channel(all())), [acks.clone(), mode.clone(), FromServer::Latency(40)]);
    assert_eq!(sent(&mut channel(Caps::NONE)), [acks, mode]);
}

#[test]
fn sound_is_started_by_its_first_packet_and_stopped_once() {
    let mut channel = opened(all());
    channel.stop();
    assert_eq!(sent(&mut channel), []);
    channel.play(packet(10));
    channel.play(packet(20));
    channel.stop();
    channel.stop();
    assert_eq!(sent(&mut channel), [start(10), data(10), data(20), FromServer::Stop]);
    channel.stop();
    channel.play(packet(500));
    assert_eq!(sent(&mut channel), [start(500), data(500)]);
}

#[test]
fn a_client_that_lags_behind_misses_the_oldest() {
    let mut channel = opened(all());
    for time in 0..100 {
        channel.play(packet(time));
    }
    channel.stop();
    let kept = sent(&mut channel);
    assert_eq!((channel.dropped(), kept.len()), (80, 22));
    assert_eq!((&kept[1], kept.last()), (&data(80), Some(&FromServer::Stop)));
}

#[test]
fn a_client_that_does_not_acknowledge_gets_400_ms_and_then_the_newest() {
    let mut channel = opened(all());
    let mut got = 0;
    for time in 0..200 {
        channel.play(packet(time));
        got += sent(&mut channel).len();
    }
    assert_eq!(got, 39, "with the mode and the latency, two windows and one");
    for message in [base::FromClient::AckSync { generation: 1 }, base::FromClient::Ack] {
        let bytes = message.encode().into_frame(HeaderForm::Mini, 1).head;
        channel.recv(&mut &bytes[..], Instant::now()).unwrap();
    }
    assert_eq!(sent(&mut channel).first(), Some(&data(180)));
}

#[test]
fn the_stop_of_sound_that_was_all_dropped_is_none() {
    let mut channel = opened(all());
    channel.play(packet(1));
    channel.stop();
    for time in 0..20 {
        channel.play(packet(time));
    }
    assert_eq!(sent(&mut channel)[..2], [start(0), data(0)]);
}

#[test]
fn the_volume_is_told_before_the_sound_and_when_it_changes() {
    let mut channel = opened(all());
    channel.play(packet(1));
    channel.set_volume(Volume { channels: vec![65535, 257], mute: true });
    let told = [FromServer::Volume(vec![65535, 257]), FromServer::Mute(true)];
    assert_eq!(sent(&mut channel), [&told[..], &[start(1), data(1)]].concat());
    channel.set_volume(Volume { channels: vec![65535, 257], mute: false });
    assert_eq!(sent(&mut channel), [FromServer::Mute(false)]);
}

#[test]
fn a_client_that_knows_no_volume_gets_no_sound_while_it_is_muted() {
    let mut channel = opened(Caps::NONE);
    channel.set_volume(Volume { channels: vec![9], mute: true });
    channel.play(packet(1));
    assert_eq!(sent(&mut channel), []);
    channel.set_volume(Volume { channels: vec![9], mute: false });
    channel.play(packet(2));
    assert_eq!(sent(&mut channel), [start(2), data(2)]);
}

fn message() -> impl Strategy<Value = FromServer> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        (any::<u32>(), bytes()).prop_map(|(time, data)| FromServer::Data(Data { time, data: data.into() })),
        (any::<u32>(), any::<u16>())
            .prop_map(|(time, mode)| FromServer::Mode { time, mode: Mode::from_code(mode) }),
        any::<u32>().prop_map(start),
        Just(FromServer::Stop),
        proptest::collection::vec(any::<u16>(), 0..9).prop_map(FromServer::Volume),
        any::<bool>().prop_map(FromServer::Mute),
        any::<u32>().prop_map(FromServer::Latency),
    ]
}

proptest! {
    #[test]
    fn messages_survive_the_wire(message in message()) {
        let wire = message.encode();
        prop_assert_eq!(FromServer::decode(wire.id(), &wire.body()), Ok(message));
    }

    #[test]
    fn random_bytes_never_panic_nor_make_work(
        wire in proptest::collection::vec(prop_oneof![0u8..8, any::<u8>()], 0..600),
        chunk in 1usize..60,
    ) {
        let mut channel = opened(all());
        for mut piece in wire.chunks(chunk) {
            if channel.recv(&mut piece, Instant::now()).is_err() {
                break;
            }
        }
        prop_assert_eq!(sent(&mut channel), vec![]);
    }
}
