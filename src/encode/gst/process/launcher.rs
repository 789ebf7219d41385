use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, set_parent_process_death_signal};

use super::Role;
use super::messages::Answer;
use crate::sys::{close_inherited_files, receive, send};

/// The process that starts those of encoders. It ends when this is dropped, and they with it.
#[derive(Debug)]
pub(crate) struct Launcher {
    socket: UnixStream,
}

/// An encoder's process, as the launcher has it.
struct Encoder {
    child: Child,
    /// Can be read once the process has ended.
    end: OwnedFd,
    /// The process's own end of its socket, until the program has closed the other.
    socket: Option<UnixStream>,
}

/// What happened to one.
#[derive(Clone, Copy)]
struct News {
    has_ended: bool,
    /// The program has closed its end of the socket.
    is_left: bool,
}

impl Launcher {
    /// Starts it, for encoders' processes that are told `words` on their command line.
    ///
    /// # Errors
    /// If the system has no process for it.
    pub(crate) fn start(words: &[String]) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        Role::Launcher.command(words).stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
        Ok(Self { socket })
    }

    /// Has an encoder's process started, and returns a socket to it. Closing that ends the process.
    ///
    /// # Errors
    /// If the launcher is gone, or there are no more file descriptors.
    pub(super) fn launch(&self) -> io::Result<UnixStream> {
        let (socket, theirs) = UnixStream::pair()?;
        send(&self.socket, &[0], &[theirs.as_fd()])?;
        Ok(socket)
    }
}

/// Is the launcher, until the parent closes the socket that is standard input. Encoders' processes are told `words`.
///
/// # Errors
/// If there is no such socket, or the system cannot wait on it.
pub(crate) fn launch_for_parent(words: &[String]) -> io::Result<()> {
    // Others' sockets that were left open for the program would stay open here when it closes them.
    close_inherited_files()?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let requests = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut encoders: Vec<Encoder> = Vec::new();
    loop {
        let (is_asked, news) = wait(&requests, &encoders)?;
        let mut news = news.into_iter();
        encoders.retain_mut(|encoder| news.next().is_none_or(|news| encoder.goes_on(news)));
        if is_asked {
            match receive(&requests, &mut [0]) {
                Ok((_, sockets)) => {
                    encoders.extend(sockets.into_iter().filter_map(|socket| start(socket, words)))
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
        }
    }
    for encoder in &mut encoders {
        let _ = encoder.child.kill(); // one that has ended is as good
    }
    Ok(())
}

/// Waits until the program asks for something, closes a socket, or a process ends.
fn wait(requests: &UnixStream, encoders: &[Encoder]) -> io::Result<(bool, Vec<News>)> {
    let mut awaited = vec![PollFd::new(requests, PollFlags::IN)];
    for Encoder { end, socket, .. } in encoders {
        awaited.push(PollFd::new(end, PollFlags::IN));
        // That the other end is closed is told unasked.
        awaited.extend(socket.as_ref().map(|socket| PollFd::new(socket, PollFlags::empty())));
    }
    while let Err(error) = poll(&mut awaited, None) {
        if error != rustix::io::Errno::INTR {
            return Err(error.into());
        }
    }
    let mut told = awaited.iter().map(|fd| !fd.revents().is_empty());
    let is_asked = told.next().unwrap_or_default();
    let news = encoders.iter().map(|encoder| {
        let has_ended = told.next().unwrap_or_default();
        let is_left = encoder.socket.is_some() && told.next().unwrap_or_default();
        News { has_ended, is_left }
    });
    Ok((is_asked, news.collect()))
}

/// Starts an encoder's process with this socket. Where that fails, the socket's other end is told.
fn start(theirs: OwnedFd, words: &[String]) -> Option<Encoder> {
    let socket = UnixStream::from(theirs);
    let started = socket.try_clone().and_then(|theirs| {
        let mut command = Role::Encoder.command(words);
        // The program has brought GStreamer's list of plugins up to date.
        command.env("GST_REGISTRY_UPDATE", "no");
        let mut child = command.stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(end) => Ok((child, end)),
            Err(error) => {
                child.kill()?;
                Err(error.into())
            }
        }
    });
    match started {
        Ok((child, end)) => Some(Encoder { child, end, socket: Some(socket) }),
        Err(error) => {
            tell(&socket, format!("cannot be started: {error}"));
            None
        }
    }
}

/// Tells the program of a process that is no more.
fn tell(socket: &UnixStream, how: String) {
    // Without room for it, what there is to read is no answer, and then comes the end.
    let _ = socket.set_nonblocking(true).and_then(|()| Answer::Ended(how).write(&mut &*socket));
}

impl Encoder {
    /// Does what is to be done. Returns whether the process is still there.
    fn goes_on(&mut self, news: News) -> bool {
        if news.has_ended {
            let how = self.child.wait().map_or_else(|error| error.to_string(), how_it_ended);
            if let Some(socket) = self.socket.take() {
                tell(&socket, how);
            }
            return false;
        }
        if news.is_left {
            // Its driver may hang. The system gives back what it has.
            let _ = self.child.kill();
            self.socket = None;
        }
        true
    }
}

/// Says how a process ended.
fn how_it_ended(status: ExitStatus) -> String {
    let Some(signal) = status.signal() else { return format!("ended by itself ({status})") };
    let name = match signal {
        libc::SIGILL => "SIGILL",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        _ => return format!("was ended by signal {signal}"),
    };
    format!("was ended by {name}")
}
