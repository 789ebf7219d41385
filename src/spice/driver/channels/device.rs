//! A channel to a device of the guest: a USB socket, a folder, or a port by its name. It carries bytes both ways, and
//! reads neither side faster than the other takes them.
//!
//! One client at a time has a device. When it leaves, its connection to QEMU ends, and what it had plugged in is
//! unplugged.

use std::io;
use std::time::Instant;

use spice_proto::channels::port::{PortChannel, PortEvent};
use spice_proto::link::LinkError;
use spice_proto::wire::{Caps, Payload};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};
use tracing::{debug, warn};

use super::Channel;
use crate::hub::{Device, Guest, Turn};
use crate::spice::devices::channel;
use crate::spice::driver::connection::{Connection, Progress};
use crate::spice::driver::link::Linked;
use crate::spice::driver::{ChannelEnd, Server};
use crate::spice::session::Session;

/// Bytes read from the guest at a time, for one message.
const READ_SIZE: usize = 64 << 10;

pub(super) const USB: Channel = Channel {
    kind: channel(Device::Usb),
    caps: || Caps::NONE,
    ids: |guest| ids(guest, Device::Usb),
    serve: |server, session, linked| Box::pin(serve(server, session, linked, Device::Usb)),
};

pub(super) const FOLDER: Channel = Channel {
    kind: channel(Device::Folder),
    caps: || Caps::NONE,
    ids: |guest| ids(guest, Device::Folder),
    serve: |server, session, linked| Box::pin(serve(server, session, linked, Device::Folder)),
};

pub(super) const STREAM: Channel = Channel {
    kind: channel(Device::Stream),
    caps: || Caps::NONE,
    ids: |guest| ids(guest, Device::Stream),
    serve: |server, session, linked| Box::pin(serve(server, session, linked, Device::Stream)),
};

fn ids(guest: &Guest, device: Device) -> Vec<u8> {
    (0..=u8::MAX).filter(|number| guest.device(device, *number).is_some()).collect()
}

async fn serve(server: &Server, session: &Session, linked: Linked, device: Device) -> Result<(), ChannelEnd> {
    let number = linked.request.channel.id;
    let guest = server.hub.guest();
    let name = guest.borrow().device(device, number).map(|(_, port)| port.name.clone());
    let id = linked.request.channel;
    let Some(name) = name else {
        // It is gone since it was offered, which is no reason to end the session.
        session.take_back(id, false);
        let _ = linked.refuse(LinkError::ChannelNotAvailable).await;
        return Ok(());
    };
    let connection = linked.accept(|request, now| match device {
        Device::Usb => PortChannel::unnamed(request.header_form(), now),
        Device::Folder | Device::Stream => PortChannel::named(request.header_form(), &name, now),
    });
    let connection = connection.await?;
    let turn = server.hub.device(device, number).enter(session.number);
    let port = Port::Closed { tried: false };
    let (to_guest, written) = (Vec::new(), 0);
    let mut serving =
        DeviceChannel { server, device, number, name, guest, turn, connection, port, to_guest, written };
    let is_replaced = serving.run().await?;
    session.take_back(id, is_replaced);
    Ok(())
}

/// A client's channel to a device, which the client has or waits for.
struct DeviceChannel<'a> {
    server: &'a Server,
    device: Device,
    number: u8,
    /// The name of the port, which the client was told.
    name: String,
    guest: watch::Receiver<Guest>,
    turn: Turn,
    connection: Connection<PortChannel>,
    port: Port,
    /// Bytes for the guest, and how many of them are written.
    to_guest: Vec<u8>,
    written: usize,
}

/// The connection to the guest's port.
enum Port {
    /// There is none. One that was `tried` in vain is tried again when something changes about the guest.
    Closed { tried: bool },
    /// QEMU is asked for it. Something may have `changed` about the guest since.
    Opening { stream: UnixStream, told: oneshot::Receiver<()>, changed: bool },
    /// It is there.
    Open(UnixStream),
}

/// What became of the guest's port.
enum Turned {
    /// QEMU has connected it, or not.
    Answered(bool),
    /// It can be read or written.
    Ready,
}

