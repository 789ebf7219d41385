//! What the program needs of the system while it serves, by its options.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tracing::warn;

use crate::admin::MessageBus;
use crate::cli::{DeviceSocket, Sandbox, Serve};
use crate::encode;
use crate::publish::Target;
use crate::sandbox::{self, Level, Needs, folder_of};
use crate::source::Attach;
use crate::transport::{Address, Tls};

/// Closes the program off from all but what it needs. The sockets that viewers connect to are open already.
pub(super) fn close(
    options: &Serve,
    attach: Option<&Attach>,
    relay_bus: Option<&MessageBus>,
) -> anyhow::Result<()> {
    let level = match options.sandbox {
        Sandbox::On => Level::On,
        Sandbox::Strict => Level::Strict,
        Sandbox::Off => {
            warn!("--sandbox off: the program may do all that its user may");
            return Ok(());
        }
    };
    // GLib asks for the desktop's proxies, of which none is reached, by a library that writes to the user's files.
    crate::sys::set_variable("GSETTINGS_BACKEND", "memory");
    // Where plugins are new it starts a program to look at them. If it fails, those tell who want an encoder.
    let _ = encode::start();
    let mut needs = sandbox::needs_of_encoders();
    if let Some(service_manager) = std::env::var_os("NOTIFY_SOCKET") {
        needs.connect_unix(service_manager.as_encoded_bytes().starts_with(b"@"));
    }
    match attach {
        Some(Attach::Qmp(path)) if path.as_os_str().as_encoded_bytes().starts_with(b"@") => {
            needs.connect_unix(true);
        }
        Some(Attach::Qmp(path)) => connect(&mut needs, path),
        Some(Attach::Libvirt { bus, .. }) => {
            // The next bus is found by its name.
            needs.read(&bus.folder);
            needs.connect_unix(false);
            connect(&mut needs, &bus.socket(bus.number.unwrap_or_default()));
        }
        _ => {}
    }
    // On a connection that was handed over nothing is connected to, and no socket is made.
    for bus in buses(attach, relay_bus) {
        reach(&mut needs, &bus)?;
    }
    if let Some(folder) = &options.tls_creds {
        certificates(&mut needs, folder);
    }
    if let Some(file) = &options.sasl_users {
        // A file that is written again is another one, in the same folder.
        needs.read(folder_of(file));
        needs.read(folder_of(&resolved(file)));
    }
    if options.vhost_user_gpu.is_some() {
        // What a VMM says goes to the crate that reads it by such a socket.
        needs.listen();
    }
    for socket in sockets(options) {
        needs.remove(socket);
    }
    for target in &options.publish {
        match target {
            Target::File(path) => needs.write_beside(path),
            Target::Rtp { .. } | Target::Rtmp(_) | Target::Rtsp(_) | Target::Srt(_) | Target::Whip(_) => {
                needs.connect_network(target.tcp_port())
            }
        }
    }
    sandbox::close(&needs, level).context("--sandbox")
}

/// Closes an encoder's process off, which has the socket that it needs.
pub(super) fn close_encoder(how: Sandbox) -> anyhow::Result<()> {
    let level = match how {
        Sandbox::On => Level::On,
        Sandbox::Strict => Level::Strict,
        Sandbox::Off => return Ok(()),
    };
    // As above. Where it does not start, that is the answer to who wants an encoder.
    let _ = encode::start();
    sandbox::close(&sandbox::needs_of_encoders(), level).context("--sandbox")
}

/// The addresses of the buses that the program speaks on, now and after they were gone.
fn buses(attach: Option<&Attach>, relay_bus: Option<&MessageBus>) -> Vec<String> {
    // Without the variable it is in the user's folder of sockets.
    let session = || Some(std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_else(|_| "unix:".to_owned()));
    let of_qemu = match attach {
        Some(Attach::Bus(address)) => Some(address.clone()),
        Some(Attach::SessionBus) => session(),
        _ => None,
    };
    let ours = match relay_bus {
        Some(MessageBus::Address(address)) => Some(address.clone()),
        Some(MessageBus::Session) => session(),
        None => None,
    };
    of_qemu.into_iter().chain(ours).collect()
}

/// Lets the program reach a bus at this address, or several with `;` between them.
fn reach(needs: &mut Needs, bus: &str) -> anyhow::Result<()> {
    for address in bus.split(';') {
        let (transport, keys) = address.split_once(':').unwrap_or((address, ""));
        let key = |name: &str| {
            keys.split(',').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)
        };
        match transport {
            "unix" => {
                needs.connect_unix(key("abstract").is_some());
                if let Some((_, path)) = key("path") {
                    connect(needs, Path::new(path));
                }
            }
            "tcp" | "nonce-tcp" => {
                needs.connect_network(key("port").and_then(|(_, port)| port.parse().ok()));
                if let Some((_, file)) = key("noncefile") {
                    needs.read(file);
                }
            }
            "unixexec" => {
                bail!("the bus {address} is reached by starting a program, which takes --sandbox off")
            }
            _ => {}
        }
    }
    Ok(())
}

/// Lets the program connect to a unix socket, by root's rights where it is another user's, or will be: it is in a
/// folder of theirs.
fn connect(needs: &mut Needs, path: &Path) {
    needs.connect_unix(false);
    let owner = path.metadata().or_else(|_| folder_of(path).metadata()).map(|found| found.uid());
    if owner.is_ok_and(|owner| owner != rustix::process::geteuid().as_raw()) {
        needs.connect_to_others();
    }
}

/// Lets the program read the certificate's files, which may be links to others elsewhere, again and again.
fn certificates(needs: &mut Needs, folder: &Path) {
    needs.read(folder);
    for file in Tls::FILES {
        needs.read(folder_of(&resolved(&folder.join(file))));
    }
}

/// Where a file really is.
fn resolved(file: &Path) -> PathBuf {
    file.canonicalize().unwrap_or_else(|_| file.to_owned())
}

/// The sockets with files of our own, which are removed at the end.
fn sockets(options: &Serve) -> impl Iterator<Item = &Path> {
    let listening = options.spice_addr.iter().chain(&options.web_addr).chain(&options.metrics_addr);
    let listening = listening.filter_map(|address| match address {
        Address::Unix(path) => Some(path.as_path()),
        _ => None,
    });
    let devices = options.vhost_user_gpu.iter().chain(&options.vhost_user_input);
    listening.chain(devices.filter_map(|socket| match socket {
        DeviceSocket::Path(path) => Some(path.as_path()),
        DeviceSocket::Fd(_) => None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_is_reached_as_its_address_says() {
        let needs = |address: &str| {
            let mut needs = Needs::of_encoders(&[], &[]);
            reach(&mut needs, address).map(|()| needs)
        };
        let mut unix = Needs::of_encoders(&[], &[]);
        unix.connect_unix(false);
        assert_eq!(needs("unix:path=/run/user/1000/bus,guid=00").unwrap(), unix);
        unix.connect_unix(true);
        assert_eq!(needs("unix:abstract=/tmp/dbus-1").unwrap(), unix);
        let mut network = Needs::of_encoders(&[], &[]);
        network.connect_network(Some(4000));
        assert_eq!(needs("tcp:host=vm.example,port=4000").unwrap(), network);
        let told = needs("unixexec:path=ssh,argv1=host").unwrap_err().to_string();
        assert!(told.contains("--sandbox off"), "{told}");
    }
}
