#![allow(unsafe_code)]

#[cfg(target_env = "gnu")]
use std::ffi::c_int;

/// From this many bytes on, memory is mapped for itself and goes back to the system when it is freed.
#[cfg(target_env = "gnu")]
const LARGE: c_int = 128 * 1024;

/// `M_MMAP_THRESHOLD` of glibc's malloc.h.
#[cfg(target_env = "gnu")]
const MMAP_THRESHOLD: c_int = -3;

/// Tells the C library to give large buffers back to the system. By itself it learns from the first one that is freed
/// to keep the next ones, megabytes for each thread that ever made a picture. Call it before there are threads.
pub(crate) fn give_back_large_buffers() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it takes two numbers and changes settings of the allocator under the allocator's own lock.
        let _ = unsafe { mallopt(MMAP_THRESHOLD, LARGE) };
    }
}

#[cfg(target_env = "gnu")]
unsafe extern "C" {
    fn mallopt(parameter: c_int, value: c_int) -> c_int;
}
