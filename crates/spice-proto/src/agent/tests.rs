use proptest::prelude::*;

use super::*;
use MessageKind::{
    AnnounceCapabilities, Clipboard, ClipboardGrab, ClipboardRelease, ClipboardRequest, FileXferData,
    FileXferStart, FileXferStatus, MouseState, Reply,
};

const ALL: Rules =
    Rules { clipboard_to_guest: true, clipboard_from_guest: true, clipboard_max: 100_000, files: true };
const NONE: Rules = Rules { clipboard_to_guest: false, clipboard_from_guest: false, files: false, ..ALL };

type Sent = (MessageKind, Vec<u8>);

fn wire(messages: &[Sent]) -> Vec<u8> {
    let mut pieces = Pieces::default();
    messages.iter().for_each(|(kind, body)| pieces.message(*kind, 0, body));
    std::iter::from_fn(|| pieces.pop()).flatten().collect()
}

/// The messages that are in `pieces`, none of which may hold parts of two.
fn messages(pieces: impl IntoIterator<Item = Vec<u8>>) -> Vec<Sent> {
    let mut messages: Vec<Sent> = Vec::new();
    let mut left = 0;
    for piece in pieces {
        assert!(piece.len() <= PIECE_MAX);
        if left == 0 {
            let header = Header::decode(&piece[..HEADER_LEN]).unwrap();
            left = header.size as usize;
            messages.push((header.kind, Vec::new()));
            let body = &piece[HEADER_LEN..];
            left -= body.len();
            messages.last_mut().unwrap().1.extend(body);
        } else {
            left -= piece.len();
            messages.last_mut().unwrap().1.extend(piece);
        }
    }
    assert_eq!(left, 0);
    messages
}

fn filtered(direction: Direction, rules: Rules, stream: &[u8], cut: usize) -> (Vec<Sent>, Vec<Found>) {
    let mut filter = Filter::new(direction, rules);
    let (mut pieces, mut found) = (Pieces::default(), Vec::new());
    for bytes in stream.chunks(cut) {
        found.extend(filter.pass(bytes, &mut pieces).unwrap());
    }
    assert!(filter.is_between_messages());
    (messages(std::iter::from_fn(|| pieces.pop())), found)
}

fn caps_of(sent: &Sent) -> AgentCaps {
    Announcement::decode(&sent.1).unwrap().caps
}

#[test]
fn what_is_allowed_passes_whatever_the_pieces() {
    let sent = [(ClipboardGrab, vec![0; 8]), (Clipboard, vec![7; 90_000]), (FileXferData, vec![1; 65_548])];
    for cut in [1, 19, 20, 21, 2047, 2048, 2049, 1 << 20] {
        assert_eq!(filtered(Direction::ToGuest, ALL, &wire(&sent), cut).0, sent, "{cut}");
    }
}

#[test]
fn each_direction_of_the_clipboard_can_be_forbidden() {
    let sent = [Clipboard, ClipboardGrab, ClipboardRelease, ClipboardRequest].map(|kind| (kind, vec![0; 8]));
    let to_guest = Rules { clipboard_from_guest: false, ..ALL };
    let from_guest = Rules { clipboard_to_guest: false, ..ALL };
    let passes = |direction, rules| {
        let (passed, _) = filtered(direction, rules, &wire(&sent), 3);
        passed.into_iter().map(|(kind, _)| kind).collect::<Vec<_>>()
    };
    let gives = [Clipboard, ClipboardGrab, ClipboardRelease];
    assert_eq!(passes(Direction::ToGuest, to_guest), gives);
    assert_eq!(passes(Direction::ToClient, to_guest), [ClipboardRequest]);
    assert_eq!(passes(Direction::ToClient, from_guest), gives);
    assert_eq!(passes(Direction::ToGuest, from_guest), [ClipboardRequest]);
    assert_eq!(passes(Direction::ToGuest, NONE), []);
    assert_eq!(passes(Direction::ToClient, NONE), []);
}

#[test]
fn a_forbidden_file_is_refused_by_its_number() {
    let start = [5u32.to_le_bytes().as_slice(), b"[vdagent-file-xfer]\nname=a\nsize=1\n\0"].concat();
    let sent = [(FileXferStart, start), (FileXferData, vec![0; 13]), (FileXferStatus, vec![0; 8])];
    for cut in [1, 22, 4096] {
        let (passed, found) = filtered(Direction::ToGuest, NONE, &wire(&sent), cut);
        assert_eq!((passed, found), (vec![], vec![Found::FileRefused(vec![5, 0, 0, 0, 7, 0, 0, 0])]));
    }
}

#[test]
fn nobody_is_told_of_what_is_forbidden() {
    let able = AgentCaps::of(&[caps::CLIPBOARD_BY_DEMAND, caps::CLIPBOARD_SELECTION, caps::REPLY]);
    let announcement = Announcement { wants_answer: true, caps: able.clone() };
    let sent = [(AnnounceCapabilities, announcement.encode())];
    let (passed, found) = filtered(Direction::ToClient, ALL, &wire(&sent), 7);
    assert_eq!((caps_of(&passed[0]), found), (able.clone(), vec![Found::Capabilities(able)]));
    let (passed, _) = filtered(Direction::ToClient, NONE, &wire(&sent), 7);
    assert_eq!(caps_of(&passed[0]), AgentCaps::of(&[caps::REPLY, caps::FILE_XFER_DISABLED]));
}

