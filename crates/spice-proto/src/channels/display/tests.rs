use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::channels::{Machine, base};
use crate::wire::{Cap, Caps, HeaderForm, Point, Rect, Size};

fn channel(caps: Caps) -> DisplayChannel {
    DisplayChannel::new(HeaderForm::Mini, caps, Instant::now())
}

fn ready(caps: &[Cap]) -> DisplayChannel {
    with_window(caps, 1 << 20)
}

/// A client that keeps so many pixels for images in GLZ.
fn with_window(caps: &[Cap], glz_dictionary_window: i32) -> DisplayChannel {
    let mut display = channel(Caps::of(caps));
    let init = FromClient::Init(Init {
        pixmap_cache_id: 1,
        pixmap_cache_size: 1 << 20,
        glz_dictionary_id: 1,
        glz_dictionary_window,
    });
    let message = init.encode();
    assert_eq!(display.handle(message.id(), &message.body()), Ok(Some(DisplayEvent::Ready)));
    display
}

/// What the client is told, in order, by name.
fn told(display: &mut DisplayChannel) -> Vec<String> {
    std::iter::from_fn(|| display.out.pop_front())
        .map(|message| {
            let text = format!("{:?}", FromServer::decode(message.id(), &message.body()).unwrap());
            text.split(['(', ' ']).next().unwrap_or_default().to_owned()
        })
        .collect()
}

fn video(generation: u64, width: u32, height: u32) -> Video {
    let picture = Size::new(width, height);
    Video {
        codec: VideoCodec::H264,
        generation,
        coded: Size::new(width + width % 2, height + height % 2),
        picture,
        area: Rect::at(0, 0, width, height),
        data: vec![0; 9].into(),
    }
}

fn tile() -> Vec<Tile> {
    let data = ImageData::Bitmap { format: BitmapFormat::Xrgb, stride: 4, pixels: vec![0; 4].into() };
    vec![Tile { x: 0, y: 0, width: 1, height: 1, data }]
}

const GTK: &[Cap] = &[caps::MONITORS_CONFIG, caps::MULTI_CODEC, caps::CODEC_H264];

#[test]
fn a_stream_starts_on_a_surface_that_is_shown_and_each_frame_is_flushed() {
    let mut display = ready(GTK);
    display.show_video(video(1, 1280, 720), 5);
    display.show_video(video(1, 1280, 720), 6);
    assert_eq!(
        told(&mut display),
        [
            "InvalAllPalettes",
            "SurfaceCreate",
            "MonitorsConfig",
            "Mark",
            "StreamCreate",
            "StreamData",
            "StreamData",
            "StreamData",
            "StreamData"
        ]
    );
}

#[test]
fn another_size_makes_another_surface_and_stream_on_the_same_channel() {
    let mut display = ready(GTK);
    display.show_video(video(1, 1280, 720), 5);
    told(&mut display);
    display.show_video(video(2, 1367, 769), 6);
    let messages: Vec<_> = std::iter::from_fn(|| display.out.pop_front())
        .map(|message| FromServer::decode(message.id(), &message.body()).unwrap())
        .collect();
    assert!(matches!(messages[0], FromServer::StreamDestroy { stream_id: 0 }), "{messages:?}");
    assert!(matches!(messages[1], FromServer::SurfaceDestroy { surface_id: 0 }));
    assert!(matches!(messages[2], FromServer::SurfaceCreate(SurfaceCreate { width: 1368, height: 770, .. })));
    let FromServer::MonitorsConfig(config) = &messages[3] else { panic!("{messages:?}") };
    assert_eq!((config.heads[0].width, config.heads[0].height), (1367, 769));
    assert!(matches!(messages[5], FromServer::StreamCreate(StreamCreate { stream_id: 1, .. })));
}

#[test]
fn images_are_drawn_before_the_surface_is_shown() {
    let mut display = ready(&[caps::MONITORS_CONFIG]);
    display.show_images(Size::new(640, 480), &[], tile());
    display.show_images(Size::new(640, 480), &[], tile());
    assert_eq!(
        told(&mut display),
        ["InvalAllPalettes", "SurfaceCreate", "DrawCopy", "MonitorsConfig", "Mark", "DrawCopy"]
    );
    display.blank();
    display.blank();
    assert_eq!(told(&mut display), ["SurfaceDestroy"]);
}

#[test]
fn what_moved_is_copied_on_a_surface_that_is_there_before_anything_is_drawn() {
    let mut display = ready(GTK);
    let moved = Moved { from: Point { x: 0, y: 16 }, to: Rect::at(0, 0, 640, 464) };
    display.touch_up(&[moved], tile());
    assert_eq!(told(&mut display), ["InvalAllPalettes"], "there is no surface");
    display.show_images(Size::new(640, 480), &[], tile());
    told(&mut display);
    display.show_images(Size::new(640, 480), &[moved, moved], tile());
    display.touch_up(&[moved], tile());
    assert_eq!(told(&mut display), ["CopyBits", "CopyBits", "DrawCopy", "CopyBits", "DrawCopy"]);
    assert!(display.takes_copies() && !ready(&[caps::PREF_COMPRESSION]).takes_copies());
}

