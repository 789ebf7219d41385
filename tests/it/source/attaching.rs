//! Coming to a QEMU, and its leaving.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_console_that_would_end_qemu_is_not_asked_for() {
    let gpu = Vm { labels: vec![(0, "vhost-user-gpu-pci")], ..Vm::default() };
    let by_id = Vm {
        labels: vec![(0, "video0")],
        devices: vec![("mouse", "virtio-mouse-pci"), ("video0", "vhost-user-vga")],
        ..Vm::default()
    };
    let refused = async |attach| Attached::to(attach, true).ended().await.unwrap_err().to_string();
    // D-Bus alone does not tell whether there is GL.
    let qemu = ScriptedQemu::start(gpu.clone());
    let line = refused(Attach::Peer(qemu.control_fd())).await;
    assert_eq!(qemu.listeners(), 0);
    assert!(line.contains("vhost-user-gpu-pci") && line.contains("give --qmp"), "{line}");
    for vm in [gpu.clone(), by_id.clone()] {
        let mut qemu = ScriptedQemu::start(vm);
        let line = refused(Attach::Qmp(qemu.qmp_path())).await;
        assert_eq!(qemu.listeners(), 0);
        assert!(line.ends_with("start QEMU with -display dbus,gl=on"), "{line}");
    }
    for vm in [gpu, by_id] {
        let mut qemu = ScriptedQemu::start(Vm { gl: true, ..vm });
        let attached = Attached::to(Attach::Qmp(qemu.qmp_path()), false);
        attached.attached().await;
        assert_eq!(qemu.listeners(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_console_that_would_end_qemu_the_others_are_shown() {
    let mut qemu = ScriptedQemu::start(Vm {
        consoles: vec![(0, "Graphic"), (1, "Graphic")],
        labels: vec![(0, "vhost-user-vga")],
        ..Vm::default()
    });
    let attached = Attached::to(Attach::Peer(qemu.control_fd()), false);
    let _screen = qemu.screen(1).await;
    attached.attached().await;
    assert_eq!(attached.hub.guest().borrow().consoles.keys().collect::<Vec<_>>(), [&ConsoleId(1)]);
    attached.commands.try_send(GuestCommand::Key { qnum: 1, down: true }).unwrap();
    assert_eq!(qemu.input().await, Input::Key(1, true));
    assert_eq!(qemu.listeners(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qmp_socket_may_be_one_without_a_file() {
    let name = format!("qemu-spice-test-{}", std::process::id());
    let mut qemu = ScriptedQemu::start(Vm::default());
    qemu.listen_at(format!("\0{name}").as_ref());
    let attached = Attached::to(Attach::Qmp(format!("@{name}").into()), false);
    attached.attached().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_drawn_before_the_registration_ends_is_seen() {
    let late = Vm { answers_late: Some(Duration::from_millis(300)), ..Vm::default() };
    let (_qemu, screen, attached) = start(late).await;
    screen.scanout(2, 1, 8, XRGB, &grey(0, 2)).await.unwrap();
    screen.update((1, 0, 1, 1), 4, XRGB, &grey(9, 1)).await.unwrap();
    assert!(attached.hub.guest().borrow().consoles.is_empty(), "the registration has ended already");
    assert_eq!(shown(&attached.console()).unwrap(), [0, 0, 0, 9, 9, 9]);
    attached.attached().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_leaving_ends_the_source_and_blackens_the_screen() {
    let (qemu, screen, attached) = start(Vm::default()).await;
    screen.scanout(1, 1, 4, XRGB, &grey(1, 1)).await.unwrap();
    attached.attached().await;
    let console = attached.console();
    qemu.leave();
    drop(screen);
    assert_eq!(attached.ended().await.unwrap(), Ended::QemuLeft);
    assert!(shown(&console).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_wait_the_next_qemu_is_attached_and_readers_stay() {
    let mut first = ScriptedQemu::start(Vm { name: "first", ..Vm::default() });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp");
    let attached = Attached::to(Attach::Qmp(path.clone()), true);
    let reader = attached.console().subscribe();
    first.listen_at(&path);
    let screen = first.screen(0).await;
    screen.scanout(1, 1, 4, XRGB, &grey(1, 1)).await.unwrap();
    attached.guest(|guest| guest.name == "first").await;
    assert_eq!(pixels(&next_change(&reader).await.scanout.unwrap()), [1; 3]);
    first.leave();
    drop(screen);
    assert!(next_change(&reader).await.scanout.is_none());
    // What is typed now is for nobody.
    attached.commands.try_send(GuestCommand::Key { qnum: 1, down: true }).unwrap();

    let mut second = ScriptedQemu::start(Vm { name: "second", ..Vm::default() });
    second.listen_at(&path);
    let screen = second.screen(0).await;
    screen.scanout(1, 1, 4, XRGB, &grey(2, 1)).await.unwrap();
    attached.guest(|guest| guest.name == "second").await;
    assert_eq!(pixels(&next_change(&reader).await.scanout.unwrap()), [2; 3]);
    attached.commands.try_send(GuestCommand::Key { qnum: 2, down: true }).unwrap();
    assert_eq!(second.input().await, Input::Key(2, true));
    attached.cancel.cancel();
    assert_eq!(attached.ended().await.unwrap(), Ended::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_another_program_took_leaves_the_picture() {
    let (qemu, screen, attached) = start(Vm::default()).await;
    attached.attached().await;
    let _other = Attached::to(Attach::Peer(qemu.control_fd()), false);
    // Longer than the source needs to see that QEMU itself is still there.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    screen.scanout(1, 1, 4, XRGB, &grey(4, 1)).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [4; 3]);
    assert!(!attached.running.is_finished());
    drop(screen);
    assert_eq!(attached.ended().await.unwrap(), Ended::QemuLeft);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_thing_that_can_be_wrong_has_its_line() {
    let line = async |attach| Attached::to(attach, false).ended().await.unwrap_err().to_string();
    let text = Vm { consoles: vec![(0, "Text")], ..Vm::default() };
    let blind = ScriptedQemu::start(text);
    assert!(line(Attach::Peer(blind.control_fd())).await.contains("no graphic console"));

    let absent = line(Attach::Qmp("/nonexistent/qmp".into())).await;
    assert!(absent.contains("/nonexistent/qmp") && absent.contains("-qmp unix:"), "{absent}");
    let mut refusing = ScriptedQemu::start(Vm { refuses_qmp: true, ..Vm::default() });
    let refused = line(Attach::Qmp(refusing.qmp_path())).await;
    assert!(refused.contains("not in p2p mode") && refused.contains("-display dbus,p2p=yes"), "{refused}");

    let nowhere = line(Attach::Bus("unix:path=/nonexistent/bus".into())).await;
    assert!(nowhere.contains("/nonexistent/bus"), "{nowhere}");
    let nonsense = line(Attach::Bus("nonsense".into())).await;
    assert!(nonsense.contains("nonsense"), "{nonsense}");

    // Sockets whose other end is gone, or is no QEMU.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(theirs);
    assert!(line(Attach::Peer(OwnedFd::from(ours))).await.contains("closed the connection"));
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    std::io::Write::write_all(&mut &theirs, b"RFB 003.008\n").unwrap();
    assert!(line(Attach::Peer(OwnedFd::from(ours))).await.contains("no D-Bus display"));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("http");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut stream, &[b'x'; 200_000]).unwrap_or_default();
    });
    let attached = Attached::to(Attach::Qmp(path), true);
    let error = attached.ended().await.unwrap_err();
    assert!(matches!(error, SourceError::Qmp { error: QmpError::Foreign(_), .. }), "{error}");
}
