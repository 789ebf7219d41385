//! Reading through the GPU what the CPU can read, too: the pictures must be the same. Needs a render node and
//! /dev/udmabuf, which `scripts/dmabuf-vm` has.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qemu_spice::internals::GpuError;
use qemu_spice::internals::{
    Buffer, Dmabuf, DmabufPlane, DmabufReads, MODIFIER_INVALID, MODIFIER_LINEAR, PixelFormat, ReadPath, Rect,
    Scanout, ScanoutError, Size,
};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::ioctl::{Ioctl, Opcode, opcode};

const PATIENCE: Duration = Duration::from_secs(60);

/// `struct udmabuf_create` of `linux/udmabuf.h`.
#[repr(C)]
struct Create {
    memfd: u32,
    flags: u32,
    offset: u64,
    size: u64,
}

// SAFETY: the kernel reads the struct, and answers with a file descriptor.
unsafe impl Ioctl for Create {
    type Output = OwnedFd;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        opcode::write::<Self>(b'u', 0x42)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self).cast()
    }

    unsafe fn output_from_ptr(fd: i32, _: *mut c_void) -> rustix::io::Result<OwnedFd> {
        // SAFETY: the kernel just opened it for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// A dma-buf with these bytes, and its memory as a file.
fn udmabuf(bytes: &[u8]) -> std::io::Result<(OwnedFd, File)> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/udmabuf")?;
    let size = bytes.len().next_multiple_of(4096) as u64;
    let memory = rustix::fs::memfd_create("picture", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&memory, size)?;
    rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK)?;
    let memory = File::from(memory);
    memory.write_all_at(bytes, 0)?;
    let create = Create { memfd: memory.as_raw_fd() as u32, flags: 1, offset: 0, size };
    // SAFETY: the struct is the one that this ioctl reads.
    let dmabuf = unsafe { rustix::ioctl::ioctl(&device, create) }?;
    Ok((dmabuf, memory))
}

fn read(scanout: &Scanout, rect: Rect) -> Vec<u8> {
    let mut out = vec![0; rect.area() as usize * 4];
    let mut reader = scanout.reader().unwrap_or_else(|error| panic!("{error}"));
    reader.announce(rect);
    let rows = out.chunks_mut(rect.width as usize * 4 * 7);
    for (band, rows) in rows.enumerate() {
        let y = rect.y + band as u32 * 7;
        let part = Rect { y, height: 7.min(rect.bottom() - y), ..rect };
        reader.read(part, rows).unwrap_or_else(|error| panic!("{error}"));
    }
    out
}

/// Whether there is what these tests need.
fn has_devices() -> bool {
    let all = ["/dev/udmabuf", "/dev/dri"].iter().all(|path| Path::new(path).exists());
    if !all {
        eprintln!("skipped: there is no /dev/udmabuf or no /dev/dri here");
    }
    all
}

