//! The link stage, whatever a stranger sends, in pieces of any size, where there is a password and where there is none.
#![no_main]

use std::sync::LazyLock;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use spice_proto::auth::{Admission, Password, Secret, TicketKey};
use spice_proto::link::{LinkError, LinkEvent, LinkMachine};
use spice_proto::wire::Caps;

/// What is shown to clients that need no password. Made once.
static OPEN: LazyLock<Admission> = LazyLock::new(|| Admission::Open(*with_password().public_key()));

fn with_password() -> Admission {
    let secret = |id, text| Secret { id, password: Password::new(text).expect("a password") };
    Admission::OneOf(vec![secret(0, "secret"), secret(1, "invited")], TicketKey::generate().expect("a key"))
}

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (piece, password, bytes) = input;
    let mut machine = LinkMachine::new(Instant::now());
    let mut greeted = false;
    for mut piece in bytes.chunks(usize::from(piece).max(1)) {
        while let Ok(Some(event)) = machine.recv(&mut piece) {
            // Seldom, because each key takes as long as thousands of inputs.
            match event {
                LinkEvent::Hello(_) if greeted => drop(machine.reject(LinkError::Error)),
                LinkEvent::Hello(_) if password == 1 => machine.greet(with_password(), Caps::NONE),
                LinkEvent::Hello(_) => machine.greet(Admission::Open(*OPEN.public_key()), Caps::NONE),
                LinkEvent::Linked(..) => machine.accept(),
                LinkEvent::Sasl(_) => unreachable!("not offered"),
            }
            greeted = true;
        }
        assert!(machine.take_output().len() < 1024);
    }
});
