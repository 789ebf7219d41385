//! The guest's serial ports: which there are, what they are to viewers, and who wants to speak with one.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

/// The name of the port on which the guest's agent listens (`spice-vdagentd`'s `DEFAULT_VIRTIO_PORT_PATH`).
pub(crate) const AGENT_PORT: &str = "com.redhat.spice.0";

/// Requests that wait for the source at most. Each port has one user, who asks once.
const REQUESTS: usize = 64;

/// Names of ports that are for nobody who only uses the guest: QEMU's monitors, with which one can do anything to the
/// VM and to files of its host's user, and the agents that do so inside of the guest.
const OF_ADMINISTRATORS: [&str; 2] = ["org.qemu.monitor.", "org.qemu.guest_agent."];

/// Facts about a serial port of the guest that its VMM passes on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PortInfo {
    /// Its name, which says what it is for; several may have the same.
    pub name: String,
    /// Whether a program in the guest has it open.
    pub is_open: bool,
    /// Whether the VMM says that some program of the host is connected to it.
    pub is_taken: bool,
    /// Its number among those that are the same kind of device.
    pub number: u8,
}

/// What a port is to viewers.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Device {
    /// A socket for a USB device of the viewer's.
    Usb,
    /// A folder of the viewer's.
    Folder,
    /// A stream of bytes that has a name, such as a serial console.
    Stream,
}

impl Device {
    /// Returns what the port of this name is. `None` if it is not for viewers, or for their agents; one without a name
    /// could be anything.
    #[must_use]
    pub(crate) fn of_port(name: &str) -> Option<Self> {
        match name {
            "" | AGENT_PORT => None,
            // As `-chardev spicevmc` has it, and as QEMU's D-Bus display has it.
            "usbredir" => Some(Self::Usb),
            _ if name.starts_with("org.qemu.usbredir") => Some(Self::Usb),
            "org.spice-space.webdav.0" => Some(Self::Folder),
            _ if OF_ADMINISTRATORS.iter().any(|prefix| name.starts_with(prefix)) => None,
            _ => Some(Self::Stream),
        }
    }
}

/// Something to do with a port, for the source.
#[derive(Debug)]
pub(crate) struct PortRequest {
    /// The port, by the VMM's name for it.
    pub(crate) id: String,
    /// What to do.
    pub(crate) wish: PortWish,
    /// Is told when it is done, and dropped if it cannot be.
    pub(crate) done: oneshot::Sender<()>,
}

/// What is to be done with a port.
#[derive(Debug)]
pub(crate) enum PortWish {
    /// To connect it to this end of a new connection, which is dropped if there is no such port.
    Connect(UnixStream),
    /// To send a break, as on a serial line.
    Break,
}

/// The requests for ports, from whoever wants one to the source.
#[derive(Clone, Debug)]
pub(crate) struct PortRequests {
    ask: mpsc::Sender<PortRequest>,
    asked: Arc<Mutex<mpsc::Receiver<PortRequest>>>,
}

impl Default for PortRequests {
    fn default() -> Self {
        let (ask, asked) = mpsc::channel(REQUESTS);
        Self { ask, asked: Arc::new(Mutex::new(asked)) }
    }
}

impl PortRequests {
    /// Returns a connection to the port `id`, and what is told once it leads there. It ends at once if there is no such
    /// port or somebody else is connected to it, and when the VM is gone.
    ///
    /// # Errors
    /// If no socket can be had.
    pub(crate) fn connect(&self, id: &str) -> std::io::Result<(UnixStream, oneshot::Receiver<()>)> {
        let (ours, socket) = UnixStream::pair()?;
        Ok((ours, self.ask(id, PortWish::Connect(socket))))
    }

    /// Sends a break to the port `id`. Waits until that is done, or cannot be.
    pub(crate) async fn send_break(&self, id: &str) {
        let _ = self.ask(id, PortWish::Break).await; // a port that is gone has no use for it
    }

    fn ask(&self, id: &str, wish: PortWish) -> oneshot::Receiver<()> {
        let (done, told) = oneshot::channel();
        // Where too many wait, this one ends.
        let _ = self.ask.try_send(PortRequest { id: id.to_owned(), wish, done });
        told
    }

    /// Waits for the next request. For the source alone. Cancel-safe.
    pub(crate) async fn next(&self) -> PortRequest {
        match self.asked.lock().await.recv().await {
            Some(request) => request,
            None => std::future::pending().await, // `self` keeps a sender
        }
    }

    /// Drops the requests for a VM that is gone.
    pub(crate) fn forget(&self) {
        if let Ok(mut asked) = self.asked.try_lock() {
            while asked.try_recv().is_ok() {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[tokio::test]
    async fn a_connection_leads_to_whoever_serves_the_port_or_ends() {
        let requests = PortRequests::default();
        let (mut ours, told) = requests.connect("agent").unwrap();
        let request = requests.next().await;
        assert_eq!(request.id, "agent");
        let PortWish::Connect(mut socket) = request.wish else { panic!("{:?}", request.wish) };
        socket.write_all(b"hello").unwrap();
        request.done.send(()).unwrap();
        assert!(told.await.is_ok());
        drop(socket);
        let mut heard = String::new();
        ours.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "hello");

        let mut many: Vec<_> = (0..=REQUESTS).map(|_| requests.connect("agent").unwrap().0).collect();
        assert_eq!(many[REQUESTS].read(&mut [0]).unwrap(), 0, "too many wait");
        requests.forget();
        assert_eq!(many[0].read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn names_say_what_a_port_is_and_no_viewer_gets_a_monitor() {
        let of = |names: &[&str]| names.iter().map(|name| Device::of_port(name)).collect::<Vec<_>>();
        let usb = of(&["org.qemu.usbredir", "org.qemu.usbredir.1", "usbredir"]);
        assert_eq!(usb, [Some(Device::Usb); 3]);
        assert_eq!(of(&["org.spice-space.webdav.0"]), [Some(Device::Folder)]);
        let streams = of(&["org.qemu.console.serial.0", "com.example.anything"]);
        assert_eq!(streams, [Some(Device::Stream); 2]);
        let none = of(&[
            "",
            "com.redhat.spice.0",
            "org.qemu.monitor.hmp.0",
            "org.qemu.monitor.qmp.7",
            "org.qemu.guest_agent.0",
        ]);
        assert_eq!(none, [None; 5]);
    }
}