#[test]
fn the_pointer_goes_by_the_servers_port_of_the_guest() {
    let state = super::MouseState { x: 0x102, y: 3, buttons: 2, display: 1 };
    let message = [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13, 0, 0, 0];
    let body = [2, 1, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1];
    assert_eq!(GuestPort::mouse(state), [&[2, 0, 0, 0, 33, 0, 0, 0][..], &message, &body].concat());
}

#[test]
fn a_clipboard_over_the_limit_is_left_out_and_what_follows_passes() {
    let sent = [(Clipboard, vec![0; 100_009]), (ClipboardRelease, vec![0; 4])];
    let (passed, found) = filtered(Direction::ToClient, ALL, &wire(&sent), 2048);
    assert_eq!((passed, found), (vec![sent[1].clone()], vec![Found::ClipboardTooLarge(100_009)]));
}

#[test]
fn what_is_between_agent_and_server_does_not_come_from_a_client() {
    let sent = [
        (MouseState, vec![0; 13]),
        (MessageKind::ClientDisconnected, vec![]),
        (MessageKind::Other(99), vec![1]),
    ];
    assert_eq!(filtered(Direction::ToGuest, ALL, &wire(&sent), 5).0, []);
}

#[test]
fn malformed_streams_end() {
    let mut filter = Filter::new(Direction::ToGuest, ALL);
    let end = filter.pass(&[9; 20], &mut Pieces::default()).unwrap_err();
    assert_eq!(end.to_string(), "malformed: agent message: invalid protocol (151587081)");
    let huge = Header { kind: FileXferStart, opaque: 0, size: u32::MAX }.encode();
    let mut filter = Filter::new(Direction::ToGuest, ALL);
    assert!(matches!(filter.pass(&huge, &mut Pieces::default()), Err(AgentError::TooLarge { .. })));
}

#[test]
fn a_message_for_somebody_who_left_is_not_finished_for_the_next() {
    let stream = wire(&[(Clipboard, vec![7; 100]), (Reply, vec![0; 8])]);
    let mut filter = Filter::new(Direction::ToClient, ALL);
    let (first, second) = stream.split_at(60);
    filter.pass(first, &mut Pieces::default()).unwrap();
    assert!(!filter.is_between_messages());
    filter.drop_rest();
    let mut pieces = Pieces::default();
    filter.pass(second, &mut pieces).unwrap();
    assert_eq!(messages(std::iter::from_fn(|| pieces.pop())), [(Reply, vec![0; 8])]);
}

#[test]
fn the_guests_chunks_may_be_of_any_size_and_those_for_the_server_are_left_out() {
    let mut stream = GuestPort::chunk(&[1; 5000]);
    stream.extend([2, 0, 0, 0, 3, 0, 0, 0, 9, 9, 9]);
    stream.extend(GuestPort::chunk(&[2; 1]));
    for cut in [1, 7, 8, 9, 1 << 20] {
        let (mut port, mut data) = (GuestPort::default(), Vec::<u8>::new());
        for mut bytes in stream.chunks(cut) {
            while let Some(part) = port.next(&mut bytes).unwrap() {
                data.extend(part);
            }
        }
        assert_eq!(data, [vec![1; 5000], vec![2]].concat());
    }
    let wrong = [3, 0, 0, 0, 3, 0, 0, 0];
    assert!(GuestPort::default().next(&mut &wrong[..]).is_err());
}

fn own(rules: Rules) -> (OwnAgent, Pieces) {
    let mut agent = OwnAgent::new(rules, true);
    let caps = AgentCaps::of(&[caps::CLIPBOARD_SELECTION, caps::CLIPBOARD_BY_DEMAND]);
    let hello = Announcement { wants_answer: true, caps };
    let mut said = Pieces::default();
    assert_eq!(agent.take(&wire(&[(AnnounceCapabilities, hello.encode())]), &mut said), Ok(vec![]));
    (agent, said)
}

fn taken(mut pieces: Pieces) -> Vec<Sent> {
    messages(std::iter::from_fn(|| pieces.pop()))
}

