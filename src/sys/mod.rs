//! Calls to the system that Rust cannot check. The only `unsafe` of the program, each with its reason.

mod dmabuf;
mod file;

pub use dmabuf::{DmabufMap, ReadSpan, is_dmabuf};
pub use file::{FileId, file_size, read_at};
