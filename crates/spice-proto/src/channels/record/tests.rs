use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::channels::Machine;
use crate::channels::sound::{Mode, SampleFormat, Volume};
use crate::wire::{Caps, HeaderForm};

fn channel() -> RecordChannel {
    RecordChannel::new(HeaderForm::Mini, Caps::of(&[caps::VOLUME, caps::OPUS]), Instant::now())
}

fn sent(channel: &mut RecordChannel) -> Vec<FromServer> {
    std::iter::from_fn(|| channel.poll_frame(Instant::now()))
        .map(|frame| {
            let bytes = frame.slices().concat();
            FromServer::decode(u16::from_le_bytes([bytes[0], bytes[1]]), &bytes[6..]).unwrap()
        })
        .collect()
}

/// Has `channel` receive messages; returns the sound in them.
fn heard(channel: &mut RecordChannel, messages: &[FromClient]) -> Vec<Recorded> {
    let frames = messages.iter().map(|message| message.encode().into_frame(HeaderForm::Mini, 1));
    let bytes: Vec<u8> = frames.flat_map(|frame| frame.slices().concat()).collect();
    let mut rest = &bytes[..];
    std::iter::from_fn(|| channel.recv(&mut rest, Instant::now()).unwrap()).collect()
}

fn data(len: usize) -> FromClient {
    FromClient::Data(Data { time: 5, data: vec![7; len] })
}

fn mode(mode: Mode) -> FromClient {
    FromClient::Mode { time: 5, mode, extra: vec![1, 2] }
}

#[test]
fn a_client_records_only_while_it_is_asked_to() {
    let mut channel = channel();
    assert_eq!(heard(&mut channel, &[FromClient::StartMark(1), data(8)]), []);
    channel.record(true, Instant::now()).unwrap();
    channel.record(true, Instant::now()).unwrap();
    assert_eq!(heard(&mut channel, &[data(8)]), [Recorded::Raw(vec![7; 8])]);
    channel.record(false, Instant::now()).unwrap();
    assert_eq!(heard(&mut channel, &[data(8)]), []);
    let start = Start { channels: 2, format: SampleFormat::S16, frequency: 48_000 };
    assert_eq!(sent(&mut channel), [FromServer::Start(start), FromServer::Stop]);
}

#[test]
fn what_cannot_be_sound_is_dropped_and_nothing_else() {
    let mut channel = channel();
    channel.record(true, Instant::now()).unwrap();
    assert_eq!(heard(&mut channel, &[data(7), data(0), data(4)]), [Recorded::Raw(vec![7; 4])]);
    let packets = [mode(Mode::Opus), data(OPUS_PACKET_MAX + 1), data(0), data(3)];
    assert_eq!(heard(&mut channel, &packets), [Recorded::Opus(vec![7; 3])]);
    assert_eq!(heard(&mut channel, &[mode(Mode::Other(2)), data(4)]), []);
}

#[test]
fn a_message_that_is_too_long_ends_the_channel() {
    let mut channel = channel();
    let bytes = data(RECORD_BODY_MAX as usize).encode().into_frame(HeaderForm::Mini, 1).slices().concat();
    assert!(channel.recv(&mut &bytes[..], Instant::now()).is_err());
}

#[test]
fn the_volume_is_told_when_it_changes() {
    let mut channel = channel();
    let volume = Volume { channels: vec![257, 0], mute: true };
    channel.set_volume(volume.clone(), Instant::now()).unwrap();
    channel.set_volume(volume, Instant::now()).unwrap();
    assert_eq!(sent(&mut channel), [FromServer::Volume(vec![257, 0]), FromServer::Mute(true)]);
}

fn message() -> impl Strategy<Value = FromClient> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        (any::<u32>(), bytes()).prop_map(|(time, data)| FromClient::Data(Data { time, data })),
        (any::<u32>(), any::<u16>(), bytes()).prop_map(|(time, mode, extra)| FromClient::Mode {
            time,
            mode: Mode::from_code(mode),
            extra
        }),
        any::<u32>().prop_map(FromClient::StartMark),
    ]
}

proptest! {
    #[test]
    fn client_messages_survive_the_wire(message in message()) {
        let wire = message.encode();
        prop_assert_eq!(FromClient::decode(wire.id(), &wire.body()), Ok(message));
    }

    #[test]
    fn server_messages_survive_the_wire(volumes in proptest::collection::vec(any::<u16>(), 0..9), mute: bool) {
        let start = FromServer::Start(Start { channels: 2, format: SampleFormat::S16, frequency: 48_000 });
        for message in [start, FromServer::Stop, FromServer::Volume(volumes), FromServer::Mute(mute)] {
            let wire = message.encode();
            prop_assert_eq!(FromServer::decode(wire.id(), &wire.body()), Ok(message));
        }
    }

    #[test]
    fn random_bytes_never_panic_nor_make_work(
        wire in proptest::collection::vec(prop_oneof![0u8..8, any::<u8>()], 0..600),
        chunk in 1usize..60,
    ) {
        let mut channel = channel();
        for mut piece in wire.chunks(chunk) {
            if channel.recv(&mut piece, Instant::now()).is_err() {
                break;
            }
        }
        prop_assert_eq!(sent(&mut channel), vec![]);
    }
}
