//! As much QMP as it takes to ask a QEMU for a D-Bus connection of our own (`qapi/misc.json`: `getfd`, `add_client`),
//! and for what might be in the way of using it (`query-display-options`, `qom-list`).

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Interest};
use tokio::net::UnixStream;

use super::SourceError;
use super::obstacle::{DisplayOptions, is_gpu};

/// How long the whole exchange may take. QEMU answers at once, unless another program holds its QMP socket.
const DEADLINE: Duration = Duration::from_secs(5);

/// The longest line taken from QEMU, in bytes. Its greeting and answers have a few hundred.
const MAX_LINE: u64 = 64 << 10;

/// What QEMU shall call the socket we hand it.
const FD_NAME: &str = "qemu-spice";

/// Why QEMU gave no connection over QMP.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// Nothing listens there.
    #[error("nobody listens there ({0}): start QEMU with -qmp unix:PATH,server=on,wait=off, or give --wait")]
    Absent(io::Error),
    /// The socket may not be used, or broke.
    #[error("{0}")]
    Socket(io::Error),
    /// QEMU hung up.
    #[error("QEMU hung up")]
    HungUp,
    /// No answer came.
    #[error("no answer within {} s: another program may hold it (QEMU talks to one at a time)", DEADLINE.as_secs())]
    Deadline,
    /// Something else than QMP is spoken there.
    #[error("this is no QMP socket: {0}")]
    Foreign(String),
    /// QEMU does not do what we ask.
    #[error("QEMU refuses {command}: {reason}; start QEMU with -display dbus,p2p=yes")]
    Refused {
        /// What we asked.
        command: &'static str,
        /// What it said.
        reason: String,
    },
}

impl From<io::Error> for QmpError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::HungUp,
            _ => Self::Socket(error),
        }
    }
}

impl QmpError {
    /// Whether it says no more than that QEMU is not there, or not yet ready to talk.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::Absent(_) | Self::HungUp | Self::Deadline)
    }
}

/// Asks the QEMU at this QMP socket for a D-Bus connection; gives our end of it, and what is known of QEMU.
///
/// # Errors
/// If nobody is there, or QEMU has no D-Bus display of the peer-to-peer kind.
pub async fn open_display(path: &Path) -> Result<(OwnedFd, DisplayOptions), SourceError> {
    let opened = tokio::time::timeout(DEADLINE, ask(path)).await.unwrap_or(Err(QmpError::Deadline));
    opened.map_err(|error| SourceError::Qmp { path: path.to_owned(), error })
}

async fn ask(path: &Path) -> Result<(OwnedFd, DisplayOptions), QmpError> {
    let stream = connect(path).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => QmpError::Absent(error),
        _ => error.into(),
    })?;
    // A QMP socket that another program opened for QEMU has that one's process.
    let process = stream.peer_cred()?.pid().and_then(|pid| pid.try_into().ok());
    let mut known = process.map(DisplayOptions::of_process).unwrap_or_default();
    let mut monitor = Monitor { stream: BufReader::new(stream) };
    if monitor.line().await?.get("QMP").is_none() {
        return Err(QmpError::Foreign("it does not greet as QEMU does".into()));
    }
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    monitor.run("qmp_capabilities", json!({}), None).await?;
    let display = monitor.run("query-display-options", json!({}), None).await?;
    known.gl = Some(matches!(display.get("gl").and_then(Value::as_str), Some("on" | "core" | "es")));
    let devices = monitor.run("qom-list", json!({ "path": "/machine/peripheral" }), None).await?;
    known.gpus.extend(gpus(&devices));
    monitor.run("getfd", json!({ "fdname": FD_NAME }), Some(theirs.as_fd())).await?;
    monitor.run("add_client", json!({ "protocol": "@dbus-display", "fdname": FD_NAME }), None).await?;
    Ok((ours.into(), known))
}

/// Connects to a unix socket at a path, or without a file at `@NAME`.
async fn connect(path: &Path) -> io::Result<UnixStream> {
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => UnixStream::connect(OsStr::from_bytes(&[b"\0", name].concat())).await,
        None => UnixStream::connect(path).await,
    }
}

/// The ids of vhost-user GPUs among the devices that have one.
fn gpus(devices: &Value) -> impl Iterator<Item = String> {
    devices.as_array().into_iter().flatten().filter_map(|device| {
        let text = |name| device.get(name).and_then(Value::as_str);
        let kind = text("type")?.strip_prefix("child<")?;
        text("name").filter(|_| is_gpu(kind)).map(str::to_owned)
    })
}

struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Runs a command, handing over a file descriptor with it, and gives its answer.
    async fn run(
        &mut self,
        command: &'static str,
        arguments: Value,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<Value, QmpError> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push_str("\r\n");
        self.send(line.as_bytes(), fd).await?;
        loop {
            let mut answer = self.line().await?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                let reason = error.get("desc").and_then(Value::as_str).unwrap_or("it does not say why");
                return Err(QmpError::Refused { command, reason: reason.to_owned() });
            }
            // Anything else is an event.
        }
    }

    async fn send(&self, mut bytes: &[u8], mut fd: Option<BorrowedFd<'_>>) -> Result<(), QmpError> {
        let stream = self.stream.get_ref();
        while !bytes.is_empty() {
            let sent = stream
                .async_io(Interest::WRITABLE, || {
                    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                    let mut control = SendAncillaryBuffer::new(&mut space);
                    let fds = fd.as_slice();
                    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
                        return Err(io::ErrorKind::OutOfMemory.into());
                    }
                    let flags = SendFlags::NOSIGNAL;
                    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut control, flags)?)
                })
                .await?;
            fd = None; // it went with the first byte
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// The next line, as JSON.
    async fn line(&mut self) -> Result<Value, QmpError> {
        let mut line = Vec::new();
        (&mut self.stream).take(MAX_LINE).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Err(QmpError::HungUp);
        }
        serde_json::from_slice(&line).map_err(|error| QmpError::Foreign(error.to_string()))
    }
}
