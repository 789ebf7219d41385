//! Recordings that others ask for while the program runs, each into a file that they have opened.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::recording::{Progress, Recording};
use crate::encode::{Codec, Encoders, SoundEncoder};
use crate::frame::ConsoleId;
use crate::hub::{Console, Hub};
use crate::viewer::Roster;

/// The most recordings at a time.
const MAX_RECORDINGS: usize = 16;

/// How often is told how far a recording is.
const TOLD: Duration = Duration::from_millis(500);

/// The way of a recording in the list of viewers.
const TRANSPORT: &str = "record";

/// Records consoles on request. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct Recorder {
    shared: Shared,
    tasks: TaskTracker,
    end: CancellationToken,
    places: Arc<Semaphore>,
}

/// What all recordings share with viewers.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// What there is to see and to hear.
    pub(crate) hub: Hub,
    /// Who sees it.
    pub(crate) roster: Roster,
    /// The encoders; `None` if there is no video.
    pub(crate) encoders: Option<Encoders>,
    /// The one of sound.
    pub(crate) sound: SoundEncoder,
}

impl Shared {
    /// Makes an encoder of the sound beside the others.
    pub(crate) fn new(hub: &Hub, roster: &Roster, encoders: Option<&Encoders>) -> Self {
        let sound = SoundEncoder::new(hub.playback().clone());
        Self { hub: hub.clone(), roster: roster.clone(), encoders: encoders.cloned(), sound }
    }
}

/// Why nothing is recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// The VM has no such console.
    #[error("there is no console {0}")]
    Console(u32),
    /// Nothing makes H.264 here.
    #[error("there is no encoder of H.264: see `qemu-spice probe` and --video-codec")]
    NoEncoder,
    /// It cannot be written from its beginning.
    #[error("no regular file that is open for writing, and not for appending alone")]
    File,
    /// There are as many as may be.
    #[error("there are {MAX_RECORDINGS} recordings already")]
    Full,
    /// The system refuses.
    #[error("no connection to tell of it: {0}")]
    Socket(#[from] io::Error),
}

impl Recorder {
    /// Makes one. Recordings are counted in `tasks`, and end with `end`.
    pub(crate) fn new(shared: &Shared, tasks: &TaskTracker, end: &CancellationToken) -> Self {
        let places = Arc::new(Semaphore::new(MAX_RECORDINGS));
        Self { shared: shared.clone(), tasks: tasks.clone(), end: end.clone(), places }
    }

    /// Begins to record console `number` into `file`, for `who`. The socket that is returned says how far it is, a
    /// line of JSON twice a second; shutting it down ends the recording, whose last line says so.
    ///
    /// # Errors
    /// If there is nothing to be recorded, nothing to encode with, or the file cannot be written to.
    pub(crate) fn record(&self, number: u32, file: OwnedFd, who: &str) -> Result<StdUnixStream, RecordError> {
        let id = u8::try_from(number).map(|id| ConsoleId(id.into()));
        let console = id.ok().and_then(|id| self.shared.hub.console(id));
        let console = console.ok_or(RecordError::Console(number))?;
        let encoders = self.shared.encoders.clone();
        let encoders = encoders.filter(|encoders| encoders.codecs().contains(Codec::H264));
        let encoders = encoders.ok_or(RecordError::NoEncoder)?;
        if !is_writable(&file) {
            return Err(RecordError::File);
        }
        let place = self.places.clone().try_acquire_owned().map_err(|_| RecordError::Full)?;
        let (theirs, ours) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let asked =
            Asked { console, encoders, file: file.into(), who: who.to_owned(), socket: ours.try_into()? };
        self.tasks.spawn(asked.run(self.shared.clone(), self.end.clone(), place));
        Ok(theirs)
    }
}

/// Records nothing.
impl Default for Recorder {
    fn default() -> Self {
        let shared = Shared::new(&Hub::default(), &Roster::default(), None);
        Self::new(&shared, &TaskTracker::new(), &CancellationToken::new())
    }
}

/// Returns whether a file can be written to at any place.
fn is_writable(file: &OwnedFd) -> bool {
    let is_regular = fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
    let flags = fcntl_getfl(file).unwrap_or(OFlags::empty());
    is_regular && flags.intersects(OFlags::WRONLY | OFlags::RDWR) && !flags.contains(OFlags::APPEND)
}

/// A recording that was asked for.
struct Asked {
    console: Arc<Console>,
    encoders: Encoders,
    file: File,
    who: String,
    socket: UnixStream,
}

impl Asked {
    async fn run(self, shared: Shared, end: CancellationToken, _place: OwnedSemaphorePermit) {
        let Self { console, encoders, file, who, socket } = self;
        info!(console = %console.id(), by = who, "a recording begins");
        let listing = shared.roster.enter(console.id(), &who, TRANSPORT);
        let progress = watch::Sender::new(Progress::default());
        let mut ended_by = "";
        let done = {
            let stop = async {
                tokio::select! {
                    () = end.cancelled() => ended_by = "qemu-spice ends",
                    () = hung_up(&socket) => {}
                }
            };
            let open = Box::new(|| Ok(file));
            let recording = Recording::new(&shared, &encoders, &console, &listing, open, &progress).run(stop);
            tokio::pin!(recording);
            let mut told = Progress::default();
            loop {
                tokio::select! {
                    done = &mut recording => break done,
                    () = tokio::time::sleep(TOLD) => {
                        let now = *progress.borrow();
                        if std::mem::replace(&mut told, now) != now {
                            tell(&socket, &line(now, None));
                        }
                    }
                }
            }
        };
        let progress = *progress.borrow();
        let why = match &done {
            Ok(()) => ended_by.to_owned(),
            Err(error) => error.to_string(),
        };
        tell(&socket, &line(progress, Some(&why)));
        let Progress { time, bytes, pictures, dropped } = progress;
        let seconds = time.as_secs_f64();
        match done {
            Ok(()) => info!(by = who, seconds, bytes, pictures, dropped, "a recording ended"),
            Err(error) => warn!(by = who, %error, seconds, bytes, "a recording failed"),
        }
    }
}

/// Waits until the other end hangs up, or says that it will say nothing more.
async fn hung_up(socket: &UnixStream) {
    loop {
        if socket.readable().await.is_err() {
            return;
        }
        match socket.try_read(&mut [0; 64]) {
            Ok(0) => return,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
            Ok(_) | Err(_) => {}
        }
    }
}

/// Tells, if there is room: whoever does not read is not waited for.
fn tell(socket: &UnixStream, line: &str) {
    let _ = socket.try_write(line.as_bytes());
}

fn line(progress: Progress, ended: Option<&str>) -> String {
    let Progress { time, bytes, pictures, dropped } = progress;
    let time = time.as_secs_f64();
    let mut line =
        serde_json::json!({ "time": time, "bytes": bytes, "pictures": pictures, "dropped": dropped });
    if let (Some(line), Some(why)) = (line.as_object_mut(), ended) {
        line.insert("ended".to_owned(), why.into());
    }
    format!("{line}\n")
}
