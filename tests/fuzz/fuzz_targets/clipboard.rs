//! QEMU's side of the clipboards, whatever it calls and answers, in any order.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use qemu_spice::internals::{ClipboardCalls, Hub};
use zbus::message::Message;

/// The longest text that is taken of the guest: what the program promises.
const MAX_TEXT: usize = 8 << 20;

#[derive(Arbitrary, Debug)]
enum Call<'a> {
    Register,
    Unregister,
    Grab(u32, u32, Vec<&'a str>),
    Release(u32),
    Request(u32, Vec<&'a str>),
    /// Any name and arguments.
    Other(u8, &'a [u8]),
    /// An answer to what a viewer has asked for; `is_text` if it says so itself.
    Answer { is_text: bool, mime: &'a str, data: &'a [u8], times: u8 },
}

fuzz_target!(|calls: Vec<Call<'_>>| {
    let clipboard = ClipboardCalls::new(&Hub::default());
    for call in calls {
        let Some(message) = message(&call) else { continue };
        if matches!(call, Call::Answer { .. }) {
            assert!(clipboard.answer(&message).is_none_or(|length| length <= MAX_TEXT));
        } else {
            clipboard.call(&message);
        }
    }
});

fn message(call: &Call<'_>) -> Option<Message> {
    let named = |name: &'static str| Message::method_call("/org/qemu", name).ok();
    match call {
        Call::Register => named("Register")?.build(&()).ok(),
        Call::Unregister => named("Unregister")?.build(&()).ok(),
        Call::Grab(selection, serial, mimes) => {
            named("Grab")?.build(&(small(*selection), *serial, with_text(mimes))).ok()
        }
        Call::Release(selection) => named("Release")?.build(&small(*selection)).ok(),
        Call::Request(selection, mimes) => named("Request")?.build(&(small(*selection), with_text(mimes))).ok(),
        Call::Other(name, data) => {
            let names = ["Register", "Unregister", "Grab", "Release", "Request", "Fly"];
            named(names[usize::from(*name) % names.len()])?.build(data).ok()
        }
        Call::Answer { is_text, mime, data, times } => {
            let mime = if *is_text { "text/plain;charset=utf-8" } else { mime };
            named("Request")?.build(&(mime, data.repeat(usize::from(*times)))).ok()
        }
    }
}

/// Few clipboards, so that calls meet.
fn small(selection: u32) -> u32 {
    if selection % 8 == 7 { selection } else { selection % 4 }
}

/// An empty name stands for that of text.
fn with_text<'a>(mimes: &[&'a str]) -> Vec<&'a str> {
    mimes.iter().map(|mime| if mime.is_empty() { "text/plain;charset=utf-8" } else { mime }).collect()
}
