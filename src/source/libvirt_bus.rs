//! The bus that libvirt starts for a domain. Its socket has another name each time, so that the next one is found by
//! looking into the folder of all of them; libvirt itself is not asked.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zbus::address::Transport;
use zbus::address::transport::{Unix, UnixSocket};

use super::SourceError;
use super::dbus::{Bus, Qemu};
use crate::libvirt::OwnBus;

/// The most buses of like names that are tried.
const BUSES_MAX: usize = 16;

/// Connects to QEMU on the newest bus that is of the domain with this UUID.
pub(super) async fn reach(bus: &OwnBus, uuid: &str, name: &str) -> Result<Qemu, SourceError> {
    let wrong = |error| SourceError::DomainBuses { folder: bus.folder.clone(), error };
    for number in numbers(bus).map_err(wrong)? {
        let socket = bus.socket(number);
        let connected = match Bus::connect(Some(&address(&socket)), name).await {
            Ok(connected) => connected,
            Err(_) => match foreign_owner(&socket) {
                Some(owner) => return Err(SourceError::ForeignBus { bus: socket, owner }),
                // What a domain has left behind.
                None => continue,
            },
        };
        let Some(owner) = connected.owner().await? else { continue };
        let qemu = connected.into_qemu(owner).await;
        if qemu.uuid().await?.eq_ignore_ascii_case(uuid) {
            return Ok(qemu);
        }
    }
    Err(SourceError::NoDomainBus { bus: bus.folder.join(format!("*{}", bus.ending)) })
}

/// Returns the D-Bus address of a socket.
pub(crate) fn address(socket: &Path) -> String {
    let socket = UnixSocket::File(socket.to_owned());
    zbus::Address::from(Transport::Unix(Unix::new(socket))).to_string()
}

/// Returns the numbers of the buses that may be the domain's, the newest first.
fn numbers(bus: &OwnBus) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    match std::fs::read_dir(&bus.folder) {
        Ok(files) => {
            for file in files {
                let name = file?.file_name();
                numbers.extend(name.to_str().and_then(|name| bus.number_of(name)));
            }
        }
        // libvirt makes the folder as it starts.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    numbers.sort_unstable_by(|one, other| other.cmp(one));
    numbers.truncate(BUSES_MAX);
    Ok(numbers)
}

/// Returns whose a socket is, if it is somebody else's: a bus lets in nobody but its user.
fn foreign_owner(socket: &Path) -> Option<u32> {
    let owner = std::fs::metadata(socket).ok()?.uid();
    Some(owner).filter(|owner| *owner != rustix::process::geteuid().as_raw())
}
