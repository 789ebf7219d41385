//! One viewer: what it sees is what the console shows.

use super::*;
use crate::hub::ReleaseQueue;

const SIZE: Size = Size::new(640, 360);

/// The first frame, and what a decoder that never saw another makes of it.
async fn first(stream: &VideoStream, decoder: &Decoder) -> (EncodedFrame, Screen) {
    let frame = frame(stream).await;
    assert!(frame.key, "a viewer starts with a frame it cannot decode");
    let seen = decoder.show(&frame.data);
    (frame, seen)
}

#[tokio::test]
async fn a_desktop_looks_as_it_does_in_the_guest() {
    for element in working() {
        let (Some(encoders), Some(decoder)) = (encoders(&[element]), Decoder::new()) else { return };
        let console = console();
        let screen = Screen::desktop(SIZE, 0);
        show(&console, &screen);
        let (frame, seen) = first(&encoders.join(&console, H264), &decoder).await;
        assert_eq!((frame.size, frame.coded, seen.size), (SIZE, SIZE, SIZE));
        let psnr = seen.psnr(&screen, SIZE.rect());
        assert!(psnr >= 40.0, "{element:?}: {psnr:.1} dB");
    }
}

#[tokio::test]
async fn the_lowest_tier_shows_large_pictures_at_half_their_size_and_small_ones_whole() {
    for element in working() {
        let (Some(encoders), Some(decoder)) = (encoders(&[element]), Decoder::new()) else { return };
        let console = console();
        let profile = Profile { codec: Codec::H264, tier: Tier::Half, area: None };
        let large = Screen::desktop(Size::new(1280, 720), 0);
        show(&console, &large);
        let stream = encoders.join(&console, profile);
        let (frame, seen) = first(&stream, &decoder).await;
        assert_eq!((frame.size, frame.coded, seen.size), (large.size, SIZE, SIZE));
        let psnr = seen.psnr(&large.halved(), SIZE.rect());
        assert!(psnr >= 36.0, "{element:?}: {psnr:.1} dB");
        let small = Screen::desktop(SIZE, 0);
        show(&console, &small);
        let frame = super::frame(&stream).await;
        assert_eq!((frame.size, frame.coded), (SIZE, SIZE));
    }
}

#[tokio::test]
async fn colours_are_right() {
    const COLOURS: [[u8; 3]; 8] = [
        [0, 0, 255],
        [0, 255, 0],
        [255, 0, 0],
        [128, 128, 128],
        [255, 255, 255],
        [0, 0, 0],
        [0, 255, 255],
        [90, 40, 200],
    ];
    for element in working() {
        let (Some(encoders), Some(decoder)) = (encoders(&[element]), Decoder::new()) else { return };
        let mut screen = Screen::plain(SIZE, [0, 0, 0]);
        screen.each(SIZE.rect(), |x, _| COLOURS[x as usize / 80]);
        let console = console();
        show(&console, &screen);
        let (_, seen) = first(&encoders.join(&console, H264), &decoder).await;
        for (n, wanted) in COLOURS.iter().enumerate() {
            let got = seen.pixel(n as u32 * 80 + 40, 180);
            let off = wanted.iter().zip(got).map(|(a, b)| a.abs_diff(b)).max();
            assert!(off <= Some(4), "{element:?}: {wanted:?} is shown as {got:?}");
        }
    }
}

#[tokio::test]
async fn fine_colours_stay_sharp_where_each_pixel_has_its_own() {
    let Some(decoder) = Decoder::new() else { return };
    for (size, tier) in [(SIZE, Tier::Full), (Size::new(641, 363), Tier::Full), (SIZE, Tier::Middle)] {
        let mut screen = Screen::plain(size, [0, 0, 0]);
        screen.each(size.rect(), |x, y| {
            let stripe = (x / 3 + y / 5) % 3;
            if is_odd(x) { [200, 40, 40 + (stripe * 70) as u8] } else { [40, 60, 210] }
        });
        let mut seen = [0.0, 0.0];
        for (seen, element) in seen.iter_mut().zip([Element::X264, Element::X264Full]) {
            let Some(encoders) = encoders(&[element]) else { return };
            let console = console();
            show(&console, &screen);
            let stream = encoders.join(&console, Profile { codec: element.codec(), tier, area: None });
            *seen = first(&stream, &decoder).await.1.psnr(&screen, size.rect());
        }
        assert!(seen[0] < 20.0 && seen[1] > 30.0, "{size}: {seen:?} dB");
    }
}

fn is_odd(n: u32) -> bool {
    n % 2 == 1
}

