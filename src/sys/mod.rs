//! Calls to the system that Rust cannot check. The only `unsafe` of the program, each with its reason.

mod dmabuf;
mod file;
mod gpu;
mod gst_memory;
mod inherited;
mod malloc;
mod process;
mod tcp;
mod wait;

pub use dmabuf::{DmabufMap, ReadSpan, is_dmabuf, is_sealed};
pub use file::{FileId, file_size, read_at};
pub use gpu::{Gpu, GpuError, GpuImage, GpuPlane, GpuWindow};
pub use gst_memory::dmabuf_memory;
pub use inherited::inherited_fd;
pub use malloc::give_back_large_buffers;
pub use process::{keep_memory_private, raise_file_limit, thread_time};
pub use tcp::{TcpState, tcp_state};
pub use wait::{QuietSocket, Room};
