//! A QEMU that does what a test says: the server side of `org.qemu.Display1`, over a socket or a QMP socket.
//!
//! ```ignore
//! let mut qemu = ScriptedQemu::start(Vm::default());
//! let source = Attach::Peer(qemu.control_fd());     // or Attach::Qmp(qemu.qmp_path())
//! let screen = qemu.screen(0).await;                // once console 0 has a listener
//! screen.scanout(2, 1, 8, XRGB, &[0; 8]).await?;    // QEMU calls, the answer is the listener's
//! assert_eq!(qemu.input().await, Input::Key(30, true));
//! ```

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
}

/// A scripted QEMU. It leaves when dropped.
pub struct ScriptedQemu {
    shared: Arc<Shared>,
    screens: mpsc::UnboundedReceiver<Screen>,
    input: mpsc::UnboundedReceiver<Input>,
    waiting: Vec<Screen>,
    dir: tempfile::TempDir,
    qmp: Option<JoinHandle<()>>,
}

struct Shared {
    vm: Vm,
    screens: mpsc::UnboundedSender<Screen>,
    input: mpsc::UnboundedSender<Input>,
    control: Mutex<Option<Connection>>,
    listeners: AtomicU32,
}

impl ScriptedQemu {
    /// Starts one. Call inside a tokio runtime.
    pub fn start(vm: Vm) -> Self {
        let (screens, new_screens) = mpsc::unbounded_channel();
        let (input, new_input) = mpsc::unbounded_channel();
        let shared = Shared { vm, screens, input, control: Mutex::default(), listeners: AtomicU32::new(0) };
        Self {
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

/// A console's listener, as QEMU sees it. Each method is one call, and gives the listener's answer.
pub struct Screen {
    /// Which console it listens to.
    pub console: u32,
    /// What it says it has besides the plain listener.
    pub interfaces: Vec<String>,
    connection: Connection,
    /// The number of its last message. QEMU counts them for each connection, zbus for the whole process.
    serial: AtomicU32,
}

impl Screen {
    /// `Scanout`: width, height, stride, pixman's format, pixels.
    pub async fn scanout(&self, w: u32, h: u32, stride: u32, format: u32, data: &[u8]) -> zbus::Result<()> {
        self.call(LISTENER, "Scanout", &(w, h, stride, format, data)).await
    }

    /// `Update`.
    pub async fn update(
        &self,
        (x, y, w, h): (i32, i32, i32, i32),
        stride: u32,
        format: u32,
        data: &[u8],
    ) -> zbus::Result<()> {
        self.call(LISTENER, "Update", &(x, y, w, h, stride, format, data)).await
    }

    /// `ScanoutMap`: file, offset, width, height, stride, pixman's format.
    pub async fn scanout_map(
        &self,
        fd: &OwnedFd,
        offset: u32,
        w: u32,
        h: u32,
        stride: u32,
        format: u32,
    ) -> zbus::Result<()> {
        self.call(MAP, "ScanoutMap", &(Fd::from(fd), offset, w, h, stride, format)).await
    }

    /// `UpdateMap`.
    pub async fn update_map(&self, rect: (i32, i32, i32, i32)) -> zbus::Result<()> {
        self.call(MAP, "UpdateMap", &rect).await
    }

    /// `ScanoutDMABUF` of a linear buffer: file, width, height, stride, fourcc, y0_top. A memfd will do.
    pub async fn scanout_dmabuf(
        &self,
        fd: &OwnedFd,
        w: u32,
        h: u32,
        stride: u32,
        fourcc: u32,
        y0_top: bool,
    ) -> zbus::Result<()> {
        self.scanout_dmabuf_tiled(fd, w, h, stride, fourcc, 0, y0_top).await
    }

    /// `ScanoutDMABUF` with a modifier.
    #[expect(clippy::too_many_arguments, reason = "it is what QEMU says, word for word")]
    pub async fn scanout_dmabuf_tiled(
        &self,
        fd: &OwnedFd,
        w: u32,
        h: u32,
        stride: u32,
        fourcc: u32,
        modifier: u64,
        y0_top: bool,
    ) -> zbus::Result<()> {
        let body = (Fd::from(fd), w, h, stride, fourcc, modifier, y0_top);
        self.call(LISTENER, "ScanoutDMABUF", &body).await
    }

    /// `ScanoutDMABUF2` of a part of one linear buffer.
    pub async fn scanout_dmabuf2(
        &self,
        fd: &OwnedFd,
        (x, y, w, h): (u32, u32, u32, u32),
        (offset, stride): (u32, u32),
        fourcc: u32,
        (whole_w, whole_h): (u32, u32),
    ) -> zbus::Result<()> {
        let (fds, offsets, strides) = (vec![Fd::from(fd)], vec![offset], vec![stride]);
        let body = (fds, x, y, w, h, offsets, strides, 1u32, fourcc, whole_w, whole_h, 0u64, false);
        self.call(DMABUF2, "ScanoutDMABUF2", &body).await
    }

    /// `ScanoutDMABUF2` of several planes, each at its offset and with its stride; the last file has those left over.
    pub async fn scanout_dmabuf2_of(
        &self,
        files: &[&OwnedFd],
        (w, h): (u32, u32),
        (offsets, strides): (&[u32], &[u32]),
        fourcc: u32,
    ) -> zbus::Result<()> {
        let files: Vec<Fd<'_>> = files.iter().map(|file| Fd::from(*file)).collect();
        let planes = u32::try_from(strides.len()).unwrap();
        let body = (files, 0u32, 0u32, w, h, offsets, strides, planes, fourcc, w, h, 0u64, false);
        self.call(DMABUF2, "ScanoutDMABUF2", &body).await
    }

    /// `UpdateDMABUF`; gives how long the guest waited.
    pub async fn update_dmabuf(&self, rect: (i32, i32, i32, i32)) -> zbus::Result<Duration> {
        let start = Instant::now();
        self.call(LISTENER, "UpdateDMABUF", &rect).await?;
        Ok(start.elapsed())
    }

    /// `Disable`.
    pub async fn disable(&self) -> zbus::Result<()> {
        self.call(LISTENER, "Disable", &()).await
    }

    /// `MouseSet`.
    pub async fn mouse_set(&self, x: i32, y: i32, on: bool) -> zbus::Result<()> {
        self.call(LISTENER, "MouseSet", &(x, y, i32::from(on))).await
    }

    /// `CursorDefine`: width, height, hot spot, pixels.
    pub async fn cursor_define(&self, w: i32, h: i32, hot: (i32, i32), data: &[u8]) -> zbus::Result<()> {
        self.call(LISTENER, "CursorDefine", &(w, h, hot.0, hot.1, data)).await
    }

    /// Any call, with any arguments.
    pub async fn call(
        &self,
        interface: &str,
        method: &str,
        body: &(impl Serialize + DynamicType),
    ) -> zbus::Result<()> {
        self.ask(interface, method, body).await.map(drop)
    }

    /// Any call; gives what it returns.
    pub async fn ask(
        &self,
        interface: &str,
        method: &str,
        body: &(impl Serialize + DynamicType),
    ) -> zbus::Result<Message> {
        let call = self.message(interface, method).build(body)?;
        let mut answers = MessageStream::from(&self.connection);
        let answered = async {
            self.connection.send(&call).await?;
            while let Some(answer) = answers.next().await {
                let answer = answer?;
                if answer.header().reply_serial() == Some(call.primary_header().serial_num()) {
                    let failed = answer.message_type() == Type::Error;
                    return if failed { Err(answer.into()) } else { Ok(answer) };
                }
            }
            Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe).into())
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("a call was never answered")
    }

    /// A call that is made but discarded before it is sent.
    pub fn lose(&self) {
        self.serial.fetch_add(1, Ordering::Relaxed);
    }

    fn message(&self, interface: &str, method: &str) -> zbus::message::Builder<'static> {
        let serial = NonZeroU32::new(self.serial.fetch_add(1, Ordering::Relaxed) + 1).unwrap();
        let (interface, method) = (interface.to_owned(), method.to_owned());
        let call = Message::method_call(format!("{ROOT}/Listener"), method).unwrap();
        call.interface(interface).unwrap().serial(serial)
    }

    /// Any call, without waiting for an answer: `quiet` tells the listener not to send one.
    pub async fn post(
        &self,
        interface: &str,
        method: &str,
        body: &(impl Serialize + DynamicType),
        quiet: bool,
    ) {
        let call = self.message(interface, method);
        let call = if quiet { call.with_flags(Flags::NoReplyExpected).unwrap() } else { call };
        self.connection.send(&call.build(body).unwrap()).await.unwrap();
    }

    /// Any call, with a body that may not be what its signature says, and no files. No answer is waited for.
    #[allow(unsafe_code)]
    pub async fn post_without_files(&self, interface: &str, method: &str, signature: &str, words: &[u32]) {
        let call = self.message(interface, method);
        let body: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        // SAFETY: the message may be wrong, which is what it is for; it is only sent, never read here.
        let call = unsafe { call.build_raw_body(&body, signature, Vec::new()) };
        self.connection.send(&call.unwrap()).await.unwrap();
    }

    /// The listener's connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// A file in memory, as QEMU shares pictures in.
pub fn memfd(bytes: &[u8]) -> OwnedFd {
    named_memfd("scanout", bytes)
}

/// … that is told from others by its name.
pub fn named_memfd(name: &str, bytes: &[u8]) -> OwnedFd {
    let fd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    std::fs::File::from(fd.try_clone().unwrap()).write_all(bytes).unwrap();
    fd
}

/// How many file descriptors of this process are of the memory with this name.
pub fn open_files(name: &str) -> usize {
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    links.filter(|link| link.to_string_lossy().contains(&format!("memfd:{name} "))).count()
}

/// Serves one control connection.
async fn serve(shared: Arc<Shared>, socket: OwnedFd) {
    let stream = std::os::unix::net::UnixStream::from(socket);
    stream.set_nonblocking(true).unwrap();
    let vm = shared.vm.clone();
    let mut builder = Builder::unix_stream(UnixStream::from_std(stream).unwrap())
        .server(Guid::generate())
        .unwrap()
        .p2p()
        .serve_at(ROOT, ObjectManager)
        .unwrap()
        .serve_at(format!("{ROOT}/VM"), VmObject(vm.clone()))
        .unwrap();
    for &(console, kind) in &vm.consoles {
        let path = format!("{ROOT}/Console_{console}");
        builder = builder
            .serve_at(path.clone(), ConsoleObject { console, kind, shared: shared.clone() })
            .unwrap()
            .serve_at(path.clone(), Keyboard { input: shared.input.clone() })
            .unwrap()
            .serve_at(path, Mouse { absolute: vm.absolute, input: shared.input.clone() })
            .unwrap();
    }
    if let Ok(connection) = builder.build().await {
        *shared.control.lock().unwrap() = Some(connection);
    }
}

struct VmObject(Vm);

#[interface(name = "org.qemu.Display1.VM")]
impl VmObject {
    #[zbus(property)]
    fn name(&self) -> &str {
        self.0.name
    }

    #[zbus(property, name = "UUID")]
    fn uuid(&self) -> &str {
        "00112233-4455-6677-8899-aabbccddeeff"
    }

    #[zbus(property, name = "ConsoleIDs")]
    fn console_ids(&self) -> Vec<u32> {
        self.0.consoles.iter().map(|console| console.0).collect()
    }
}

struct ConsoleObject {
    console: u32,
    kind: &'static str,
    shared: Arc<Shared>,
}

#[interface(name = "org.qemu.Display1.Console")]
impl ConsoleObject {
    /// As QEMU: answers first, then is the server on the new socket, and asks for the listener's interfaces.
    async fn register_listener(&self, socket: zvariant::OwnedFd) {
        let (shared, console) = (self.shared.clone(), self.console);
        let again = self.shared.listeners.fetch_add(1, Ordering::Relaxed) > 0;
        tokio::spawn(async move {
            if let Some(late) = shared.vm.shows_again_late.filter(|_| again) {
                tokio::time::sleep(late).await;
            }
            let stream = std::os::unix::net::UnixStream::from(OwnedFd::from(socket));
            stream.set_nonblocking(true).unwrap();
            let stream = UnixStream::from_std(stream).unwrap();
            let builder = Builder::unix_stream(stream).server(Guid::generate()).unwrap().p2p();
            let connection = builder.build().await.unwrap();
            let mut screen =
                Screen { console, interfaces: Vec::new(), connection, serial: AtomicU32::new(0) };
            if !shared.vm.old {
                let properties = "org.freedesktop.DBus.Properties";
                let all = screen.ask(properties, "GetAll", &LISTENER).await.unwrap();
                let all: HashMap<String, zvariant::OwnedValue> = all.body().deserialize().unwrap();
                screen.interfaces = all["Interfaces"].clone().try_into().unwrap();
                for interface in &screen.interfaces {
                    screen.call(properties, "GetAll", interface).await.unwrap();
                }
            }
            let _ = shared.screens.send(screen);
        });
        if let Some(late) = self.shared.vm.answers_late {
            tokio::time::sleep(late).await;
        }
    }

    #[zbus(property)]
    fn label(&self) -> &str {
        "scripted"
    }

    #[zbus(property, name = "Type")]
    fn kind(&self) -> &str {
        self.kind
    }
}

struct Keyboard {
    input: mpsc::UnboundedSender<Input>,
}

#[interface(name = "org.qemu.Display1.Keyboard", spawn = false)]
impl Keyboard {
    async fn press(&self, key: u32) {
        let _ = self.input.send(Input::Key(key, true));
    }

    async fn release(&self, key: u32) {
        let _ = self.input.send(Input::Key(key, false));
    }

    #[zbus(property)]
    fn modifiers(&self) -> u32 {
        0
    }
}

struct Mouse {
    absolute: bool,
    input: mpsc::UnboundedSender<Input>,
}

#[interface(name = "org.qemu.Display1.Mouse", spawn = false)]
impl Mouse {
    async fn press(&self, button: u32) {
        let _ = self.input.send(Input::Button(button, true));
    }

    async fn release(&self, button: u32) {
        let _ = self.input.send(Input::Button(button, false));
    }

    async fn set_abs_position(&self, x: u32, y: u32) {
        let _ = self.input.send(Input::Position(x, y));
    }

    async fn rel_motion(&self, dx: i32, dy: i32) {
        let _ = self.input.send(Input::Motion(dx, dy));
    }

    #[zbus(property)]
    fn is_absolute(&self) -> bool {
        self.absolute
    }
}

/// Speaks as much QMP as it takes to hand over a socket.
fn listen_qmp(listener: UnixListener, shared: Arc<Shared>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = speak_qmp(stream, &shared).await;
        }
    })
}