#[tokio::test]
async fn odd_sizes_are_rounded_up_and_their_edges_repeated() {
    let (Some(encoders), Some(decoder)) = (encoders(&all()), Decoder::new()) else { return };
    // The small ones are mostly edges between colours, which 4:2:0 blurs.
    let sizes = [((1366, 767), (1366, 768), 40.0), ((101, 99), (102, 100), 33.0), ((17, 16), (18, 16), 27.0)];
    for (size, coded, enough) in sizes {
        let size = Size::new(size.0, size.1);
        let console = console();
        let screen = Screen::desktop(size, 3);
        show(&console, &screen);
        let (frame, seen) = first(&encoders.join(&console, H264), &decoder).await;
        assert_eq!((frame.size, frame.coded), (size, Size::new(coded.0, coded.1)));
        assert_eq!(seen.size, frame.coded);
        let psnr = seen.psnr(&screen, size.rect());
        assert!(psnr >= enough, "{size}: {psnr:.1} dB");
        let (last, beyond) = (size.width - 1, frame.coded.width - 1);
        let (edge, repeated) = (seen.pixel(last, 5), seen.pixel(beyond, 5));
        assert!(edge.iter().zip(repeated).all(|(a, b)| a.abs_diff(b) <= 8), "{edge:?}, then {repeated:?}");
    }
}

#[tokio::test]
async fn a_change_changes_its_part_alone() {
    let (Some(encoders), Some(decoder)) = (encoders(&all()), Decoder::new()) else { return };
    let console = console();
    let mut screen = Screen::desktop(SIZE, 0);
    show(&console, &screen);
    let stream = encoders.join(&console, H264);
    let (_, before) = first(&stream, &decoder).await;

    let part = Rect::new(301, 101, 33, 57);
    screen.each(part, |_, _| [0, 200, 250]);
    update(&console, &screen, part);
    let frame = frame(&stream).await;
    assert!(!frame.key && frame.damage.rects() == [part], "{:?}", frame.damage);
    let after = decoder.show(&frame.data);
    assert!(after.psnr(&screen, Rect::new(304, 104, 26, 50)) >= 38.0);
    let elsewhere = after.psnr(&before, Rect::new(0, 0, 280, 360));
    assert!(elsewhere >= 45.0, "what did not change did: {elsewhere:.1} dB");
}

#[tokio::test]
async fn another_size_is_another_stream() {
    let (Some(encoders), Some(decoder)) = (encoders(&all()), Decoder::new()) else { return };
    let console = console();
    show(&console, &Screen::desktop(SIZE, 0));
    let stream = encoders.join(&console, H264);
    let (old, _) = first(&stream, &decoder).await;

    show(&console, &Screen::desktop(SIZE, 9));
    let same = frame(&stream).await;
    assert_eq!(same.generation, old.generation, "a new buffer of the same size made a new stream");
    decoder.show(&same.data);

    let screen = Screen::desktop(Size::new(800, 600), 0);
    show(&console, &screen);
    let fresh = Decoder::new().unwrap();
    let (new, seen) = first(&stream, &fresh).await;
    assert!(new.generation != old.generation && new.size == screen.size);
    assert!(seen.psnr(&screen, screen.size.rect()) >= 40.0);
}

#[tokio::test]
async fn a_console_that_is_off_is_blank_until_it_is_on() {
    let Some(encoders) = encoders(&all()) else { return };
    let console = console();
    let stream = encoders.join(&console, H264);
    assert!(matches!(item(&stream).await, Item::Blank));
    show(&console, &Screen::desktop(SIZE, 0));
    assert!(frame(&stream).await.key);
    console.show(None);
    assert!(matches!(item(&stream).await, Item::Blank));
    let late = encoders.join(&console, H264);
    assert!(matches!(item(&late).await, Item::Blank));
    show(&console, &Screen::desktop(SIZE, 0));
    assert!(frame(&stream).await.key && frame(&late).await.key);
}

#[tokio::test]
async fn a_size_no_encoder_takes_is_told_and_the_next_is_shown() {
    let Some(encoders) = encoders(&all()) else { return };
    let console = console();
    show(&console, &Screen::plain(Size::new(640, 8), [0, 0, 0]));
    let stream = encoders.join(&console, H264);
    let Item::Failed(error) = item(&stream).await else { panic!("an eight pixel high video") };
    assert_eq!(error.to_string(), "a picture of 640x8 cannot be encoded");
    show(&console, &Screen::plain(Size::new(5000, 64), [0, 0, 0]));
    assert!(matches!(item(&stream).await, Item::Failed(_)));
    for (width, height) in [(16, 16), (4096, 32), (64, 4096)] {
        show(&console, &Screen::plain(Size::new(width, height), [0, 0, 0]));
        assert!(frame(&stream).await.key, "{width}x{height}");
    }
}

#[tokio::test]
async fn the_guest_goes_on_while_no_viewer_takes_anything() {
    let Some(encoders) = encoders(&all()) else { return };
    let (console, queue) = (console(), ReleaseQueue::default());
    show(&console, &Screen::desktop(SIZE, 0));
    let stream = encoders.join(&console, H264);
    frame(&stream).await;
    for n in 0..20 {
        console.damage((0, 0, 640, 360), Some(queue.release(n)));
        let returned = tokio::time::timeout(PATIENCE, queue.returned()).await;
        assert_eq!(returned.ok(), Some(n), "the guest waits for a viewer");
    }
}