impl DeviceChannel<'_> {
    /// Serves the channel until the client leaves or cannot go on. Returns whether there is another port now in the
    /// place of the one that the client knows.
    async fn run(&mut self) -> Result<bool, ChannelEnd> {
        if !self.turn.has_come() {
            self.tell("somebody else has this device, and it is yours when they leave")?;
        }
        loop {
            if !self.follow()? {
                return Ok(true);
            }
            if self.written == self.to_guest.len() && matches!(self.port, Port::Open(_)) {
                (self.to_guest, self.written) = (self.connection.machine.take(), 0);
            }
            let (room, writes) = (self.connection.machine.has_room(), self.written < self.to_guest.len());
            tokio::select! {
                turn = self.connection.turn(|machine| !room && machine.has_room()) => {
                    if let Progress::Event(PortEvent::Break) = turn? {
                        self.send_break().await;
                    }
                }
                turned = self.port.turn(room, writes) => {
                    if let Err(error) = self.take_up(turned)? {
                        debug!(port = self.name, %error, "the guest's port has closed");
                        self.port = Port::Closed { tried: true };
                        // The two ends of a USB connection greet each other once.
                        if self.device == Device::Usb {
                            return Ok(false);
                        }
                    }
                }
                changed = self.guest.changed() => {
                    if changed.is_err() {
                        return Ok(false);
                    }
                    match &mut self.port {
                        Port::Closed { tried } => *tried = false,
                        Port::Opening { changed, .. } => *changed = true,
                        Port::Open(_) => {}
                    }
                }
                () = self.turn.changed() => if self.turn.has_come() {
                    self.tell("this device is yours now")?;
                },
            }
        }
    }

    /// Connects to the port if it is there and this client's, and tells the client whether the guest has it open.
    /// Returns whether the channel goes on.
    fn follow(&mut self) -> Result<bool, ChannelEnd> {
        let guest = self.guest.borrow(); // what has changed is taken up where that is waited for, so that none is lost
        let port = guest.device(self.device, self.number);
        if port.is_some_and(|(_, info)| info.name != self.name) {
            return Ok(false);
        }
        if let (Port::Closed { tried: false }, Some((id, _)), true) = (&self.port, port, self.turn.has_come())
        {
            self.port = self.server.open(id);
        }
        let is_open = matches!(self.port, Port::Open(_)) && port.is_some_and(|(_, info)| info.is_open);
        drop(guest);
        if self.device != Device::Usb && !is_open {
            (self.to_guest, self.written) = (Vec::new(), 0); // it is not for who opens it next
        }
        self.connection.machine.set_open(is_open, Instant::now())?;
        Ok(true)
    }

    /// Takes up what became of the port. The inner error is its end.
    fn take_up(&mut self, turned: Turned) -> Result<io::Result<()>, ChannelEnd> {
        match (turned, std::mem::replace(&mut self.port, Port::Closed { tried: true })) {
            (Turned::Answered(true), Port::Opening { stream, .. }) => self.port = Port::Open(stream),
            (Turned::Answered(false), Port::Opening { changed, .. }) => {
                self.port = Port::Closed { tried: !changed }
            }
            (Turned::Ready, Port::Open(stream)) => {
                let exchanged = self.exchange(&stream);
                self.port = Port::Open(stream);
                return exchanged;
            }
            _ => {}
        }
        Ok(Ok(()))
    }

    /// Writes and reads what can be at once.
    fn exchange(&mut self, stream: &UnixStream) -> Result<io::Result<()>, ChannelEnd> {
        let unwritten = self.to_guest.get(self.written..).unwrap_or_default();
        if !unwritten.is_empty() {
            match stream.try_write(unwritten) {
                Ok(written) => self.written = self.written.saturating_add(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        if self.connection.machine.has_room() {
            let mut data = Vec::with_capacity(READ_SIZE);
            match stream.try_read_buf(&mut data) {
                Ok(0) => return Ok(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {
                    data.shrink_to_fit();
                    self.connection.machine.send(Payload::from(data), Instant::now())?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(()))
    }

    /// Sends the guest a break. The client waits meanwhile, so that it cannot ask for more of them than QEMU takes.
    async fn send_break(&self) {
        let id = self.guest.borrow().device(self.device, self.number).map(|(id, _)| id.to_owned());
        if let (Some(id), Port::Open(_)) = (id, &self.port) {
            self.server.hub.ports().send_break(&id).await;
        }
    }

    /// Gives the client a text about the device.
    fn tell(&mut self, text: &str) -> Result<(), ChannelEnd> {
        Ok(self.connection.machine.notify(text, Instant::now())?)
    }
}

impl Server {
    /// Asks QEMU for a connection to the port `id`.
    fn open(&self, id: &str) -> Port {
        let opening = self.hub.ports().connect(id).and_then(|(stream, told)| {
            stream.set_nonblocking(true)?;
            Ok(Port::Opening { stream: UnixStream::from_std(stream)?, told, changed: false })
        });
        opening.unwrap_or_else(|error| {
            self.log.log(|_| warn!(%error, port = id, "cannot connect to the guest's port"));
            Port::Closed { tried: true }
        })
    }
}

impl Port {
    /// Waits until something becomes of the port, or it can be read or written. Cancel-safe.
    async fn turn(&mut self, reads: bool, writes: bool) -> Turned {
        let interest = match (reads, writes) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        };
        match (self, interest) {
            (Self::Opening { told, .. }, _) => Turned::Answered(told.await.is_ok()),
            (Self::Open(stream), Some(interest)) => {
                let _ = stream.ready(interest).await; // what is wrong with it is found when it is used
                Turned::Ready
            }
            _ => std::future::pending().await,
        }
    }
}
