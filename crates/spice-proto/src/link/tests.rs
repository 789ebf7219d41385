use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::machine::MECHANISM_TICKET;
use super::*;
use crate::auth::{Admission, Password, Proof, Secret, seal, shared_key};
use crate::wire::{Caps, ChannelId, ChannelType, HeaderForm};

const DISPLAY: ChannelId = ChannelId { kind: ChannelType::Display, id: 0 };

fn mess(common_caps: Caps) -> LinkMess {
    LinkMess { connection_id: 7, channel: DISPLAY, common_caps, channel_caps: Caps::from(0x6fbf) }
}

/// What spice-gtk announces: `AUTH_SELECTION`, `AUTH_SASL`, `MINI_HEADER`.
fn gtk() -> LinkMess {
    mess(Caps::from(0xd))
}

fn secret() -> Admission {
    let secret = Secret { id: 5, password: Password::new("secret").unwrap() };
    Admission::OneOf(vec![secret], shared_key())
}

fn open() -> Admission {
    Admission::Open(*shared_key().spki())
}

/// Feeds `wire` and greets; yields what comes out at the end and the reply.
fn greeted(wire: &[u8], admission: Admission) -> (LinkMachine, LinkReply) {
    let mut machine = LinkMachine::new(Instant::now());
    let mut input = wire;
    assert!(matches!(machine.recv(&mut input), Ok(Some(LinkEvent::Hello(_)))));
    assert!(input.is_empty() && machine.take_output().is_empty());
    machine.greet(admission, Caps::from(0x1052));
    let output = machine.take_output();
    let reply = LinkReply::decode(&output[LINK_HEADER_LEN..]).unwrap();
    (machine, reply)
}

/// The code in a refusing link reply.
fn refusal(machine: &mut LinkMachine) -> LinkError {
    let output = machine.take_output();
    assert_eq!(output.len(), 16 + 178);
    LinkReply::decode(&output[LINK_HEADER_LEN..]).unwrap().error
}

fn result(machine: &mut LinkMachine) -> u32 {
    u32::from_le_bytes(machine.take_output().try_into().unwrap())
}

#[test]
fn the_right_password_comes_in_and_what_follows_is_left_for_the_channel() {
    let (mut machine, reply) = greeted(&gtk().encode(), secret());
    assert_eq!(reply.common_caps, Caps::from(0b1011));
    assert_eq!(reply.channel_caps, Caps::from(0x1052));
    let ticket = seal(&reply.pub_key, b"secret").unwrap();
    let wire = [&1u32.to_le_bytes()[..], &ticket, b"data stage"].concat();
    let mut input = &wire[..];
    let Ok(Some(LinkEvent::Linked(request, Proof::Secret(5)))) = machine.recv(&mut input) else {
        panic!("not linked");
    };
    assert_eq!((request.channel, request.connection_id), (DISPLAY, 7));
    assert_eq!(request.header_form(), HeaderForm::Mini);
    machine.accept();
    assert_eq!(result(&mut machine), 0);
    assert_eq!(machine.recv(&mut input), Ok(None));
    assert_eq!(input, b"data stage");
    assert_eq!(machine.deadline(), None);
}

#[test]
fn the_wrong_password_gets_result_7() {
    for shown in ["guess", ""] {
        let (mut machine, reply) = greeted(&gtk().encode(), secret());
        let wire = [&1u32.to_le_bytes()[..], &seal(&reply.pub_key, shown.as_bytes()).unwrap()].concat();
        assert_eq!(machine.recv(&mut &wire[..]), Err(LinkFailure::WrongPassword));
        assert_eq!(result(&mut machine), 7);
        machine.accept();
        assert!(machine.take_output().is_empty(), "too late to let it in");
    }
}

#[test]
fn clients_without_the_selection_send_their_ticket_at_once() {
    let (mut machine, reply) = greeted(&mess(Caps::NONE).encode(), secret());
    let ticket = seal(&reply.pub_key, b"secret").unwrap();
    let Ok(Some(LinkEvent::Linked(request, _))) = machine.recv(&mut &ticket[..]) else {
        panic!("not linked");
    };
    assert_eq!(request.header_form(), HeaderForm::Full);
}

