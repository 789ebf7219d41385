//! Numbers to look at, none asserted: `cargo test --release encode::tests::measure -- --ignored --nocapture`.

use std::time::Instant;

use super::process::{ALONE, encoders_of_ours, eventually};
use super::*;
use crate::encode::gst::{Control, Input, Pipeline};
use crate::encode::picture::{Layout, Picture, Pixels};
use rustix::fs::{MemfdFlags, memfd_create};
use std::io::Write;

const SIZE: Size = Size::new(1280, 720);

/// The median, in ms: the machine has other things to do, too.
fn median_ms(rounds: usize, mut what: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            what();
            start.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[rounds / 2]
}

#[test]
#[ignore = "prints times"]
fn reading_and_converting() {
    let screen = Screen::desktop(SIZE, 0);
    let fd = memfd_create("picture", MemfdFlags::CLOEXEC).unwrap();
    std::fs::File::from(fd.try_clone().unwrap()).write_all(&screen.bgrx).unwrap();
    let stride = SIZE.width * 4;
    let shared = Scanout::shared(fd, 0, SIZE.width, SIZE.height, stride, 0x2002_0888).unwrap();
    let owned = Scanout::owned(SIZE.width, SIZE.height, stride, 0x2002_0888, &screen.bgrx).unwrap();
    let mut bgrx = vec![0; screen.bgrx.len()];
    let mut picture = Picture::new(SIZE, Pixels::I420);
    for (name, scanout) in [("shared", shared), ("owned", owned)] {
        let mut reader = scanout.reader().unwrap();
        let read = median_ms(200, || reader.read(SIZE.rect(), &mut bgrx).unwrap());
        let both = median_ms(200, || picture.refresh(&mut reader, SIZE.rect()).unwrap());
        println!(
            "{name}: reading whole {read:.3} ms, reading and converting in bands {both:.3} ms a {SIZE} frame"
        );
        let small = Rect::new(333, 222, 200, 40);
        let small_ms = median_ms(200, || picture.refresh(&mut reader, small).unwrap());
        println!("{name}: {small:?}: {small_ms:.4} ms");
    }
    for pixels in [Pixels::I420, Pixels::Nv12] {
        let mut planes = vec![0; Layout::of(SIZE, pixels).len()];
        let copy = median_ms(200, || picture.planes().write(pixels, std::hint::black_box(&mut planes)));
        println!("copying the planes as {pixels:?} {copy:.3} ms");
    }
}

#[test]
#[ignore = "prints times"]
fn encoding_a_desktop_that_scrolls() {
    gst::init().unwrap();
    for element in working() {
        let Some(decoder) = Decoder::new() else { return };
        let mut pipeline = Pipeline::new(element, &Input::Planes, SIZE, Control::Quality).unwrap();
        let mut check = Codec::H264.check(SIZE);
        let mut picture = Picture::new(SIZE, Pixels::I420);
        let mut times = Vec::new();
        let mut bytes = Vec::new();
        for n in 0..40 {
            // Scrolls, then rests.
            let screen = Screen::desktop(SIZE, n.min(30) * 5);
            let scanout =
                Scanout::owned(SIZE.width, SIZE.height, SIZE.width * 4, 0x2002_0888, &screen.bgrx).unwrap();
            picture.refresh(&mut scanout.reader().unwrap(), SIZE.rect()).unwrap();
            let start = Instant::now();
            let encoded = pipeline.encode(n == 0, picture.planes()).unwrap();
            let ms = start.elapsed().as_secs_f64() * 1000.0;
            let unit = check.access_unit(&encoded).unwrap();
            let checked = start.elapsed().as_secs_f64() * 1000.0 - ms;
            let seen = decoder.show(&unit.data);
            if [0, 1, 10, 30, 31, 32, 39].contains(&n) {
                let psnr = seen.psnr(&screen, SIZE.rect());
                println!(
                    "{element:?} frame {n}: {ms:.2} ms + {checked:.2}, {} bytes, {psnr:.1} dB",
                    unit.data.len()
                );
            }
            times.push(ms);
            bytes.push(unit.data.len());
        }
        let mean_bytes = bytes[1..30].iter().sum::<usize>() / 29;
        times[1..30].sort_by(f64::total_cmp);
        let median = times[15];
        println!("{element:?}: scrolling {median:.2} ms, {mean_bytes} bytes a frame");
    }
}

