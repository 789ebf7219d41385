//! The smallest SPICE server that spice-gtk accepts. It shows eight colour bars and prints what the keyboard and the
//! pointer do.
//!
//! ```sh
//! cargo run --example smallest_server     # prints spice://127.0.0.1:PORT
//! remote-viewer spice://127.0.0.1:PORT    # in another terminal
//! ```
//!
//! The machines of `spice-proto` do no I/O. This program has what they leave to it: sockets, a thread for each
//! connection, and the clock. Read it from the top down: a client connects, links, and speaks on a channel.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is all that it does")]

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use spice_proto::auth::{Admission, PublicKey, TicketKey, session_id};
use spice_proto::channels::Machine;
use spice_proto::channels::display::{BitmapFormat, DisplayChannel, DisplayEvent, ImageData, Tile};
use spice_proto::channels::inputs::{InputsChannel, LockKeys};
use spice_proto::channels::main::{MainChannel, MainStart, MouseMode, MouseModes};
use spice_proto::link::{LinkError, LinkEvent, LinkMachine, LinkRequest};
use spice_proto::wire::{Caps, ChannelId, ChannelType, Payload, Size};

/// The most connections at a time. Without such a limit, anybody who connects often enough takes all memory.
const CONNECTIONS_MAX: usize = 32;

/// Bytes read at a time. Clients send little: a second of pointer motion fits.
const READ_SIZE: usize = 4096;

/// The longest time that a client may read nothing while the server has something to write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The channels that a client may open once it has its main channel.
const OFFERED: [ChannelId; 2] =
    [ChannelId { kind: ChannelType::Display, id: 0 }, ChannelId { kind: ChannelType::Inputs, id: 0 }];

const PICTURE: Size = Size::new(640, 480);

/// Blue, green and red of each bar, from the left: white, yellow, cyan, green, magenta, red, blue, black.
const BARS: [[u8; 3]; 8] = [
    [255, 255, 255],
    [0, 255, 255],
    [255, 255, 0],
    [0, 255, 0],
    [255, 0, 255],
    [0, 0, 255],
    [255, 0, 0],
    [0, 0, 0],
];

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let server = Arc::new(Server { key: *TicketKey::generate()?.spki(), session_id: session_id() });
    // There is no password, so only this computer may connect.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("spice://{}", listener.local_addr()?);
    for stream in listener.incoming() {
        // Each connection's thread has a reference, and `main` has one.
        if Arc::strong_count(&server) > CONNECTIONS_MAX {
            continue; // drops the stream, which closes the connection
        }
        let server = server.clone();
        thread::spawn(move || {
            if let Err(error) = stream.map_err(Into::into).and_then(|stream| server.serve(stream)) {
                eprintln!("a connection ended: {error}");
            }
        });
    }
    Ok(())
}

/// What all connections share.
struct Server {
    /// A client encrypts its password with this key, also if none is asked for. Nobody decrypts it here.
    key: PublicKey,
    /// Ties the channels of a client together. A server of many clients makes one for each main channel.
    session_id: u32,
}

impl Server {
    /// Serves one connection, which is one channel of a client, until either side ends it.
    fn serve(&self, stream: TcpStream) -> Result<()> {
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        stream.set_nodelay(true)?; // answers are small and somebody waits for them
        let mut connection = Connection { stream, input: Vec::new() };
        let request = self.link(&mut connection)?;
        self.speak(&mut connection, request)
    }

    /// Runs the link stage: the client names a channel, the server shows its key, the client sends a ticket, and the
    /// server accepts. Returns what the client asked for.
    fn link(&self, connection: &mut Connection) -> Result<LinkRequest> {
        let mut machine = LinkMachine::new(Instant::now());
        loop {
            let step = match connection.take_input(|input| machine.recv(input)) {
                Ok(Some(LinkEvent::Hello(request))) => match channel_caps(request.channel) {
                    Some(caps) => {
                        machine.greet(Admission::Open(self.key), caps);
                        Ok(None)
                    }
                    None => Err(machine.reject(LinkError::ChannelNotAvailable)),
                },
                Ok(Some(LinkEvent::Linked(request, _))) if self.knows(&request) => {
                    machine.accept();
                    Ok(Some(request))
                }
                Ok(Some(LinkEvent::Linked(..) | LinkEvent::Sasl(_))) => {
                    Err(machine.refuse(LinkError::BadConnectionId))
                }
                Ok(None) => {
                    connection.read(machine.deadline())?;
                    machine.handle_timeout(Instant::now()).map(|()| None)
                }
                Err(failure) => Err(failure),
            };
            // A refusal has its reason in the output, so the output is written before the error is returned.
            connection.stream.write_all(&machine.take_output())?;
            if let Some(request) = step? {
                return Ok(request);
            }
        }
    }

