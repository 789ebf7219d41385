//! A D-Bus message bus of a test's own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A dbus-daemon. It ends when dropped.
pub struct PrivateBus {
    daemon: Child,
    _dir: tempfile::TempDir,
    pub address: String,
}

impl PrivateBus {
    /// Starts one; `None`, with the reason printed, where there is none.
    pub fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let address = format!("unix:path={}", dir.path().join("bus").display());
        Self::start_at(dir, address)
    }

    fn start_at(dir: tempfile::TempDir, address: String) -> Option<Self> {
        let daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address", &format!("--address={address}")])
            .stdout(Stdio::piped())
            .spawn();
        let mut daemon = match daemon {
            Ok(daemon) => daemon,
            Err(error) => {
                eprintln!("skipped: no dbus-daemon ({error})");
                return None;
            }
        };
        let mut line = String::new();
        BufReader::new(daemon.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Some(Self { daemon, _dir: dir, address })
    }

    /// Ends, and starts again at the same address.
    pub fn restart(&mut self) {
        self.stop();
        let socket = self.address.trim_start_matches("unix:path=");
        let _ = std::fs::remove_file(socket);
        let dir = tempfile::tempdir().unwrap();
        let mut again = Self::start_at(dir, self.address.clone()).unwrap();
        std::mem::swap(&mut self.daemon, &mut again.daemon);
    }

    pub async fn connect(&self) -> zbus::Connection {
        let bus = zbus::connection::Builder::address(self.address.as_str()).unwrap();
        bus.method_timeout(crate::scripted_qemu::PATIENCE).build().await.unwrap()
    }

    fn stop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        self.stop();
    }
}