/// CPU time of all threads of a process so far, in ms.
fn cpu_ms(process: impl std::fmt::Display) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let times = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("schedstat")).ok());
    times.map(|times| times.split(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>() / 1e6
}

/// The same frames to an encoder here and to one in a process of its own, in turn: other work on the machine is the
/// same for both.
#[test]
#[ignore = "prints times"]
fn here_and_in_a_process_of_its_own() {
    let _alone = ALONE.blocking_lock();
    gst::init().unwrap();
    let quartiles = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        [times.len() / 4, times.len() / 2, times.len() * 3 / 4].map(|at| times[at])
    };
    for (size, moves) in [(1280, 720), (1920, 1080)]
        .into_iter()
        .flat_map(|(width, height)| [false, true].map(|moves| (Size::new(width, height), moves)))
    {
        let pipelines = [Isolation::None, Isolation::All].map(|it| Pipelines::new(it, &[Element::X264], &[]));
        let start = |it: &Pipelines| it.start(Element::X264, &Input::Planes, size, Control::Quality).unwrap();
        let starts = pipelines.each_ref().map(|it| median_ms(9, || drop(start(it))));
        let mut both = pipelines.each_ref().map(start);
        eventually("those that were started first go on", || encoders_of_ours().len() == 1);
        let encoder = encoders_of_ours()[0];
        let processes = [vec!["self".to_owned()], vec!["self".into(), encoder.as_raw_nonzero().to_string()]];
        let mut picture = Picture::new(size, Pixels::I420);
        let (mut waits, mut times) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for n in 0..300 {
            let mut screen = Screen::desktop(size, if moves { n * 5 } else { 0 });
            let rect = Rect::new(333 + n, 222, 200, 40);
            screen.each(rect, |x, y| [x as u8, y as u8, n as u8]);
            let (stride, bgrx) = (size.width * 4, &screen.bgrx);
            let scanout = Scanout::owned(size.width, size.height, stride, 0x2002_0888, bgrx).unwrap();
            picture.refresh(&mut scanout.reader().unwrap(), size.rect()).unwrap();
            let order = if n % 2 == 0 { [0, 1] } else { [1, 0] };
            let mut made = Vec::new();
            for which in order {
                let cpu = || processes[which].iter().map(cpu_ms).sum::<f64>();
                let (before, began) = (cpu(), Instant::now());
                made.push(both[which].encode(n == 0, picture.planes()).unwrap().to_vec());
                let wait = began.elapsed().as_secs_f64() * 1000.0;
                std::thread::sleep(Duration::from_millis(2)); // what is still at work ends
                if n > 0 {
                    waits[which].push(wait);
                    times[which].push(cpu() - before);
                }
            }
            assert_eq!(made[0], made[1], "another picture");
        }
        println!(
            "{size}, {}: start here and apart {starts:.1?} ms",
            if moves { "all moves" } else { "a little" }
        );
        for (what, [here, apart]) in [("frame", &mut waits), ("CPU", &mut times)] {
            let mut ratios: Vec<_> =
                here.iter().zip(apart.iter()).map(|(here, apart)| apart / here).collect();
            let (ratios, here, apart) = (quartiles(&mut ratios), quartiles(here), quartiles(apart));
            println!("  {what}: {here:.2?} ms here, {apart:.2?} ms apart: {ratios:.2?} (quartiles)");
        }
    }
}

