//! The guest's serial ports: which there are, and who wants to speak with one.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

/// The name of the port on which the guest's agent listens (`spice-vdagentd`'s `DEFAULT_VIRTIO_PORT_PATH`).
pub(crate) const AGENT_PORT: &str = "com.redhat.spice.0";

/// Requests that wait for the source at most. Each port has one user, who asks once.
const REQUESTS: usize = 64;

/// Facts about a serial port of the guest that its VMM passes on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PortInfo {
    /// Its name, which says what it is for; several may have the same.
    pub name: String,
    /// Whether a program in the guest has it open.
    pub is_open: bool,
}

/// A connection to a port, for the source to bring about.
#[derive(Debug)]
pub struct PortRequest {
    /// The port, by the VMM's name for it.
    pub id: String,
    /// The end of a new connection that the port gets. It is dropped if there is no such port.
    pub socket: UnixStream,
}

/// The requests for connections to ports, from whoever wants one to the source.
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
    /// Returns a connection to the port `id`, in place of the one that it may have had. It ends at once if there is
    /// no such port, and when the VM is gone.
    ///
    /// # Errors
    /// If no socket can be had.
    pub(crate) fn connect(&self, id: &str) -> std::io::Result<UnixStream> {
        let (ours, socket) = UnixStream::pair()?;
        // Where too many wait, this one ends.
        let _ = self.ask.try_send(PortRequest { id: id.to_owned(), socket });
        Ok(ours)
    }

    /// Waits for the next request. For the source alone.
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
        let mut ours = requests.connect("agent").unwrap();
        let mut request = requests.next().await;
        assert_eq!(request.id, "agent");
        request.socket.write_all(b"hello").unwrap();
        drop(request);
        let mut heard = String::new();
        ours.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "hello");

        let mut many: Vec<_> = (0..=REQUESTS).map(|_| requests.connect("agent").unwrap()).collect();
        assert_eq!(many[REQUESTS].read(&mut [0]).unwrap(), 0, "too many wait");
        requests.forget();
        assert_eq!(many[0].read(&mut [0]).unwrap(), 0);
    }
}
