//! Many calls, one after the other.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_are_seen_in_their_order() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let (console, reader) = (attached.console(), attached.console().subscribe());
    let listener = "org.qemu.Display1.Listener";
    let script = tokio::spawn(async move {
        for round in 0..250u32 {
            // The picture's number is its width; its pixels are none, then the number's low byte.
            let (width, level) = (round + 1, round as u8);
            let black = grey(0, width as usize);
            screen
                .post(listener, "Scanout", &(width, 1u32, width * 4, XRGB, black.as_slice()), round % 2 == 0)
                .await;
            screen.post(listener, "Disable", &(), false).await;
            let drawn = grey(level, width as usize);
            let update = (0i32, 0i32, width as i32, 1i32, width * 4, XRGB, drawn.as_slice());
            screen.post(listener, "Update", &update, round % 3 == 0).await;
            screen.post(listener, "MouseSet", &(round as i32, 0i32, 1i32), false).await;
        }
        screen.mouse_set(1000, 0, true).await.unwrap();
        screen
    });
    let mut last = 0;
    while console.cursor().borrow().pointer.x != 1000 {
        let Some(change) = reader.take() else {
            tokio::task::yield_now().await;
            continue;
        };
        // On a machine that stands still for long enough, the Disable counts.
        let Some(scanout) = change.scanout else { continue };
        assert!(scanout.size().width >= last, "an old scanout after a new one");
        assert!(change.replaced || scanout.size().width == last, "another scanout without notice");
        last = scanout.size().width;
    }
    let _screen = script.await.unwrap();
    assert_eq!(shown(&console).unwrap(), [249; 250 * 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_resolutions_leave_nothing_behind() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let (console, reader) = (attached.console(), attached.console().subscribe());
    for round in 0..1000u32 {
        let (width, height) = (1 + round % 50, 1 + round % 40);
        let level = u8::try_from(round % 251).unwrap();
        let fd = named_memfd("resolution", &grey(level, (width * height) as usize));
        match round % 3 {
            0 => screen.scanout_dmabuf(&fd, width, height, width * 4, XR24, false).await.unwrap(),
            1 => screen.scanout_map(&fd, 0, width, height, width * 4, XRGB).await.unwrap(),
            _ => {
                let whole = (0, 0, width, height);
                screen.scanout_dmabuf2(&fd, whole, (0, width * 4), XR24, (width, height)).await.unwrap();
            }
        }
        drop(fd); // as QEMU does: the memory lives on by the file that came with the call
        if round % 7 == 0 {
            assert_eq!(next_change(&reader).await.scanout.unwrap().size().width, width);
            assert_eq!(shown(&console).unwrap(), vec![level; (width * height * 3) as usize]);
        }
    }
    assert!(open_files("resolution") <= 9, "{} buffers are kept", open_files("resolution"));
    screen.update_map((0, 0, 1, 1)).await.unwrap();
    screen.disable().await.unwrap();
    eventually(|| shown(&console).is_none() && open_files("resolution") == 0).await;
}
