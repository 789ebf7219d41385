//! Several viewers, one encoder.

use super::*;

const SIZE: Size = Size::new(320, 240);
const PART: Rect = Rect::new(100, 60, 64, 64);

/// A console that shows something, and how it looks after `n` changes.
fn shown() -> (Arc<Console>, Screen) {
    let (console, screen) = (console(), Screen::desktop(SIZE, 0));
    show(&console, &screen);
    (console, screen)
}

fn change(console: &Console, screen: &mut Screen, n: u8) {
    screen.each(PART, |_, _| [n.wrapping_mul(40), 100, 255 - n.wrapping_mul(20)]);
    update(console, screen, PART);
}

#[tokio::test]
async fn two_viewers_get_the_very_same_frames() {
    let Some(encoders) = encoders(&all()) else { return };
    let (console, mut screen) = shown();
    let (one, other) = (encoders.join(&console, H264), encoders.clone().join(&console, H264));
    let (mut a, mut b) = (frame(&one).await, frame(&other).await);
    for n in 0..10 {
        if !are_one(&a, &b) {
            assert_eq!(n, 0, "two encoders, or two encodes of one picture");
        }
        let next = tokio::join!(frame(&one), async {
            change(&console, &mut screen, n);
            frame(&other).await
        });
        (a, b) = next;
    }
    assert!(are_one(&a, &b) && !a.key);
}

#[tokio::test]
async fn a_late_viewer_of_an_idle_guest_sees_the_picture() {
    let (Some(encoders), Some(decoder)) = (encoders(&all()), Decoder::new()) else { return };
    let (console, mut screen) = shown();
    let early = encoders.join(&console, H264);
    frame(&early).await;
    change(&console, &mut screen, 1);
    frame(&early).await;

    let late = encoders.join(&console, H264);
    let first = frame(&late).await;
    assert!(first.key && first.damage.rects() == [SIZE.rect()]);
    assert!(decoder.show(&first.data).psnr(&screen, SIZE.rect()) >= 38.0);
}

#[tokio::test]
async fn a_viewer_that_is_stuck_keeps_nobody_and_comes_back_with_a_key_frame() {
    let (Some(encoders), Some(decoder)) = (encoders(&all()), Decoder::new()) else { return };
    let (console, mut screen) = shown();
    let (stuck, quick) = (encoders.join(&console, H264), encoders.join(&console, H264));
    frame(&stuck).await;
    frame(&quick).await;
    for n in 0..15 {
        change(&console, &mut screen, n);
        frame(&quick).await;
    }
    let back = frame(&stuck).await;
    assert!(back.key, "a viewer that missed frames gets one that builds on them");
    assert!(decoder.show(&back.data).psnr(&screen, SIZE.rect()) >= 38.0, "an old picture");
}

#[tokio::test]
async fn a_viewer_that_lost_its_data_asks_and_gets_a_key_frame() {
    let Some(encoders) = encoders(&all()) else { return };
    let (console, _) = shown();
    let stream = encoders.join(&console, H264);
    frame(&stream).await;
    stream.request_key();
    assert!(frame(&stream).await.key);
}

#[tokio::test]
async fn waiting_can_be_given_up_at_any_time() {
    let Some(encoders) = encoders(&all()) else { return };
    let (console, mut screen) = shown();
    let stream = encoders.join(&console, H264);
    frame(&stream).await;
    for n in 0..10 {
        assert!(tokio::time::timeout(Duration::from_millis(2), stream.next()).await.is_err());
        change(&console, &mut screen, n);
        let mut given_up = 0;
        let next = loop {
            match tokio::time::timeout(Duration::from_micros(300), stream.next()).await {
                Ok(item) => break item,
                Err(_) => given_up += 1,
            }
            assert!(given_up < 30_000, "lost while nobody waited");
        };
        let Item::Frame(next) = next else { panic!("no frame") };
        assert!(!next.key, "a frame was lost");
    }
}

#[tokio::test]
async fn the_threads_end_with_the_last_viewer_and_start_again() {
    let Some(encoders) = encoders(&all()) else { return };
    let (console, _) = shown();
    for _ in 0..3 {
        let (one, other) = (encoders.join(&console, H264), encoders.join(&console, H264));
        frame(&one).await;
        let worker = Arc::downgrade(&one.worker);
        drop(one);
        assert!(frame(&other).await.key, "the one who stays is still served");
        drop(other);
        let start = std::time::Instant::now();
        while worker.strong_count() > 0 {
            assert!(start.elapsed() < PATIENCE, "its threads stay");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn no_viewer_of_a_guest_that_never_stops_is_left_waiting() {
    let Some(encoders) = encoders(&[Element::X264]) else { return };
    let (console, mut screen) = shown();
    let stream = encoders.join(&console, H264);
    frame(&stream).await;
    let stopped = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let guest = std::thread::spawn({
        let stopped = stopped.clone();
        move || {
            let mut n = 0_u8;
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                change(&console, &mut screen, n);
                n = n.wrapping_add(1);
                std::thread::sleep(Duration::from_micros(u64::from(n) * 41 % 1700));
            }
        }
    });
    for n in 0..300 {
        frame(&stream).await;
        // Viewers come back at any moment of what the others do.
        std::thread::sleep(Duration::from_micros(n * 53 % 2300));
    }
    stopped.store(true, std::sync::atomic::Ordering::Relaxed);
    guest.join().unwrap();
}
