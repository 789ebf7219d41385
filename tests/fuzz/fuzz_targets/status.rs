//! The properties that somebody on the bus answers `qemu-spice status` with: nothing of them acts on the terminal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qemu_spice::internals::status::{Status, to_json, to_text};
use zbus::Message;

fuzz_target!(|body: &[u8]| {
    let call = Message::method_call("/", "GetAll").and_then(|call| call.build(&())).expect("a call");
    let answer = Message::method_return(&call.header()).expect("an answer");
    // SAFETY: no file goes with it, and zbus decodes it as what comes from a socket, which nobody checks either.
    let answer = unsafe { answer.build_raw_body(body, "a{sv}", Vec::new()) };
    let servers = [Status::new(":1.7".to_owned(), answer)];
    let text = to_text(&servers);
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    assert!(to_json(&servers).is_array());
});
