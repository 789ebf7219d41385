#![allow(unsafe_code)]

use std::os::fd::OwnedFd;

use gstreamer as gst;
use gstreamer::glib::{BoolError, ffi::gpointer};
use gstreamer_allocators::{DmaBufAllocator, prelude::DmaBufAllocatorExtManual};

/// Wraps `size` bytes of a dmabuf in GStreamer memory. The last user of the memory closes `fd` and drops
/// `until_freed`, on whichever thread that is.
///
/// # Errors
/// If GStreamer was built without them.
pub(crate) fn dmabuf_memory<T: Send + 'static>(
    allocator: &DmaBufAllocator,
    fd: OwnedFd,
    size: usize,
    until_freed: T,
) -> Result<gst::Memory, BoolError> {
    // SAFETY: the fd is ours alone, and becomes the memory's, which closes it.
    let memory = unsafe { allocator.alloc_dmabuf(fd, size)? };
    let kept: *mut T = Box::into_raw(Box::new(until_freed));
    // SAFETY: a memory is a mini object, and alive here. `dropped` gets the box once, when the memory is freed:
    // nobody else knows of it to take the notification back.
    unsafe {
        gst::ffi::gst_mini_object_weak_ref(
            memory.as_mut_ptr().cast::<gst::ffi::GstMiniObject>(),
            Some(dropped::<T>),
            kept.cast(),
        );
    }
    Ok(memory)
}

/// # Safety
/// `kept` is a `Box<T>` that was given away, and this is called once.
unsafe extern "C" fn dropped<T: Send>(kept: gpointer, _memory: *mut gst::ffi::GstMiniObject) {
    // SAFETY: see above. A panic inside ends the program here, as it must not go on into C.
    drop(unsafe { Box::from_raw(kept.cast::<T>()) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn what_is_kept_goes_with_the_last_user() {
        gst::init().unwrap();
        let fd = rustix::fs::memfd_create("picture", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, 4096).unwrap();
        let kept = Arc::new(());
        let memory = dmabuf_memory(&DmaBufAllocator::new(), fd, 4096, kept.clone()).unwrap();
        let mut buffer = gst::Buffer::new();
        buffer.get_mut().unwrap().append_memory(memory);
        let part = buffer.copy_region(gst::BufferCopyFlags::MEMORY, 1024..2048).unwrap();
        drop(buffer);
        assert_eq!(Arc::strong_count(&kept), 2, "let go while a part of it is in use");
        drop(part);
        assert_eq!(Arc::strong_count(&kept), 1, "kept for ever");
    }
}
