//! A client and the server's machines, connected in memory, over simulated time.
#![allow(clippy::as_conversions, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use spice_proto::auth::{Admission, Password, Secret, TicketKey, seal};
use spice_proto::channels::base::{self, PING_TIMEOUT};
use spice_proto::channels::main::{FromClient, FromServer, MainChannel, MainStart, MouseMode, MouseModes};
use spice_proto::channels::{ChannelError, Machine};
use spice_proto::link::{
    LINK_HEADER_LEN, LINK_TIMEOUT, LinkError, LinkEvent, LinkFailure, LinkMachine, LinkMess, LinkReply,
};
use spice_proto::wire::{Caps, ChannelId, ChannelType, Frame, Header, HeaderForm, Message};

const MAIN: ChannelId = ChannelId { kind: ChannelType::Main, id: 0 };
const DISPLAY: ChannelId = ChannelId { kind: ChannelType::Display, id: 0 };
/// One way between client and server.
const DELAY: Duration = Duration::from_millis(15);

/// The server's main channel, linked by a client that knows the password or does not.
struct Pair {
    now: Instant,
    link: LinkMachine,
    main: Option<MainChannel>,
    /// Bytes on their way to the server that the link machine has left.
    left: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        Self { now, link: LinkMachine::new(now), main: None, left: Vec::new() }
    }

    /// The client's bytes arrive, in pieces of `chunk` bytes; yields what the server answers.
    fn exchange(&mut self, bytes: &[u8], chunk: usize) -> Result<Vec<u8>, LinkFailure> {
        self.now += DELAY;
        let mut answer = Vec::new();
        for piece in bytes.chunks(chunk) {
            self.left.extend_from_slice(piece);
            let left = std::mem::take(&mut self.left);
            let mut input = &left[..];
            if self.main.is_none() {
                let linked = self.link(&mut input);
                answer.extend(self.link.take_output());
                linked?;
            }
            if let Some(main) = &mut self.main {
                while main.recv(&mut input, self.now).unwrap().is_some() {}
                while let Some(frame) = main.poll_frame(self.now) {
                    answer.extend(frame.slices().concat());
                }
            }
            self.left = input.to_vec();
        }
        self.now += DELAY;
        Ok(answer)
    }

    fn link(&mut self, input: &mut &[u8]) -> Result<(), LinkFailure> {
        while let Some(event) = self.link.recv(input)? {
            match event {
                LinkEvent::Hello(request) => {
                    assert_eq!(request.channel, MAIN);
                    let secret = Secret { id: 0, password: Password::new("secret").unwrap() };
                    let admission = Admission::OneOf(vec![secret], TicketKey::generate().unwrap());
                    self.link.greet(admission, Caps::from(0xf));
                }
                LinkEvent::Sasl(_) => unreachable!("not offered"),
                LinkEvent::Linked(request, _) if request.connection_id != 0 => {
                    return Err(self.link.refuse(LinkError::BadConnectionId));
                }
                LinkEvent::Linked(request, _) => {
                    self.link.accept();
                    let start = MainStart {
                        session_id: 42,
                        caps: request.channel_caps,
                        channels: vec![DISPLAY],
                        mouse: MouseModes { server: true, client: false, current: MouseMode::Server },
                        has_agent: false,
                        multi_media_time: 1,
                        name: Some("vm".to_owned()),
                        uuid: None,
                    };
                    self.main = Some(MainChannel::new(request.header_form(), start, self.now));
                }
            }
        }
        Ok(())
    }
}

fn hello(connection_id: u32, common_caps: u32) -> Vec<u8> {
    let caps = Caps::from(common_caps);
    LinkMess { connection_id, channel: MAIN, common_caps: caps, channel_caps: Caps::from(0xf) }.encode()
}

/// Mechanism and ticket, which answer the link reply in `bytes`.
fn ticket(bytes: &[u8], password: &str) -> Vec<u8> {
    let reply = LinkReply::decode(&bytes[LINK_HEADER_LEN..]).unwrap();
    [&1u32.to_le_bytes()[..], &seal(&reply.pub_key, password.as_bytes()).unwrap()].concat()
}

