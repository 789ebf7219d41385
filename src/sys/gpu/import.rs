use std::os::fd::AsRawFd;

use super::{GpuImage, GpuPlane};

// `eglext.h`: EGL_EXT_image_dma_buf_import and its _modifiers.
const WIDTH: i32 = 0x3057;
const HEIGHT: i32 = 0x3056;
const FOURCC: i32 = 0x3271;
const COLOUR_SPACE: i32 = 0x327b;
const REC709: i32 = 0x3280;
const RANGE: i32 = 0x327c;
const NARROW: i32 = 0x3283;
const NONE: i32 = 0x3038;

/// fd, offset, pitch, lower and upper half of the modifier, of each plane.
const PLANES: [[i32; 5]; 4] = [
    [0x3272, 0x3273, 0x3274, 0x3443, 0x3444],
    [0x3275, 0x3276, 0x3277, 0x3445, 0x3446],
    [0x3278, 0x3279, 0x327a, 0x3447, 0x3448],
    [0x3440, 0x3441, 0x3442, 0x3449, 0x344a],
];

/// Builds the attributes for `eglCreateImageKHR`, with the modifier if `tell_modifier`. Files are given by
/// number, so they must stay open while the attributes are used.
///
/// YUV is declared as BT.709 in limited range, as for CPU reads.
pub(super) fn attributes(image: &GpuImage, tell_modifier: bool) -> Vec<i32> {
    let mut list = vec![WIDTH, bits(image.width), HEIGHT, bits(image.height), FOURCC, bits(image.fourcc)];
    list.extend([COLOUR_SPACE, REC709, RANGE, NARROW]);
    for (plane, [fd, offset, pitch, low, high]) in image.planes.iter().zip(PLANES) {
        let numbers = [fd, plane.fd.as_raw_fd(), offset, bits(plane.offset), pitch, bits(plane.stride)];
        list.extend(numbers);
        if let Some(modifier) = image.modifier.filter(|_| tell_modifier) {
            let [a, b, c, d, e, f, g, h] = modifier.to_le_bytes();
            list.extend([low, i32::from_le_bytes([a, b, c, d]), high, i32::from_le_bytes([e, f, g, h])]);
        }
    }
    list.push(NONE);
    list
}

/// Returns whether two descriptions mean the same memory, read in the same way.
pub(super) fn same(one: &GpuImage, other: &GpuImage) -> bool {
    let plane = |plane: &GpuPlane| (plane.id, plane.offset, plane.stride);
    let rest = |image: &GpuImage| (image.fourcc, image.modifier, image.width, image.height);
    rest(one) == rest(other) && one.planes.iter().map(plane).eq(other.planes.iter().map(plane))
}

/// Reinterprets a 32-bit code as one of EGL's signed integers.
fn bits(n: u32) -> i32 {
    i32::from_le_bytes(n.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::FileId;
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    fn image(planes: usize, modifier: Option<u64>, fd: &Arc<OwnedFd>) -> GpuImage {
        let id = FileId::of(fd).unwrap();
        let plane = |n| GpuPlane { fd: fd.clone(), id, offset: n as u32 * 4096, stride: 256 };
        let planes = (0..planes).map(plane).collect();
        GpuImage { planes, fourcc: u32::from_le_bytes(*b"NV12"), modifier, width: 64, height: 16 }
    }

    #[test]
    fn each_plane_is_told_with_its_modifier() {
        let fd = Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        let list = attributes(&image(2, Some(0x0100_0000_8000_0002), &fd), true);
        let pairs: Vec<_> = list.chunks(2).map(|pair| (pair[0], pair.get(1).copied())).collect();
        let value = |name| pairs.iter().find(|pair| pair.0 == name).and_then(|pair| pair.1);
        assert_eq!(value(FOURCC), Some(0x3231_564e));
        assert_eq!((value(0x3272), value(0x3275)), (Some(fd.as_raw_fd()), Some(fd.as_raw_fd())));
        assert_eq!((value(0x3273), value(0x3276)), (Some(0), Some(4096)));
        let (low, high) = (Some(i32::MIN + 2), Some(0x0100_0000));
        assert_eq!((value(0x3443), value(0x3444), value(0x3445), value(0x3446)), (low, high, low, high));
        assert_eq!(pairs.last(), Some(&(NONE, None)));
        for (modifier, told) in [(None, true), (Some(2), false)] {
            assert!(!attributes(&image(1, modifier, &fd), told).contains(&0x3443));
        }
    }

    #[test]
    fn other_memory_or_another_way_to_read_it_is_another_image() {
        let fd = Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        let again = Arc::new(fd.try_clone().unwrap());
        let zero = Arc::new(OwnedFd::from(std::fs::File::open("/dev/zero").unwrap()));
        let one = image(2, None, &fd);
        assert!(same(&one, &image(2, None, &again)));
        assert!(!same(&one, &image(1, None, &fd)));
        assert!(!same(&one, &image(2, Some(0), &fd)));
        assert!(!same(&one, &image(2, None, &zero)));
    }
}
