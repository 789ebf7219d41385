//! Consoles, cursor and input.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn each_graphic_console_has_one_listener() {
    let vm = Vm { consoles: vec![(0, "Graphic"), (1, "Text"), (2, "Graphic")], ..Vm::default() };
    let (mut qemu, first, attached) = start(vm).await;
    let second = qemu.screen(2).await;
    attached.attached().await;
    assert_eq!(qemu.more_screens(), 0);
    first.scanout(1, 1, 4, XRGB, &grey(1, 1)).await.unwrap();
    second.scanout(1, 1, 4, XRGB, &grey(2, 1)).await.unwrap();
    let at = |n| attached.hub.console(ConsoleId(n)).and_then(|console| shown(&console));
    assert_eq!((at(0), at(1), at(2)), (Some(vec![1; 3]), None, Some(vec![2; 3])));
    let guest = attached.hub.guest().borrow().clone();
    assert_eq!((guest.name.as_str(), guest.uuid[1], guest.consoles.len()), ("scripted", 0x11, 2));
    // One console's socket breaks: the other goes on.
    drop(first);
    second.scanout(1, 1, 4, XRGB, &grey(3, 1)).await.unwrap();
    assert!(!attached.running.is_finished());
    assert_eq!(at(2), Some(vec![3; 3]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guests_lights_and_pointing_device_are_followed() {
    let (qemu, _screen, attached) = start(Vm { absolute: false, ..Vm::default() }).await;
    attached.attached().await;
    assert!(!attached.hub.guest().borrow().is_absolute());
    qemu.set_absolute(0, true).await;
    attached.guest(|guest| guest.is_absolute()).await;
    qemu.set_leds(0, 6).await;
    attached.guest(|guest| guest.leds.bits() == Leds::NUM | Leds::CAPS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cursor_is_followed() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    screen.mouse_set(10, 20, true).await.unwrap();
    screen.cursor_define(2, 2, (1, -1), &grey(9, 4)).await.unwrap();
    let cursor = attached.console().cursor().borrow().clone();
    let shape = cursor.shape.unwrap();
    assert_eq!(
        (shape.width(), shape.hot_spot(), cursor.pointer.y, cursor.pointer.visible),
        (2, (1, 0), 20, true)
    );
    screen.mouse_set(0, 0, false).await.unwrap();
    let cursor = attached.console().cursor().borrow().clone();
    assert!(!cursor.pointer.visible && cursor.shape.is_some(), "the shape is kept for when it shows again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qemu_that_is_busy_is_told_of_a_pointers_last_place_alone() {
    let (mut qemu, screen, attached) = start(Vm::default()).await;
    screen.scanout(64, 32, 256, XRGB, &grey(0, 64 * 32)).await.unwrap();
    attached.attached().await;
    let console = ConsoleId(0);
    let busy = qemu.busy.clone().lock_owned().await;
    let give = async |command| attached.commands.send(command).await.unwrap();
    give(GuestCommand::Key { qnum: 1, down: true }).await;
    for x in 0..40 {
        give(GuestCommand::Position { console, x, y: 1 }).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    give(GuestCommand::Key { qnum: 2, down: true }).await;
    drop(busy);
    let mut told = Vec::new();
    while told.last() != Some(&Input::Key(2, true)) {
        told.push(qemu.input().await);
    }
    // The first place may have come with the key.
    assert!(told.len() <= 4 && told.ends_with(&[Input::Position(39, 1), Input::Key(2, true)]), "{told:?}");
}

/// On one thread: nothing is taken before all has been given.
#[tokio::test]
async fn input_arrives_in_order_inside_the_screen_and_without_stale_places() {
    let (mut qemu, screen, attached) = start(Vm::default()).await;
    screen.scanout(64, 32, 256, XRGB, &grey(0, 64 * 32)).await.unwrap();
    attached.attached().await;
    let console = ConsoleId(0);
    let give = |command| attached.commands.try_send(command).unwrap();
    let at = |x, y| GuestCommand::Position { console, x, y };
    let left = |down| GuestCommand::Button { console, button: PointerButton::Left, down };
    for x in 0..50 {
        give(at(x, 1));
    }
    give(left(true));
    for x in 0..40 {
        give(at(1000 + x, 5000));
    }
    give(left(false));
    give(GuestCommand::Motion { console, dx: 1, dy: 1 }); // not what this guest's device takes
    give(GuestCommand::Button { console: ConsoleId(7), button: PointerButton::Extra, down: true });
    give(GuestCommand::Key { qnum: 0xb7, down: true });
    give(GuestCommand::Key { qnum: 0xb7, down: false });
    give(GuestCommand::Button { console, button: PointerButton::WheelDown, down: true });
    let expected = [
        Input::Position(49, 1),
        Input::Button(0, true),
        Input::Position(63, 31),
        Input::Button(0, false),
        Input::Key(0xb7, true),
        Input::Key(0xb7, false),
        Input::Button(4, true),
    ];
    for expected in expected {
        assert_eq!(qemu.input().await, expected);
    }
    qemu.set_absolute(0, false).await;
    attached.guest(|guest| !guest.is_absolute()).await;
    give(at(1, 1));
    give(GuestCommand::Motion { console, dx: -5, dy: 7 });
    assert_eq!(qemu.input().await, Input::Motion(-5, 7));
    for width in 640..700 {
        let window = Window { size: Size::new(width, 480), width_mm: 170, height_mm: 130, x: -1, y: 2 };
        give(GuestCommand::Window { console, window });
        give(GuestCommand::Window { console: ConsoleId(7), window });
    }
    assert_eq!(qemu.input().await, Input::Window([170, 130], [-1, 2], [699, 480]), "only the last counts");
}