#[test]
fn glz_is_for_clients_that_keep_pixels_for_it_as_spice_gtk_does() {
    let lz4 = [caps::LZ4_COMPRESSION];
    assert_eq!(channel(Caps::of(&lz4)).glz_pixels(), 0, "it has not said yet");
    for (caps, window, most) in
        [(&lz4[..], 1 << 20, (1 << 20) - 1), (&lz4, 0, 0), (&lz4, -1, 0), (&[], 1 << 20, 0)]
    {
        assert_eq!(with_window(caps, window).glz_pixels(), most, "{window}");
    }
}

#[test]
fn a_client_that_cannot_decode_gets_images_on_the_same_surface() {
    let mut display = ready(GTK);
    display.show_video(video(1, 640, 480), 5);
    told(&mut display);
    let report = FromClient::StreamReport(StreamReport {
        stream_id: 0,
        unique_id: 0,
        start_frame_mm_time: 0,
        end_frame_mm_time: 0,
        num_frames: 0,
        num_drops: u32::MAX,
        last_frame_delay: 0,
        audio_delay: 0,
    });
    let message = report.encode();
    assert_eq!(display.handle(message.id(), &message.body()), Ok(Some(DisplayEvent::DecoderFailed)));
    assert!(display.decoder_failed() && !display.decodes(VideoCodec::H264));
    display.show_images(Size::new(640, 480), &[], tile());
    assert_eq!(told(&mut display), ["DrawCopy"]);
}

