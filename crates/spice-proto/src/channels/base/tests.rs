use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::channels::ChannelError;
use crate::wire::{HeaderForm, Message, Writer};

const LIMIT: u32 = 64;
const WINDOW: u32 = 5;
const SECOND: Duration = Duration::from_secs(1);

/// A flow that has asked for acknowledgements and whose `SET_ACK` has been written.
fn acked_flow(now: Instant) -> Flow {
    let mut flow = Flow::new(HeaderForm::Mini, LIMIT, now);
    flow.ask_for_acks(WINDOW, now);
    flow.poll_frame().unwrap();
    flow
}

fn message(id: u16, body: &[u8]) -> Message {
    let mut w = Writer::new();
    w.bytes(body);
    Message::new(id, w)
}

fn bytes(message: Message, form: HeaderForm) -> Vec<u8> {
    message.into_frame(form, 1).slices().concat()
}

fn from_client(flow: &mut Flow, message: FromClient, now: Instant) {
    assert_eq!(flow.recv(&mut &bytes(message.encode(), HeaderForm::Mini)[..], now), Ok(None));
}

fn send_until_full(flow: &mut Flow, now: Instant) -> u32 {
    let mut sent = 0;
    while flow.may_send() {
        flow.send(message(102, &[]), now).unwrap();
        flow.poll_frame().unwrap();
        sent += 1;
    }
    sent
}

#[test]
fn messages_come_out_however_the_bytes_are_cut() {
    for form in [HeaderForm::Mini, HeaderForm::Full] {
        let now = Instant::now();
        let wire = [bytes(message(101, b"abc"), form), bytes(message(104, b""), form)].concat();
        for chunk in 1..wire.len() {
            let mut flow = Flow::new(form, LIMIT, now);
            let mut got = Vec::new();
            for mut piece in wire.chunks(chunk) {
                while let Some(message) = flow.recv(&mut piece, now).unwrap() {
                    got.push((message.id, message.body));
                }
                assert!(piece.is_empty());
            }
            assert_eq!(got, [(101, b"abc".to_vec()), (104, vec![])]);
        }
    }
}

#[test]
fn the_full_header_counts_messages_from_one() {
    let now = Instant::now();
    let mut flow = Flow::new(HeaderForm::Full, LIMIT, now);
    for serial in 1u64..=2 {
        flow.send(message(102, &[]), now).unwrap();
        assert_eq!(flow.poll_frame().unwrap().head[..8], serial.to_le_bytes());
    }
}

#[test]
fn a_message_over_the_limit_ends_the_channel() {
    let mut flow = Flow::new(HeaderForm::Mini, LIMIT, Instant::now());
    let announced = [101, 0, 65, 0, 0, 0];
    let error = flow.recv(&mut &announced[..], Instant::now()).unwrap_err();
    assert_eq!(error.to_string(), "malformed message: SpiceDataHeader: size of 65 is over the limit of 64");
}

#[test]
fn sending_stops_two_windows_ahead_of_the_client() {
    let now = Instant::now();
    let mut flow = acked_flow(now);
    assert_eq!(send_until_full(&mut flow, now), 2 * WINDOW + 1);
    from_client(&mut flow, FromClient::Ack, now);
    assert!(!flow.may_send(), "an acknowledgement before the client is in step counts for nothing");
    from_client(&mut flow, FromClient::AckSync { generation: 9 }, now);
    from_client(&mut flow, FromClient::Ack, now);
    assert!(!flow.may_send(), "another generation is not ours");
    from_client(&mut flow, FromClient::AckSync { generation: 1 }, now);
    from_client(&mut flow, FromClient::Ack, now);
    assert_eq!(send_until_full(&mut flow, now), WINDOW);
}

