use super::*;
use crate::frame::{Buffer, DmabufPlane, MODIFIER_LINEAR};
use proptest::prelude::*;
use std::io::Write;
use std::sync::Arc;

const XRGB: u32 = 0x2002_0888;

fn memfd(bytes: &[u8]) -> OwnedFd {
    let fd = rustix::fs::memfd_create("scanout", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    std::fs::File::from(fd.try_clone().unwrap()).write_all(bytes).unwrap();
    fd
}

fn all(scanout: &Scanout) -> Vec<u8> {
    let size = scanout.size();
    let mut out = vec![0; size.area() as usize * 4];
    scanout.reader().unwrap().read(size.rect(), &mut out).unwrap();
    out
}

fn linear(fd: OwnedFd, bottom_up: bool) -> Dmabuf {
    Dmabuf {
        planes: vec![DmabufPlane { buffer: Arc::new(Buffer::new(fd).unwrap()), offset: 0, stride: 8 }],
        fourcc: PixelFormat::Xrgb8888.fourcc(),
        modifier: MODIFIER_LINEAR,
        backing: Size::new(1, 2),
        crop: Rect::new(0, 0, 1, 2),
        bottom_up,
    }
}

#[test]
fn a_black_picture_is_black_and_takes_no_memory() {
    let black = Scanout::black(Size::new(640, 480)).unwrap();
    assert!(all(&black).iter().all(|byte| *byte == 0));
    let stat = rustix::fs::fstat(black.as_shared().unwrap().fd).unwrap();
    assert_eq!((stat.st_size, stat.st_blocks), (640 * 480 * 4, 0));
    assert!(Scanout::black(Size::new(0, 480)).is_err());
}

#[test]
fn padded_rows_are_read_without_their_padding() {
    let bytes = [1, 2, 3, 0, 9, 9, 9, 9, 4, 5, 6, 0];
    let owned = Scanout::owned(1, 2, 8, XRGB, &bytes).unwrap();
    assert_eq!(all(&owned), [1, 2, 3, 255, 4, 5, 6, 255]);
    let shared = Scanout::shared(memfd(&bytes), 0, 1, 2, 8, XRGB).unwrap();
    assert_eq!(all(&shared), [1, 2, 3, 0, 4, 5, 6, 0]);
}

#[test]
fn a_bottom_up_buffer_is_read_from_the_top() {
    let bytes = [1, 2, 3, 0, 9, 9, 9, 9, 4, 5, 6, 0];
    assert_eq!(
        all(&Scanout::dmabuf(linear(memfd(&bytes), true), &DmabufReads::default()).unwrap()),
        [4, 5, 6, 0, 1, 2, 3, 0]
    );
    assert_eq!(
        all(&Scanout::dmabuf(linear(memfd(&bytes), false), &DmabufReads::default()).unwrap()),
        [1, 2, 3, 0, 4, 5, 6, 0]
    );
}

#[test]
fn a_part_is_the_same_part_of_the_whole_however_it_is_stored() {
    let (width, height, stride, gap) = (300_u32, 90_u32, 1300_u32, 100);
    let pixels: Vec<u8> = (0..stride * height).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let file = |offset: usize| memfd(&[&vec![9; offset], pixels.as_slice()].concat());
    let buffer = |bottom_up| {
        let mut dmabuf = linear(file(gap), bottom_up);
        (dmabuf.planes[0].offset, dmabuf.planes[0].stride) = (100, stride);
        (dmabuf.backing, dmabuf.crop) = (Size::new(width + 25, height), Rect::new(5, 0, width, height));
        Scanout::dmabuf(dmabuf, &DmabufReads::default()).unwrap()
    };
    let by_value = |data: &[u8]| Scanout::owned(width, height, stride, XRGB, data).unwrap();
    let upside_down: Vec<u8> = pixels.chunks(stride as usize).rev().flatten().copied().collect();
    let pairs = [
        (by_value(&pixels), Scanout::shared(file(gap), 100, width, height, stride, XRGB).unwrap()),
        (by_value(&pixels[20..].iter().copied().chain([0; 20]).collect::<Vec<_>>()), buffer(false)),
        (by_value(&upside_down[20..].iter().copied().chain([0; 20]).collect::<Vec<_>>()), buffer(true)),
    ];
    for (expected, other) in pairs {
        for part in [Rect::new(0, 0, width, height), Rect::new(7, 3, 120, 80), Rect::new(299, 0, 1, 90)] {
            let read = |scanout: &Scanout| {
                let mut out = vec![0; part.area() as usize * 4];
                scanout.reader().unwrap().read(part, &mut out).unwrap();
                out.chunks(4).flat_map(|p| [p[0], p[1], p[2]]).collect::<Vec<_>>()
            };
            assert!(read(&expected) == read(&other), "{part:?} of {other:?}");
        }
    }
}

/// Of two planes in one file of 64 bytes, tiled as no GPU does it.
fn tiled(planes: &[(u32, u32)], backing: Size) -> Result<Scanout, ScanoutError> {
    let mut dmabuf = linear(memfd(&[7; 64]), true);
    let buffer = dmabuf.planes[0].buffer.clone();
    let plane = |&(offset, stride)| DmabufPlane { buffer: buffer.clone(), offset, stride };
    dmabuf.planes = planes.iter().map(plane).collect();
    (dmabuf.modifier, dmabuf.backing) = (0x7f00_0000_0000_0001, backing);
    Scanout::dmabuf(dmabuf, &DmabufReads::new(ReadPath::Auto, Some("/nowhere/renderD128".into())))
}

#[test]
fn a_tiled_buffer_is_taken_but_never_read_as_if_it_lay_in_rows() {
    let scanout = tiled(&[(0, 16), (60, 1)], Size::new(4, 4)).unwrap();
    let MemoryKind::Dmabuf { planes: 2, modifier: 0x7f00_0000_0000_0001, .. } = scanout.info().memory else {
        panic!()
    };
    assert!(matches!(scanout.reader(), Err(ScanoutError::Gpu(_))));
}

#[test]
fn a_tiled_buffer_that_cannot_be_is_refused() {
    let (whole, large) = (Size::new(4, 4), Size::new(4, 5));
    for (what, planes, size) in [
        ("too few bytes", &[(0, 16)][..], large),
        ("offset", &[(1, 16)], whole),
        ("offset of a second", &[(0, 16), (64, 1)], whole),
        ("far offset of a second", &[(0, 16), (u32::MAX, 1)], whole),
        ("stride", &[(0, 0)], whole),
        ("no planes", &[], whole),
        ("five planes", &[(0, 16); 5], whole),
    ] {
        assert!(tiled(planes, size).is_err(), "{what}");
    }
}

#[test]
fn a_buffer_in_rows_has_as_many_planes_as_its_format() {
    let mut dmabuf = linear(memfd(&[7; 64]), true);
    let plane = &dmabuf.planes[0];
    let again = DmabufPlane { buffer: plane.buffer.clone(), offset: 0, stride: 8 };
    dmabuf.planes.push(again);
    let refused = Scanout::dmabuf(dmabuf, &DmabufReads::default());
    assert!(matches!(refused, Err(ScanoutError::Planes { found: 2 })));
}

#[test]
fn what_the_gpu_alone_may_read_the_cpu_does_not() {
    let reads = DmabufReads::new(ReadPath::Gpu, Some("/nowhere/renderD128".into()));
    let scanout = Scanout::dmabuf(linear(memfd(&[7; 16]), true), &reads).unwrap();
    assert!(matches!(scanout.reader(), Err(ScanoutError::Gpu(_))));
}

#[test]
fn an_update_changes_its_rectangle_alone() {
    let scanout = Scanout::owned(2, 2, 8, XRGB, &[0; 16]).unwrap();
    scanout.write(Rect::new(1, 1, 1, 1), 4, XRGB, &[7, 8, 9, 0]).unwrap();
    assert_eq!(all(&scanout)[..12], [0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255]);
    assert_eq!(all(&scanout)[12..], [7, 8, 9, 255]);
    assert!(scanout.write(Rect::new(1, 1, 2, 1), 8, XRGB, &[0; 8]).is_err());
}

#[test]
fn a_file_cut_short_after_it_was_checked_fails_the_read_alone() {
    let fd = memfd(&[0; 4096 * 4]);
    let scanout = Scanout::shared(fd.try_clone().unwrap(), 0, 64, 64, 256, XRGB).unwrap();
    rustix::fs::ftruncate(&fd, 100).unwrap();
    let mut out = vec![0; 64 * 64 * 4];
    assert!(scanout.reader().unwrap().read(Size::new(64, 64).rect(), &mut out).is_err());
}

proptest! {
    #[test]
    fn numbers_that_lie_are_refused_or_readable(
        width in 0u32..40_000, height in 0u32..40_000, stride: u32, offset: u32, len in 0usize..10_000,
    ) {
        if let Ok(scanout) = Scanout::shared(memfd(&vec![0; len]), offset, width, height, stride, XRGB) {
            all(&scanout);
        }
        if let Ok(scanout) = Scanout::owned(width, height, stride, XRGB, &vec![0; len]) {
            all(&scanout);
        }
    }
}
