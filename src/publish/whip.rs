//! WHIP (RFC 9725): the H.264 by WebRTC to a media server, which is found by one request of HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use str0m::change::SdpAnswer;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcError};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::http_request::{Exchange, ExchangeError};
use super::target::Address;

/// Frames that may wait for the network: about a second of them.
const MAX_WAITING: usize = 30;

/// How long a server has to answer, and then the network to carry the first packets both ways.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a server has to hear that it is over: less than the program itself has.
const FAREWELL: Duration = Duration::from_millis(500);

/// The bytes of a datagram: what Ethernet carries.
const DATAGRAM: usize = 2000;

/// Packets that are kept in case that the server misses them: a key frame of 4K.
const KEPT_PACKETS: usize = 4000;

/// Why a server takes nothing more.
#[derive(Debug, thiserror::Error)]
pub(super) enum WhipError {
    /// Its answer over HTTP.
    #[error(transparent)]
    Http(#[from] ExchangeError),
    /// What it answered is no answer.
    #[error("its answer cannot be used: {0}")]
    Answer(String),
    /// It takes no H.264.
    #[error("it takes no H.264")]
    Codec,
    /// The socket.
    #[error("{0}")]
    Socket(#[from] std::io::Error),
    /// The protocol.
    #[error("WebRTC: {0}")]
    Rtc(#[from] RtcError),
    /// No packets come.
    #[error("nothing comes from it by UDP")]
    Silent,
    /// A fault of this program.
    #[error("its task has ended")]
    Task,
}

/// Takes access units to a server. Ends when dropped.
pub(super) struct Whip {
    frames: mpsc::Sender<Bytes>,
    asked_for_key: Arc<Notify>,
    running: JoinHandle<Result<(), WhipError>>,
}

impl Whip {
    /// Asks a server to take the stream, and waits until it can.
    ///
    /// # Errors
    /// If it refuses, takes no H.264, or cannot be reached by UDP.
    pub(super) async fn start(address: &Address) -> Result<Self, WhipError> {
        let mut session = Session::connect(address).await?;
        let connected = tokio::time::timeout(PATIENCE, session.run(None)).await;
        connected.map_err(|_| WhipError::Silent)??;
        let asked_for_key = session.asked_for_key.clone();
        let (frames, to_send) = mpsc::channel(MAX_WAITING);
        let running = tokio::spawn(async move {
            let mut to_send = to_send;
            session.run(Some(&mut to_send)).await?;
            session.end().await;
            Ok(())
        });
        Ok(Self { frames, asked_for_key, running })
    }

    /// Returns whether the network takes another frame.
    pub(super) fn has_room(&self) -> bool {
        self.frames.capacity() > 0
    }

    /// Gives an access unit to the server.
    pub(super) fn push(&self, data: Bytes) {
        let _ = self.frames.try_send(data); // there is room, or it has failed and is heard next
    }

    /// Waits until the server asks for a key frame. Cancel-safe.
    ///
    /// # Errors
    /// If the server is gone.
    pub(super) async fn wants_key(&mut self) -> Result<(), WhipError> {
        tokio::select! {
            () = self.asked_for_key.notified() => Ok(()),
            ended = &mut self.running => ended.map_err(|_| WhipError::Task)?.and(Err(WhipError::Task)),
        }
    }

    /// Ends, and tells the server so.
    pub(super) async fn finish(self) -> Result<(), WhipError> {
        let Self { frames, running, .. } = self;
        drop(frames);
        match tokio::time::timeout(FAREWELL, running).await {
            Ok(ended) => ended.map_err(|_| WhipError::Task)?,
            Err(_) => Ok(()),
        }
    }
}

/// A connection to a server.
struct Session {
    rtc: Rtc,
    socket: UdpSocket,
    local: SocketAddr,
    video: Mid,
    is_connected: bool,
    start: Instant,
    asked_for_key: Arc<Notify>,
    exchange: Exchange,
}

impl Session {
    /// Offers the stream, and takes the answer.
    async fn connect(address: &Address) -> Result<Self, WhipError> {
        let mut exchange = Exchange::connect(address, PATIENCE).await?;
        // The address by which the server was found is one that it can answer to.
        let socket = UdpSocket::bind((exchange.local_address(), 0)).await?;
        let local = socket.local_addr()?;
        let start = Instant::now();
        let mut rtc = Rtc::builder()
            .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
            .clear_codecs()
            .enable_h264(true)
            .set_send_buffer_video(KEPT_PACKETS)
            .build(start);
        let candidate =
            Candidate::host(local, "udp").map_err(|error| WhipError::Answer(error.to_string()))?;
        rtc.add_local_candidate(candidate);
        let mut change = rtc.sdp_api();
        let video = change.add_media(MediaKind::Video, Direction::SendOnly, None, None, None);
        let (offer, pending) = change.apply().ok_or(WhipError::Codec)?;
        let answer = exchange.offer(&offer.to_sdp_string()).await?;
        let answer =
            SdpAnswer::from_sdp_string(&answer).map_err(|error| WhipError::Answer(error.to_string()))?;
        rtc.sdp_api().accept_answer(pending, answer)?;
        let asked_for_key = Arc::new(Notify::new());
        Ok(Self { rtc, socket, local, video, is_connected: false, start, asked_for_key, exchange })
    }

    /// Goes on until the connection is there, or with frames, until there are no more of them.
    async fn run(&mut self, mut frames: Option<&mut mpsc::Receiver<Bytes>>) -> Result<(), WhipError> {
        let mut datagram = [0; DATAGRAM];
        loop {
            let wake = self.send()?;
            if frames.is_none() && self.is_connected {
                return Ok(());
            }
            tokio::select! {
                received = self.socket.recv_from(&mut datagram) => match received {
                    Ok((length, source)) => self.receive(source, datagram.get(..length).unwrap_or_default())?,
                    // A port that nobody listens at: it may come back until WebRTC itself gives up.
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
                    Err(error) => return Err(error.into()),
                },
                () = tokio::time::sleep_until(wake.into()) => self.rtc.handle_input(Input::Timeout(Instant::now()))?,
                frame = next(frames.as_deref_mut()) => match frame {
                    Some(frame) => self.write(&frame)?,
                    None => return Ok(()),
                },
            }
        }
    }

    /// Sends what is to be sent; returns when to come again.
    fn send(&mut self) -> Result<Instant, WhipError> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(wake) => return Ok(wake),
                // A packet for which there is no room is lost, as on a network: the server asks for it again.
                Output::Transmit(packet) => {
                    let _ = self.socket.try_send_to(&packet.contents, packet.destination);
                }
                Output::Event(Event::Connected) => self.is_connected = true,
                Output::Event(Event::KeyframeRequest(_)) => self.asked_for_key.notify_one(),
                Output::Event(Event::IceConnectionStateChange(IceConnectionState::Disconnected)) => {
                    return Err(WhipError::Silent);
                }
                Output::Event(_) => {}
            }
        }
    }

