//! How long the guest waits.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_guest_waits_for_a_waiting_reader_and_never_long() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let fd = memfd(&grey(5, 64));
    // Nothing is shown yet.
    screen.update_dmabuf((0, 0, 8, 8)).await.unwrap();
    screen.scanout_dmabuf(&fd, 8, 8, 32, XR24, false).await.unwrap();
    // Nobody reads.
    screen.update_dmabuf((0, 0, 8, 8)).await.unwrap();

    // A reader that waits, reads and lets go: that, not the deadline, is what answers.
    let mut reader = attached.console().subscribe();
    assert!(next_change(&reader).await.replaced);
    let mut quickest = Duration::MAX;
    for _ in 0..20 {
        assert!(reader.take().is_none());
        let (let_go, read) = std::sync::mpsc::channel();
        let reading = tokio::spawn(async move {
            let change = next_change(&reader).await;
            assert_eq!(change.damage.area(), 16);
            let_go.send(()).unwrap();
            drop(change);
            reader
        });
        let waited = screen.update_dmabuf((0, 0, 4, 4)).await.unwrap();
        assert!(waited >= DEADLINE || read.try_recv().is_ok(), "answered before it was read");
        quickest = quickest.min(waited);
        reader = reading.await.unwrap();
    }
    assert!(quickest < DEADLINE, "{quickest:?}");

    // A reader that never lets go: the deadline answers, and what comes after is not held up either.
    assert!(reader.take().is_none());
    let waited = screen.update_dmabuf((0, 0, 4, 4)).await.unwrap();
    let held = reader.take().unwrap();
    assert!(held.release.is_some() && waited >= DEADLINE, "{waited:?}");
    screen.update_dmabuf((0, 0, 4, 4)).await.unwrap();
    // Other calls never wait.
    let told = attached.console().draws();
    assert_eq!(told.answered, 24, "each draw is counted once");
    assert!((1..=21).contains(&told.late) && told.held >= DEADLINE, "{told:?}");
    assert!(reader.take().is_some() && reader.take().is_none());
    screen.post("org.qemu.Display1.Listener", "UpdateDMABUF", &(0i32, 0i32, 1i32, 1i32), false).await;
    screen.mouse_set(3, 4, true).await.unwrap();
    assert_eq!(attached.console().cursor().borrow().pointer.x, 3);
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_updates_is_answered_whatever_a_reader_does() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let fd = memfd(&grey(5, 64));
    screen.scanout_dmabuf(&fd, 8, 8, 32, XR24, false).await.unwrap();
    let reader = attached.console().subscribe();
    let _ = reader.take();
    let _ = reader.take();
    let update = |n: i32| screen.update_dmabuf((n % 8, 0, 1, 8));
    let answers = futures_util::future::join_all((0..500).map(update)).await;
    assert!(answers.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_wants_no_answer_gets_none() {
    use futures_util::StreamExt;
    let (_qemu, screen, _attached) = start(Vm::default()).await;
    let mut said = zbus::MessageStream::from(screen.connection());
    let fd = memfd(&grey(5, 64));
    screen.scanout_dmabuf(&fd, 8, 8, 32, XR24, false).await.unwrap();
    let rect = (0i32, 0i32, 1i32, 1i32);
    for _ in 0..10 {
        screen.post("org.qemu.Display1.Listener", "UpdateDMABUF", &rect, true).await;
        screen.post("org.qemu.Display1.Listener", "Nonsense", &rect, true).await;
    }
    screen.mouse_set(0, 0, false).await.unwrap();
    let answers = async { said.next().await.unwrap().unwrap() };
    let first = tokio::time::timeout(PATIENCE, answers).await.unwrap();
    let second = tokio::time::timeout(PATIENCE, said.next()).await.unwrap().unwrap().unwrap();
    assert!(
        second.header().reply_serial() > first.header().reply_serial(),
        "the scanout's answer, then the cursor's"
    );
    assert!(futures_util::FutureExt::now_or_never(said.next()).is_none(), "answers that nobody wanted");
}
