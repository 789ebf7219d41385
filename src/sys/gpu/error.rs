use std::path::PathBuf;

/// Why a buffer could not be read through a GPU.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GpuError {
    /// A library is missing, or is none that we know.
    #[error("{name} cannot be used (on Debian: apt install {package}): {reason}")]
    Library {
        /// Its file name.
        name: &'static str,
        /// The Debian package it is in.
        package: &'static str,
        /// What the system said.
        reason: String,
    },
    /// There is no GPU, or it is hidden from us.
    #[error("no render node in {}: no GPU driver is loaded, or the folder is hidden from this program", .0.display())]
    NoNode(PathBuf),
    /// A render node that cannot be used.
    #[error("{}: {reason}", .node.display())]
    Node {
        /// Its path.
        node: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No render node could be used, each for its reason.
    #[error("{0}")]
    Nodes(String),
    /// A window outside the image.
    #[error("the part to read is not inside the buffer")]
    Window,
    /// The driver failed.
    #[error("the GPU's driver failed: {0}")]
    Driver(String),
    /// No answer in time.
    #[error("the GPU did not answer in time")]
    Late,
    /// Too much to do at a time: usually after a driver hung.
    #[error("the GPU has too much to do")]
    Busy,
    /// Its thread ended, which it only does after a panic.
    #[error("the GPU's thread ended")]
    Gone,
}