    /// Returns whether `request` names the session: a main channel starts one, the others have its number.
    fn knows(&self, request: &LinkRequest) -> bool {
        let id = if request.channel.kind == ChannelType::Main { 0 } else { self.session_id };
        request.connection_id == id
    }

    /// Exchanges the messages of the channel that `request` asked for.
    fn speak(&self, connection: &mut Connection, request: LinkRequest) -> Result<()> {
        let (form, now) = (request.header_form(), Instant::now());
        match request.channel.kind {
            ChannelType::Main => {
                let start = MainStart {
                    session_id: self.session_id,
                    caps: request.channel_caps,
                    channels: OFFERED.to_vec(),
                    // The client sends positions of its own pointer, because nothing else draws one.
                    mouse: MouseModes { server: false, client: true, current: MouseMode::Client },
                    has_agent: false,
                    multi_media_time: 1, // the clock of videos: here are none
                    name: None,
                    uuid: None,
                };
                connection.run(&mut MainChannel::new(form, start, now), |_, _| {})
            }
            ChannelType::Display => {
                let mut display = DisplayChannel::new(form, request.channel_caps, now);
                connection.run(&mut display, |display, event| {
                    if event == DisplayEvent::Ready {
                        display.show_images(PICTURE, &[], vec![colour_bars()]);
                    }
                })
            }
            ChannelType::Inputs => {
                let mut inputs = InputsChannel::new(form, LockKeys::default(), 0, now);
                let end = connection.run(&mut inputs, |_, event| println!("{event:?}"));
                // A client that leaves while it holds a key down never sends its release.
                for event in inputs.release_all() {
                    println!("{event:?}");
                }
                end
            }
            _ => Ok(()), // was rejected in the link stage
        }
    }
}

/// Returns what the server can do on `channel`, or `None` if it has no such channel.
fn channel_caps(channel: ChannelId) -> Option<Caps> {
    match channel.kind {
        ChannelType::Main if channel.id == 0 => Some(Caps::NONE),
        ChannelType::Display if OFFERED.contains(&channel) => Some(DisplayChannel::server_caps()),
        ChannelType::Inputs if OFFERED.contains(&channel) => Some(Caps::NONE),
        _ => None,
    }
}

/// Draws the bars: bright in the upper half of the picture, with half the brightness in the lower.
fn colour_bars() -> Tile {
    let Size { width, height } = PICTURE;
    let mut pixels = Vec::new();
    for row in 0..height {
        let divisor = if row < height / 2 { 1 } else { 2 };
        for [blue, green, red] in BARS {
            for _ in 0..width / 8 {
                pixels.extend([blue / divisor, green / divisor, red / divisor, 0]);
            }
        }
    }
    let data =
        ImageData::Bitmap { format: BitmapFormat::Xrgb, stride: width * 4, pixels: Payload::from(pixels) };
    Tile { x: 0, y: 0, width, height, data }
}

/// A socket, and the bytes read from it that no machine has taken yet.
///
/// INVARIANT: `input` is at most [`READ_SIZE`] bytes, because `read` is called only when a machine has taken all of it.
struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Connection {
    /// Drives `machine` until the connection ends, and hands its events to `handle`. The bytes and the time go in;
    /// events, messages and the next deadline come out.
    fn run<M: Machine>(&mut self, machine: &mut M, mut handle: impl FnMut(&mut M, M::Event)) -> Result<()> {
        loop {
            let now = Instant::now();
            while let Some(event) = self.take_input(|input| machine.recv(input, now))? {
                handle(machine, event);
            }
            machine.handle_timeout(now)?;
            while let Some(message) = machine.poll_frame(now) {
                for bytes in message.slices() {
                    self.stream.write_all(bytes)?;
                }
            }
            self.read(machine.deadline())?;
        }
    }

    /// Calls `recv` with the bytes that wait, and removes those it took. Bytes that the link stage leaves are the
    /// channel's first.
    fn take_input<T>(&mut self, recv: impl FnOnce(&mut &[u8]) -> T) -> T {
        let mut rest = self.input.as_slice();
        let result = recv(&mut rest);
        let taken = self.input.len() - rest.len();
        self.input.drain(..taken);
        result
    }

    /// Reads some bytes into `input`. Returns without any at `deadline`: what that means, the machine knows.
    fn read(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        // A socket refuses a timeout of zero.
        self.stream.set_read_timeout(left.map(|left| left.max(Duration::from_millis(1))))?;
        let mut bytes = [0; READ_SIZE];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.input.extend(bytes.iter().take(count));
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
