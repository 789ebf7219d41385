//! Both sides of the guest's sound, whatever QEMU calls, in any order and at any pace.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use qemu_spice::internals::{Hub, SoundCalls};
use zbus::message::Message;

/// The most bytes that a read may give: what the program promises.
const MAX_READ: usize = 1 << 20;

#[derive(Arbitrary, Debug)]
struct Call<'a> {
    id: u8,
    /// Milliseconds since the last.
    later: u16,
    records: bool,
    what: What<'a>,
}

#[derive(Arbitrary, Debug)]
enum What<'a> {
    /// Any numbers; with `fits` those of frames that their samples fill.
    Init { bits: u8, signed: bool, float: bool, rate: u32, channels: u8, frame: u32, big: bool, fits: bool },
    Fini,
    SetEnabled(bool),
    SetVolume(bool, &'a [u8]),
    /// Of samples, so many times over.
    Write(&'a [u8], u8),
    Read(u64),
    /// Any name and arguments.
    Other(u8, &'a [u8]),
}

fuzz_target!(|calls: Vec<Call<'_>>| {
    let (hub, mut now) = (Hub::default(), Instant::now());
    let mut sound = SoundCalls::new(&hub);
    for call in calls {
        now += Duration::from_millis(call.later.into());
        let Some(message) = message(&call) else { continue };
        if call.records {
            assert!(sound.record(&message, now).is_none_or(|bytes| bytes <= MAX_READ));
        } else {
            sound.play(&message, now);
        }
    }
});

fn message(call: &Call<'_>) -> Option<Message> {
    // Few streams, so that calls meet.
    let id = u64::from(call.id % 20);
    let named = |name: &'static str| Message::method_call("/org/qemu", name).ok();
    match &call.what {
        What::Init { bits, signed, float, rate, channels, frame, big, fits } => {
            let (bits, channels, rate) = match fits {
                true => ([8, 16, 32][usize::from(bits % 3)], channels % 18, rate % 400_000),
                false => (*bits, *channels, *rate),
            };
            let frame = if *fits { u32::from(bits) / 8 * u32::from(channels) } else { *frame };
            named("Init")?.build(&(id, bits, *signed, *float, rate, channels, frame, 0u32, *big)).ok()
        }
        What::Fini => named("Fini")?.build(&id).ok(),
        What::SetEnabled(on) => named("SetEnabled")?.build(&(id, *on)).ok(),
        What::SetVolume(mute, volume) => named("SetVolume")?.build(&(id, *mute, *volume)).ok(),
        What::Write(data, times) => named("Write")?.build(&(id, data.repeat(usize::from(*times)))).ok(),
        What::Read(size) => named("Read")?.build(&(id, *size)).ok(),
        What::Other(name, data) => {
            let names = ["Init", "Fini", "SetEnabled", "SetVolume", "Write", "Read", "Fly"];
            named(names[usize::from(*name) % names.len()])?.build(data).ok()
        }
    }
}
