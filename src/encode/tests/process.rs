//! Encoders in processes of their own, which are these tests once more.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use super::*;

const SIZE: Size = Size::new(320, 240);

/// Held by a test that counts the processes that this one has started.
pub(super) static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Not a test: what [`Isolation`] starts.
#[test]
#[ignore = "is another process of a test"]
fn be_a_launcher() {
    launch_for_parent(&[]).unwrap();
}

/// Not a test, as above.
#[test]
#[ignore = "is another process of a test"]
fn be_an_encoder() {
    encode_for_parent().unwrap();
}

/// The processes that this one has started, and they: those of encoders alone.
pub(super) fn encoders_of_ours() -> Vec<Pid> {
    let all = || {
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
    };
    let children = |of: i32| {
        all().filter(move |pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let mut after = stat.rsplit(") ").next().unwrap_or_default().split(' ');
            after.next() != Some("Z") && after.next() == Some(&of.to_string())
        })
    };
    let ours = i32::try_from(std::process::id()).unwrap();
    children(ours).flat_map(children).filter_map(Pid::from_raw).collect()
}

pub(super) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn apart(elements: &[Element]) -> Option<(Encoders, Decoder)> {
    let encoders = Encoders::probe(elements, Pipelines::new(Isolation::All, elements, &[]));
    let encoders = encoders.inspect_err(|error| println!("skipped: {error}")).ok()?;
    Some((encoders, Decoder::new()?))
}

#[tokio::test]
async fn a_process_shows_what_the_guest_does_and_ends_with_its_viewers() {
    let _alone = ALONE.lock().await;
    let Some((encoders, decoder)) = apart(&[Element::X264]) else { return };
    eventually("what was tried goes on", || encoders_of_ours().is_empty());
    let (console, mut screen) = (console(), Screen::desktop(SIZE, 0));
    show(&console, &screen);
    let stream = encoders.join(&console, H264);
    let first = frame(&stream).await;
    assert!(first.key && decoder.show(&first.data).psnr(&screen, SIZE.rect()) >= 36.0);
    assert_eq!(encoders_of_ours().len(), 1);
    for n in 0..20 {
        let rect = Rect::new(n * 10, 20, 100, 60);
        screen.each(rect, |_, _| [0, 200, 250]);
        update(&console, &screen, rect);
        let next = frame(&stream).await;
        assert!(!next.key && next.generation == first.generation);
        assert!(decoder.show(&next.data).psnr(&screen, SIZE.rect()) >= 36.0, "frame {n}");
    }
    stream.request_key();
    assert!(frame(&stream).await.key);
    drop(stream);
    eventually("an encoder without viewers goes on", || encoders_of_ours().is_empty());
}

#[tokio::test]
async fn where_a_process_is_killed_or_hangs_the_next_encoder_goes_on() {
    let _alone = ALONE.lock().await;
    let elements = [Element::StandIn { imports: false, breaks_after: None }, Element::X264];
    for signal in [Signal::ABORT, Signal::KILL] {
        let Some((encoders, decoder)) = apart(&elements) else { return };
        let (console, screen) = (console(), Screen::desktop(SIZE, 0));
        show(&console, &screen);
        let stream = encoders.join(&console, H264);
        let first = frame(&stream).await;
        decoder.show(&first.data);
        let [encoder] = encoders_of_ours()[..] else { panic!("{:?}", encoders_of_ours()) };
        kill_process(encoder, signal).unwrap();
        eventually("it does not end", || encoders_of_ours().is_empty());
        let screen = Screen::desktop(SIZE, 7);
        update(&console, &screen, SIZE.rect());
        let next = frame(&stream).await;
        assert!(next.key && next.generation != first.generation, "{signal:?}: it goes on with what is lost");
        assert!(Decoder::new().unwrap().show(&next.data).psnr(&screen, SIZE.rect()) >= 36.0);
        let [other] = encoders_of_ours()[..] else { panic!("{:?}", encoders_of_ours()) };
        assert_ne!(other, encoder);
    }
}

#[tokio::test]
async fn the_guests_own_buffer_is_read_by_another_process() {
    let _alone = ALONE.lock().await;
    let Some((encoders, decoder)) = apart(&[Element::StandIn { imports: true, breaks_after: None }]) else {
        return;
    };
    let screen = Screen::desktop(SIZE, 3);
    let memory = super::device::Memory::new(true);
    memory.draw(&screen);
    let (console, queue) = (console(), crate::hub::ReleaseQueue::default());
    console.show(Some(memory.scanout()));
    let stream = encoders.join(&console, H264);
    let first = frame(&stream).await;
    assert!(decoder.show(&first.data).psnr(&screen, SIZE.rect()) >= 36.0);
    for n in 1..5 {
        let screen = Screen::desktop(SIZE, n * 7);
        memory.draw(&screen);
        console.damage((0, 0, 320, 240), Some(queue.release(n.into())));
        let next = frame(&stream).await;
        assert!(!next.key && decoder.show(&next.data).psnr(&screen, SIZE.rect()) >= 30.0, "frame {n}");
        assert_eq!(tokio::time::timeout(PATIENCE, queue.returned()).await, Ok(u64::from(n)));
    }
}

#[test]
fn what_fails_in_a_process_is_told_as_if_it_were_here() {
    let breaks = Element::StandIn { imports: false, breaks_after: Some(1) };
    let _alone = ALONE.blocking_lock();
    let told = |isolation| Encoders::survey(&[breaks], &Pipelines::new(isolation, &[breaks], &[])).unwrap();
    if encoders(&[Element::X264]).is_none() {
        return;
    }
    let (here, apart) = (told(Isolation::None), told(Isolation::All));
    assert!(matches!(here[0].verdict, Verdict::Failed(_)), "{here:?}");
    assert!(matches!(&apart[0].verdict, Verdict::Failed(reason) if !reason.contains("process")), "{apart:?}");
}
