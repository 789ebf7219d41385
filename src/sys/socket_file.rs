use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The file of a socket that we made. It is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl SocketFile {
    /// Listens at `path`, in the place of a socket that a process which is gone left behind.
    ///
    /// # Errors
    /// `AddrInUse` if somebody listens there, `AlreadyExists` if the file is no socket, else what the system says.
    pub(crate) fn bind(path: &Path) -> io::Result<(UnixListener, Self)> {
        if let Ok(found) = std::fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            if UnixStream::connect(path).is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)?;
        }
        Ok((UnixListener::bind(path)?, Self(path.into())))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0); // gone already is as good
    }
}
