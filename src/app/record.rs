//! `qemu-spice record`: the file is made here, as the user may, and written to by the qemu-spice that runs.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::admin::Control;
use crate::cli::Record;

/// The most bytes of a line that tells how far a recording is.
const MAX_LINE: usize = 4096;

/// How far a recording is.
#[derive(Deserialize)]
struct Told {
    /// Seconds.
    time: f64,
    bytes: u64,
    pictures: u64,
    dropped: u64,
    /// Why it ended, in its last line.
    ended: Option<String>,
}

/// Records into a file until a signal, or until the time is over.
pub(super) async fn record(control: &Control, what: &Record) -> anyhow::Result<()> {
    let (mut hangup, mut interrupt, mut terminate) =
        (signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (path, name) = (what.file.as_path(), what.file.display());
    let file = create(path, what.force)?;
    let socket = match control.record(&file, what.console).await {
        Ok(socket) => socket,
        Err(error) => {
            remove_empty(&file, path);
            return Err(error.into());
        }
    };
    socket.set_nonblocking(true)?;
    let mut lines = Lines { socket: UnixStream::from_std(socket)?, read: Vec::new() };
    let mut display = Display::start();
    let mut limit: Option<Instant> = None;
    let mut is_asked = false;
    let told = loop {
        let mut ends = async || {
            tokio::select! {
                _ = hangup.recv() => {}
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = sleep_until(limit) => {}
            }
        };
        tokio::select! {
            () = ends(), if !is_asked => {
                is_asked = true;
                lines.socket.shutdown().await.context("qemu-spice is gone")?;
            }
            told = lines.next() => {
                let told = told.with_context(|| {
                    display.end();
                    format!("qemu-spice is gone: {name} has what was recorded until then")
                })?;
                display.show(&told);
                if told.ended.is_some() {
                    break told;
                }
                let time = what.time.filter(|_| told.pictures > 0 && limit.is_none());
                limit = time.map(|time| end_of(&told, time)).or(limit);
            }
        }
    };
    display.end();
    let Told { ended, pictures, .. } = &told;
    if *pictures == 0 {
        remove_empty(&file, path);
    }
    match ended.as_deref() {
        None | Some("") if *pictures == 0 => bail!("console {} showed no picture", what.console),
        None | Some("") => Ok(writeln!(io::stderr(), "{name}: {told}")?),
        Some(why) => Err(anyhow!("{name}: {why}, after {told}")),
    }
}

/// Makes the file. One that is there is left as it is until there is a picture.
fn create(path: &Path, force: bool) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(false);
    } else {
        options.create_new(true);
    }
    options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => anyhow!("{} is there: --force writes over it", path.display()),
        _ => anyhow!("cannot write to {}: {error}", path.display()),
    })
}

/// Removes a file in which nothing is.
fn remove_empty(file: &File, path: &Path) {
    if file.metadata().is_ok_and(|about| about.is_file() && about.len() == 0) {
        let _ = std::fs::remove_file(path); // it may be gone already
    }
}

/// Returns when a recording that is so far lasts as long as it is to.
fn end_of(told: &Told, seconds: u64) -> Instant {
    let so_far = Duration::try_from_secs_f64(told.time).unwrap_or_default();
    let now = Instant::now();
    now.checked_add(Duration::from_secs(seconds).saturating_sub(so_far)).unwrap_or(now)
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The lines that come from qemu-spice.
struct Lines {
    socket: UnixStream,
    read: Vec<u8>,
}

impl Lines {
    /// Waits for the next one. Cancel-safe.
    async fn next(&mut self) -> anyhow::Result<Told> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return serde_json::from_slice(&line).context("it tells nothing that this version knows");
            }
            if self.read.len() > MAX_LINE {
                bail!("it tells too much");
            }
            if self.socket.read_buf(&mut self.read).await? == 0 {
                bail!("the connection ended");
            }
        }
    }
}

/// What a terminal shows meanwhile.
struct Display {
    is_terminal: bool,
}

impl Display {
    fn start() -> Self {
        let mut display = Self { is_terminal: io::stderr().is_terminal() };
        display.write("waiting for a picture");
        display
    }

    fn show(&mut self, told: &Told) {
        self.write(&told.to_string());
    }

    fn end(&mut self) {
        self.write("");
    }

    fn write(&mut self, text: &str) {
        if self.is_terminal {
            let _ = write!(io::stderr(), "\r\x1b[K{text}"); // a terminal that is gone ends us by a signal
        }
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = Duration::try_from_secs_f64(self.time).unwrap_or_default().as_secs();
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let (whole, tenth) = (self.bytes / 1_000_000, self.bytes / 100_000 % 10);
        write!(f, "{hours:02}:{minutes:02}:{seconds:02}, {whole}.{tenth} MB, {} pictures", self.pictures)?;
        if self.dropped > 0 {
            write!(f, ", {} left out because the disk is slow", self.dropped)?;
        }
        Ok(())
    }
}
