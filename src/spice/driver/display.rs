//! Drives a display channel: asks for a frame when the client has room for one, and sends what it then gets.

use std::sync::Arc;
use std::time::Instant;

use spice_proto::channels::display::{
    DisplayChannel, DisplayEvent, Tile, Video as EncodedPicture, VideoCodec,
};
use spice_proto::link::LinkRequest;
use spice_proto::wire::Payload;

use super::connection::{Connection, Turn, sleep_until};
use super::convert;
use super::network::Network;
use super::video::Video;
use super::{ChannelEnd, Server};
use crate::encode::Item;
use crate::frame::{Rect, ScanoutInfo, Tier};
use crate::hub::{Change, Console, Release, Subscription};
use crate::spice::images::images;
use crate::viewer::{Delivery, Reason, Seat, VideoPolicy, decide};

/// Starts the machine.
pub(super) fn start(request: &LinkRequest, now: Instant) -> DisplayChannel {
    DisplayChannel::new(request.header_form(), request.channel_caps, now)
}

/// Serves one console to one client until either ends.
pub(super) async fn run(
    server: &Server,
    console: Arc<Console>,
    seat: Seat,
    mut connection: Connection<DisplayChannel>,
) -> Result<(), ChannelEnd> {
    let mut info = console.info();
    let passes_fds = connection.passes_fds();
    let mut viewer = Viewer {
        server,
        console,
        seat,
        passes_fds,
        chosen: None,
        pictures: Pictures::None,
        failed: None,
        drawn: None,
        network: Network::new(server.max_bitrate, &connection),
        paced: None,
    };
    let mut ready = false;
    loop {
        let now = Instant::now();
        let paced = viewer.network.is_ready(now);
        tokio::select! {
            turn = connection.turn(|display| !ready && paced && display.has_room()) => match turn? {
                Turn::Ready => ready = true,
                Turn::Event(DisplayEvent::Drawn) => viewer.drawn = None,
                Turn::Event(DisplayEvent::Answered(id)) => {
                    viewer.network.answered(id, &connection);
                    viewer.follow();
                }
                Turn::Event(event @ (DisplayEvent::Ready | DisplayEvent::DecoderFailed)) => {
                    if event == DisplayEvent::Ready {
                        viewer.network.send(&mut connection.machine); // to learn how far away it is
                    }
                    viewer.choose(&connection.machine);
                }
            },
            () = sleep_until(viewer.network.wake_at(now)) => {
                viewer.network.look(&connection);
                viewer.follow();
            }
            _ = info.changed() => viewer.choose(&connection.machine),
            picture = viewer.pictures.next(), if ready => {
                ready = false;
                viewer.network.look(&connection);
                viewer.show(picture, &mut connection.machine).await;
            }
        }
    }
}

struct Viewer<'a> {
    server: &'a Server,
    console: Arc<Console>,
    /// Where it is written down how the client gets the picture.
    seat: Seat,
    passes_fds: bool,
    chosen: Option<(Delivery, Reason)>,
    pictures: Pictures,
    /// What the encoder gave up on.
    failed: Option<ScanoutInfo>,
    /// Held while the client draws from the guest's buffer.
    drawn: Option<Release>,
    network: Network,
    /// What was written down of that.
    paced: Option<(Option<u64>, Option<Tier>)>,
}

/// Where the channel's pictures come from.
enum Pictures {
    None,
    Buffers(Subscription),
    Video(Video),
    Images(Subscription),
}

pub(super) enum Picture {
    Flip(Change),
    Encoded(Item),
    Changed(Change),
    /// A small change of a picture that rests.
    TouchUp(Change),
}

impl Pictures {
    /// The next picture to show. May be dropped and called again.
    async fn next(&mut self) -> Picture {
        match self {
            Self::None => std::future::pending().await,
            Self::Video(video) => video.next().await,
            Self::Buffers(subscription) => Picture::Flip(next_change(subscription).await),
            Self::Images(subscription) => Picture::Changed(next_change(subscription).await),
        }
    }
}