#[test]
fn only_tickets_are_offered() {
    let (mut machine, _) = greeted(&gtk().encode(), open());
    assert_eq!(machine.recv(&mut &2u32.to_le_bytes()[..]), Err(LinkFailure::Mechanism(2)));
    assert_eq!(result(&mut machine), 3);
}

/// A machine that has offered SASL to a client, which chose it.
fn by_name() -> LinkMachine {
    let (mut machine, reply) = greeted(&gtk().encode(), Admission::Sasl("SCRAM-SHA-256,PLAIN".to_owned()));
    assert_eq!((reply.common_caps, reply.pub_key), (Caps::from(0b1101), [0; 162]));
    assert_eq!(machine.recv(&mut &2u32.to_le_bytes()[..]), Ok(None));
    assert_eq!(machine.take_output(), b"\x13\0\0\0SCRAM-SHA-256,PLAIN");
    machine
}

/// What a client sends first: a mechanism, and data or none.
fn first(name: &str, data: Option<&[u8]>) -> Vec<u8> {
    [&(name.len() as u32).to_le_bytes(), name.as_bytes(), &next(data)].concat()
}

/// What a client sends then.
fn next(data: Option<&[u8]>) -> Vec<u8> {
    data.map_or(vec![0; 4], |data| [&(data.len() as u32 + 1).to_le_bytes(), data, &[0]].concat())
}

