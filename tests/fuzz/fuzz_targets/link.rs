//! The link stage, whatever a stranger sends, in pieces of any size.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use qemu_spice::internals::{Admission, Password, TicketKey};
use qemu_spice::internals::{LinkEvent, LinkMachine};
use qemu_spice::internals::{Caps, LinkError};

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let mut machine = LinkMachine::new(Instant::now());
    let mut admission =
        Password::new("secret").ok().zip(TicketKey::generate().ok()).map(|(word, key)| Admission::Password(word, key));
    for mut piece in bytes.chunks(usize::from(piece).max(1)) {
        while let Ok(Some(event)) = machine.recv(&mut piece) {
            match (event, admission.take()) {
                (LinkEvent::Hello(_), Some(admission)) => machine.greet(admission, Caps::NONE),
                (LinkEvent::Hello(_), None) => drop(machine.reject(LinkError::Error)),
                (LinkEvent::Linked(_), _) => machine.accept(),
            }
        }
        assert!(machine.take_output().len() < 1024);
    }
});
