//! The parts of a frame's path by themselves, each beside its floor: `cargo bench --bench parts`.
#![allow(
    missing_docs,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used
)]

use std::hint::black_box;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};
use qemu_spice::internals::{ConsoleId, DamageFilter, Kept, PixelFormat, Rect, Scanout, Size};
use qemu_spice::internals::{Hub, ReleaseQueue};
use qemu_spice::internals::{Picture, Pixels};
use spice_proto::channels::display::{FromServer, StreamData, glz};
use spice_proto::wire::{HeaderForm, Payload};

const SIZE: Size = Size::new(1280, 720);
const XRGB: u32 = 0x2002_0888;
const STRIDE: u32 = SIZE.width * 4;
/// Of the planes of Y, U and V.
const I420_BYTES: usize = 1280 * 720 * 3 / 2;

criterion_group! {
    name = parts;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = converter, still, encoder, exact, images, wire, hub
}
criterion_main!(parts);

/// A frame of QEMU's shared memory into the picture that is encoded; the floor is a copy of its bytes.
fn converter(c: &mut Criterion) {
    let pixels = frame(0);
    let scanout = Scanout::shared(memfd(&pixels), 0, SIZE.width, SIZE.height, STRIDE, XRGB).unwrap();
    let mut group = c.benchmark_group("converter");
    group.throughput(Throughput::Bytes(pixels.len() as u64));
    let mut copy = vec![0; pixels.len()];
    group.bench_function("floor: copying the frame", |b| {
        b.iter(|| black_box(&mut copy).copy_from_slice(black_box(&pixels)))
    });
    let mut reader = scanout.reader().unwrap();
    group.bench_function("reading the frame", |b| b.iter(|| reader.read(SIZE.rect(), &mut copy).unwrap()));
    let mut picture = Picture::new(SIZE, Pixels::I420);
    group.bench_function("reading and converting the frame", |b| {
        b.iter(|| picture.refresh(&mut reader, SIZE.rect()).unwrap())
    });
    let mut planes = vec![0; I420_BYTES];
    group.bench_function("copying the planes for the encoder", |b| {
        b.iter(|| picture.planes().write(Pixels::I420, black_box(&mut planes)))
    });
    drop(group);
    c.bench_function("converter/reading and converting 200x40", |b| {
        b.iter(|| picture.refresh(&mut reader, Rect::new(333, 222, 200, 40)).unwrap())
    });
}

/// Finding out what really changed, where all does in every frame and where nothing does. The floors are the frames
/// without that: what it may cost where all changes is a twentieth of a frame, which is read, converted and encoded
/// as well.
fn still(c: &mut Criterion) {
    let frames = [frame(0), frame(6)];
    let all = SIZE.rect();
    let write = |scanout: &Scanout, n: usize| scanout.write(all, STRIDE, XRGB, &frames[n % 2]).unwrap();
    let mut group = c.benchmark_group("still");
    let format = PixelFormat::from_pixman(XRGB).unwrap();
    let mut pixels = vec![0; frames[0].len()];
    group.bench_function("floor: writing a frame that came by value", |b| {
        b.iter(|| {
            let rows = frames[0].chunks(STRIDE as usize).zip(pixels.chunks_mut(STRIDE as usize));
            rows.for_each(|(from, to)| format.to_bgrx(false, from, &[], black_box(to)));
        })
    });
    let owned = Scanout::owned(SIZE.width, SIZE.height, STRIDE, XRGB, &frames[0]).unwrap();
    let mut count = 0;
    group.bench_function("by value, all changes", |b| {
        b.iter(|| {
            count += 1;
            assert!(!write(&owned, count).is_empty());
        })
    });
    group.bench_function("by value, nothing changes", |b| b.iter(|| write(&owned, count)));

    let memory = memfd(&frames[0]);
    let scanout = Scanout::shared(memory.try_clone().unwrap(), 0, SIZE.width, SIZE.height, STRIDE, XRGB);
    let scanout = Arc::new(scanout.unwrap());
    for (name, moves) in [("shared memory, all changes", true), ("shared memory, nothing changes", false)] {
        let mut still = DamageFilter::default();
        let mut count = 0;
        group.bench_function(name, |b| {
            b.iter_custom(|times| {
                let mut taken = Duration::ZERO;
                for _ in 0..times {
                    count += 1;
                    if moves {
                        rustix::io::pwrite(&memory, &frames[count % 2], 0).unwrap();
                    }
                    if count % 64 == 1 {
                        scanout.reader().unwrap().read(all, &mut pixels).unwrap();
                    }
                    let now = Instant::now();
                    black_box(still.changed(all, &scanout, now));
                    taken += now.elapsed();
                }
                taken
            })
        });
    }
    drop(group);
}

