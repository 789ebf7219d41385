//! Reads buffers that only a GPU can: imports them (GBM, EGL without a surface), draws them, and reads the drawing
//! back.
//!
//! EGL, GBM and GLES are loaded when they are first needed: the program builds and starts without them. All their
//! objects live on one thread, [`thread`], which is asked through a bounded queue: a driver that hangs costs whoever
//! asks a second, and nobody more.

mod context;
mod egl;
mod error;
mod gles;
mod import;
mod node;
mod renderer;
mod thread;

pub use error::GpuError;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::FileId;
use renderer::Renderer;
use thread::Thread;

/// The most bytes of one read. Far above what a reader asks for, far below what would be noticed as missing.
const MAX_READ: u64 = 64 << 20;

/// A buffer as its exporter described it, for the GPU to import.
///
/// INVARIANT: one to four planes, sides of 1 to 16384 pixels, numbers checked against the sizes of the files.
#[derive(Debug)]
pub(crate) struct GpuImage {
    /// The planes.
    pub planes: Vec<GpuPlane>,
    /// DRM fourcc.
    pub fourcc: u32,
    /// DRM modifier; `None` is what the GPU agreed with itself.
    pub modifier: Option<u64>,
    /// Pixels across.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// One plane of a [`GpuImage`].
#[derive(Debug)]
pub(crate) struct GpuPlane {
    /// The dma-buf.
    pub fd: Arc<OwnedFd>,
    /// Which memory it is.
    pub id: FileId,
    /// Bytes from the start of the memory.
    pub offset: u32,
    /// Bytes from one row to the next.
    pub stride: u32,
}

/// A part of a [`GpuImage`], in columns and rows of its memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct GpuWindow {
    /// The first column.
    pub x: u32,
    /// The lowest row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Give the last row first.
    pub bottom_up: bool,
}

/// A GPU that reads buffers. Opened once for the program.
#[derive(Debug)]
pub(crate) struct Gpu {
    thread: Thread,
}

impl Gpu {
    /// Opens this render node, or without one any that works; more of them when one cannot import a buffer.
    ///
    /// # Errors
    /// If a library is missing, or there is no render node that can be used; it names what to install or allow.
    pub(crate) fn open(render_node: Option<&Path>) -> Result<Self, GpuError> {
        let nodes = match render_node {
            Some(node) => vec![node.to_owned()],
            None => render_nodes(Path::new("/dev/dri"))?,
        };
        Ok(Self { thread: Thread::start(move || Renderer::open(nodes))? })
    }

    /// Reads a part of an image as packed rows of B, G, R, 255: `window.width * window.height * 4` bytes, at most
    /// 64 MiB.
    ///
    /// # Errors
    /// If no GPU can import it, the window is not inside it or too large, or it takes longer than a second.
    pub(crate) fn read(&self, image: Arc<GpuImage>, window: GpuWindow) -> Result<Vec<u8>, GpuError> {
        let inside =
            |at: u32, len: u32, whole: u32| len > 0 && at.checked_add(len).is_some_and(|n| n <= whole);
        if !inside(window.x, window.width, image.width) || !inside(window.y, window.height, image.height) {
            return Err(GpuError::Window);
        }
        if u64::from(window.width) * u64::from(window.height) * 4 > MAX_READ {
            return Err(GpuError::Window);
        }
        self.thread.read(image, window)
    }
}

/// Lists the render nodes in `folder` in numeric order.
fn render_nodes(folder: &Path) -> Result<Vec<PathBuf>, GpuError> {
    let number = |name: &str| name.strip_prefix("renderD")?.parse::<u32>().ok();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut nodes: Vec<(u32, PathBuf)> =
        entries.filter_map(|entry| Some((number(entry.file_name().to_str()?)?, entry.path()))).collect();
    nodes.sort();
    if nodes.is_empty() {
        return Err(GpuError::NoNode(folder.to_owned()));
    }
    Ok(nodes.into_iter().map(|(_, path)| path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn render_nodes_are_taken_in_order() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(render_nodes(folder.path()), Err(GpuError::NoNode(_))));
        for name in ["renderD1000", "card0", "renderD129", "renderD128", "by-path"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names = ["renderD128", "renderD129", "renderD1000"].map(|name| folder.path().join(name));
        assert_eq!(render_nodes(folder.path()).unwrap(), names);
    }

    #[test]
    fn a_node_that_is_none_is_named_with_what_is_wrong() {
        for (node, wrong) in [("/nowhere/renderD128", "No such file"), ("/dev/null", "no render node")] {
            let error = Gpu::open(Some(Path::new(node))).unwrap_err().to_string();
            // Where the libraries are missing, that is what is said.
            let says = error.contains(node) && error.contains(wrong);
            assert!(says || error.contains("cannot be used (on Debian"), "{error}");
        }
    }
}