async fn next_change(subscription: &Subscription) -> Change {
    loop {
        if let Some(change) = subscription.take() {
            return change;
        }
        if subscription.bell().recv().await.is_err() {
            std::future::pending::<()>().await; // the console rings as long as the subscription lives
        }
    }
}

impl Viewer<'_> {
    /// Decides how the client gets the picture from now on. With nothing to show, what was decided stays.
    fn choose(&mut self, display: &DisplayChannel) {
        let info = *self.console.info().borrow();
        let Some(info) = info.filter(|_| display.is_ready()) else { return };
        let video = match &self.server.encoders {
            None => VideoPolicy::Off,
            Some(_) if self.failed == Some(info) => VideoPolicy::EncoderFailed,
            Some(_) => VideoPolicy::Allowed,
        };
        let abilities = convert::abilities(display, self.passes_fds);
        let chosen = decide(abilities, info, self.server.passthrough, video);
        let before = self.chosen.replace(chosen);
        if before != Some(chosen) {
            self.seat.deliver(label(chosen.0), &chosen.1.to_string());
            let (console, (delivery, reason)) = (self.console.id(), chosen);
            self.server.say(|| tracing::info!(%console, ?delivery, %reason, "delivery chosen"));
        }
        if before.map(|before| before.0) == Some(chosen.0) {
            return;
        }
        self.drawn = None;
        self.pictures = match (chosen.0, &self.server.encoders) {
            (Delivery::Passthrough, _) => Pictures::Buffers(self.console.subscribe()),
            (Delivery::Encode, Some(encoders)) => {
                Pictures::Video(Video::new(encoders, &self.console, self.network.tier()))
            }
            _ => Pictures::Images(self.console.subscribe()),
        };
        self.follow();
    }

    /// Does what the network asks for.
    fn follow(&mut self) {
        if let Some(tier) = self.network.moves() {
            self.join(tier);
        }
        let rate = self.network.rate();
        let mut tier = None;
        if let Pictures::Video(video) = &mut self.pictures {
            video.limit(rate, self.network.frame_bytes());
            tier = Some(self.network.tier());
        }
        if self.paced.replace((rate, tier)) != Some((rate, tier)) {
            self.seat.pace(rate, tier);
        }
    }

    fn join(&mut self, tier: Tier) {
        if let (Pictures::Video(video), Some(encoders)) = (&mut self.pictures, &self.server.encoders) {
            tracing::info!(console = %self.console.id(), %tier, rate = self.network.rate(), "another tier of video");
            video.join(encoders, tier);
        }
    }

    async fn show(&mut self, picture: Picture, display: &mut DisplayChannel) {
        let key = matches!(&picture, Picture::Encoded(Item::Frame(frame)) if frame.key);
        let flip = matches!(picture, Picture::Flip(_));
        let pixels = match &picture {
            Picture::TouchUp(change) => change.damage.area(),
            _ => 0,
        };
        self.draw(picture, display).await;
        if flip {
            return; // a buffer is no bytes
        }
        let bytes = self.network.send(display);
        let Pictures::Video(video) = &mut self.pictures else { return };
        video.cost(pixels, bytes);
        if key
            && video.lost_its_step()
            && let Some(tier) = self.network.lost()
        {
            self.join(tier);
            self.follow();
        }
    }

    async fn draw(&mut self, picture: Picture, display: &mut DisplayChannel) {
        match &picture {
            Picture::Flip(change) | Picture::Changed(change) => self.seat.sent(change.missed),
            Picture::Encoded(Item::Frame(_)) => self.seat.sent(0),
            Picture::Encoded(_) | Picture::TouchUp(_) => {}
        }
        match picture {
            Picture::Encoded(Item::Frame(frame)) => {
                let video = EncodedPicture {
                    generation: frame.generation,
                    codec: VideoCodec::H264,
                    coded: convert::size(frame.coded),
                    picture: convert::size(frame.size),
                    data: Payload::new(frame.data),
                };
                display.show_video(video, self.server.clock.past());
            }
            Picture::Encoded(Item::Blank) => display.blank(),
            Picture::Encoded(Item::Failed(error)) => {
                tracing::warn!(console = %self.console.id(), %error, "no video of this console, sending images");
                self.failed = *self.console.info().borrow();
                self.choose(display);
            }
            Picture::Flip(change) => self.show_buffer(change, display),
            Picture::Changed(change) => self.show_change(change, display).await,
            Picture::TouchUp(change) => match encode(change, display.takes_lz4()).await {
                Ok(images) => display.touch_up(images),
                Err(error) => tracing::debug!(console = %self.console.id(), %error, "a rest cannot be read"),
            },
        }
    }

    /// Passes the guest's buffer on. A scanout of another kind is for [`Viewer::choose`], which hears of it too.
    fn show_buffer(&mut self, change: Change, display: &mut DisplayChannel) {
        let Some(scanout) = &change.scanout else { return display.blank() };
        let Some(dmabuf) = scanout.as_dmabuf() else { return };
        if change.replaced {
            display.show_scanout(convert::scanout(dmabuf));
        }
        if let Some(damage) = change.damage.rects().iter().copied().reduce(Rect::union) {
            display.draw(convert::draw(damage));
            self.drawn = change.release;
        }
    }

    async fn show_change(&mut self, change: Change, display: &mut DisplayChannel) {
        match change.scanout.as_ref().map(|scanout| scanout.size()) {
            None => display.blank(),
            Some(size) => match encode(change, display.takes_lz4()).await {
                Ok(images) => display.show_images(convert::size(size), images),
                Err(error) => {
                    tracing::debug!(console = %self.console.id(), %error, "a change cannot be read");
                }
            },
        }
    }
}

