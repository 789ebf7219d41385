//! Calls to the system that Rust cannot check. The only `unsafe` of the program, each with its reason.

mod dmabuf;
mod environment;
mod fd_passing;
mod file;
mod gpu;
mod gst_memory;
mod inherited;
mod malloc;
mod process;
mod shared_memory;
mod sigbus;
mod socket_file;
mod tcp;
mod udmabuf;
mod wait;

pub(crate) use dmabuf::{DmabufMap, ReadSpan, is_dmabuf, is_sealed};
pub(crate) use environment::set_variable;
pub(crate) use fd_passing::{receive, send};
pub use file::FileId;
pub(crate) use file::{file_size, read_at, sealed_memory};
pub use gpu::GpuError;
pub(crate) use gpu::{Gpu, GpuImage, GpuPlane, GpuWindow};
pub(crate) use gst_memory::dmabuf_memory;
pub(crate) use inherited::{close_inherited_files, inherited_fd};
pub(crate) use malloc::give_back_large_buffers;
pub(crate) use process::{keep_memory_private, raise_file_limit, thread_time};
pub(crate) use shared_memory::{ReadMemory, WrittenMemory};
pub(crate) use sigbus::TruncationGuard;
pub(crate) use socket_file::SocketFile;
pub(crate) use tcp::{TcpState, tcp_state};
pub(crate) use udmabuf::{FilePages, udmabuf};
pub(crate) use wait::{QuietSocket, WriteWait};