fn client_bytes(message: Message, form: HeaderForm) -> Vec<u8> {
    let Frame { head, .. } = message.into_frame(form, 1);
    head
}

/// The messages in `bytes`: type and body.
fn messages(mut bytes: &[u8], form: HeaderForm) -> Vec<(u16, Vec<u8>)> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let (header, rest) = bytes.split_at(form.len());
        let header = Header::decode(form, header, |_| u32::MAX).unwrap();
        let (body, rest) = rest.split_at(header.size as usize);
        messages.push((header.id, body.to_vec()));
        bytes = rest;
    }
    messages
}

#[test]
fn a_client_comes_in_and_learns_the_channels() {
    for (common, form) in [(0xd, HeaderForm::Mini), (0x1, HeaderForm::Full)] {
        for chunk in [1, 7, 1000] {
            let mut pair = Pair::new();
            let reply = pair.exchange(&hello(0, common), chunk).unwrap();
            let opening = pair.exchange(&ticket(&reply, "secret"), chunk).unwrap();
            let (result, opening) = opening.split_at(4);
            assert_eq!(result, [0; 4]);
            let opening = messages(opening, form);
            let ids: Vec<u16> = opening.iter().map(|(id, _)| *id).collect();
            assert_eq!(ids, [103, 113, 4], "Init, Name, Ping");
            let Ok(FromServer::Init(init)) = FromServer::decode(103, &opening[0].1) else { panic!() };
            assert_eq!(init.session_id, 42);

            let Ok(base::FromServer::Ping(ping)) = base::FromServer::decode(4, &opening[2].1) else {
                panic!()
            };
            let pong = client_bytes(base::FromClient::Pong(ping).encode(), form);
            let attach = client_bytes(FromClient::AttachChannels.encode(), form);
            let answer = pair.exchange(&[pong, attach].concat(), chunk).unwrap();
            assert!(messages(&answer, form).contains(&(104, vec![1, 0, 0, 0, 2, 0])));
            assert_eq!(pair.main.unwrap().rtt(), Some(DELAY * 2));
        }
    }
}

#[test]
fn a_wrong_password_stays_outside() {
    let mut pair = Pair::new();
    let reply = pair.exchange(&hello(0, 0xd), 1000).unwrap();
    assert_eq!(pair.exchange(&ticket(&reply, "guess"), 1000), Err(LinkFailure::WrongPassword));
    assert!(pair.main.is_none());
}

#[test]
fn an_unknown_session_is_refused_after_the_password() {
    let mut pair = Pair::new();
    let reply = pair.exchange(&hello(43, 0xd), 1000).unwrap();
    let failure = pair.exchange(&ticket(&reply, "secret"), 1000).unwrap_err();
    assert_eq!(failure, LinkFailure::TurnedAway(LinkError::BadConnectionId));
}

#[test]
fn a_client_that_waits_for_ever_with_its_ticket_is_cut_off() {
    let mut pair = Pair::new();
    pair.exchange(&hello(0, 0xd), 1000).unwrap();
    let deadline = pair.link.deadline().unwrap();
    assert_eq!(pair.link.handle_timeout(deadline - DELAY), Ok(()));
    assert_eq!(pair.link.handle_timeout(deadline), Err(LinkFailure::Deadline(LINK_TIMEOUT)));
}

#[test]
fn a_client_that_never_answers_a_ping_is_dropped() {
    let mut pair = Pair::new();
    let reply = pair.exchange(&hello(0, 0xd), 1000).unwrap();
    pair.exchange(&ticket(&reply, "secret"), 1000).unwrap();
    let main = pair.main.unwrap();
    let deadline = main.deadline().unwrap();
    assert_eq!(main.handle_timeout(deadline), Err(ChannelError::PingTimeout(PING_TIMEOUT)));
}
