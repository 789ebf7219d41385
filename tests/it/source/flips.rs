//! Flips, with QEMU's `Disable` after each, and those that QEMU loses.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_disable_after_the_new_scanout_is_absorbed_and_one_alone_is_not() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let console = attached.console();
    let (one, two) = (memfd(&grey(1, 4)), memfd(&grey(2, 4)));
    // As QEMU flips between two buffers of a guest.
    let listener = "org.qemu.Display1.Listener";
    for flip in 0..20 {
        let buffer = if flip % 2 == 0 { &one } else { &two };
        screen.scanout_dmabuf(buffer, 2, 2, 8, XR24, false).await.unwrap();
        screen.post(listener, "Disable", &(), false).await;
        screen.post(listener, "UpdateDMABUF", &(0i32, 0i32, 2i32, 2i32), false).await;
        screen.mouse_set(flip, 0, true).await.unwrap();
    }
    // Longer than a Disable stands that follows a flip.
    tokio::time::sleep(Duration::from_millis(3300)).await;
    assert_eq!(shown(&console).unwrap(), [2; 12], "an absorbed Disable came back");
    let said = Instant::now();
    screen.disable().await.unwrap();
    eventually(|| shown(&console).is_none()).await;
    assert!(said.elapsed() >= Duration::from_millis(590), "a Disable blanks before it has stood");
    screen.scanout(1, 1, 4, XRGB, &grey(3, 1)).await.unwrap();
    assert_eq!(shown(&console).unwrap(), [3; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_flips_is_answered_and_its_last_buffer_shown() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let (console, reader) = (attached.console(), attached.console().subscribe());
    let buffers: Vec<OwnedFd> = (1..=3).map(|level| memfd(&grey(level, 16))).collect();
    let listener = "org.qemu.Display1.Listener";
    for buffer in buffers.iter().cycle().take(1000) {
        screen.scanout_dmabuf(buffer, 4, 4, 16, XR24, false).await.unwrap();
        screen.post(listener, "Disable", &(), false).await;
        screen.update_dmabuf((0, 0, 4, 4)).await.unwrap();
        assert!(next_change(&reader).await.scanout.is_some(), "a black frame between two flips");
    }
    assert_eq!(shown(&console).unwrap(), [1; 48]);
}

/// What QEMU 9.0 to 10.0 say when a guest flips: releasing the old buffer discards the new one's scanout if it was not
/// sent by then.
async fn lose_a_flip(screen: &Screen) {
    screen.lose();
    screen.disable().await.unwrap();
    screen.update_dmabuf((0, 0, 2, 2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn flips_that_qemu_loses_are_seen_where_the_buffer_is_known() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let console = attached.console();
    let (one, two) = (memfd(&grey(1, 4)), memfd(&grey(2, 4)));
    for buffer in [&one, &two] {
        screen.scanout_dmabuf(buffer, 2, 2, 8, XR24, false).await.unwrap();
        screen.disable().await.unwrap();
        screen.update_dmabuf((0, 0, 2, 2)).await.unwrap();
    }
    for round in 0..10 {
        lose_a_flip(&screen).await;
        assert_eq!(shown(&console).unwrap(), [1 + round % 2; 12]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_flip_to_a_buffer_that_nobody_knows_is_asked_for() {
    let (mut qemu, screen, attached) = start(Vm::default()).await;
    let (console, reader) = (attached.console(), attached.console().subscribe());
    let (old, new) = (memfd(&grey(1, 4)), memfd(&grey(2, 16)));
    screen.scanout_dmabuf(&old, 2, 2, 8, XR24, false).await.unwrap();
    assert!(next_change(&reader).await.replaced);
    lose_a_flip(&screen).await; // it is now four times as large
    assert!(reader.take().is_none(), "the old buffer is read while the guest may draw into it");

    let again = qemu.screen(0).await;
    again.scanout_dmabuf(&new, 4, 4, 16, XR24, false).await.unwrap();
    assert_eq!(shown(&console).unwrap(), [2; 48]);
    // QEMU goes on waiting for the answers on the old connection, whose pictures are not shown any more.
    screen.scanout_dmabuf(&old, 2, 2, 8, XR24, false).await.unwrap();
    screen.update_dmabuf((0, 0, 2, 2)).await.unwrap();
    again.update_dmabuf((0, 0, 4, 4)).await.unwrap();
    assert_eq!(shown(&console).unwrap(), [2; 48]);
    drop(again);
    eventually(|| shown(&console).is_none()).await;
}

/// A flip of a guest between two buffers, of which QEMU tells.
async fn flip(screen: &Screen, to: &OwnedFd) {
    screen.scanout_dmabuf(to, 2, 2, 8, XR24, false).await.unwrap();
    screen.disable().await.unwrap();
    screen.update_dmabuf((0, 0, 2, 2)).await.unwrap();
}

/// So many flips that it is known what this guest does, of which one was lost. Ends on the second buffer.
async fn flip_until_trusted(screen: &Screen, buffers: &[OwnedFd; 2]) {
    flip(screen, &buffers[0]).await;
    flip(screen, &buffers[1]).await;
    lose_a_flip(screen).await;
    for number in 1..10 {
        flip(screen, &buffers[number % 2]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_for_where_the_flips_that_came_were_foreseen() {
    let (mut qemu, screen, attached) = start(Vm::default()).await;
    let console = attached.console();
    let _reader = console.subscribe();
    flip_until_trusted(&screen, &[memfd(&grey(1, 4)), memfd(&grey(2, 4))]).await;
    lose_a_flip(&screen).await;
    // Longer than it takes to ask.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(qemu.more_screens(), 0, "QEMU was asked for what is known");
    assert_eq!(shown(&console).unwrap(), [1; 12]);
}

/// A new listener is told what the console shows and where the pointer is. If the guest flips just then, QEMU
/// discards the first, not the second: the gap is before the pointer.
#[tokio::test(flavor = "multi_thread")]
async fn flips_that_qemu_loses_are_seen_after_it_was_asked_while_the_guest_flipped() {
    let (mut qemu, screen, attached) = start(Vm::default()).await;
    let console = attached.console();
    let _reader = console.subscribe();
    let buffers = [memfd(&grey(1, 4)), memfd(&grey(2, 4))];
    screen.scanout_dmabuf(&memfd(&grey(3, 16)), 4, 4, 16, XR24, false).await.unwrap();
    lose_a_flip(&screen).await;
    let again = qemu.screen(0).await;
    again.lose();
    again.lose();
    again.mouse_set(0, 0, true).await.unwrap();
    flip(&again, &buffers[0]).await;
    flip(&again, &buffers[1]).await;
    assert_eq!(shown(&console).unwrap(), [2; 12]);
    lose_a_flip(&again).await;
    assert_eq!(
        shown(&console).unwrap(),
        [1; 12],
        "the flip that was lost is not noticed, and the picture stays old"
    );
}

/// A QEMU that has waited a second for an answer goes on without it, and discards a whole flip with the next one.
#[tokio::test(flavor = "multi_thread")]
async fn two_flips_lost_at_once_are_asked_for() {
    let (mut qemu, screen, attached) = start(Vm::default()).await;
    let console = attached.console();
    let _reader = console.subscribe();
    let buffers = [memfd(&grey(1, 4)), memfd(&grey(2, 4))];
    flip_until_trusted(&screen, &buffers).await;
    (0..3).for_each(|_| screen.lose()); // scanout, Disable, update
    lose_a_flip(&screen).await;
    lose_a_flip(&screen).await;
    let again = qemu.screen(0).await;
    again.scanout_dmabuf(&buffers[0], 2, 2, 8, XR24, false).await.unwrap();
    assert_eq!(shown(&console).unwrap(), [1; 12]);
}

/// Each time that it is asked costs QEMU something for good.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_for_until_someone_watches() {
    let (mut qemu, screen, attached) = start(Vm::default()).await;
    let (old, new) = (memfd(&grey(1, 4)), memfd(&grey(2, 16)));
    screen.scanout_dmabuf(&old, 2, 2, 8, XR24, false).await.unwrap();
    lose_a_flip(&screen).await;
    // Longer than it takes to ask.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(qemu.more_screens(), 0, "QEMU was asked for a picture that nobody watches");

    let console = attached.console();
    let _reader = console.subscribe();
    let again = qemu.screen(0).await;
    again.scanout_dmabuf(&new, 4, 4, 16, XR24, false).await.unwrap();
    assert_eq!(shown(&console).unwrap(), [2; 48]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guest_goes_on_while_qemu_is_slow_to_show_a_console_again() {
    let vm = Vm { shows_again_late: Some(Duration::from_secs(2)), ..Vm::default() };
    let (mut qemu, screen, attached) = start(vm).await;
    let _reader = attached.console().subscribe();
    let (old, new) = (memfd(&grey(1, 4)), memfd(&grey(2, 16)));
    screen.scanout_dmabuf(&old, 2, 2, 8, XR24, false).await.unwrap();
    lose_a_flip(&screen).await;
    // By now QEMU was asked, and has not come to it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(qemu.more_screens(), 0);
    let began = Instant::now();
    screen.update_dmabuf((0, 0, 2, 2)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "the guest waits for QEMU's other connection");
    assert_eq!(qemu.more_screens(), 0, "the answer came only with the new connection");
    let again = qemu.screen(0).await;
    again.scanout_dmabuf(&new, 4, 4, 16, XR24, false).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [2; 48]);
}