fn said(machine: &mut LinkMachine, wire: &[u8]) -> (Option<String>, Option<Vec<u8>>) {
    match machine.recv(&mut &wire[..]) {
        Ok(Some(LinkEvent::Sasl(said))) => (said.mechanism, said.data.map(|data| data.to_vec())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_logs_in_by_name() {
    let mut machine = by_name();
    let (mechanism, data) = said(&mut machine, &first("PLAIN", Some(b"\0ann\0apple")));
    assert_eq!((mechanism.as_deref(), data.as_deref()), (Some("PLAIN"), Some(&b"\0ann\0apple"[..])));
    machine.continue_sasl(b"more");
    assert_eq!(machine.take_output(), b"\x05\0\0\0more\0\0");
    assert_eq!(said(&mut machine, &next(Some(b""))), (None, Some(Vec::new())), "no data are not none");
    machine.continue_sasl(b"");
    assert_eq!(machine.take_output(), b"\x01\0\0\0\0\0");
    let wire = [next(None), b"data stage".to_vec()].concat();
    let mut input = &wire[..];
    assert!(matches!(machine.recv(&mut input), Ok(Some(LinkEvent::Sasl(_)))));
    assert!(matches!(machine.finish_sasl(None), Some(LinkEvent::Linked(_, Proof::Sasl))));
    machine.accept();
    assert_eq!(machine.take_output(), b"\0\0\0\0\x01\0\0\0\0\0\0\0\0", "the result of SASL, and of the link");
    assert_eq!((machine.recv(&mut input), input), (Ok(None), &b"data stage"[..]));
}

#[test]
fn a_client_that_is_nobody_hears_so() {
    let mut machine = by_name();
    said(&mut machine, &first("PLAIN", Some(b"\0ann\0banana")));
    assert_eq!(machine.refuse_sasl(Some(b"e=no")), LinkFailure::WrongPassword);
    let refusal = b"\x05\0\0\0e=no\0\x01\x01\0\0\0\x16\0\0\0Authentication failed\0";
    assert_eq!(machine.take_output(), refusal);
    machine.continue_sasl(b"too late");
    assert!(machine.finish_sasl(None).is_none());
    machine.accept();
    assert!(machine.take_output().is_empty());
}

#[test]
fn what_no_mechanism_sends_is_refused_before_it_is_there() {
    let long = 4097u32.to_le_bytes();
    for (wire, is_about) in [
        (vec![0; 4], "mechanism"),
        (21u32.to_le_bytes().to_vec(), "mechnamelen"),
        (u32::MAX.to_le_bytes().to_vec(), "mechnamelen"),
        (first("GSSAPI", None), "mechanism"),
        (first("scram-sha-256", None), "mechanism"),
        (first("SCRAM-SHA-256,PLAIN", None), "mechanism"),
        ([&first("PLAIN", None)[..9], &long].concat(), "datalen"),
        ([&first("PLAIN", None)[..9], &[0xff; 4]].concat(), "datalen"),
    ] {
        let mut machine = by_name();
        let failure = machine.recv(&mut &wire[..]).unwrap_err().to_string();
        assert!(failure.contains(is_about), "{failure}");
        let refusal = b"\0\0\0\0\x01\x01\0\0\0\x16\0\0\0Authentication failed\0";
        assert_eq!(machine.take_output(), refusal, "no data, complete, and why");
    }
    for mechanism in [0, 1, 3] {
        let (mut machine, _) = greeted(&gtk().encode(), Admission::Sasl("PLAIN".to_owned()));
        let failure = machine.recv(&mut &u32::to_le_bytes(mechanism)[..]);
        assert_eq!(failure, Err(LinkFailure::Mechanism(mechanism)), "a ticket is not asked for");
    }
}

#[test]
fn an_exchange_has_an_end() {
    let mut machine = by_name();
    said(&mut machine, &first("PLAIN", None));
    for _ in 1..SASL_MESSAGES_MAX {
        machine.continue_sasl(b"and?");
        said(&mut machine, &next(Some(&[b'x'; SASL_DATA_MAX as usize - 1])));
    }
    machine.continue_sasl(b"and?");
    assert_eq!(machine.recv(&mut &next(None)[..]), Err(LinkFailure::SaslEndless));
    assert!(machine.inbox.is_empty());
}

#[test]
fn the_owner_can_turn_a_client_away_at_both_points() {
    let mut machine = LinkMachine::new(Instant::now());
    machine.recv(&mut &gtk().encode()[..]).unwrap();
    let failure = machine.reject(LinkError::NeedSecured);
    assert_eq!(failure, LinkFailure::TurnedAway(LinkError::NeedSecured));
    assert_eq!(refusal(&mut machine), LinkError::NeedSecured);

    let (mut machine, reply) = greeted(&gtk().encode(), open());
    let wire = [&1u32.to_le_bytes()[..], &seal(&reply.pub_key, b"").unwrap()].concat();
    assert!(matches!(machine.recv(&mut &wire[..]), Ok(Some(LinkEvent::Linked(_, Proof::Nothing)))));
    machine.refuse(LinkError::BadConnectionId);
    assert_eq!(result(&mut machine), 8);
}

#[test]
fn strangers_are_told_what_is_wrong() {
    let good = gtk().encode();
    let with = |at: usize, value: u32| {
        let mut wire = good.clone();
        wire[at..at + 4].copy_from_slice(&value.to_le_bytes());
        wire
    };
    for (wire, error) in [
        (b"GET / HTTP/1.1".to_vec(), LinkError::InvalidMagic),
        (b"REDX".to_vec(), LinkError::InvalidMagic),
        (with(4, 1), LinkError::VersionMismatch),
        (with(12, 17), LinkError::InvalidData),
        (with(12, 4097), LinkError::InvalidData),
        (with(26, 1025), LinkError::InvalidData),
        (with(30, 17), LinkError::InvalidData),
    ] {
        let mut machine = LinkMachine::new(Instant::now());
        assert!(machine.recv(&mut &wire[..]).is_err(), "{error}");
        assert_eq!(refusal(&mut machine), error);
    }
}

#[test]
fn slow_clients_meet_the_deadline() {
    let start = Instant::now();
    let mut machine = LinkMachine::new(start);
    for (second, byte) in gtk().encode().into_iter().take(HELLO_TIMEOUT.as_secs() as usize).enumerate() {
        assert_eq!(machine.handle_timeout(start + Duration::from_secs(second as u64)), Ok(()));
        assert_eq!(machine.recv(&mut &[byte][..]), Ok(None));
    }
    assert_eq!(machine.deadline(), Some(start + HELLO_TIMEOUT));
    let late = LinkFailure::Deadline(HELLO_TIMEOUT);
    assert_eq!(machine.handle_timeout(start + HELLO_TIMEOUT), Err(late));
}

#[test]
fn a_whole_link_message_buys_time_for_the_ticket() {
    let start = Instant::now();
    let mut machine = LinkMachine::new(start);
    assert!(matches!(machine.recv(&mut &gtk().encode()[..]), Ok(Some(LinkEvent::Hello(_)))));
    for _ in 0..2 {
        assert_eq!(machine.deadline(), Some(start + LINK_TIMEOUT));
        assert_eq!(machine.handle_timeout(start + HELLO_TIMEOUT), Ok(()));
        machine.greet(secret(), Caps::NONE);
    }
    assert_eq!(machine.handle_timeout(start + LINK_TIMEOUT), Err(LinkFailure::Deadline(LINK_TIMEOUT)));
    assert!(machine.unused_key().is_some(), "the next client can have it");
    assert!(machine.unused_key().is_none(), "it is not there twice");
}

#[test]
fn a_key_that_opened_a_ticket_is_gone() {
    let (mut machine, reply) = greeted(&gtk().encode(), secret());
    let ticket = seal(&reply.pub_key, b"wrong").unwrap();
    let shown = [&MECHANISM_TICKET.to_le_bytes()[..], &ticket[..]].concat();
    assert!(machine.recv(&mut &shown[..]).is_err());
    assert!(machine.unused_key().is_none());
}

proptest! {
    #[test]
    fn random_bytes_in_random_chunks_never_panic(
        wire in proptest::collection::vec(any::<u8>(), 0..6000),
        start in 0usize..5,
        chunk in 1usize..600,
    ) {
        let good = [gtk().encode(), 1u32.to_le_bytes().to_vec()].concat();
        let cut = [0, 4, LINK_HEADER_LEN, good.len() - 4, good.len()][start];
        let wire = [&good[..cut], &wire].concat();
        let mut machine = LinkMachine::new(Instant::now());
        for mut piece in wire.chunks(chunk) {
            match machine.recv(&mut piece) {
                Ok(Some(LinkEvent::Hello(_))) => {
                    machine.greet(secret(), Caps::NONE);
                }
                Ok(Some(LinkEvent::Linked(..) | LinkEvent::Sasl(_))) => prop_assert!(false, "let in by chance"),
                Ok(None) => {}
                Err(_) => break,
            }
            prop_assert!(machine.inbox.len() <= 4096 && machine.outbox.len() <= 1000);
        }
    }

    #[test]
    fn random_names_and_data_never_panic(
        wire in proptest::collection::vec(any::<u8>(), 0..6000),
        start in 0usize..4,
        chunk in 1usize..600,
    ) {
        let good = first("SCRAM-SHA-256", Some(b"n,,n=ann,r=x"));
        let wire = [&good[..[0, 4, 17, good.len()][start]], &wire].concat();
        let mut machine = by_name();
        for mut piece in wire.chunks(chunk) {
            while let Ok(Some(event)) = machine.recv(&mut piece) {
                prop_assert!(matches!(event, LinkEvent::Sasl(_)), "let in by chance");
                machine.continue_sasl(b"and?");
            }
            prop_assert!(machine.inbox.len() <= SASL_DATA_MAX as usize && machine.outbox.len() <= 100);
        }
    }

    #[test]
    fn linking_works_however_the_bytes_are_cut(chunk in 1usize..200) {
        let mut machine = LinkMachine::new(Instant::now());
        let key = shared_key();
        let ticket = seal(key.spki(), b"secret").unwrap();
        let wire = [&gtk().encode()[..], &1u32.to_le_bytes(), &ticket, b"rest"].concat();
        let mut linked = false;
        let mut left = Vec::new();
        for mut piece in wire.chunks(chunk) {
            while !linked {
                match machine.recv(&mut piece).unwrap() {
                    Some(LinkEvent::Hello(_)) => machine.greet(secret(), Caps::NONE),
                    Some(LinkEvent::Linked(..)) => linked = true,
                    Some(LinkEvent::Sasl(_)) => prop_assert!(false, "not offered"),
                    None => break,
                }
            }
            if linked {
                left.extend_from_slice(piece);
            }
        }
        prop_assert!(linked);
        prop_assert_eq!(left, b"rest");
    }
}
