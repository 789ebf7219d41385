//! A D-Bus viewer that does what a test says: registers a listener, and answers as told.
//!
//! ```ignore
//! let mut viewer = Viewer::register(&bus, None, 0, EVERYTHING, Answers::All).await?;
//! assert_eq!(viewer.heard().await.name, "ScanoutDMABUF2");
//! ```

use std::collections::HashMap;

use futures_util::StreamExt;
use qemu_spice::internals::FileId;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use zbus::connection::Builder;
use zbus::message::{Message, Type};
use zbus::zvariant::{Fd, OwnedFd, Value};
use zbus::{Connection, MessageStream};

use crate::scripted_qemu::PATIENCE;

pub const MAP: &str = "org.qemu.Display1.Listener.Unix.Map";
pub const DMABUF2: &str = "org.qemu.Display1.Listener.Unix.ScanoutDMABUF2";

/// The optional interfaces of a listener that takes everything.
pub const EVERYTHING: &[&str] = &[MAP, DMABUF2];

/// Which calls are answered at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answers {
    /// All.
    All,
    /// All but `UpdateDMABUF`, which the test answers.
    NoDraws,
    /// None, not even what QEMU asks first.
    Nothing,
    /// All that bring a file descriptor are refused.
    NoFds,
}

/// A call of the listener.
#[derive(Debug)]
pub struct Heard {
    pub name: String,
    /// Its numbers, in order; those of arrays among them.
    pub numbers: Vec<u64>,
    pub fds: Vec<std::os::fd::OwnedFd>,
    pub data: Vec<u8>,
    call: Message,
}

impl Heard {
    /// Which files it brought.
    pub fn files(&self) -> Vec<FileId> {
        self.fds.iter().map(|fd| FileId::of(fd).unwrap()).collect()
    }
}

/// A viewer's listener to one console.
#[derive(Debug)]
pub struct Viewer {
    connection: Connection,
    calls: mpsc::UnboundedReceiver<Heard>,
    listening: AbortHandle,
}

/// It leaves without a word.
impl Drop for Viewer {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Viewer {
    /// Registers a listener with the owner of a name, or with the other end of a connection.
    pub async fn register(
        bus: &Connection,
        name: Option<&str>,
        console: u32,
        interfaces: &'static [&'static str],
        answers: Answers,
    ) -> zbus::Result<Self> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        register_fd(bus, name, console, theirs.into_std().unwrap().into()).await?;
        let connecting = Builder::unix_stream(ours).p2p().build_message_stream();
        let stream = tokio::time::timeout(PATIENCE, connecting).await.expect("no server on the socket")?;
        let connection = Connection::from(&stream);
        let (sender, calls) = mpsc::unbounded_channel();
        let listening = tokio::spawn(listen(stream, interfaces, answers, sender)).abort_handle();
        Ok(Self { connection, calls, listening })
    }

    /// The next call.
    pub async fn heard(&mut self) -> Heard {
        let heard = tokio::time::timeout(PATIENCE, self.calls.recv()).await;
        heard.expect("nothing is told to the listener").expect("the listener's connection ended")
    }

    /// The next call with this name; others are passed over.
    pub async fn heard_of(&mut self, name: &str) -> Heard {
        loop {
            let heard = self.heard().await;
            if heard.name == name {
                return heard;
            }
        }
    }

    /// Whether there is nothing to hear now.
    pub fn hears_nothing(&mut self) -> bool {
        matches!(self.calls.try_recv(), Err(mpsc::error::TryRecvError::Empty))
    }

    pub async fn answer(&self, heard: &Heard) {
        self.connection.reply(&heard.call.header(), &()).await.unwrap();
    }

    /// Waits until the other end has closed the connection.
    pub async fn ended(&mut self) {
        let ended = async { while self.calls.recv().await.is_some() {} };
        tokio::time::timeout(PATIENCE, ended).await.expect("the listener's connection does not end");
    }
}

/// Hands a file descriptor over as a listener's socket.
pub async fn register_fd(
    bus: &Connection,
    name: Option<&str>,
    console: u32,
    fd: std::os::fd::OwnedFd,
) -> zbus::Result<()> {
    let path = format!("/org/qemu/Display1/Console_{console}");
    let interface = Some("org.qemu.Display1.Console");
    bus.call_method(name, path, interface, "RegisterListener", &Fd::from(fd)).await.map(|_| ())
}

