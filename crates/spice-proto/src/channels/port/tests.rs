use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::channels::base::HALF_MESSAGE_TIMEOUT;
use crate::channels::{ChannelError, Machine};
use crate::wire::{HeaderForm, Payload};

fn usb(now: Instant) -> PortChannel {
    PortChannel::unnamed(HeaderForm::Mini, now)
}

fn sent(channel: &mut PortChannel) -> Vec<FromServer> {
    std::iter::from_fn(|| channel.poll_frame(Instant::now()))
        .map(|frame| {
            let bytes = frame.slices().concat();
            FromServer::decode(u16::from_le_bytes([bytes[0], bytes[1]]), &bytes[6..]).unwrap()
        })
        .collect()
}

fn wire(message: &FromClient) -> Vec<u8> {
    message.encode().into_frame(HeaderForm::Mini, 1).slices().concat()
}

fn data(bytes: &[u8]) -> Vec<u8> {
    wire(&FromClient::Data(Payload::from(bytes)))
}

/// Has `channel` receive `bytes`; returns what came of it.
fn take(channel: &mut PortChannel, mut bytes: &[u8]) -> Result<Vec<PortEvent>, ChannelError> {
    let mut events = Vec::new();
    while let Some(event) = channel.recv(&mut bytes, Instant::now())? {
        events.push(event);
    }
    Ok(events)
}

#[test]
fn bytes_come_through_both_ways() {
    let now = Instant::now();
    let mut channel = usb(now);
    let stream = [data(b"hel"), data(b""), data(b"lo")].concat();
    assert_eq!(take(&mut channel, &stream), Ok(vec![PortEvent::Data; 2]));
    assert_eq!((channel.take(), channel.take()), (b"hello".to_vec(), vec![]));
    channel.send(Payload::from(&b"answer"[..]), now).unwrap();
    assert_eq!(sent(&mut channel), [FromServer::Data(Payload::from(&b"answer"[..]))]);
}

#[test]
fn a_message_of_any_size_is_passed_on_as_it_comes() {
    let mut channel = usb(Instant::now());
    let head = [101, 0, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(take(&mut channel, &head), Ok(vec![]));
    for _ in 0..10 {
        assert_eq!(take(&mut channel, &[7; 1000]), Ok(vec![PortEvent::Data]));
        assert_eq!(channel.take(), [7; 1000]);
    }
    assert_eq!(channel.deadline(), None, "the rest may come whenever it likes");
}

#[test]
fn a_client_is_not_read_while_the_guest_does_not_take_it_nor_blamed_for_that() {
    let now = Instant::now();
    let mut channel = usb(now);
    let stream = [data(&vec![1; PORT_QUEUE_MAX - 1]), data(&[2; 9]), vec![101], vec![0; 1]].concat();
    let mut input = &stream[..];
    while channel.recv(&mut input, now).unwrap().is_some() {}
    assert!(channel.is_full(false));
    assert_eq!(input, [101, 0], "the start of the next message");

    assert_eq!(channel.deadline(), None);
    assert_eq!(channel.take().len(), PORT_QUEUE_MAX + 8);
    assert_eq!((channel.recv(&mut input, now), input.len()), (Ok(None), 0));
    assert_eq!(channel.deadline(), Some(now + HALF_MESSAGE_TIMEOUT));
}

#[test]
fn a_port_has_a_name_and_is_open_or_closed() {
    let now = Instant::now();
    let mut channel = PortChannel::named(HeaderForm::Mini, "org.example.0", now);
    let all = [data(b"early"), wire(&FromClient::Event(Event::Break))].concat();
    assert_eq!(take(&mut channel, &all), Ok(vec![]), "it is closed");
    for is_open in [true, true] {
        channel.set_open(is_open, now).unwrap();
    }
    assert_eq!(take(&mut channel, &all), Ok(vec![PortEvent::Data, PortEvent::Break]));
    channel.set_open(false, now).unwrap();
    assert_eq!(channel.take(), b"", "who opens it next does not get it");
    let init = Init { name: "org.example.0".to_owned(), is_open: false };
    let events = [Event::Opened, Event::Closed].map(FromServer::Event);
    assert_eq!(sent(&mut channel), [&[FromServer::Init(init)][..], &events].concat());
    assert_eq!((usb(now).set_open(true, now), sent(&mut usb(now))), (Ok(()), vec![]));
}

#[test]
fn what_is_no_message_of_a_port_ends_it() {
    for bytes in [
        &[201, 0, 2, 0, 0, 0, 2, 2][..],                     // an event of two bytes
        &[201, 0, 0, 0, 0, 0],                               // … of none
        &[201, 0, 1, 0, 0, 0, 3],                            // … that there is not
        &[201, 0, 0, 0, 0, 1],                               // … of 16 MiB
        &[102, 0, 6, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0], // compressed, to 4 GiB
    ] {
        let mut channel = PortChannel::named(HeaderForm::Mini, "a", Instant::now());
        assert!(matches!(take(&mut channel, bytes), Err(ChannelError::Malformed(_))), "{bytes:?}");
    }
}

#[test]
fn the_bytes_of_init() {
    let init = FromServer::Init(Init { name: "ab".to_owned(), is_open: true }).encode();
    assert_eq!((init.id(), init.body()), (201, b"\x03\0\0\0\x09\0\0\0\x01ab\0".to_vec()));
}

fn payload() -> impl Strategy<Value = Payload> {
    proptest::collection::vec(any::<u8>(), 0..40).prop_map(Payload::from)
}

proptest! {
    #[test]
    fn messages_survive_the_wire(data in payload(), name in "[a-z.0-9]{0,20}", is_open: bool) {
        let init = FromServer::Init(Init { name, is_open });
        for message in [FromServer::Data(data.clone()), init, FromServer::Event(Event::Break)] {
            let wire = message.encode();
            prop_assert_eq!(FromServer::decode(wire.id(), &wire.body()), Ok(message));
        }
        for message in [FromClient::Data(data), FromClient::Event(Event::Opened)] {
            let wire = message.encode();
            prop_assert_eq!(FromClient::decode(wire.id(), &wire.body()), Ok(message));
        }
    }

    #[test]
    fn random_bytes_never_panic_nor_make_work(
        wire in proptest::collection::vec(prop_oneof![0u8..8, Just(101), any::<u8>()], 0..600),
        chunk in 1usize..60,
    ) {
        let mut channel = PortChannel::named(HeaderForm::Mini, "a", Instant::now());
        channel.set_open(true, Instant::now()).unwrap();
        sent(&mut channel);
        for piece in wire.chunks(chunk) {
            if take(&mut channel, piece).is_err() {
                break;
            }
        }
        prop_assert_eq!(sent(&mut channel), vec![]);
    }

    #[test]
    fn data_in_any_pieces_is_the_same_bytes(
        sizes in proptest::collection::vec(0usize..300, 0..9),
        chunk in 1usize..400,
    ) {
        let bytes: Vec<u8> = (0..sizes.iter().sum()).map(|at: usize| at as u8).collect();
        let mut rest = &bytes[..];
        let mut stream = Vec::new();
        for size in sizes {
            stream.extend(data(rest.split_off(..size).unwrap()));
        }
        let mut channel = usb(Instant::now());
        for piece in stream.chunks(chunk) {
            take(&mut channel, piece).unwrap();
        }
        prop_assert_eq!(channel.take(), bytes);
    }
}