/// What is worth more in few bytes: all pixels, or a quarter of them as the client stretches them.
#[tokio::test]
#[ignore = "prints how good pictures are"]
async fn few_bytes_for_a_whole_picture_or_a_halved_one() {
    let Some(encoders) = encoders(&[Element::X264]) else { return };
    let film = |n: u32| {
        let mut screen = Screen::plain(SIZE, [0; 3]);
        let wave = |x: u32, y: u32, n: u32| {
            let (x, y, n) = (f64::from(x), f64::from(y), f64::from(n));
            let soft = ((x + n * 9.0) / 37.0).sin() * ((y - n * 5.0) / 29.0).cos();
            let fine = ((x * 1.7 + y * 0.9 + n * 9.0) / 3.1).sin() * 0.25;
            (128.0 + 100.0 * (soft + fine) / 1.25) as u8
        };
        screen.each(SIZE.rect(), |x, y| [wave(x, y, n), wave(y, x, n + 40), wave(x + y, y, n + 80)]);
        screen
    };
    type Frames<'a> = (&'a str, Box<dyn Fn(u32) -> Screen>);
    let scenes: [Frames<'_>; 2] =
        [("text", Box::new(|n| Screen::desktop(SIZE, n * 37))), ("film", Box::new(film))];
    for (name, scene) in scenes {
        let screens: Vec<_> = (0..12).map(scene).collect();
        for bytes in [2_000, 4_000, 6_000, 9_000, 14_000, 20_000] {
            let mut told = format!("{name}, {bytes} bytes a frame:");
            for tier in [Tier::Low, Tier::Half] {
                let (console, decoder) = (console(), Decoder::new().unwrap());
                show(&console, &screens[0]);
                let stream = encoders.join(&console, Profile { codec: Codec::H264, tier, area: None });
                stream.limit(Some(bytes));
                decoder.show(&frame(&stream).await.data);
                let (mut psnr, mut sizes) = (0.0, 0);
                for screen in &screens[1..] {
                    let (next, ()) = tokio::join!(frame(&stream), async {
                        tokio::task::yield_now().await;
                        update(&console, screen, SIZE.rect());
                    });
                    sizes += next.data.len();
                    psnr += stretched(decoder.show(&next.data)).psnr(screen, SIZE.rect());
                }
                told += &format!(" {tier} {:.1} dB in {} bytes", psnr / 11.0, sizes / 11);
            }
            println!("{told}");
        }
    }
}

fn stretched(seen: Screen) -> Screen {
    let by = SIZE.width / seen.size.width;
    let mut screen = Screen::plain(SIZE, [0; 3]);
    screen.each(SIZE.rect(), |x, y| seen.pixel(x / by, y / by));
    screen
}

/// Context switches of all threads of this process so far.
fn switches() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let status = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).ok());
    let count = |status: String| {
        let lines = status.lines().filter(|line| line.contains("ctxt_switches")).map(str::to_owned);
        lines.map(|line| line.split_whitespace().last().unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    status.map(count).sum()
}

#[tokio::test]
#[ignore = "prints times"]
async fn from_the_guest_to_the_viewer() {
    let start = Instant::now();
    let Some(encoders) = encoders(&all()) else { return };
    println!("probing {:.1} ms", start.elapsed().as_secs_f64() * 1000.0);
    let screens: Vec<Screen> = (0..2).map(|n| Screen::desktop(SIZE, n * 5)).collect();
    let fd = memfd_create("picture", MemfdFlags::CLOEXEC).unwrap();
    rustix::io::pwrite(&fd, &screens[0].bgrx, 0).unwrap();
    let (console, queue) = (console(), crate::hub::ReleaseQueue::default());
    let memory = fd.try_clone().unwrap();
    console.show(Some(Scanout::shared(fd, 0, SIZE.width, SIZE.height, SIZE.width * 4, 0x2002_0888).unwrap()));
    let start = Instant::now();
    let mut stream = encoders.join(&console, H264);
    frame(&stream).await;
    println!("joining to first frame {:.1} ms", start.elapsed().as_secs_f64() * 1000.0);

    let (mut released, mut delivered) = (Vec::new(), Vec::new());
    for n in 0..60 {
        let next = tokio::spawn(async move { (frame(&stream).await, Instant::now(), stream) });
        tokio::time::sleep(Duration::from_millis(20)).await;
        rustix::io::pwrite(&memory, &screens[n % 2].bgrx, 0).unwrap();
        let start = Instant::now();
        console.damage((0, 0, 1280, 720), Some(queue.release(n as u64)));
        queue.returned().await;
        released.push(start.elapsed().as_secs_f64() * 1000.0);
        let (_, at, back) = next.await.unwrap();
        delivered.push((at - start).as_secs_f64() * 1000.0);
        stream = back;
    }
    for (what, times) in [("release", &mut released), ("frame at the viewer", &mut delivered)] {
        times.sort_by(f64::total_cmp);
        println!("{what}: median {:.2} ms, worst {:.2} ms", times[30], times[59]);
    }

    let waiting = tokio::time::timeout(Duration::from_secs(3), stream.next());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = switches();
    let idle = waiting.await.is_err();
    let threads = std::fs::read_dir("/proc/self/task").unwrap().count();
    println!("idle {idle}: {} context switches of {threads} threads in 3 s", switches() - before);
}
