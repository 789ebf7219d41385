use std::sync::{Arc, Mutex, Weak};

use gstreamer as gst;
use gstreamer_allocators::DmaBufAllocator;
use gstreamer_video::{VideoCropMeta, VideoFrameFlags, VideoMeta};

use super::input::video_format;
use crate::encode::lock;
use crate::frame::{Dmabuf, PixelFormat};
use crate::hub::Release;
use crate::sys::dmabuf_memory;

/// The guest's leave to draw again, held while an encoder reads its buffer: until the last of GStreamer's memory is
/// freed that the buffer is in, or until [`Term::end`].
#[derive(Clone, Debug)]
pub(crate) struct Lease(Arc<Mutex<Option<Release>>>);

/// The latest end of a [`Lease`].
#[derive(Debug)]
pub(crate) struct Term(Weak<Mutex<Option<Release>>>);

impl Lease {
    /// Holds this.
    pub(crate) fn new(release: Option<Release>) -> Self {
        Self(Arc::new(Mutex::new(release)))
    }

    /// Ends it without being part of what holds it.
    pub(crate) fn term(&self) -> Term {
        Term(Arc::downgrade(&self.0))
    }
}

impl Term {
    /// Ends the use of the picture: the frame is encoded, so nobody reads memory that is still kept.
    pub(crate) fn end(self) {
        if let Some(held) = self.0.upgrade() {
            drop(lock(&held).take());
        }
    }
}

/// Wraps the guest's buffer for GStreamer without a copy, with the real places of its planes. The memory
/// holds the lease.
///
/// Not for memory that only claims to be a dmabuf, because GStreamer may map it and it can be truncated.
///
/// # Errors
/// If there are no more file descriptors, or GStreamer does not take such a buffer.
pub(super) fn import(
    allocator: &DmaBufAllocator,
    dmabuf: &Dmabuf,
    lease: &Lease,
) -> Result<gst::Buffer, String> {
    let format = PixelFormat::from_fourcc(dmabuf.fourcc).and_then(video_format);
    let format = format.ok_or("no format for the guest's buffer")?;
    let mut buffer = gst::Buffer::new();
    let writable = buffer.get_mut().ok_or("its buffer is not ours")?;
    let (mut start, mut offsets, mut strides) = (0_usize, Vec::new(), Vec::new());
    for plane in &dmabuf.planes {
        let too_large = |_| "the guest's buffer is too large";
        let size = usize::try_from(plane.buffer.size()).map_err(too_large)?;
        let fd = plane.buffer.fd().try_clone().map_err(|error| error.to_string())?;
        let memory = dmabuf_memory(allocator, fd, size, lease.clone()).map_err(|error| error.to_string())?;
        writable.append_memory(memory);
        offsets.push(start + usize::try_from(plane.offset).map_err(too_large)?);
        strides.push(i32::try_from(plane.stride).map_err(too_large)?);
        start += size;
    }
    let (width, height) = (dmabuf.backing.width, dmabuf.backing.height);
    VideoMeta::add_full(writable, VideoFrameFlags::empty(), format, width, height, &offsets, &strides)
        .map_err(|error| error.to_string())?;
    let crop = dmabuf.crop;
    if crop != dmabuf.backing.rect() {
        VideoCropMeta::add(writable, (crop.x, crop.y, crop.width, crop.height));
    }
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Buffer, DmabufPlane, Rect, Size};
    use crate::hub::ReleaseQueue;
    use gstreamer_allocators::DmaBufMemory;

    fn dmabuf(crop: Rect) -> Dmabuf {
        let plane = |offset, stride| {
            let fd = rustix::fs::memfd_create("pixels", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            rustix::fs::ftruncate(&fd, 65_536).unwrap();
            DmabufPlane { buffer: Arc::new(Buffer::new(fd).unwrap()), offset, stride }
        };
        let fourcc = PixelFormat::Xrgb8888.fourcc();
        let planes = vec![plane(4096, 320)];
        Dmabuf { planes, fourcc, modifier: 0, backing: Size::new(64, 32), crop, bottom_up: false }
    }

    async fn is_released(queue: &ReleaseQueue) -> bool {
        tokio::time::timeout(std::time::Duration::from_millis(1), queue.returned()).await.is_ok()
    }

    #[tokio::test]
    async fn the_guest_goes_on_when_the_last_memory_is_freed_or_the_frame_is_there() {
        gst::init().unwrap();
        let (allocator, dmabuf, queue) =
            (DmaBufAllocator::new(), dmabuf(Rect::new(0, 0, 64, 32)), ReleaseQueue::default());
        let fds = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let lend = |n| {
            let lease = Lease::new(Some(queue.release(n)));
            (import(&allocator, &dmabuf, &lease).unwrap(), lease.term())
        };
        let (buffer, _term) = lend(1);
        let memory = buffer.memory(0).unwrap();
        assert!(!is_released(&queue).await);
        drop(buffer);
        assert!(!is_released(&queue).await, "the guest draws into memory that is in use");
        drop(memory);
        assert!(is_released(&queue).await, "the guest waits for memory that is freed");

        let (buffer, term) = lend(2);
        term.end();
        assert!(is_released(&queue).await, "the guest waits for a frame that is there");
        drop(buffer);

        let before = fds();
        for n in 0..1000 {
            drop(lend(n));
            assert!(is_released(&queue).await);
        }
        assert!(fds() < before + 100, "file descriptors stay open");
    }

    #[test]
    fn planes_and_the_part_to_show_are_where_the_guest_says() {
        gst::init().unwrap();
        let crop = Rect::new(8, 2, 40, 20);
        let buffer = import(&DmaBufAllocator::new(), &dmabuf(crop), &Lease::new(None)).unwrap();
        let meta = buffer.meta::<VideoMeta>().unwrap();
        assert_eq!((meta.width(), meta.height()), (64, 32));
        assert_eq!((meta.offset(), meta.stride()), (&[4096][..], &[320][..]));
        assert_eq!(buffer.meta::<VideoCropMeta>().unwrap().rect(), (8, 2, 40, 20));
        assert!(buffer.peek_memory(0).downcast_memory_ref::<DmaBufMemory>().is_some());
        assert_eq!(buffer.size(), 65_536);
    }
}
