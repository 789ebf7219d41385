//! The display of one of libvirt's domains, which virsh is asked for: libvirt's library is not needed to build or to
//! run.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::json;

use crate::cli::Serve;
use crate::libvirt::{Display, Domain, OwnBus};
use crate::source::Attach;

/// The folder of the buses of qemu:///system, unless libvirt was built for other paths than Debian's and Fedora's.
const SYSTEM_BUSES: &str = "/run/libvirt/qemu/dbus";

/// The folder of the buses of qemu:///session, in the user's runtime directory.
const SESSION_BUSES: &str = "libvirt/qemu/run/dbus";

/// What QEMU calls the socket that it is handed.
const FD_NAME: &str = "qemu-spice";

/// Finds the way to the display of a domain.
///
/// # Errors
/// If there is no such domain, it has no D-Bus display, or it does not run and is not to be waited for.
pub(super) fn find(domain: &str, options: &Serve) -> anyhow::Result<Attach> {
    let libvirt = Virsh { connect: options.connect.as_deref() };
    let xml = libvirt.ask(&["dumpxml", &format!("--domain={domain}")], Stdio::null())?;
    let found = Domain::parse(&xml).with_context(|| format!("--libvirt {domain}"))?;
    let name = &found.name;
    let needs_to_run = || format!("the domain {name} does not run: start it first");
    match found.display {
        Display::None => bail!("the domain {name} has no D-Bus display: give it <graphics type='dbus'/>"),
        Display::Bus(address) => Ok(Attach::Bus(address)),
        Display::OwnBus(Some(bus)) => Ok(Attach::Libvirt { bus, uuid: found.uuid }),
        Display::OwnBus(None) if options.wait => {
            let bus = OwnBus::of_name(name, &libvirt.buses()?);
            Ok(Attach::Libvirt { bus, uuid: found.uuid })
        }
        Display::OwnBus(None) => bail!("{}, or give --wait", needs_to_run()),
        Display::PeerToPeer if !found.runs => bail!("{}, because its display has p2p='yes'", needs_to_run()),
        Display::PeerToPeer => Ok(Attach::Peer(libvirt.open_display(&found.uuid)?)),
    }
}

/// libvirt, as virsh reaches it.
struct Virsh<'a> {
    /// Its URI.
    connect: Option<&'a str>,
}

impl Virsh<'_> {
    /// Runs one of virsh's commands, and returns what it prints.
    fn ask(&self, arguments: &[&str], input: Stdio) -> anyhow::Result<String> {
        let mut command = Command::new("virsh");
        command.arg("--quiet").args(self.connect.map(|uri| format!("--connect={uri}"))).args(arguments);
        let run = command.stdin(input).env("LC_ALL", "C.UTF-8").output();
        let done = run.context("cannot run virsh, which --libvirt needs (Debian: libvirt-clients)")?;
        if !done.status.success() {
            let told = String::from_utf8_lossy(&done.stderr);
            let reasons: Vec<&str> = told.lines().map(|line| line.trim_start_matches("error: ")).collect();
            bail!("virsh {}: {}", arguments.first().unwrap_or(&""), reasons.join(" ").trim());
        }
        String::from_utf8(done.stdout).context("virsh prints something else than text")
    }

    /// Returns the folder of the buses that libvirt starts.
    fn buses(&self) -> anyhow::Result<PathBuf> {
        let uri = self.ask(&["uri"], Stdio::null())?;
        match uri.trim() {
            "qemu:///system" => Ok(SYSTEM_BUSES.into()),
            "qemu:///session" => {
                let runtime = std::env::var_os("XDG_RUNTIME_DIR").context("XDG_RUNTIME_DIR is not set")?;
                Ok(Path::new(&runtime).join(SESSION_BUSES))
            }
            other => bail!(
                "where {other} has its buses is not known while the domain does not run: start it first"
            ),
        }
    }

    /// Has QEMU serve its display on a socket of ours, as virDomainOpenGraphicsFD does; virsh has no command for that.
    fn open_display(&self, uuid: &str) -> anyhow::Result<OwnedFd> {
        let (ours, theirs) = UnixStream::pair()?;
        let domain = format!("--domain={uuid}");
        let monitor = ["qemu-monitor-command", domain.as_str()];
        let get = json!({ "execute": "getfd", "arguments": { "fdname": FD_NAME } }).to_string();
        let arguments = json!({ "protocol": "@dbus-display", "fdname": FD_NAME });
        let add = json!({ "execute": "add_client", "arguments": arguments }).to_string();
        // The socket is virsh's standard input.
        let pass = [monitor.as_slice(), &["--pass-fds=0", &get]].concat();
        self.monitor(&pass, Stdio::from(OwnedFd::from(theirs)))?;
        self.monitor(&[monitor.as_slice(), &[&add]].concat(), Stdio::null())?;
        Ok(ours.into())
    }

    /// Gives QEMU a command. virsh takes QEMU's refusal for an answer.
    fn monitor(&self, arguments: &[&str], input: Stdio) -> anyhow::Result<()> {
        let answer = self.ask(arguments, input)?;
        let parsed: serde_json::Value =
            serde_json::from_str(&answer).context("QEMU's answer through virsh")?;
        match parsed.get("error") {
            None => Ok(()),
            Some(error) => {
                let reason = error.get("desc").and_then(serde_json::Value::as_str).unwrap_or_default();
                bail!("QEMU refuses a connection to its display: {reason}")
            }
        }
    }
}
