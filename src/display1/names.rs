//! The names of interfaces and objects, as in QEMU's `ui/dbus-display1.xml`.

use crate::frame::ConsoleId;

/// The path under which a display's objects are.
pub(crate) const ROOT: &str = "/org/qemu/Display1";

/// The path of the virtual machine's object.
pub(crate) const VM_PATH: &str = "/org/qemu/Display1/VM";

/// The path of a listener's one object, on its own connection.
pub(crate) const LISTENER_PATH: &str = "/org/qemu/Display1/Listener";

/// The interface of the virtual machine.
pub(crate) const VM: &str = "org.qemu.Display1.VM";

/// The interface that each console has.
pub(crate) const CONSOLE: &str = "org.qemu.Display1.Console";

/// The interface of a console's keyboard.
pub(crate) const KEYBOARD: &str = "org.qemu.Display1.Keyboard";

/// The interface of a console's pointing device.
pub(crate) const MOUSE: &str = "org.qemu.Display1.Mouse";

/// The interface of a console's touchscreen.
pub(crate) const MULTI_TOUCH: &str = "org.qemu.Display1.MultiTouch";

/// The interface of a character device, such as a serial port of the guest.
pub(crate) const CHARDEV: &str = "org.qemu.Display1.Chardev";

/// The interface that each listener has.
pub(crate) const LISTENER: &str = "org.qemu.Display1.Listener";

/// The interface of listeners that take pictures in shared memory (QEMU 9.2).
pub(crate) const MAP: &str = "org.qemu.Display1.Listener.Unix.Map";

/// The interface of listeners that take dmabufs of several planes, and parts of them (QEMU 10.1).
pub(crate) const DMABUF2: &str = "org.qemu.Display1.Listener.Unix.ScanoutDMABUF2";

/// The path of the object of the clipboards, QEMU's and ours.
pub(crate) const CLIPBOARD_PATH: &str = "/org/qemu/Display1/Clipboard";

/// The interface of the clipboards.
pub(crate) const CLIPBOARD: &str = "org.qemu.Display1.Clipboard";

/// That interface in D-Bus's introspection format.
pub(crate) const CLIPBOARD_XML: &str = include_str!("../../dbus-interfaces/org.qemu.Display1.Clipboard.xml");

/// The path of the object of the guest's sound.
pub(crate) const AUDIO_PATH: &str = "/org/qemu/Display1/Audio";

/// The interface of the guest's sound.
pub(crate) const AUDIO: &str = "org.qemu.Display1.Audio";

/// The path of the object that listens to what the guest plays, on its own connection.
pub(crate) const AUDIO_OUT_PATH: &str = "/org/qemu/Display1/AudioOutListener";

/// The interface of that object.
pub(crate) const AUDIO_OUT: &str = "org.qemu.Display1.AudioOutListener";

/// The path of the object that gives what the guest records, on its own connection.
pub(crate) const AUDIO_IN_PATH: &str = "/org/qemu/Display1/AudioInListener";

/// The interface of that object.
pub(crate) const AUDIO_IN: &str = "org.qemu.Display1.AudioInListener";

/// The interfaces of both in D-Bus's introspection format.
pub(crate) const AUDIO_XML: &str = include_str!("../../dbus-interfaces/org.qemu.Display1.AudioListener.xml");

/// A listener's interfaces in D-Bus's introspection format.
pub(crate) const LISTENER_XML: &str = include_str!("../../dbus-interfaces/org.qemu.Display1.Listener.xml");

/// Returns the path of a console's object.
pub(crate) fn console_path(id: ConsoleId) -> String {
    format!("{ROOT}/Console_{id}")
}

/// Returns the path of a character device's object.
pub(crate) fn chardev_path(id: &str) -> String {
    format!("{ROOT}/Chardev_{id}")
}

/// Returns the id of the character device whose object has this path.
pub(crate) fn chardev_id(path: &str) -> Option<&str> {
    path.strip_prefix(ROOT)?.strip_prefix("/Chardev_")
}

/// Returns the console whose object has this path.
pub(crate) fn console_id(path: &str) -> Option<ConsoleId> {
    let number = path.strip_prefix(ROOT)?.strip_prefix("/Console_")?;
    number.parse().ok().map(ConsoleId)
}