#[test]
fn a_client_that_stops_acknowledging_is_dropped_after_30_seconds() {
    let start = Instant::now();
    let mut flow = acked_flow(start);
    from_client(&mut flow, FromClient::AckSync { generation: 1 }, start);
    assert_eq!(flow.deadline(), None);
    let full = start + SECOND;
    send_until_full(&mut flow, full);
    assert_eq!(flow.deadline(), Some(full + ACK_TIMEOUT));
    assert_eq!(flow.handle_timeout(full + ACK_TIMEOUT - SECOND), Ok(()));
    assert_eq!(flow.handle_timeout(full + ACK_TIMEOUT), Err(ChannelError::Stalled(ACK_TIMEOUT)));
    from_client(&mut flow, FromClient::Ack, full + SECOND);
    assert_eq!(flow.deadline(), None);
}

#[test]
fn acknowledgements_nobody_asked_for_buy_nothing() {
    let now = Instant::now();
    let mut flow = acked_flow(now);
    from_client(&mut flow, FromClient::AckSync { generation: 1 }, now);
    for _ in 0..1000 {
        from_client(&mut flow, FromClient::Ack, now);
    }
    assert_eq!(send_until_full(&mut flow, now), 2 * WINDOW + 1);
}

#[test]
fn a_ping_measures_by_our_own_clock() {
    let start = Instant::now();
    let mut flow = Flow::new(HeaderForm::Mini, LIMIT, start);
    flow.ping(start);
    flow.ping(start);
    assert_eq!(flow.queued(), 1, "one ping at a time");
    assert_eq!(flow.deadline(), Some(start + PING_TIMEOUT));
    let later = start + Duration::from_millis(30);
    from_client(&mut flow, FromClient::Pong(Ping { id: 77, timestamp: 0 }), later);
    assert_eq!(flow.rtt(), None);
    from_client(&mut flow, FromClient::Pong(Ping { id: 1, timestamp: u64::MAX }), later);
    assert_eq!(flow.rtt(), Some(Duration::from_millis(30)));
    assert_eq!(flow.deadline(), None);
}

#[test]
fn half_a_message_must_become_whole() {
    let start = Instant::now();
    let mut flow = Flow::new(HeaderForm::Mini, LIMIT, start);
    flow.recv(&mut &[101][..], start).unwrap();
    flow.recv(&mut &[0][..], start + SECOND).unwrap();
    assert_eq!(flow.deadline(), Some(start + HALF_MESSAGE_TIMEOUT));
    assert!(matches!(flow.recv(&mut &[0, 0, 0, 0][..], start + SECOND), Ok(Some(_))));
    assert_eq!(flow.deadline(), None);
}

#[test]
fn goodbye_ends_the_channel() {
    let mut flow = Flow::new(HeaderForm::Mini, LIMIT, Instant::now());
    let bye = FromClient::Disconnecting(Disconnecting { timestamp: 0, reason: 0 }).encode();
    let end = flow.recv(&mut &bytes(bye, HeaderForm::Mini)[..], Instant::now());
    assert_eq!(end, Err(ChannelError::ClientLeft));
}

#[test]
fn what_nobody_reads_does_not_pile_up() {
    let now = Instant::now();
    let mut flow = Flow::new(HeaderForm::Mini, LIMIT, now);
    for _ in 0..QUEUED_FRAMES_MAX {
        flow.send(message(102, &[]), now).unwrap();
    }
    assert_eq!(flow.send(message(102, &[]), now), Err(ChannelError::NotReading(QUEUED_FRAMES_MAX)));
}

proptest! {
    #[test]
    fn random_bytes_in_random_chunks_never_panic_nor_pile_up(
        wire in proptest::collection::vec(prop_oneof![Just(0u8), 0u8..8, any::<u8>()], 0..400),
        chunk in 1usize..50,
        full: bool,
    ) {
        let now = Instant::now();
        let form = if full { HeaderForm::Full } else { HeaderForm::Mini };
        let mut flow = Flow::new(form, LIMIT, now);
        flow.ask_for_acks(WINDOW, now);
        'wire: for mut piece in wire.chunks(chunk) {
            loop {
                match flow.recv(&mut piece, now) {
                    Ok(Some(message)) => prop_assert!(message.body.len() <= 64),
                    Ok(None) => break,
                    Err(_) => break 'wire,
                }
            }
            prop_assert!(flow.queued() <= 1);
            flow.handle_timeout(now).unwrap();
        }
    }
}
