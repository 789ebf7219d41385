//! `org.qemu.Display1`, the D-Bus interface of QEMU's display: its names, the calls that a listener gets, and the
//! socket on which it gets them.
//!
//! QEMU makes these calls of `source`, and `relay` makes them of its viewers. Both peers are strangers, whose messages
//! are checked here.

mod audio;
mod call;
mod checked;
mod clipboard;
mod dmabuf;
mod names;
mod refusal;
mod socket;

pub(crate) use audio::{
    AudioEnabled, AudioInCall, AudioInit, AudioOutCall, AudioRead, AudioVolume, AudioWrite,
};
pub(crate) use call::{Area, Bytes, Call, CursorDefine, MouseSet, ScanoutMap, ScanoutPixels, UpdatePixels};
pub(crate) use checked::Checked;
pub(crate) use clipboard::{ClipboardCall, Grab, Paste, TEXT};
pub(crate) use dmabuf::{ScanoutDmabuf, ScanoutDmabuf2};
pub(crate) use names::{
    AUDIO, AUDIO_IN, AUDIO_IN_PATH, AUDIO_OUT, AUDIO_OUT_PATH, AUDIO_PATH, AUDIO_XML, CHARDEV, CLIPBOARD,
    CLIPBOARD_PATH, CLIPBOARD_XML, CONSOLE, DMABUF2, KEYBOARD, LISTENER, LISTENER_PATH, LISTENER_XML, MAP,
    MOUSE, MULTI_TOUCH, ROOT, VM, VM_PATH, chardev_id, chardev_path, console_id, console_path,
};
pub(crate) use refusal::Refusal;
pub(crate) use socket::{DisplaySocket, Reading, Writing, is_end};