async fn speak_qmp(stream: UnixStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    let say = async |line: &str| {
        stream.writable().await?;
        stream.try_write(format!("{line}\r\n").as_bytes())
    };
    say(r#"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 10}}, "capabilities": []}}"#)
        .await?;
    let mut handed = None;
    loop {
        let mut line = [0; 4096];
        let mut fds = Vec::new();
        let read = stream.async_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let read =
                recvmsg(&stream, &mut [IoSliceMut::new(&mut line)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    fds.extend(received);
                }
            }
            Ok(read.bytes)
        });
        let read = read.await?;
        if read == 0 {
            return Ok(());
        }
        let command: serde_json::Value = serde_json::from_slice(&line[..read])?;
        handed = fds.pop().or(handed);
        // QEMU tells of events whenever they happen.
        say(r#"{"event": "RTC_CHANGE", "data": {"offset": 0}}"#).await?;
        if command["execute"] == "add_client" {
            if shared.vm.refuses_qmp || command["arguments"]["protocol"] != "@dbus-display" {
                say(r#"{"error": {"class": "GenericError", "desc": "D-Bus display is not in p2p mode"}}"#)
                    .await?;
                continue;
            }
            tokio::spawn(serve(shared.clone(), handed.take().expect("no fd came with getfd")));
        }
        say(r#"{"return": {}}"#).await?;
    }
}
