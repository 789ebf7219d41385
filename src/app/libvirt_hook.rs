//! libvirt's hook, which libvirt runs as root when a domain starts or stops (libvirt.org/hooks.html).
//!
//! It reads XML, writes a configuration file and has systemd start a unit; all else is the unit's. A domain starts and
//! stops whatever goes wrong here.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use tracing::{error, info};

use crate::libvirt::{self, Display, Domain, XML_MAX};
use crate::source;

/// The folder of the configurations of domains that run.
const FOLDER: &str = "/run/qemu-spice-libvirt";

/// The bus for `qemu-spice status` and the like.
const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";

/// Does what an operation of libvirt's needs.
///
/// # Errors
/// If standard output is closed. What else goes wrong is logged: libvirt would end a domain whose hook fails.
pub(super) fn called(name: &str, operation: &str) -> anyhow::Result<()> {
    let done = match operation {
        // Not again for a unit that has survived a restart of libvirt.
        "started" => serve(name, "restart"),
        "reconnect" => serve(name, "start"),
        "stopped" => stop(name),
        // What is printed takes the place of the XML.
        "restore" | "migrate" => match domain_xml().and_then(|xml| Ok(libvirt::without_own_bus(&xml)?)) {
            Ok(Some(xml)) => return super::say(&xml),
            done => done.map(|_| ()),
        },
        _ => Ok(()),
    };
    if let Err(wrong) = done {
        error!(domain = name, operation, "the domain {name} is not served: {wrong:#}");
    }
    Ok(())
}

/// Starts the unit of a domain, if that has a D-Bus display.
fn serve(name: &str, verb: &str) -> anyhow::Result<()> {
    let domain = Domain::parse(&domain_xml()?)?;
    let address = match &domain.display {
        Display::None => return Ok(()),
        Display::PeerToPeer => bail!(
            "its display has p2p='yes', and so no bus: take that out, or run `qemu-spice --libvirt` as a user that \
             libvirt lets in"
        ),
        Display::Bus(address) => address.clone(),
        Display::OwnBus(bus) => {
            let numbered = bus.as_ref().and_then(|bus| Some(bus.socket(bus.number?)));
            source::address(&numbered.context("its XML does not say where its bus is")?)
        }
    };
    let instance = libvirt::instance(name);
    let socket = format!("unix:/run/qemu-spice/{instance}/spice.sock");
    let defaults = [
        ("spice-addr", format!("[{}]", libvirt::quoted(&socket))),
        ("relay-bus", libvirt::quoted(SYSTEM_BUS)),
    ];
    let file = configuration_file(name);
    let text = libvirt::configuration(name, &address, &domain.settings, &defaults)?;
    fs::create_dir_all(FOLDER).with_context(|| format!("cannot make {FOLDER}"))?;
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    if verb == "restart" {
        // systemd refuses to start a unit more than five times in ten seconds. Those before may have been of another
        // configuration of the domain. A unit that it does not know has none.
        let _ = systemctl("reset-failed", name);
    }
    systemctl(verb, name)?;
    info!(domain = name, "the domain {name} is served by {}", unit(name));
    Ok(())
}

/// Stops the unit of a domain, if there is one.
fn stop(name: &str) -> anyhow::Result<()> {
    let file = configuration_file(name);
    match fs::remove_file(&file) {
        Ok(()) => systemctl("stop", name),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", file.display())),
    }
}

/// Has systemd do something with a unit, without waiting for it: libvirt waits for us.
fn systemctl(verb: &str, name: &str) -> anyhow::Result<()> {
    let mut command = Command::new("systemctl");
    command.args(["--no-block", verb, "--", &unit(name)]).stdin(Stdio::null());
    let done = command.output().context("cannot run systemctl")?;
    if !done.status.success() {
        bail!("systemctl {verb}: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(())
}

fn unit(name: &str) -> String {
    format!("qemu-spice-libvirt@{}.service", libvirt::instance(name))
}

fn configuration_file(name: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{}.toml", libvirt::instance(name)))
}

/// Reads the domain's XML from standard input.
fn domain_xml() -> anyhow::Result<String> {
    let (mut text, limit) = (String::new(), u64::try_from(XML_MAX)?.saturating_add(1));
    io::stdin().take(limit).read_to_string(&mut text).context("the domain's XML on standard input")?;
    Ok(text)
}
