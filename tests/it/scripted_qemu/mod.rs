//! A QEMU that does what a test says: the server side of `org.qemu.Display1`, over a socket or a QMP socket.
//!
//! ```ignore
//! let mut qemu = ScriptedQemu::start(Vm::default());
//! let source = Attach::Peer(qemu.control_fd());     // or Attach::Qmp(qemu.qmp_path())
//! let screen = qemu.screen(0).await;                // once console 0 has a listener
//! screen.scanout(2, 1, 8, XRGB, &[0; 8]).await?;    // QEMU calls, the answer is the listener's
//! assert_eq!(qemu.input().await, Input::Key(30, true));
//! ```

mod memory;
mod objects;
mod qmp;
mod screen;

use objects::serve;
use qmp::listen_qmp;

pub use memory::{memfd, named_memfd, open_files};
pub use screen::Screen;

use std::collections::HashMap;
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde::Serialize;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use zbus::connection::Builder;
use zbus::fdo::ObjectManager;
use zbus::message::{Flags, Message, Type};
use zbus::zvariant::{self, DynamicType, Fd, Value};
use zbus::{Connection, Guid, MessageStream, interface};

/// How long any step of a script may take before the test has failed. Nothing is asserted to be quick.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// pixman's `x8r8g8b8`.
pub const XRGB: u32 = 0x2002_0888;

/// DRM's `XR24`.
pub const XR24: u32 = u32::from_le_bytes(*b"XR24");

const ROOT: &str = "/org/qemu/Display1";
const LISTENER: &str = "org.qemu.Display1.Listener";
const MAP: &str = "org.qemu.Display1.Listener.Unix.Map";
const DMABUF2: &str = "org.qemu.Display1.Listener.Unix.ScanoutDMABUF2";

/// What VM the scripted QEMU has.
#[derive(Clone, Debug)]
pub struct Vm {
    /// Its name.
    pub name: &'static str,
    /// Numbers and types (`Graphic` or `Text`) of its consoles.
    pub consoles: Vec<(u32, &'static str)>,
    /// What some of its consoles are called: the ids or types of their devices.
    pub labels: Vec<(u32, &'static str)>,
    /// Ids and types of its devices, as QMP tells them.
    pub devices: Vec<(&'static str, &'static str)>,
    /// Its D-Bus display has GL.
    pub gl: bool,
    /// Its pointing device takes absolute positions.
    pub absolute: bool,
    /// It is from before QEMU 8.1: it does not ask listeners for further interfaces.
    pub old: bool,
    /// It answers `RegisterListener` only when the script has drawn for this long.
    pub answers_late: Option<Duration>,
    /// It takes so long until it comes to the socket of a listener that is not the first.
    pub shows_again_late: Option<Duration>,
    /// It refuses QMP's `add_client`.
    pub refuses_qmp: bool,
}

impl Default for Vm {
    fn default() -> Self {
        Self {
            name: "scripted",
            consoles: vec![(0, "Graphic")],
            labels: Vec::new(),
            devices: Vec::new(),
            gl: false,
            absolute: true,
            old: false,
            answers_late: None,
            shows_again_late: None,
            refuses_qmp: false,
        }
    }
}

/// What QEMU was told to do to the guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Input {
    /// A key, and whether it goes down.
    Key(u32, bool),
    /// A button, and whether it goes down.
    Button(u32, bool),
    /// The pointer is at a place.
    Position(u32, u32),
    /// The pointer moved.
    Motion(i32, i32),
    /// A window: millimetres, place, pixels.
    Window([u16; 2], [i32; 2], [u32; 2]),
}

/// A scripted QEMU. It leaves when dropped.
pub struct ScriptedQemu {
    shared: Arc<Shared>,
    screens: mpsc::UnboundedReceiver<Screen>,
    input: mpsc::UnboundedReceiver<Input>,
    /// Input is carried out one at a time, and only while this can be locked.
    pub busy: Arc<tokio::sync::Mutex<()>>,
    waiting: Vec<Screen>,
    dir: tempfile::TempDir,
    qmp: Option<JoinHandle<()>>,
}

struct Shared {
    vm: Vm,
    screens: mpsc::UnboundedSender<Screen>,
    input: mpsc::UnboundedSender<Input>,
    busy: Arc<tokio::sync::Mutex<()>>,
    control: Mutex<Option<Connection>>,
    listeners: AtomicU32,
}

impl ScriptedQemu {
    /// Starts one. Call inside a tokio runtime.
    pub fn start(vm: Vm) -> Self {
        let (screens, new_screens) = mpsc::unbounded_channel();
        let (input, new_input) = mpsc::unbounded_channel();
        let busy = Arc::new(tokio::sync::Mutex::new(()));
        let shared = Shared {
            vm,
            screens,
            input,
            busy: busy.clone(),
            control: Mutex::default(),
            listeners: AtomicU32::new(0),
        };
        Self {
            busy,
            shared: Arc::new(shared),
            screens: new_screens,
            input: new_input,
            waiting: Vec::new(),
            dir: tempfile::tempdir().unwrap(),
            qmp: None,
        }
    }