    fn receive(&mut self, source: SocketAddr, datagram: &[u8]) -> Result<(), WhipError> {
        let Ok(contents) = datagram.try_into() else { return Ok(()) }; // nothing of WebRTC
        let received = Receive { proto: Protocol::Udp, source, destination: self.local, contents };
        let input = Input::Receive(Instant::now(), received);
        if self.rtc.accepts(&input) {
            self.rtc.handle_input(input)?;
        }
        Ok(())
    }

    fn write(&mut self, frame: &Bytes) -> Result<(), WhipError> {
        let writer = self.rtc.writer(self.video).ok_or(WhipError::Codec)?;
        let is_h264 = |params: &&str0m::format::PayloadParams| {
            let spec = params.spec();
            spec.codec == Codec::H264 && spec.format.packetization_mode == Some(1)
        };
        let pt = writer.payload_params().find(is_h264).ok_or(WhipError::Codec)?.pt();
        let now = Instant::now();
        let micros = u64::try_from(now.duration_since(self.start).as_micros()).unwrap_or(u64::MAX);
        let time = MediaTime::from_90khz(micros.saturating_mul(9) / 100);
        Ok(writer.write(pt, now, time, frame.as_ref())?)
    }

    /// Tells the server that it is over.
    async fn end(mut self) {
        self.rtc.disconnect();
        let _ = tokio::time::timeout(FAREWELL, self.exchange.delete()).await; // it notices by itself otherwise
    }
}

async fn next(frames: Option<&mut mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match frames {
        Some(frames) => frames.recv().await,
        None => std::future::pending().await,
    }
}
