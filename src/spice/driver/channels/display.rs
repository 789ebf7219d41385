//! A display channel: carries what the viewer's feed shows to a SPICE client.

use std::sync::Arc;
use std::time::Instant;

use spice_proto::channels::display::{DisplayChannel, DisplayEvent, Video};
use spice_proto::link::{LinkError, LinkRequest};
use spice_proto::wire::{ChannelType, Payload};

use super::{Channel, consoles};
use crate::encode::{Codec, EncodedFrame};
use crate::frame::{ConsoleId, Rect};
use crate::hub::{Change, Console};
use crate::spice::codecs::video_codec;
use crate::spice::driver::clock::Clock;
use crate::spice::driver::connection::{Connection, Progress};
use crate::spice::driver::convert;
use crate::spice::driver::link::Linked;
use crate::spice::driver::{ChannelEnd, Server};
use crate::spice::exact_images::{Drawing, Glz, GlzImages, Takes, drawing};
use crate::spice::session::Session;
use crate::transport::TcpState;
use crate::viewer::{Event, Exact, Feed, Listing, Output, Shown, ShownExactly, Update};

pub(super) const CHANNEL: Channel = Channel {
    kind: ChannelType::Display,
    caps: DisplayChannel::server_caps,
    ids: consoles,
    serve: |server, session, linked| Box::pin(serve(server, session, linked)),
};

async fn serve(server: &Server, session: &Session, linked: Linked) -> Result<(), ChannelEnd> {
    let Some(console) = linked.console(&server.hub) else {
        return linked.refuse(LinkError::ChannelNotAvailable).await;
    };
    let peer = linked.route().peer;
    let connection = linked.accept(start).await?;
    let listing = server.roster.enter(console.id(), &peer.to_string(), connection.transport());
    run(server, console, listing, connection, session.glz_images.clone()).await
}

fn start(request: &LinkRequest, now: Instant) -> DisplayChannel {
    DisplayChannel::new(request.header_form(), request.channel_caps, now)
}

/// Serves one console to one client until either ends.
async fn run(
    server: &Server,
    console: Arc<Console>,
    listing: Listing,
    connection: Connection<DisplayChannel>,
    glz_images: Arc<GlzImages>,
) -> Result<(), ChannelEnd> {
    let output = DisplayOutput { connection, console: console.id(), clock: server.clock, glz_images };
    Feed::new(output, console, listing, server.policy.clone(), server.log.clone()).run().await
}

/// A client's display channel.
struct DisplayOutput {
    connection: Connection<DisplayChannel>,
    console: ConsoleId,
    clock: Clock,
    /// Those of its client.
    glz_images: Arc<GlzImages>,
}

impl Output for DisplayOutput {
    type End = ChannelEnd;

    async fn event(&mut self, wants_room: bool) -> Result<Event, ChannelEnd> {
        let progress = self.connection.turn(|display| wants_room && display.has_room()).await?;
        Ok(match progress {
            Progress::Ready => Event::Room,
            Progress::Event(DisplayEvent::Ready | DisplayEvent::DecoderFailed | DisplayEvent::Preferred) => {
                Event::Abilities(convert::abilities(&self.connection.machine, self.connection.passes_fds()))
            }
            Progress::Event(DisplayEvent::Answered(id)) => Event::Answered(id),
            Progress::Event(DisplayEvent::Drawn) => Event::Drawn,
        })
    }

    async fn show(&mut self, update: Update) -> Shown {
        let mut shown = Shown::default();
        match update {
            Update::Flip(change) => self.flip(&change),
            Update::Frame(frame) => self.show_frame(frame),
            Update::Ended(area) => self.connection.machine.end_video(convert::rect(area)),
            Update::Exact(change) => shown = self.draw(change, false).await,
            Update::TouchUp(change) => shown = self.draw(change, true).await,
            Update::Blank => self.connection.machine.blank(),
        }
        Shown { bytes: self.connection.machine.waiting_bytes(), ..shown }
    }

    fn ask(&mut self, id: u32) {
        self.connection.machine.ask(id);
    }

    fn network(&self) -> Option<TcpState> {
        self.connection.network()
    }
}

impl DisplayOutput {
    /// Passes the guest's buffer on. Does nothing for a scanout of another kind, for which the feed chooses
    /// another delivery.
    fn flip(&mut self, change: &Change) {
        let display = &mut self.connection.machine;
        let Some(dmabuf) = change.scanout.as_ref().and_then(|scanout| scanout.as_dmabuf()) else { return };
        if change.replaced {
            display.show_scanout(convert::scanout(dmabuf));
        }
        if let Some(damage) = change.damage.rects().iter().copied().reduce(Rect::union) {
            display.draw(convert::draw(damage));
        }
    }