#[test]
fn a_buffer_is_passed_on_and_drawn_one_at_a_time() {
    let mut display = ready(&[caps::MONITORS_CONFIG, caps::GL_SCANOUT]);
    display.show_images(Size::new(640, 480), &[], tile());
    while display.poll_frame(Instant::now()).is_some() {}
    let fd = rustix::fs::memfd_create("buffer", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let scanout = Scanout {
        size: Size::new(64, 32),
        fourcc: 1,
        modifier: 0,
        bottom_up: false,
        planes: vec![Plane { fd: fd.into(), offset: 0, stride: 256 }],
    };
    display.show_scanout(scanout.clone());
    display.draw(GlDraw { x: 0, y: 0, width: 64, height: 32 });
    let frames: Vec<_> = std::iter::from_fn(|| display.poll_frame(Instant::now())).collect();
    assert_eq!(frames.len(), 4, "surface destroyed, scanout, monitors, draw");
    assert!(frames[1].fds.len() == 1 && frames[2].fds.is_empty());
    assert!(!display.has_room(), "one draw at a time");
    let done = FromClient::GlDrawDone.encode();
    assert_eq!(display.handle(done.id(), &done.body()), Ok(Some(DisplayEvent::Drawn)));
    assert_eq!(display.handle(done.id(), &done.body()), Ok(None), "nobody asked");
    assert!(display.has_room());
    display.show_scanout(scanout.clone());
    assert_eq!(told(&mut display), ["GlScanout"], "a flip of the same size is one message");
    display.show_images(Size::new(640, 480), &[], tile());
    assert_eq!(told(&mut display), ["GlScanout", "SurfaceCreate", "DrawCopy", "MonitorsConfig", "Mark"]);

    let mut modern = ready(&[caps::GL_SCANOUT, caps::GL_SCANOUT2]);
    modern.show_scanout(scanout.clone());
    assert_eq!(told(&mut modern), ["InvalAllPalettes", "GlScanout2"]);
}

#[test]
fn another_codec_is_another_stream_and_what_ends_a_frame_is_its_own() {
    let mut display = ready(GTK);
    display.show_video(video(1, 640, 480), 5);
    told(&mut display);
    display.show_video(Video { codec: VideoCodec::Mjpeg, ..video(1, 640, 480) }, 6);
    assert_eq!(told(&mut display), ["StreamDestroy", "StreamCreate", "StreamData"]);
}

#[test]
fn areas_are_streams_of_their_own_until_they_end() {
    let mut display = ready(GTK);
    display.show_video(video(1, 641, 480), 5);
    told(&mut display);
    let film = Rect::at(500, 100, 141, 99);
    let area = |generation| Video { area: film, coded: Size::new(142, 100), ..video(generation, 641, 480) };
    display.show_video(area(1), 6);
    let messages: Vec<_> = std::iter::from_fn(|| display.out.pop_front())
        .map(|message| FromServer::decode(message.id(), &message.body()).unwrap())
        .collect();
    let FromServer::StreamCreate(create) = &messages[0] else { panic!("{messages:?}") };
    assert_eq!((create.stream_id, create.width, create.height), (1, 142, 100));
    assert_eq!(create.dest, Rect::at(500, 100, 142, 100), "even, as the surface is");
    display.end_video(Rect::at(0, 0, 641, 480));
    display.show_video(area(1), 7);
    display.touch_up(&[], tile());
    assert_eq!(told(&mut display), ["StreamDestroy", "StreamData", "StreamData", "DrawCopy"]);
    display.show_video(area(2), 8);
    assert_eq!(told(&mut display), ["StreamDestroy", "StreamCreate", "StreamData", "StreamData"]);
    display.show_video(video(2, 800, 600), 9);
    assert_eq!(told(&mut display)[..3], ["StreamDestroy", "SurfaceDestroy", "SurfaceCreate"]);
    display.end_video(film);
    assert_eq!(told(&mut display), [""; 0], "it has ended already");
}

#[test]
fn streams_that_nobody_ends_take_the_place_of_older_ones() {
    let mut display = ready(GTK);
    for n in 0..100 {
        display.show_video(Video { area: Rect::at(2 * n, 0, 2, 2), ..video(1, 640, 480) }, n);
    }
    let streams = |name: &str, told: &[String]| told.iter().filter(|told| *told == name).count();
    let told = told(&mut display);
    assert_eq!(streams("StreamCreate", &told), 100);
    assert!(streams("StreamDestroy", &told) >= 100 - 32, "{}", streams("StreamDestroy", &told));
}

#[test]
fn h264_needs_both_capabilities() {
    assert!(!channel(Caps::of(&[caps::CODEC_H264])).decodes(VideoCodec::H264));
    assert!(channel(Caps::of(GTK)).decodes(VideoCodec::H264));
    assert!(!channel(Caps::of(GTK)).decodes_full_colour());
    assert!(channel(Caps::of(&[caps::CODEC_H264_444])).decodes_full_colour());
}

#[test]
fn spice_html5_is_sent_no_vp8_which_would_hide_what_comes_after_it() {
    let html5 =
        [caps::SIZED_STREAM, caps::STREAM_REPORT, caps::MULTI_CODEC, caps::CODEC_MJPEG, caps::CODEC_VP8];
    let html5 = channel(Caps::of(&html5));
    assert!(html5.decodes(VideoCodec::Mjpeg) && !html5.decodes(VideoCodec::Vp8));
    assert!(channel(Caps::from(0x6fbf)).decodes(VideoCodec::Vp8), "spice-gtk");
}

#[test]
fn a_client_says_which_codecs_it_likes_best_and_changes_its_mind() {
    let mut display = ready(GTK);
    assert!(DisplayChannel::server_caps().has(caps::PREF_VIDEO_CODEC_TYPE), "it is not asked");
    for wanted in [vec![VideoCodec::Vp9, VideoCodec::H264], Vec::new()] {
        let message = FromClient::PreferredVideoCodec(wanted.clone()).encode();
        assert_eq!(display.handle(message.id(), &message.body()), Ok(Some(DisplayEvent::Preferred)));
        assert_eq!(display.preferred(), wanted);
        assert_eq!(display.handle(message.id(), &message.body()), Ok(None), "it has said so before");
    }
    let mut changes = 0;
    for n in 0..1000 {
        let wanted = if n % 2 == 0 { VideoCodec::Vp9 } else { VideoCodec::H264 };
        let message = FromClient::PreferredVideoCodec(vec![wanted]).encode();
        changes += usize::from(display.handle(message.id(), &message.body()) != Ok(None));
    }
    assert!(changes < 16, "{changes} other encoders for one client");
}

proptest! {
    #[test]
    fn strange_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = channel(Caps::from(u32::MAX)).recv(&mut bytes.as_slice(), Instant::now());
    }
}

#[test]
fn what_was_asked_comes_back_when_all_before_it_is_read() {
    let mut display = ready(GTK);
    display.show_video(video(1, 1280, 720), 5);
    let picture = display.waiting_bytes();
    assert!(picture > 9);
    display.ask(77);
    let last = display.out.back().unwrap();
    let ping = base::Ping { id: 77, timestamp: 0 };
    assert_eq!(base::FromServer::decode(last.id(), &last.body()), Ok(base::FromServer::Ping(ping)));
    let mut answers = Vec::new();
    for _ in 0..100 {
        let pong = base::FromClient::Pong(ping).encode();
        answers.extend(pong.into_frame(HeaderForm::Mini, 1).slices().concat());
    }
    let mut input = answers.as_slice();
    let mut events = 0;
    while let Some(event) = display.recv(&mut input, Instant::now()).unwrap() {
        assert_eq!(event, DisplayEvent::Answered(77));
        events += 1;
    }
    assert!(input.is_empty() && (1..=100).contains(&events), "{events} answers are kept");
}
