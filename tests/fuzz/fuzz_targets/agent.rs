//! The streams between a client and the guest's agent, whatever either sends, in pieces of any size.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spice_proto::agent::{Direction, Filter, GuestPort, OwnAgent, PIECE_MAX, Pieces, Rules};

fuzz_target!(|input: (u8, bool, bool, bool, u8, &[u8])| {
    let (way, clipboard_to_guest, clipboard_from_guest, files, piece, bytes) = input;
    let rules = Rules { clipboard_to_guest, clipboard_from_guest, files, clipboard_max: 4096 };
    let pieces = bytes.chunks(usize::from(piece).max(1));
    let mut passed = Pieces::default();
    match way % 3 {
        0 => {
            let mut filter = Filter::new(Direction::ToGuest, rules);
            for piece in pieces {
                if filter.pass(piece, &mut passed).is_err() {
                    break;
                }
                check(&mut passed);
            }
        }
        1 => {
            let (mut port, mut filter) = (GuestPort::default(), Filter::new(Direction::ToClient, rules));
            for mut piece in pieces {
                while let Ok(Some(data)) = port.next(&mut piece) {
                    if filter.pass(data, &mut passed).is_err() {
                        return;
                    }
                    check(&mut passed);
                }
            }
        }
        _ => {
            let mut agent = OwnAgent::new(rules, true);
            for piece in pieces {
                if agent.take(piece, &mut passed).is_err() {
                    break;
                }
                check(&mut passed);
            }
        }
    }
});

/// No piece is larger than a peer takes.
fn check(passed: &mut Pieces) {
    while let Some(piece) = passed.pop() {
        assert!(piece.len() <= PIECE_MAX);
    }
}