/// x264 alone, with the settings that matter for speed: the floor of all that sends video.
fn encoder(c: &mut Criterion) {
    gst::init().unwrap();
    let pipeline = gst::parse::launch(&format!(
        "appsrc name=source format=time caps=video/x-raw,format=I420,width={},height={},framerate=60/1 \
         ! x264enc tune=zerolatency speed-preset=ultrafast pass=quant quantizer=24 option-string=scenecut=0 \
           sliced-threads=true threads=2 bframes=0 key-int-max=1073741824 byte-stream=true aud=false \
         ! appsink name=sink sync=false async=false",
        SIZE.width, SIZE.height
    ));
    let Ok(Ok(pipeline)) = pipeline.map(|element| element.downcast::<gst::Pipeline>()) else { return };
    let source: AppSrc = pipeline.by_name("source").unwrap().downcast().unwrap();
    let sink: AppSink = pipeline.by_name("sink").unwrap().downcast().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let frames: Vec<Vec<u8>> = (0..8).map(|n| planes(n * 6)).collect();
    let mut count = 0;
    c.bench_function("encoder/floor: x264 alone, a frame that pans", |b| {
        b.iter(|| {
            let mut buffer = gst::Buffer::from_slice(frames[count % frames.len()].clone());
            buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(count as u64 * 33));
            count += 1;
            source.push_buffer(buffer).unwrap();
            sink.pull_sample().unwrap()
        })
    });
    pipeline.set_state(gst::State::Null).unwrap();
}

/// Comparing an update of text in which nothing has moved with the picture before, and packing what changed; with the
/// search for what has moved, and without it, which is the floor: the search may cost a twentieth of it.
fn exact(c: &mut Criterion) {
    let pages = [page(0), page(1)];
    for (name, rect) in [
        ("a letter", Rect::new(320, 320, 16, 16)),
        ("a part of 400x200", Rect::new(320, 160, 400, 200)),
        ("a whole page", SIZE.rect()),
    ] {
        let parts = [0, 1].map(|n: usize| {
            let mut part = vec![0; rect.area() as usize * 4];
            Kept::of(SIZE, pages[n].clone()).read(rect, &mut part).unwrap();
            part
        });
        for (floor, search) in [("floor: ", false), ("", true)] {
            let mut kept = Kept::of(SIZE, pages[0].clone());
            let mut count = 0;
            let with = if search { "with the search" } else { "without the search" };
            c.bench_function(&format!("exact/{floor}{name} of text changes, {with}"), |b| {
                b.iter(|| {
                    count += 1;
                    let taken = kept.take_in(rect, &parts[count % 2], search);
                    assert!(taken.moved.is_empty());
                    for &part in taken.rest.rects() {
                        let mut pixels = vec![0; part.area() as usize * 4];
                        kept.read(part, &mut pixels).unwrap();
                        black_box(lz4_flex::block::compress(&pixels));
                    }
                })
            });
        }
    }
}

/// Packing exact images of text and of a picture with grain, as they are for any network, and for a narrow one.
fn images(c: &mut Criterion) {
    let all_bytes = |pixels: &[u8], pack: &dyn Fn(&[u8]) -> usize| -> usize {
        pixels.chunks(STRIDE as usize * 204).map(pack).sum()
    };
    let lz4 = |pixels: &[u8]| lz4_flex::block::compress(pixels).len();
    let zlib = |pixels: &[u8], level| {
        miniz_oxide::deflate::compress_to_vec_zlib(&glz(SIZE.width, pixels, 0), level).len()
    };
    for (name, pixels, level) in [("text", page(0), 4), ("a picture", frame(0), 1)] {
        let mut measure = |packing: &str, pack: &dyn Fn(&[u8]) -> usize| {
            let bytes = all_bytes(&pixels, pack);
            c.bench_function(&format!("images/{name} as {packing}, {bytes} bytes"), |b| {
                b.iter(|| all_bytes(black_box(&pixels), pack))
            });
        };
        measure("LZ4", &lz4);
        measure("GLZ and zlib", &|pixels| zlib(pixels, level));
    }
}

