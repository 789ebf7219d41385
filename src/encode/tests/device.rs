//! Encoders that read the guest's buffer themselves, and encoders that break: shown with software in their place.

use super::*;
use crate::frame::{Buffer, Dmabuf, DmabufPlane, DmabufReads, MODIFIER_LINEAR, PixelFormat};
use crate::hub::ReleaseQueue;
use futures_util::FutureExt;
use rustix::fs::{MemfdFlags, memfd_create};
use std::os::fd::OwnedFd;

const SIZE: Size = Size::new(320, 240);

/// Where the guest's picture starts in its memory, and how long its rows are.
const OFFSET: u32 = 8192;
const STRIDE: u32 = 1408;

const IMPORTING: Element = Element::StandIn { imports: true, breaks_after: None };

/// Memory that a guest draws into.
pub(super) struct Memory {
    fd: OwnedFd,
    bottom_up: bool,
}

impl Memory {
    pub(super) fn new(bottom_up: bool) -> Self {
        let fd = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, u64::from(OFFSET + STRIDE * SIZE.height)).unwrap();
        Self { fd, bottom_up }
    }

    pub(super) fn draw(&self, screen: &Screen) {
        for y in 0..SIZE.height {
            let row = if self.bottom_up { SIZE.height - 1 - y } else { y };
            let pixels = screen.part(Rect::new(0, y, SIZE.width, 1));
            rustix::io::pwrite(&self.fd, &pixels, u64::from(OFFSET + row * STRIDE)).unwrap();
        }
    }

    pub(super) fn scanout(&self) -> Scanout {
        let buffer = Arc::new(Buffer::new(self.fd.try_clone().unwrap()).unwrap());
        let dmabuf = Dmabuf {
            planes: vec![DmabufPlane { buffer, offset: OFFSET, stride: STRIDE }],
            fourcc: PixelFormat::Xrgb8888.fourcc(),
            modifier: MODIFIER_LINEAR,
            backing: SIZE,
            crop: SIZE.rect(),
            bottom_up: self.bottom_up,
        };
        Scanout::dmabuf(dmabuf, &DmabufReads::default()).unwrap()
    }
}

/// A guest that draws into memory of its own, and an encoder for it.
fn guest(elements: &[Element]) -> Option<(Encoders, Decoder, Arc<Console>, Memory)> {
    let (Some(encoders), Some(decoder)) = (encoders(elements), Decoder::new()) else { return None };
    let memory = Memory::new(false);
    memory.draw(&Screen::desktop(SIZE, 0));
    let console = console();
    console.show(Some(memory.scanout()));
    Some((encoders, decoder, console, memory))
}

fn damage(console: &Console, release: Option<crate::hub::Release>) {
    console.damage((0, 0, 320, 240), release);
}

#[tokio::test]
async fn a_buffer_that_the_encoder_reads_looks_as_it_does_in_the_guest() {
    for bottom_up in [false, true] {
        let Some((encoders, decoder, console, _)) = guest(&[IMPORTING]) else { return };
        let (memory, mut screen) = (Memory::new(bottom_up), Screen::desktop(SIZE, 0));
        memory.draw(&screen);
        console.show(Some(memory.scanout()));
        let stream = encoders.join(&console, H264);
        let first = frame(&stream).await;
        assert!(first.key);
        let psnr = decoder.show(&first.data).psnr(&screen, SIZE.rect());
        assert!(psnr >= 36.0, "bottom up: {bottom_up}: {psnr:.1} dB");

        screen.each(Rect::new(30, 20, 100, 60), |_, _| [0, 200, 250]);
        memory.draw(&screen);
        console.damage((30, 20, 100, 60), None);
        let next = frame(&stream).await;
        assert!(!next.key && next.generation == first.generation);
        assert!(decoder.show(&next.data).psnr(&screen, SIZE.rect()) >= 36.0);
    }
}

#[tokio::test]
async fn a_picture_that_turns_over_is_another_stream() {
    let Some((encoders, decoder, console, _)) = guest(&[IMPORTING]) else { return };
    let stream = encoders.join(&console, H264);
    let first = frame(&stream).await;
    decoder.show(&first.data);
    let (memory, screen) = (Memory::new(true), Screen::desktop(SIZE, 5));
    memory.draw(&screen);
    console.show(Some(memory.scanout()));
    let turned = frame(&stream).await;
    assert!(turned.key && turned.generation != first.generation);
    assert!(Decoder::new().unwrap().show(&turned.data).psnr(&screen, SIZE.rect()) >= 36.0);
    // And pixels that are in no buffer.
    let screen = Screen::desktop(SIZE, 9);
    show(&console, &screen);
    let plain = frame(&stream).await;
    assert!(plain.key && plain.generation != turned.generation);
    assert!(Decoder::new().unwrap().show(&plain.data).psnr(&screen, SIZE.rect()) >= 36.0);
}

