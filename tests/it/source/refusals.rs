//! What makes no sense is refused, and hurts nothing else.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn sizes_that_lie_are_refused_and_the_next_good_frame_is_shown() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let console = attached.console();
    let fd = memfd(&grey(5, 64));
    let pipe = OwnedFd::from(std::io::pipe().unwrap().0);
    let max = u32::MAX;
    let wrong = [
        ("short data", screen.scanout(8, 8, 32, XRGB, &grey(0, 63)).await),
        ("no data", screen.scanout(8, 8, 32, XRGB, &[]).await),
        ("no area", screen.scanout(0, 8, 32, XRGB, &[]).await),
        ("huge", screen.scanout(max, max, max, XRGB, &grey(0, 64)).await),
        ("stride", screen.scanout(8, 8, 31, XRGB, &grey(0, 64)).await),
        ("stride of nothing", screen.scanout(8, 8, 0, XRGB, &grey(0, 64)).await),
        ("format", screen.scanout(8, 8, 32, 7, &grey(0, 64)).await),
        ("map past its end", screen.scanout_map(&fd, 4, 8, 8, 32, XRGB).await),
        ("map far past its end", screen.scanout_map(&fd, max, 8, 8, max, XRGB).await),
        ("map of a pipe", screen.scanout_map(&pipe, 0, 8, 8, 32, XRGB).await),
        ("dmabuf past its end", screen.scanout_dmabuf(&fd, 8, 8, 36, XR24, false).await),
        ("dmabuf's fourcc", screen.scanout_dmabuf(&fd, 8, 8, 32, 0, false).await),
        ("dmabuf is huge", screen.scanout_dmabuf(&fd, max, max, max, XR24, true).await),
        (
            "tiled dmabuf is too small",
            screen.scanout_dmabuf_tiled(&fd, 8, 9, 32, XR24, 0x0100_0000_0000_0001, false).await,
        ),
        ("part outside", screen.scanout_dmabuf2(&fd, (1, 0, 8, 8), (0, 32), XR24, (8, 8)).await),
        ("part far outside", screen.scanout_dmabuf2(&fd, (max, max, max, max), (0, 32), XR24, (8, 8)).await),
        ("offset", screen.scanout_dmabuf2(&fd, (0, 0, 8, 8), (max, max), XR24, (8, 8)).await),
        ("update of nothing", screen.update((0, 0, 1, 1), 4, XRGB, &grey(0, 1)).await),
        ("cursor", screen.cursor_define(64, 64, (0, 0), &grey(0, 1)).await),
        ("huge cursor", screen.cursor_define(i32::MAX, i32::MAX, (0, 0), &grey(0, 1)).await),
        ("types", screen.call("org.qemu.Display1.Listener", "Scanout", &(1u32, "two")).await),
        ("no such method", screen.call("org.qemu.Display1.Listener", "Explode", &()).await),
        ("no such interface", screen.call("org.qemu.Display1.Listener.Win32.Map", "ScanoutMap", &()).await),
    ];
    for (what, answer) in wrong {
        assert!(matches!(answer, Err(zbus::Error::MethodError(..))), "{what}: {answer:?}");
        assert!(shown(&console).is_none(), "{what}");
    }
    screen
        .post_without_files(
            "org.qemu.Display1.Listener.Unix.Map",
            "ScanoutMap",
            "huuuuu",
            &[9, 0, 8, 8, 32, XRGB],
        )
        .await;
    screen.mouse_set(0, 0, true).await.unwrap();
    assert!(shown(&console).is_none(), "a file that did not come");
    screen.scanout_map(&fd, 0, 8, 8, 32, XRGB).await.unwrap();
    assert_eq!(shown(&console).unwrap(), [5; 64 * 3]);
    for at in [(-1, 0, 4, 4), (6, 6, 4, 4), (i32::MAX, i32::MAX, i32::MAX, i32::MAX), (0, 0, -4, 4)] {
        screen.update_map(at).await.unwrap();
        screen.update_dmabuf(at).await.unwrap();
        assert!(screen.update(at, 16, XRGB, &grey(1, 16)).await.is_err(), "{at:?}");
    }
    assert_eq!(shown(&console).unwrap(), [5; 64 * 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_call_with_any_arguments_gets_an_answer() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let listener = "org.qemu.Display1.Listener";
    let map = "org.qemu.Display1.Listener.Unix.Map";
    let dmabuf2 = "org.qemu.Display1.Listener.Unix.ScanoutDMABUF2";
    for interface in
        [listener, map, dmabuf2, "org.freedesktop.DBus.Properties", "org.freedesktop.DBus.Introspectable"]
    {
        for method in [
            "Scanout",
            "Update",
            "ScanoutDMABUF",
            "UpdateDMABUF",
            "Disable",
            "MouseSet",
            "CursorDefine",
            "ScanoutMap",
            "UpdateMap",
            "ScanoutDMABUF2",
            "Get",
            "GetAll",
            "Set",
            "Introspect",
        ] {
            let _ = screen.call(interface, method, &()).await;
            let _ = screen.call(interface, method, &u32::MAX).await;
            let _ = screen.call(interface, method, &"").await;
            let _ = screen.call(interface, method, &(i32::MIN, i32::MIN, i32::MIN)).await;
            let _ = screen.call(interface, method, &(i32::MIN, i32::MAX, i32::MIN, i32::MAX)).await;
            let _ = screen.call(interface, method, &(vec![vec![0u8; 9]; 9], "x", 1u64)).await;
            screen.post_without_files(interface, method, "huuutb", &[0, 1, 1, 1, 0, 0]).await;
            screen.post_without_files(interface, method, "ay", &[u32::MAX]).await;
            screen.post_without_files(interface, method, "uuuuay", &[1, 1, 4, XRGB, 1 << 30]).await;
        }
    }
    screen.scanout(1, 1, 4, XRGB, &grey(1, 1)).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [1; 3]);
    let xml = screen.ask("org.freedesktop.DBus.Introspectable", "Introspect", &()).await.unwrap();
    assert!(xml.body().deserialize::<String>().unwrap().contains(dmabuf2));
    screen.call("org.freedesktop.DBus.Peer", "Ping", &()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_cut_short_while_it_is_shown_hurts_nobody() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let fd = memfd(&grey(5, 4096 * 4));
    screen.scanout_map(&fd, 0, 64, 64, 256, XRGB).await.unwrap();
    rustix::fs::ftruncate(&fd, 0).unwrap();
    screen.update_map((0, 0, 64, 64)).await.unwrap();
    let scanout = attached.console().shown().unwrap();
    assert!(scanout.reader().unwrap().read(scanout.size().rect(), &mut grey(0, 4096)).is_err());
    screen.scanout(1, 1, 4, XRGB, &grey(7, 1)).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [7; 3]);
}
