//! Encoders in processes of their own: one that crashes or hangs takes nothing else with it.
//!
//! ```text
//!     program ── a request with a socket ──► launcher ── starts, waits, kills ──► encoder's process
//!        └──────────────── pictures and what is made of them (messages) ───────────────┘
//! ```
//!
//! The launcher is started before the program shuts itself off from the system, and does nothing but start processes.
//! It knows of each whether the program still has the other end of its socket: an encoder ends when that is closed,
//! whether it listens or hangs.

mod child;
mod launcher;
mod messages;
mod remote;

use std::path::Path;
use std::process::{Command, Stdio};

pub(crate) use child::encode_for_parent;
pub(super) use launcher::Launcher;
pub(crate) use launcher::launch_for_parent;
pub use messages::Answer;
pub(super) use remote::RemotePipeline;

/// What this program can be in another process.
#[derive(Clone, Copy, Debug)]
enum Role {
    Launcher,
    Encoder,
}

impl Role {
    /// Returns the command that starts it. Its standard input is to be a socket of the parent's.
    #[cfg(not(test))]
    fn command(self, words: &[String]) -> Command {
        let name = match self {
            Self::Launcher => crate::encode::LAUNCHER_COMMAND,
            Self::Encoder => crate::encode::ENCODER_COMMAND,
        };
        let mut command = self.bare(&[name]);
        command.args(words);
        command
    }

    /// Returns the command that starts it in tests, where this program is the tests.
    #[cfg(test)]
    fn command(self, _words: &[String]) -> Command {
        let test = match self {
            Self::Launcher => "encode::tests::process::be_a_launcher",
            Self::Encoder => "encode::tests::process::be_an_encoder",
        };
        self.bare(&["--exact", test, "--ignored", "--nocapture"])
    }

    fn bare(self, arguments: &[&str]) -> Command {
        let mut command = Command::new(Path::new("/proc/self/exe"));
        command.args(arguments).stdout(Stdio::null());
        command
    }
}