    /// A socket with this QEMU at its other end, as QMP's `add_client` or libvirt make it. As with the real one,
    /// the next one closes the connection of the one before.
    pub fn control_fd(&self) -> OwnedFd {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        tokio::spawn(serve(self.shared.clone(), ours.into()));
        theirs.into()
    }

    /// The path of its QMP socket, which is opened with the first call.
    pub fn qmp_path(&mut self) -> PathBuf {
        let path = self.dir.path().join("qmp");
        if self.qmp.is_none() {
            self.qmp = Some(listen_qmp(UnixListener::bind(&path).unwrap(), self.shared.clone()));
        }
        path
    }

    /// Opens its QMP socket at a path where another QEMU had one.
    pub fn listen_at(&mut self, path: &std::path::Path) {
        let _ = std::fs::remove_file(path);
        self.qmp = Some(listen_qmp(UnixListener::bind(path).unwrap(), self.shared.clone()));
    }

    /// The listener of a console, once it is registered.
    pub async fn screen(&mut self, console: u32) -> Screen {
        loop {
            if let Some(at) = self.waiting.iter().position(|screen| screen.console == console) {
                return self.waiting.swap_remove(at);
            }
            let next = tokio::time::timeout(PATIENCE, self.screens.recv()).await;
            self.waiting.push(next.expect("no listener was registered").unwrap());
        }
    }

    /// How many listeners were registered so far.
    pub fn listeners(&self) -> u32 {
        self.shared.listeners.load(Ordering::Relaxed)
    }

    /// How many listeners were registered that the script has not asked for.
    pub fn more_screens(&mut self) -> usize {
        while let Ok(screen) = self.screens.try_recv() {
            self.waiting.push(screen);
        }
        self.waiting.len()
    }

    /// The next thing it was told to do to the guest.
    pub async fn input(&mut self) -> Input {
        tokio::time::timeout(PATIENCE, self.input.recv()).await.expect("no input came").unwrap()
    }

    /// The guest changes to an absolute pointing device, or back.
    pub async fn set_absolute(&self, console: u32, absolute: bool) {
        self.property_changed(console, "org.qemu.Display1.Mouse", "IsAbsolute", absolute.into()).await;
    }

    /// The guest lights its keyboard.
    pub async fn set_leds(&self, console: u32, bits: u32) {
        self.property_changed(console, "org.qemu.Display1.Keyboard", "Modifiers", bits.into()).await;
    }

    async fn property_changed(&self, console: u32, interface: &str, name: &str, value: Value<'_>) {
        let control = self.shared.control.lock().unwrap().clone().expect("nobody is attached");
        let body = (interface, HashMap::from([(name, value)]), Vec::<&str>::new());
        let path = format!("{ROOT}/Console_{console}");
        let properties = "org.freedesktop.DBus.Properties";
        control.emit_signal(None::<&str>, path, properties, "PropertiesChanged", &body).await.unwrap();
    }

    /// The QEMU process ends: all its sockets close. Its screens close when they are dropped.
    pub fn leave(self) {}
}

impl Drop for ScriptedQemu {
    fn drop(&mut self) {
        if let Some(qmp) = &self.qmp {
            qmp.abort();
        }
        self.shared.control.lock().unwrap().take();
    }
}