async fn listen(
    mut stream: MessageStream,
    interfaces: &'static [&'static str],
    answers: Answers,
    calls: mpsc::UnboundedSender<Heard>,
) {
    let connection = Connection::from(&stream);
    while let Some(Ok(message)) = stream.next().await {
        if message.message_type() != Type::MethodCall || answers == Answers::Nothing {
            continue;
        }
        let header = message.header();
        if header.interface().unwrap().as_str() == "org.freedesktop.DBus.Properties" {
            assert_eq!(header.member().unwrap().as_str(), "GetAll");
            let listed = HashMap::from([("Interfaces", Value::from(interfaces.to_vec()))]);
            let _ = connection.reply(&header, &listed).await;
            continue;
        }
        let heard = decode(message.clone());
        let refused = answers == Answers::NoFds && !heard.fds.is_empty();
        let done = if refused {
            connection.reply_error(&header, "org.freedesktop.DBus.Error.Failed", &"cannot import").await
        } else if answers == Answers::NoDraws && heard.name == "UpdateDMABUF" {
            Ok(())
        } else {
            connection.reply(&header, &()).await
        };
        if done.is_err() || calls.send(heard).is_err() {
            return;
        }
    }
}

fn decode(call: Message) -> Heard {
    let name = call.header().member().unwrap().as_str().to_owned();
    let interface = call.header().interface().unwrap().as_str().to_owned();
    assert_eq!(call.header().path().unwrap().as_str(), "/org/qemu/Display1/Listener");
    let expected = match name.as_str() {
        "ScanoutMap" | "UpdateMap" => MAP,
        "ScanoutDMABUF2" => DMABUF2,
        _ => "org.qemu.Display1.Listener",
    };
    assert_eq!(interface, expected, "{name}");
    let body = call.body();
    let (mut numbers, mut fds, mut data) = (Vec::new(), Vec::new(), Vec::new());
    let mut files = |from: Vec<OwnedFd>| fds.extend(from.into_iter().map(std::os::fd::OwnedFd::from));
    match name.as_str() {
        "Scanout" => {
            let (a, b, c, d, bytes): (u32, u32, u32, u32, Vec<u8>) = body.deserialize().unwrap();
            numbers.extend([a, b, c, d].map(u64::from));
            data = bytes;
        }
        "Update" => {
            type Args = (i32, i32, i32, i32, u32, u32, Vec<u8>);
            let (x, y, w, h, stride, format, bytes): Args = body.deserialize().unwrap();
            numbers.extend([x, y, w, h].map(|n| n as u64));
            numbers.extend([stride, format].map(u64::from));
            data = bytes;
        }
        "ScanoutMap" => {
            let (fd, a, b, c, d, e): (OwnedFd, u32, u32, u32, u32, u32) = body.deserialize().unwrap();
            files(vec![fd]);
            numbers.extend([a, b, c, d, e].map(u64::from));
        }
        "ScanoutDMABUF" => {
            type Args = (OwnedFd, u32, u32, u32, u32, u64, bool);
            let (fd, w, h, stride, fourcc, modifier, y0_top): Args = body.deserialize().unwrap();
            files(vec![fd]);
            numbers.extend([w, h, stride, fourcc].map(u64::from));
            numbers.extend([modifier, u64::from(y0_top)]);
        }
        "ScanoutDMABUF2" => {
            type Args = (Vec<OwnedFd>, u32, u32, u32, u32, Vec<u32>, Vec<u32>, u32, u32, u32, u32, u64, bool);
            let (handles, x, y, w, h, offsets, strides, planes, fourcc, width, height, modifier, y0_top): Args =
                body.deserialize().unwrap();
            files(handles);
            numbers.extend([x, y, w, h].map(u64::from));
            numbers.extend(offsets.into_iter().chain(strides).map(u64::from));
            numbers.extend([planes, fourcc, width, height].map(u64::from));
            numbers.extend([modifier, u64::from(y0_top)]);
        }
        "UpdateDMABUF" | "UpdateMap" => {
            let (x, y, w, h): (i32, i32, i32, i32) = body.deserialize().unwrap();
            numbers.extend([x, y, w, h].map(|n| n as u64));
        }
        "Disable" => body.deserialize::<()>().unwrap(),
        "MouseSet" => {
            let (x, y, on): (i32, i32, i32) = body.deserialize().unwrap();
            numbers.extend([x, y, on].map(|n| n as u64));
        }
        "CursorDefine" => {
            let (w, h, x, y, bytes): (i32, i32, i32, i32, Vec<u8>) = body.deserialize().unwrap();
            numbers.extend([w, h, x, y].map(|n| n as u64));
            data = bytes;
        }
        other => panic!("a listener has no {other}"),
    }
    Heard { name, numbers, fds, data, call }
}
