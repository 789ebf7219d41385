//! A hostile VMM, or a stranger at its socket: bytes in pieces, and files with some of them.
//!
//! What comes out is what went in, message by message, or nothing more.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use qemu_spice::internals::Messages;

#[derive(Debug, Arbitrary)]
struct Input {
    bytes: Vec<u8>,
    /// How many bytes come at once, and how many files with them.
    pieces: Vec<(u8, u8)>,
}

fuzz_target!(|input: Input| {
    let mut messages = Messages::default();
    let (mut out, mut files) = (Vec::<u8>::new(), 0_usize);
    let mut at = 0;
    for (size, count) in input.pieces {
        let wanted = messages.wanted();
        assert!(!wanted.is_empty());
        let count = usize::from(count % 20);
        let size = wanted.len().min(usize::from(size).max(1)).min(input.bytes.len() - at);
        if size == 0 {
            break;
        }
        wanted[..size].copy_from_slice(&input.bytes[at..at + size]);
        at += size;
        match messages.took(size, std::iter::repeat_n((), count)) {
            Ok(None) => files += count,
            Ok(Some(message)) => {
                files += count;
                assert!(message.files.len() <= 16 && message.bytes.len() <= 12 + 0x1000);
                assert!(message.notices().is_none() || !message.files.is_empty());
                out.extend(&message.bytes);
                files -= message.files.len();
                assert_eq!((out.len(), files), (at, 0), "a message ends where it ends");
            }
            Err(_) => return,
        }
    }
    assert_eq!(out, input.bytes[..out.len()]);
});