/// What `qemu-spice status` calls it.
fn label(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Passthrough => "Passthrough",
        Delivery::Encode => "Encode(h264)",
        Delivery::Images => "Images",
    }
}

/// Makes the images of a change away from the async tasks: it takes milliseconds.
async fn encode(change: Change, lz4: bool) -> Result<Vec<Tile>, String> {
    match tokio::task::spawn_blocking(move || images(change, lz4)).await {
        Ok(images) => images.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use spice_proto::channels::base;
    use spice_proto::channels::display::{FromClient, FromServer, Init, caps};
    use spice_proto::wire::{Caps, HeaderForm, Message};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::sync::{mpsc, watch};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::frame::{Buffer, ConsoleId, Dmabuf, DmabufPlane, DmabufReads, Scanout, Size};
    use crate::hub::{Hub, ReleaseQueue};
    use crate::spice::driver::Settings;
    use crate::transport::{Address, Listener};
    use crate::viewer::Roster;

    /// Far longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// How often a client says that it has read so many messages: not less often than it is asked to.
    const ACK_WINDOW: u32 = 10;

    /// A buffer that a client can tell from others, by the length of its rows.
    fn buffer(number: u32) -> Dmabuf {
        let (size, stride) = (Size::new(2, 2), 8 * number);
        let memory = rustix::fs::memfd_create("buffer", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let memory = File::from(memory);
        memory.set_len(u64::from(stride) * 2).unwrap();
        let buffer = Arc::new(Buffer::new(memory.into()).unwrap());
        Dmabuf {
            planes: vec![DmabufPlane { buffer, offset: 0, stride }],
            fourcc: u32::from_le_bytes(*b"XR24"),
            modifier: 0,
            backing: size,
            crop: size.rect(),
            bottom_up: false,
        }
    }

    /// A client on a unix socket that imports buffers, and says that it has drawn when it likes to: late, or twice.
    struct Client {
        stream: UnixStream,
        scanout: u32,
        heard: u32,
        /// The row length of the buffer that it drew last.
        drawn: watch::Sender<u32>,
    }

    impl Client {
        async fn run(mut self) {
            let init = Init {
                pixmap_cache_id: 1,
                pixmap_cache_size: 0,
                glz_dictionary_id: 1,
                glz_dictionary_window: 0,
            };
            self.say(&base::FromClient::AckSync { generation: 1 }.encode()).await;
            self.say(&FromClient::Init(init).encode()).await;
            for draw in 0.. {
                self.hear_a_draw().await;
                let (pause, times) = [(0, 1), (3, 1), (0, 2), (7, 2), (1, 3)][draw % 5];
                tokio::time::sleep(Duration::from_millis(pause)).await;
                for _ in 0..times {
                    self.say(&FromClient::GlDrawDone.encode()).await;
                }
            }
        }

        async fn hear_a_draw(&mut self) {
            loop {
                let mut header = [0; 6];
                self.stream.read_exact(&mut header).await.unwrap();
                self.heard += 1;
                if self.heard.is_multiple_of(ACK_WINDOW) {
                    self.say(&base::FromClient::Ack.encode()).await;
                }
                let id = u16::from_le_bytes([header[0], header[1]]);
                let size = u32::from_le_bytes([header[2], header[3], header[4], header[5]]);
                let mut body = vec![0; size as usize];
                self.stream.read_exact(&mut body).await.unwrap();
                match FromServer::decode(id, &body) {
                    Ok(FromServer::GlScanout(scanout)) => {
                        self.stream.read_exact(&mut [0]).await.unwrap(); // the file comes with a byte of its own
                        self.scanout = scanout.stride;
                    }
                    Ok(FromServer::GlDraw(_)) => {
                        self.drawn.send_replace(self.scanout);
                        return;
                    }
                    _ => {}
                }
            }
        }

        async fn say(&mut self, message: &Message) {
            let frame = message.clone().into_frame(HeaderForm::Mini, 0);
            self.stream.write_all(&frame.head).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_client_that_answers_late_or_twice_comes_to_show_the_newest_buffer() {
        let (hub, roster) = (Hub::default(), Roster::default());
        let console = hub.console(ConsoleId(0)).unwrap();
        let seat = roster.enter(console.id(), "", "unix");
        let settings = Settings { encoders: None, passthrough: true, max_bitrate: None, password: None };
        let server = Server::new(hub, roster, settings, mpsc::channel(1).0, CancellationToken::new());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = Listener::bind(&Address::Unix(path.clone())).await.unwrap().unwrap();
        let (drawn, mut seen) = watch::channel(0);
        let client = Client { stream: UnixStream::connect(path).await.unwrap(), scanout: 0, heard: 0, drawn };
        let stream = listener.accept().await.unwrap();
        let machine = DisplayChannel::new(HeaderForm::Mini, Caps::of(&[caps::GL_SCANOUT]), Instant::now());
        let connection = Connection::new(stream, machine, Vec::new()).unwrap();

        let buffers = [1, 2, 3].map(buffer);
        let (reads, releases) = (DmabufReads::default(), ReleaseQueue::default());
        let guest = async {
            for round in 0..30 {
                // A burst, and then the guest rests: on what it ended, the client has to end as well.
                let mut shown = 0;
                for flip in 0..=round {
                    let dmabuf = buffers[(round + flip) % 3].clone();
                    shown = dmabuf.planes[0].stride;
                    console.show(Some(Scanout::dmabuf(dmabuf, &reads).unwrap()));
                    tokio::time::sleep(Duration::from_millis(flip as u64 % 3)).await;
                    console.damage((0, 0, 2, 2), Some(releases.release(flip as u64)));
                }
                let ends = tokio::time::timeout(PATIENCE, seen.wait_for(|drawn| *drawn == shown)).await;
                assert!(ends.is_ok(), "burst {round}: the client is left with an old buffer");
            }
        };
        tokio::select! {
            () = guest => {}
            ended = run(&server, console.clone(), seat, connection) => panic!("{ended:?}"),
            () = client.run() => {}
        }
    }
}