#[test]
fn the_gpu_reads_what_the_cpu_reads() {
    if !has_devices() {
        return;
    }
    let backing = Size::new(320, 200);
    let cpu = DmabufReads::default();
    let gpu = DmabufReads::new(ReadPath::Gpu, None);
    let mut imported = 0;
    for fourcc in [b"XR24", b"AR24", b"XB24", b"AB24", b"RG16", b"XR30", b"XB30", b"AB30", b"NV12"] {
        let fourcc = u32::from_le_bytes(*fourcc);
        let format = PixelFormat::from_fourcc(fourcc).unwrap();
        // Rows as GPUs want them, and pixels that differ everywhere.
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        for plane in 0..format.planes() {
            let (row, rows) = format.plane(plane, backing);
            let stride = (row as usize).next_multiple_of(256) + 256;
            places.push((bytes.len() as u32, stride as u32));
            bytes.extend((0..stride * rows as usize).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8));
        }
        let (fd, memory) = udmabuf(&bytes).unwrap();
        let buffer = Arc::new(Buffer::new(fd).unwrap());
        for (modifier, bottom_up, crop) in [
            (MODIFIER_LINEAR, false, backing.rect()),
            (MODIFIER_INVALID, true, backing.rect()),
            (MODIFIER_INVALID, false, Rect::new(33, 50, 200, 101)),
            (MODIFIER_LINEAR, true, Rect::new(33, 50, 200, 101)),
        ] {
            let scanout = |reads| {
                let plane = |&(offset, stride)| DmabufPlane { buffer: buffer.clone(), offset, stride };
                let planes = places.iter().map(plane).collect();
                Scanout::dmabuf(Dmabuf { planes, fourcc, modifier, backing, crop, bottom_up }, reads).unwrap()
            };
            let (one, other) = (scanout(&cpu), scanout(&gpu));
            if let Err(error) = one_pixel(&other) {
                eprintln!("{format:?}: {error}");
                break;
            }
            imported += 1;
            let size = one.size();
            for part in [size.rect(), Rect::new(17, 5, 50, 61), Rect::new(size.width - 1, 0, 1, size.height)]
            {
                let (one, other) = (read(&one, part), read(&other, part));
                let far = one.iter().zip(&other).enumerate().filter(|(at, _)| at % 4 < 3);
                // A GPU rounds where the CPU cuts off, and converts YUV in its own way.
                let close = if format == PixelFormat::Nv12 { 3 } else { 1 };
                let wrong = far.filter(|(_, (one, other))| one.abs_diff(**other) > close).count();
                assert_eq!(wrong, 0, "{format:?} {modifier:#x} {crop:?} {bottom_up} {part:?}");
            }
            // What is drawn later is seen, too.
            bytes.rotate_left(64);
            memory.write_all_at(&bytes, 0).unwrap();
            let again = Rect::new(3, 3, 64, 64);
            let (one, other) = (read(&one, again), read(&other, again));
            assert!(
                one.iter().zip(&other).enumerate().all(|(at, (a, b))| at % 4 == 3 || a.abs_diff(*b) <= 3)
            );
        }
    }
    assert!(imported > 0, "no format could be imported");
}

#[test]
fn buffers_that_come_and_go_leave_nothing() {
    if !has_devices() {
        return;
    }
    let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let maps = || std::fs::read_to_string("/proc/self/maps").unwrap().matches("dmabuf").count();
    let reads = DmabufReads::new(ReadPath::Gpu, None);
    let size = Size::new(64, 64);
    let show = || {
        let (fd, _) = udmabuf(&[0x40; 64 * 64 * 4]).unwrap();
        let buffer = Arc::new(Buffer::new(fd).unwrap());
        let dmabuf = Dmabuf {
            planes: vec![DmabufPlane { buffer, offset: 0, stride: 256 }],
            fourcc: u32::from_le_bytes(*b"XR24"),
            modifier: MODIFIER_LINEAR,
            backing: size,
            crop: size.rect(),
            bottom_up: false,
        };
        one_pixel(&Scanout::dmabuf(dmabuf, &reads).unwrap()).unwrap();
    };
    for _ in 0..20 {
        show();
    }
    // As many stay imported as a guest may flip between, from now on always as many.
    let before = (files(), maps());
    for _ in 0..100 {
        show();
    }
    assert_eq!((files(), maps()), before);
    drop(reads);
    assert!(files() < before.0 && maps() == 0);
}

/// Emulated, the first drawing takes longer than the deadline: it compiles shaders.
fn one_pixel(scanout: &Scanout) -> Result<(), ScanoutError> {
    let begun = Instant::now();
    loop {
        match scanout.reader()?.read(Rect::new(0, 0, 1, 1), &mut [0; 4]) {
            Err(ScanoutError::Gpu(GpuError::Late)) if begun.elapsed() < PATIENCE => {}
            done => return done,
        }
    }
}