    fn takes(&self) -> Takes {
        let display = &self.connection.machine;
        let glz = Glz { most: display.glz_pixels(), console: self.console, images: self.glz_images.clone() };
        Takes { copies: display.takes_copies(), lz4: display.takes_lz4(), glz }
    }

    fn show_frame(&mut self, frame: EncodedFrame) {
        let time = match frame.codec {
            Codec::Mjpeg => self.clock.soon(),
            _ => self.clock.past(Instant::now()),
        };
        let video = Video {
            generation: frame.generation,
            codec: video_codec(frame.codec),
            coded: convert::size(frame.coded),
            picture: convert::size(frame.size),
            area: convert::rect(frame.area),
            data: Payload::new(frame.data),
        };
        self.connection.machine.show_video(video, time);
    }

    /// Draws what makes the picture exact, beside video or in its place.
    async fn draw(&mut self, exact: Exact, beside: bool) -> Shown {
        let takes = self.takes();
        let drawing = tokio::task::spawn_blocking(move || drawing(exact, &takes)).await;
        let error = match drawing {
            Ok(Ok((Some(Drawing { size, moved, images, packed }), shown))) => {
                tracing::trace!(console = %self.console, moved = moved.len(), ?shown, "drawn exactly");
                if beside {
                    self.connection.machine.touch_up(&moved, images);
                } else {
                    self.connection.machine.show_images(convert::size(size), &moved, images);
                }
                return Shown { exact: Some(shown), images: packed, ..Shown::default() };
            }
            Ok(Ok((None, shown))) => return Shown { exact: Some(shown), ..Shown::default() },
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::debug!(console = %self.console, error, "the picture cannot be read");
        Shown { exact: Some(ShownExactly::Failed), ..Shown::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use spice_proto::agent::Rules;
    use spice_proto::channels::base;
    use spice_proto::channels::display::{FromClient, FromServer, Init, caps};
    use spice_proto::wire::{Caps, HeaderForm, Message};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::sync::{mpsc, watch};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::encode::SoundEncoder;
    use crate::frame::{Buffer, ConsoleId, Dmabuf, DmabufPlane, DmabufReads, PixelFormat, Scanout, Size};
    use crate::hub::{Hub, ReleaseQueue};
    use crate::spice::access::Access;
    use crate::spice::driver::{PlainChannels, Settings};
    use crate::transport::{Address, Listener};
    use crate::viewer::{Policy, Roster};

    /// Far longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// How often a client says that it has read so many messages: not less often than it is asked to.
    const ACK_WINDOW: u32 = 10;

    /// Makes a buffer that a client can tell from others by its stride.
    fn buffer(number: u32) -> Dmabuf {
        let (size, stride) = (Size::new(2, 2), 8 * number);
        let memory = rustix::fs::memfd_create("buffer", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let memory = File::from(memory);
        memory.set_len(u64::from(stride) * 2).unwrap();
        let buffer = Arc::new(Buffer::new(memory.into()).unwrap());
        Dmabuf {
            planes: vec![DmabufPlane { buffer, offset: 0, stride }],
            fourcc: PixelFormat::Xrgb8888.fourcc(),
            modifier: 0,
            backing: size,
            crop: size.rect(),
            bottom_up: false,
        }
    }

    /// A client on a unix socket that imports buffers, and says that it has drawn when it likes to: late, or
    /// twice.
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
        let listing = roster.enter(console.id(), "", "unix");
        let policy = Policy { encoders: None, passthrough: true, max_bitrate: None };
        let settings = Settings {
            policy,
            sound: SoundEncoder::new(hub.playback().clone()),
            access: Access::default(),
            plain: PlainChannels::All,
            agent: Rules::default(),
        };
        let server = Server::new(hub, roster, settings, mpsc::channel(1).0, CancellationToken::new());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = Listener::bind(&Address::Unix(path.clone())).await.unwrap().unwrap();
        let (drawn, mut seen) = watch::channel(0);
        let client = Client { stream: UnixStream::connect(path).await.unwrap(), scanout: 0, heard: 0, drawn };
        let stream = listener.accept().await.unwrap();
        let machine = DisplayChannel::new(HeaderForm::Mini, Caps::of(&[caps::GL_SCANOUT]), Instant::now());
        let connection = Connection::new(stream.into(), machine, Vec::new()).unwrap();

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
            ended = run(&server, console.clone(), listing, connection, Arc::default()) => panic!("{ended:?}"),
            () = client.run() => {}
        }
    }
}
