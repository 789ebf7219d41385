//! A login by name, whatever a stranger sends after the choice of SASL, in pieces of any size.
#![no_main]

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use qemu_spice::internals::{Exchange, OFFERED, Step, Users};
use spice_proto::auth::Admission;
use spice_proto::link::{LinkEvent, LinkMachine, SaslMessage};
use spice_proto::wire::Caps;

/// What comes before: spice-gtk's link message for a main channel, and the choice.
const BEFORE: &[u8] =
    b"REDQ\x02\0\0\0\x02\0\0\0\x16\0\0\0\0\0\0\0\x01\0\x01\0\0\0\0\0\0\0\x12\0\0\0\x0d\0\0\0\x02\0\0\0";

/// One user, whose password has few iterations: nobody could send it here.
static USERS: LazyLock<Arc<Users>> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("qemu-spice-fuzz-{}", std::process::id()));
    let key = "ab".repeat(32);
    let mut file = std::fs::OpenOptions::new();
    let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(&path).expect("a file");
    writeln!(file, "ann:use:1:0102030405060708:{key}:{key}").expect("a line");
    let users = Arc::new(Users::load(&path).expect("users"));
    let _ = std::fs::remove_file(path);
    users
});

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let mut machine = LinkMachine::new(Instant::now());
    let mut before = BEFORE;
    assert!(matches!(machine.recv(&mut before), Ok(Some(LinkEvent::Hello(_)))));
    machine.greet(Admission::Sasl(OFFERED.to_owned()), Caps::NONE);
    assert!(matches!(machine.recv(&mut before), Ok(None)));
    machine.take_output();
    let mut exchange = None;
    for mut piece in bytes.chunks(usize::from(piece).max(1)) {
        while let Ok(Some(event)) = machine.recv(&mut piece) {
            let LinkEvent::Sasl(SaslMessage { mechanism, data }) = event else { panic!("let in: {event:?}") };
            if let Some(mechanism) = mechanism {
                exchange = Exchange::start(USERS.clone(), &mechanism);
            }
            // Hashing takes as long as hundreds of inputs, and is not what is tried here.
            let is_slow = data.as_ref().is_some_and(|data| data.split(|byte| *byte == 0).count() == 3);
            match exchange
                .as_mut()
                .filter(|_| !is_slow)
                .map(|exchange| exchange.step(data.as_deref().map(Vec::as_slice)))
            {
                Some(Step::Continue(data)) => machine.continue_sasl(&data),
                Some(Step::Entered(name, _)) => panic!("{name} was let in"),
                Some(Step::Refused(data)) => drop(machine.refuse_sasl(data.as_deref())),
                None => drop(machine.refuse_sasl(None)),
            }
        }
        assert!(machine.take_output().len() < 8192);
    }
});
