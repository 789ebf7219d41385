use std::fs::File;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::*;
use crate::frame::{Buffer, ConsoleId, Dmabuf, DmabufPlane, DmabufReads, PixelFormat, Scanout, Size};
use crate::hub::{Hub, ReleaseQueue, Told};
use crate::sys::TcpState;
use crate::viewer::Roster;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A viewer on this machine that imports buffers and decodes nothing.
fn local() -> Abilities {
    Abilities { imports: true, passes_fds: true, ..Abilities::default() }
}

/// An output that does what the test says.
struct Scripted {
    events: UnboundedReceiver<Event>,
    rooms: UnboundedReceiver<()>,
    shown: UnboundedSender<Update>,
}

impl Output for Scripted {
    type End = ();

    async fn event(&mut self, wants_room: bool) -> Result<Event, ()> {
        tokio::select! {
            event = self.events.recv() => event.ok_or(()),
            Some(()) = self.rooms.recv(), if wants_room => Ok(Event::Room),
        }
    }

    async fn show(&mut self, update: Update) -> Shown {
        self.shown.send(update).unwrap();
        Shown::default()
    }

    fn ask(&mut self, _: u32) {}

    fn network(&self) -> Option<TcpState> {
        None
    }
}

/// The other side of a [`Scripted`] output. The feed ends when it is dropped.
struct Viewer {
    events: UnboundedSender<Event>,
    rooms: UnboundedSender<()>,
    shown: UnboundedReceiver<Update>,
}

impl Viewer {
    fn of(console: &Arc<Console>, roster: &Roster) -> Self {
        let ((events, said), (rooms, room), (show, shown)) =
            (mpsc::unbounded_channel(), mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let output = Scripted { events: said, rooms: room, shown: show };
        let listing = roster.enter(console.id(), "", "test");
        let policy = Policy { encoders: None, passthrough: true, max_bitrate: None };
        tokio::spawn(Feed::new(output, console.clone(), listing, policy, LogLimit::default()).run());
        events.send(Event::Abilities(local())).unwrap();
        Self { events, rooms, shown }
    }

    /// Makes room, and waits for what then comes.
    async fn next(&mut self) -> Update {
        self.rooms.send(()).unwrap();
        tokio::time::timeout(PATIENCE, self.shown.recv()).await.expect("nothing is shown").unwrap()
    }
}

fn pixels() -> Scanout {
    Scanout::owned(64, 32, 64 * 4, 0x2002_0888, &[0; 64 * 32 * 4]).unwrap()
}

fn dmabuf() -> Scanout {
    let memory = rustix::fs::memfd_create("buffer", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let memory = File::from(memory);
    memory.set_len(64 * 32 * 4).unwrap();
    let size = Size::new(64, 32);
    let buffer = Arc::new(Buffer::new(memory.into()).unwrap());
    let dmabuf = Dmabuf {
        planes: vec![DmabufPlane { buffer, offset: 0, stride: 64 * 4 }],
        fourcc: PixelFormat::Xrgb8888.fourcc(),
        modifier: 0,
        backing: size,
        crop: size.rect(),
        bottom_up: false,
    };
    Scanout::dmabuf(dmabuf, &DmabufReads::default()).unwrap()
}

#[tokio::test]
async fn a_viewer_without_room_gets_the_newest_picture_and_no_older_one() {
    let (console, roster) = (Hub::default().console(ConsoleId(0)).unwrap(), Roster::default());
    console.show(Some(pixels()));
    let mut viewer = Viewer::of(&console, &roster);
    assert!(matches!(viewer.next().await, Update::Exact(_)));
    for x in 0..3 {
        console.damage((x, 0, 1, 1), None);
        settle().await;
    }
    assert!(viewer.shown.try_recv().is_err(), "it has no room");
    let Update::Exact(exact) = viewer.next().await else { panic!("no images") };
    let Told::Update(update) = exact.read(true).unwrap() else { panic!("nothing to read") };
    assert_eq!(update.changed, 64 * 32, "it has read nothing before");
    let row = &roster.snapshot()[0];
    assert_eq!((row.delivery.as_str(), row.sent, row.dropped), ("Images", 2, 2));
    console.show(None);
    assert!(matches!(viewer.next().await, Update::Blank));
}

#[tokio::test]
async fn the_guest_waits_for_a_flip_until_it_is_drawn_or_the_delivery_is_another() {
    let (console, roster) = (Hub::default().console(ConsoleId(0)).unwrap(), Roster::default());
    let releases = ReleaseQueue::default();
    console.show(Some(dmabuf()));
    let mut viewer = Viewer::of(&console, &roster);
    assert!(matches!(viewer.next().await, Update::Flip(change) if change.replaced));
    // Until it is drawn, and then until the delivery is another.
    for frame in 0..2 {
        viewer.rooms.send(()).unwrap();
        settle().await;
        console.damage((0, 0, 8, 8), Some(releases.release(frame)));
        assert!(matches!(viewer.shown.recv().await, Some(Update::Flip(change)) if change.release.is_none()));
        settle().await;
        let returned = tokio::time::timeout(Duration::ZERO, releases.returned()).await;
        assert!(returned.is_err(), "the guest draws into what is being shown");
        match frame {
            0 => viewer.events.send(Event::Drawn).unwrap(),
            _ => console.show(Some(pixels())),
        }
        let returned = tokio::time::timeout(PATIENCE, releases.returned()).await;
        assert_eq!(returned.expect("the guest waits"), frame);
    }
}

/// Lets the feed do all that it can: this runtime sleeps when its tasks have nothing to do.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
