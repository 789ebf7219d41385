#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

/// Takes a file descriptor that the parent process left open for us. Each can be taken once.
///
/// # Errors
/// If it is not open, or was taken before.
pub(crate) fn inherited_fd(number: RawFd) -> io::Result<OwnedFd> {
    static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());
    if number < 3 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: borrowed for this one call, which fails if the number is not an open file.
    let flags = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) })?;
    if !TAKEN.lock().map_err(|_| io::ErrorKind::Other)?.insert(number) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // SAFETY: it is open, nobody of ours opened it (the caller passes numbers from the command line, before anything
    // else is opened by number), and it was not taken before: this is its only owner.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, flags | rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// Closes all files that the parent process left open for the program, but standard input, output and error. For a
/// process that was just started: nothing may be open yet that is to stay so.
///
/// # Errors
/// If the system does not tell which are open.
pub(crate) fn close_inherited_files() -> io::Result<()> {
    let open = std::fs::read_dir("/proc/self/fd")?;
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok());
    // The folder itself is among them: it is closed by then.
    let numbers: Vec<RawFd> = numbers.filter(|number| *number > 2).collect();
    for number in numbers {
        // SAFETY: nobody here owns it, as the caller says; of one that is not open the system says so.
        let _ = unsafe { libc::close(number) };
    }
    Ok(())
}