#[test]
fn our_own_agent_takes_windows_and_clipboards() {
    let (mut agent, said) = own(ALL);
    let announced = caps_of(&taken(said)[0]);
    assert!([caps::MONITORS_CONFIG, caps::CLIPBOARD_SELECTION].iter().all(|cap| announced.has(*cap)));
    let monitor = Monitor { width: 1000, height: 700, x: -5, width_mm: 300, ..Monitor::default() };
    let monitors = MonitorsConfig { monitors: vec![Monitor::default(), monitor], has_places: true };
    let stream = wire(&[
        (MessageKind::MonitorsConfig, monitors.encode()),
        (ClipboardGrab, vec![1, 0, 0, 0, 1, 0, 0, 0, 99, 0, 0, 0]),
        (ClipboardRequest, vec![0, 0, 0, 0, 1, 0, 0, 0]),
        (Clipboard, vec![0, 0, 0, 0, 1, 0, 0, 0, b'h', b'i']),
        (ClipboardRelease, vec![2, 0, 0, 0]),
    ]);
    let (mut events, mut said) = (Vec::new(), Pieces::default());
    stream.chunks(3).for_each(|bytes| events.extend(agent.take(bytes, &mut said).unwrap()));
    let types = vec![ClipboardType::Text, ClipboardType::Other(99)];
    let text = ClipboardType::Text;
    assert_eq!(
        events,
        [
            OwnEvent::Monitors(monitors),
            OwnEvent::Grab { selection: 1, types },
            OwnEvent::Request { selection: 0, kind: text },
            OwnEvent::Clipboard { selection: 0, kind: text, data: b"hi".to_vec() },
            OwnEvent::Release { selection: 2 },
        ]
    );
    assert_eq!(taken(said), [(Reply, vec![2, 0, 0, 0, 1, 0, 0, 0])]);
    let mut said = Pieces::default();
    agent.grab(0, &[text], &mut said);
    agent.answer(1, text, b"ho", &mut said);
    let expected = [
        (ClipboardGrab, vec![0, 0, 0, 0, 1, 0, 0, 0]),
        (Clipboard, vec![1, 0, 0, 0, 1, 0, 0, 0, b'h', b'o']),
    ];
    assert_eq!(taken(said), expected);
}

#[test]
fn our_own_agent_keeps_to_the_rules() {
    let (mut agent, said) = own(NONE);
    let announced = caps_of(&taken(said)[0]);
    assert!(!announced.has(caps::CLIPBOARD_SELECTION) && announced.has(caps::FILE_XFER_DISABLED));
    let stream =
        wire(&[(ClipboardGrab, vec![0; 8]), (ClipboardRequest, vec![0; 8]), (FileXferStart, vec![0; 8])]);
    let mut said = Pieces::default();
    assert_eq!(agent.take(&stream, &mut said), Ok(vec![]));
    agent.grab(0, &[ClipboardType::Text], &mut said);
    agent.request(0, ClipboardType::Text, &mut said);
    assert!(said.is_empty());
}

proptest! {
    #[test]
    fn no_cutting_changes_what_passes(
        sizes in proptest::collection::vec((1u32..17, 0usize..5000), 0..8),
        cuts in proptest::collection::vec(1usize..3000, 1..40),
        rules in (any::<bool>(), any::<bool>(), any::<bool>()),
        to_guest in any::<bool>(),
    ) {
        let rules = Rules {
            clipboard_to_guest: rules.0, clipboard_from_guest: rules.1, files: rules.2, clipboard_max: 3000,
        };
        let direction = if to_guest { Direction::ToGuest } else { Direction::ToClient };
        let sent: Vec<Sent> =
            sizes.iter().map(|(kind, size)| (MessageKind::from_code(*kind), vec![0; *size])).collect();
        let stream = wire(&sent);
        let run = |cuts: &mut dyn Iterator<Item = usize>| {
            let mut filter = Filter::new(direction, rules);
            let (mut pieces, mut found) = (Pieces::default(), Vec::new());
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                match filter.pass(now, &mut pieces) {
                    Ok(more) => found.extend(more),
                    Err(error) => return Err(error),
                }
                rest = later;
            }
            Ok((messages(std::iter::from_fn(|| pieces.pop())), found))
        };
        let whole = run(&mut std::iter::repeat(usize::MAX));
        let cut = run(&mut cuts.iter().copied().cycle());
        prop_assert_eq!(&whole, &cut);
        if let Ok((passed, _)) = whole {
            let clipboard = [Clipboard, ClipboardGrab, ClipboardRelease];
            let gives = if to_guest { rules.clipboard_to_guest } else { rules.clipboard_from_guest };
            prop_assert!(gives || passed.iter().all(|(kind, _)| !clipboard.contains(kind)));
            let files = [FileXferStart, FileXferData];
            prop_assert!(rules.files || passed.iter().all(|(kind, _)| !files.contains(kind)));
        }
    }

    #[test]
    fn random_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        kind in 0u32..18,
        own_size in 0u32..64,
    ) {
        let header = Header { kind: MessageKind::from_code(kind), opaque: 0, size: own_size };
        let stream = [header.encode(), bytes].concat();
        let _ = Filter::new(Direction::ToGuest, ALL).pass(&stream, &mut Pieces::default());
        let _ = Filter::new(Direction::ToClient, NONE).pass(&stream, &mut Pieces::default());
        let (mut agent, mut said) = own(ALL);
        let _ = agent.take(&stream, &mut said);
        let mut port = GuestPort::default();
        let mut rest = &stream[..];
        while let Ok(Some(_)) = port.next(&mut rest) {}
    }
}
