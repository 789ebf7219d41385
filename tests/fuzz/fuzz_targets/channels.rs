//! Every channel's machine, whatever a client sends once it is in, in pieces of any size.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use spice_proto::channels::Machine;
use spice_proto::channels::cursor::{CursorChannel, Pointer};
use spice_proto::channels::display::DisplayChannel;
use spice_proto::channels::inputs::{InputsChannel, LockKeys};
use spice_proto::channels::main::{MainChannel, MainStart, MouseMode, MouseModes};
use spice_proto::channels::playback::PlaybackChannel;
use spice_proto::channels::port::PortChannel;
use spice_proto::channels::record::RecordChannel;
use spice_proto::channels::sound::{Mode, Volume};
use spice_proto::wire::{Caps, HeaderForm};

fuzz_target!(|input: (u8, bool, u8, &[u8])| {
    let (channel, full, piece, bytes) = input;
    let (form, now) = (if full { HeaderForm::Full } else { HeaderForm::Mini }, Instant::now());
    let mouse = MouseModes { server: true, client: true, current: MouseMode::Client };
    match channel % 8 {
        0 => {
            let start = MainStart {
                session_id: 1,
                caps: Caps::from(u32::MAX),
                channels: Vec::new(),
                mouse,
                has_agent: true,
                multi_media_time: 1,
                name: None,
                uuid: None,
            };
            drive(MainChannel::new(form, start, now), piece, bytes);
        }
        1 => drive(DisplayChannel::new(form, Caps::from(u32::MAX), now), piece, bytes),
        2 => drive(InputsChannel::new(form, LockKeys::default(), 0, now), piece, bytes),
        3 => drive(CursorChannel::new(form, None, Pointer::default(), MouseMode::Server, now), piece, bytes),
        4 => {
            let silent = Volume { channels: Vec::new(), mute: false };
            let all = Caps::from(u32::MAX);
            drive(PlaybackChannel::new(form, all, Mode::Opus, 40, silent, 0, now), piece, bytes);
        }
        5 => {
            let mut record = RecordChannel::new(form, Caps::from(u32::MAX), now);
            record.record(true, now).expect("nothing waits yet");
            drive(record, piece, bytes);
        }
        6 => drive(PortChannel::unnamed(form, now), piece, bytes),
        _ => {
            let mut port = PortChannel::named(form, "org.example.0", now);
            port.set_open(true, now).expect("nothing waits yet");
            drive(port, piece, bytes);
        }
    }
});

fn drive(mut machine: impl Machine, piece: u8, bytes: &[u8]) {
    let now = Instant::now();
    for mut piece in bytes.chunks(usize::from(piece).max(1)) {
        loop {
            match machine.recv(&mut piece, now) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        while machine.poll_frame(now).is_some() {}
    }
}
