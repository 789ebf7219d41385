//! What is shown, in whatever way it came.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_head_shows_its_part_of_a_buffer_that_is_for_all() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    // Two heads of 2x2, side by side in one buffer of 4x2 that starts after 8 bytes.
    let row = [grey(1, 2), grey(2, 2)].concat();
    let fd = memfd(&[grey(9, 2), row.clone(), row].concat());
    screen.scanout_dmabuf2(&fd, (2, 0, 2, 2), (8, 16), XR24, (4, 2)).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [2; 12]);
    screen.scanout_dmabuf2(&fd, (0, 0, 2, 2), (8, 16), XR24, (4, 2)).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [1; 12]);
}

/// Brightness in one file, colour in another or behind it in the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_buffer_of_two_planes_is_shown_wherever_they_are() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let (luma, chroma) = (vec![0x80u8; 16], vec![0x80u8; 8]);
    let together = memfd(&[luma.clone(), chroma.clone()].concat());
    let apart = [memfd(&luma), memfd(&chroma)];
    let nv12 = u32::from_le_bytes(*b"NV12");
    let apart: Vec<_> = apart.iter().collect();
    for (files, offsets) in [(vec![&together], vec![0, 16]), (apart, vec![0, 0])] {
        screen.scanout_dmabuf2_of(&files, (4, 4), (&offsets, &[4, 4]), nv12).await.unwrap();
        let shown = shown(&attached.console()).unwrap();
        assert!(shown.iter().all(|level| (0x7e..=0x84).contains(level)), "{shown:?}");
    }
    let refused = screen.scanout_dmabuf2_of(&[&together], (4, 4), (&[0, 17], &[4, 4]), nv12).await;
    assert!(
        matches!(refused, Err(zbus::Error::MethodError(..))),
        "the second plane ends outside: {refused:?}"
    );
    let refused = screen.scanout_dmabuf2_of(&[&together], (4, 4), (&[0], &[4]), nv12).await;
    assert!(matches!(refused, Err(zbus::Error::MethodError(..))), "a plane is missing: {refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_without_shared_memory_works() {
    let (_qemu, screen, attached) = start(Vm { old: true, ..Vm::default() }).await;
    assert!(screen.interfaces.is_empty());
    screen.scanout(2, 1, 8, XRGB, &grey(1, 2)).await.unwrap();
    screen.update((0, 0, 1, 1), 4, XRGB, &grey(2, 1)).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [2, 2, 2, 1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_map_leaves_the_picture_for_the_scanout_that_follows() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    assert_eq!(
        screen.interfaces,
        ["org.qemu.Display1.Listener.Unix.Map", "org.qemu.Display1.Listener.Unix.ScanoutDMABUF2"]
    );
    screen.scanout(1, 1, 4, XRGB, &grey(1, 1)).await.unwrap();
    let short = memfd(&[0; 3]);
    assert!(screen.scanout_map(&short, 0, 1, 1, 4, XRGB).await.is_err());
    assert_eq!(shown(&attached.console()).unwrap(), [1; 3]);
    screen.scanout(1, 1, 4, XRGB, &grey(2, 1)).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [2; 3]);
}

/// A pixel of full red, half green and no blue, in every format, with padding after each row.
#[tokio::test(flavor = "multi_thread")]
async fn every_format_shows_the_same_picture_by_value_by_map_and_by_dmabuf() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let console = attached.console();
    let formats: [(u32, &[u8; 4], &[u8]); 18] = [
        (0x2002_0888, b"XR24", &[0x00, 0x80, 0xff, 7]),
        (0x2002_8888, b"AR24", &[0x00, 0x80, 0xff, 7]),
        (0x2003_0888, b"XB24", &[0xff, 0x80, 0x00, 7]),
        (0x2003_8888, b"AB24", &[0xff, 0x80, 0x00, 7]),
        (0x2009_0888, b"RX24", &[7, 0x00, 0x80, 0xff]),
        (0x2009_8888, b"RA24", &[7, 0x00, 0x80, 0xff]),
        (0x2008_0888, b"BX24", &[7, 0xff, 0x80, 0x00]),
        (0x2008_8888, b"BA24", &[7, 0xff, 0x80, 0x00]),
        (0x1802_0888, b"RG24", &[0x00, 0x80, 0xff]),
        (0x1803_0888, b"BG24", &[0xff, 0x80, 0x00]),
        (0x1002_0565, b"RG16", &[0x00, 0xfc]),
        (0x1003_0565, b"BG16", &[0x1f, 0x04]),
        (0x1002_0555, b"XR15", &[0x00, 0x7e]),
        (0x1002_1555, b"AR15", &[0x00, 0xfe]),
        (0x2002_0aaa, b"XR30", &[0x00, 0x00, 0xf8, 0x3f]),
        (0x2002_2aaa, b"AR30", &[0x00, 0x00, 0xf8, 0xff]),
        (0x2003_0aaa, b"XB30", &[0xff, 0x03, 0x08, 0x00]),
        (0x2003_2aaa, b"AB30", &[0xff, 0x03, 0x08, 0xc0]),
    ];
    for (pixman, fourcc, pixel) in formats {
        let name = PixelFormat::from_pixman(pixman).unwrap();
        // Three pixels a row, then 7 bytes of padding that must not be seen; the last row has none.
        let row = pixel.repeat(3);
        let mut bytes = [row.clone(), vec![0xaa; 7]].concat().repeat(2);
        bytes.extend(&row);
        let stride = row.len() as u32 + 7;
        let fd = memfd(&[vec![0xbb; 16], bytes.clone()].concat());
        let fourcc = u32::from_le_bytes(*fourcc);
        let same = |how: &str| {
            let all = shown(&console).unwrap();
            assert_eq!(all.len(), 27, "{name:?} {how}");
            for bgr in all.chunks_exact(3) {
                // Five bits hold half of green as 0x84, six as 0x82.
                assert!(
                    bgr[0] == 0 && (0x80..=0x84).contains(&bgr[1]) && bgr[2] == 0xff,
                    "{name:?} {how}: {bgr:x?}"
                );
            }
        };
        screen.scanout(3, 3, stride, pixman, &bytes).await.unwrap();
        same("by value");
        screen.scanout_map(&fd, 16, 3, 3, stride, pixman).await.unwrap();
        same("by map");
        screen.scanout_dmabuf2(&fd, (0, 0, 3, 3), (16, stride), fourcc, (3, 3)).await.unwrap();
        same("by dmabuf");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buffer_whose_first_row_is_the_lowest_is_turned_over() {
    let (_qemu, screen, attached) = start(Vm::default()).await;
    let fd = memfd(&[grey(1, 2), grey(2, 2)].concat());
    screen.scanout_dmabuf(&fd, 2, 2, 8, XR24, true).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1]);
    screen.scanout_dmabuf(&fd, 2, 2, 8, XR24, false).await.unwrap();
    assert_eq!(shown(&attached.console()).unwrap(), [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]);
}