#[tokio::test]
async fn the_guest_draws_again_when_its_buffer_is_read_and_not_before() {
    let Some((encoders, decoder, console, memory)) = guest(&[IMPORTING]) else { return };
    let (queue, stream) = (ReleaseQueue::default(), encoders.join(&console, H264));
    decoder.show(&frame(&stream).await.data);
    let gone = Screen::plain(SIZE, [255, 0, 255]);
    let mut waited = 0;
    for n in 1..20 {
        let screen = Screen::desktop(SIZE, n * 7);
        let draw = async {
            // Long enough for the encoder to wait for the guest: one that is not waiting is not waited for.
            tokio::time::sleep(Duration::from_millis(60)).await;
            memory.draw(&screen);
            let let_go = stream.worker.while_unread(|| {
                damage(&console, Some(queue.release(n.into())));
                std::thread::sleep(Duration::from_millis(20)); // for whoever lets go of what is not read
                queue.returned().now_or_never().is_some()
            });
            if let_go {
                return;
            }
            waited += 1;
            assert_eq!(tokio::time::timeout(PATIENCE, queue.returned()).await, Ok(u64::from(n)));
            memory.draw(&gone);
        };
        let (seen, ()) = tokio::join!(frame(&stream), draw);
        let psnr = decoder.show(&seen.data).psnr(&screen, SIZE.rect());
        assert!(psnr >= 30.0, "frame {n} shows what was drawn after its release: {psnr:.1} dB");
    }
    assert!(waited > 5, "the guest draws while its buffer is read: {waited} of 19 were waited for");
}

#[tokio::test]
async fn a_viewer_that_is_not_ready_does_not_hold_the_guest() {
    let Some((encoders, _, console, _)) = guest(&[IMPORTING]) else { return };
    let (queue, stream) = (ReleaseQueue::default(), encoders.join(&console, H264));
    frame(&stream).await;
    for n in 0..50 {
        damage(&console, Some(queue.release(n)));
        let returned = tokio::time::timeout(PATIENCE, queue.returned()).await;
        assert_eq!(returned.ok(), Some(n), "the guest waits for a viewer");
    }
    console.show(None);
    drop(stream);
}

#[tokio::test]
async fn an_encoder_that_breaks_is_replaced_under_all_its_viewers() {
    let breaking = |imports| Element::StandIn { imports, breaks_after: Some(4) };
    for broken in [breaking(false), breaking(true)] {
        for next in working() {
            let Some((encoders, _, console, memory)) = guest(&[broken, next]) else { return };
            let (one, other) = (encoders.join(&console, H264), encoders.join(&console, H264));
            let mut seen = [0_u64; 2];
            let mut decoders = [Decoder::new().unwrap(), Decoder::new().unwrap()];
            let mut generations = std::collections::BTreeSet::new();
            for n in 0..12 {
                let screen = Screen::desktop(SIZE, n * 11);
                memory.draw(&screen);
                damage(&console, None);
                for (viewer, stream) in [&one, &other].into_iter().enumerate() {
                    // A frame may come that was made for the other viewer before this change.
                    loop {
                        let frame = frame(stream).await;
                        generations.insert(frame.generation);
                        if std::mem::replace(&mut seen[viewer], frame.generation) != frame.generation {
                            assert!(frame.key, "{broken:?}: a stream starts with what cannot be decoded");
                            decoders[viewer] = Decoder::new().unwrap();
                        }
                        if decoders[viewer].show(&frame.data).psnr(&screen, SIZE.rect()) >= 30.0 {
                            break;
                        }
                    }
                }
            }
            // One that imports is tried without that before it is given up.
            let ways = if broken == breaking(true) { 3 } else { 2 };
            assert_eq!(generations.len(), ways, "{broken:?}, then {next:?}: {generations:?}");
        }
    }
}

#[tokio::test]
async fn no_file_descriptor_stays_open_over_many_buffers() {
    let Some((encoders, _, console, _)) = guest(&[IMPORTING]) else { return };
    let stream = encoders.join(&console, H264);
    frame(&stream).await;
    let fds = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = fds();
    for n in 0..100 {
        let memory = Memory::new(n % 10 == 0);
        memory.draw(&Screen::plain(SIZE, [n, 0, 0]));
        console.show(Some(memory.scanout()));
        frame(&stream).await;
    }
    // Other tests of this program open some, too.
    assert!(fds() < before + 60, "{before} were open, {} are", fds());
}
