//! Displays that say again and again that all changed.

use super::*;
use qemu_spice::internals::{Rect, Region, Size};

const FULL_HD: Size = Size::new(1920, 1080);
const ALL: (i32, i32, i32, i32) = (0, 0, 1920, 1080);
/// A caret at a prompt.
const CARET: Rect = Rect::new(333, 700, 8, 16);
/// Updates after which all is told of no more.
const ENOUGH: usize = 9;

/// How the picture comes.
#[derive(Clone, Copy, Debug)]
enum Way {
    Map,
    Dmabuf,
    Update,
    Scanout,
}

/// A guest's picture, and a viewer that reads what it is told of.
struct Rig {
    _qemu: ScriptedQemu,
    screen: Screen,
    attached: Attached,
    way: Way,
    pixels: Vec<u8>,
    fd: OwnedFd,
    viewer: Subscription,
    seen: Vec<u8>,
}

impl Rig {
    async fn showing(way: Way) -> Self {
        let (qemu, screen, attached) = start(Vm::default()).await;
        let pixels: Vec<u8> =
            (0..1920 * 1080 * 4_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let fd = memfd(&pixels);
        let (w, h, stride) = (FULL_HD.width, FULL_HD.height, FULL_HD.width * 4);
        match way {
            Way::Map => screen.scanout_map(&fd, 0, w, h, stride, XRGB).await.unwrap(),
            Way::Dmabuf => screen.scanout_dmabuf(&fd, w, h, stride, XR24, false).await.unwrap(),
            Way::Update | Way::Scanout => screen.scanout(w, h, stride, XRGB, &pixels).await.unwrap(),
        }
        let viewer = attached.console().subscribe();
        let seen = vec![0; pixels.len()];
        let mut rig = Self { _qemu: qemu, screen, attached, way, pixels, fd, viewer, seen };
        assert_eq!(rig.look().rects(), [FULL_HD.rect()]);
        rig
    }

    /// The guest draws a part in one colour, and the display says that all changed.
    async fn draw(&mut self, part: Rect, level: u8) {
        for y in part.y..part.bottom() {
            let at = ((y * FULL_HD.width + part.x) * 4) as usize;
            let row = &mut self.pixels[at..][..part.width as usize * 4];
            row.fill(level);
            rustix::io::pwrite(&self.fd, row, at as u64).unwrap();
        }
        self.repaint().await;
    }

    /// The display says that all changed.
    async fn repaint(&self) {
        let stride = FULL_HD.width * 4;
        match self.way {
            Way::Map => self.screen.update_map(ALL).await.unwrap(),
            Way::Dmabuf => drop(self.screen.update_dmabuf(ALL).await.unwrap()),
            Way::Update => self.screen.update(ALL, stride, XRGB, &self.pixels).await.unwrap(),
            Way::Scanout => self.screen.scanout(1920, 1080, stride, XRGB, &self.pixels).await.unwrap(),
        }
    }

    /// The viewer reads what it was told of since it last looked, and waits.
    fn look(&mut self) -> Region {
        let Some(change) = self.viewer.take() else { return Region::new() };
        let scanout = change.scanout.unwrap();
        let mut reader = scanout.reader().unwrap();
        for &rect in change.damage.rects() {
            let mut row = vec![0; rect.width as usize * 4];
            for y in rect.y..rect.bottom() {
                reader.read(Rect { y, height: 1, ..rect }, &mut row).unwrap();
                let at = ((y * FULL_HD.width + rect.x) * 4) as usize;
                self.seen[at..][..row.len()].copy_from_slice(&row);
            }
        }
        drop(reader);
        assert!(self.viewer.take().is_none());
        while self.viewer.bell().try_recv().is_ok() {}
        change.damage
    }

    fn is_exact(&self) -> bool {
        let colours = |pixels: &[u8]| pixels.chunks(4).flat_map(|p| [p[0], p[1], p[2]]).collect::<Vec<_>>();
        colours(&self.seen) == colours(&self.pixels)
    }
}

async fn comes_to_rest(way: Way, enough: usize) {
    let mut rig = Rig::showing(way).await;
    for _ in 0..enough {
        rig.repaint().await;
        rig.look();
    }
    let quiet = |rig: &mut Rig| {
        assert!(rig.viewer.bell().try_recv().is_err(), "{way:?}: the viewer was woken up for nothing");
        assert!(rig.look().is_empty(), "{way:?}");
    };
    rig.repaint().await;
    quiet(&mut rig);
    for level in [255, 0] {
        rig.draw(CARET, level).await;
        assert_eq!(rig.look().rects(), [CARET], "{way:?}");
    }
    rig.repaint().await;
    quiet(&mut rig);
    assert!(rig.is_exact(), "{way:?}");
    assert!(!rig.attached.running.is_finished());
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_memory_that_stands_still_is_told_of_no_more_but_its_caret_is() {
    comes_to_rest(Way::Map, ENOUGH).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dmabuf_that_stands_still_is_told_of_no_more_but_its_caret_is() {
    comes_to_rest(Way::Dmabuf, ENOUGH).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pixels_by_value_that_stand_still_are_never_told_of_but_the_caret_is() {
    comes_to_rest(Way::Update, 0).await;
    comes_to_rest(Way::Scanout, 0).await;
}