/// A message with a frame of 60 kB, ready to write; the floor is a copy of that frame, which is not made.
fn wire(c: &mut Criterion) {
    let data = vec![7; 60_000];
    let payload = Payload::new(data.clone());
    c.bench_function("wire/floor: copying a frame of 60 kB", |b| b.iter(|| black_box(&data).clone()));
    c.bench_function("wire/a message with a frame of 60 kB", |b| {
        b.iter(|| {
            let data = StreamData { stream_id: 1, multi_media_time: 2, data: payload.clone() };
            FromServer::StreamData(data).encode().into_frame(HeaderForm::Mini, 1)
        })
    });
}

/// One change to all that look at a console, and its release by the last of them.
fn hub(c: &mut Criterion) {
    for readers in [1, 64] {
        let console = Hub::default().console(ConsoleId(0)).unwrap();
        let pixels = frame(0);
        console
            .show(Some(Scanout::shared(memfd(&pixels), 0, SIZE.width, SIZE.height, STRIDE, XRGB).unwrap()));
        let queue = ReleaseQueue::default();
        let subscriptions: Vec<_> = (0..readers).map(|_| console.subscribe()).collect();
        // A reader that has found nothing counts as waiting.
        let look = || subscriptions.iter().filter_map(|reader| reader.take()).count();
        while look() > 0 {}
        c.bench_function(&format!("hub/a change to {readers} readers and its release"), |b| {
            b.iter_custom(|times| {
                let begin = Instant::now();
                for id in 0..times {
                    console.damage((0, 0, 1280, 720), Some(queue.release(id)));
                    assert_eq!(look(), readers);
                    look();
                }
                begin.elapsed()
            })
        });
    }
}

/// Soft shapes and some grain, as a picture has them.
fn frame(shift: u32) -> Vec<u8> {
    let pixel = |n: u32| {
        let (x, y) = (n % SIZE.width + shift, n / SIZE.width);
        let grain = (x ^ y).wrapping_mul(2_654_435_761) >> 29;
        let soft = |scale: u32| (128.0 + 100.0 * f64::from(x / scale + y / (scale + 3)).sin()) as u32;
        [soft(5) + grain, soft(9) + grain, soft(17) + grain, 0].map(|value| value as u8)
    };
    (0..SIZE.width * SIZE.height).flat_map(pixel).collect()
}

/// A page of text, another one for each number.
fn page(number: u32) -> Vec<u8> {
    let noise = |n: u32| {
        let n = n.wrapping_mul(0x9e37_79b1);
        (n ^ n >> 15).wrapping_mul(0x2c1b_3c6d) >> 13
    };
    let pixel = |n: u32| {
        let (x, y) = (n % SIZE.width, n / SIZE.width);
        let line = y / 16 + number * 100;
        let letter = noise(x / 8 + line * 777) % 64;
        let is_there = x / 8 < 40 + noise(line) % 110 && letter > 8 && y % 16 < 12;
        let ink = is_there && noise(letter * 64 + x % 8 / 2 + y % 16 / 2 * 4).is_multiple_of(3);
        [if ink { 30 } else { 245 }; 4]
    };
    (0..SIZE.width * SIZE.height).flat_map(pixel).collect()
}

fn planes(shift: u32) -> Vec<u8> {
    let pixels = frame(shift);
    let scanout = Scanout::shared(memfd(&pixels), 0, SIZE.width, SIZE.height, STRIDE, XRGB).unwrap();
    let mut picture = Picture::new(SIZE, Pixels::I420);
    picture.refresh(&mut scanout.reader().unwrap(), SIZE.rect()).unwrap();
    let mut planes = vec![0; I420_BYTES];
    picture.planes().write(Pixels::I420, &mut planes);
    planes
}

fn memfd(bytes: &[u8]) -> OwnedFd {
    let fd = rustix::fs::memfd_create("frame", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    std::fs::File::from(fd.try_clone().unwrap()).write_all(bytes).unwrap();
    fd
}
