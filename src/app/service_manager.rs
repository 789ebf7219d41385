//! What a service manager is told while the program runs (sd_notify(3)): how it is doing, and that it is alive.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::hub::{Guest, Hub};
use crate::spice::Access;

/// Pause between two status lines: they are read by people, and clients may come by the hundred.
const PAUSE: Duration = Duration::from_millis(250);

/// The most characters of a VM's name in a status line.
const NAME_MAX: usize = 64;

/// Keeps the service manager told until the end, if there is one.
pub(super) async fn keep_told(hub: Hub, access: Access, end: CancellationToken) {
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        tokio::join!(tell_status(hub, access, &end), feed_watchdog(&end));
    }
}

/// Keeps the status line current.
async fn tell_status(hub: Hub, access: Access, end: &CancellationToken) {
    let (mut guest, mut sessions) = (hub.guest(), access.sessions().changes());
    let mut told = String::new();
    loop {
        let status = status(&guest.borrow_and_update(), access.sessions().count());
        if status != told {
            let _ = sd_notify::notify(&[NotifyState::Status(&status)]);
            told = status;
        }
        let is_over = tokio::select! {
            () = end.cancelled() => true,
            changed = guest.changed() => changed.is_err(),
            changed = sessions.changed() => changed.is_err(),
        };
        if is_over || end.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
            return;
        }
    }
}

/// Tells the watchdog, if there is one, that the thread of all sockets still turns.
async fn feed_watchdog(end: &CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    // sd_watchdog_enabled(3) recommends half.
    let half = limit.checked_div(2).filter(|half| !half.is_zero());
    let Some(half) = half else { return };
    while end.run_until_cancelled(tokio::time::sleep(half)).await.is_some() {
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
    }
}

/// Describes the VM and how many clients it has, in one line.
fn status(guest: &Guest, clients: usize) -> String {
    let clients = match clients {
        1 => "1 client".to_owned(),
        number => format!("{number} clients"),
    };
    if guest.consoles.is_empty() {
        return format!("Waiting for a virtual machine; {clients}");
    }
    // INVARIANT: one line, because the next one would be another message to the service manager, in the VM's words.
    let name: String = guest.name.chars().filter(|letter| !letter.is_control()).take(NAME_MAX).collect();
    match name.as_str() {
        "" => format!("Serving a virtual machine; {clients}"),
        name => format!("Serving {name}; {clients}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::ConsoleInfo;

    #[test]
    fn the_status_is_one_line_whatever_the_machine_is_called() {
        let mut guest = Guest::default();
        assert_eq!(status(&guest, 0), "Waiting for a virtual machine; 0 clients");
        guest.consoles.insert(crate::frame::ConsoleId(0), ConsoleInfo::default());
        assert_eq!(status(&guest, 2), "Serving a virtual machine; 2 clients");
        guest.name = format!("a\nMAINPID=1\n{}", "b".repeat(1000));
        let status = status(&guest, 1);
        assert!(status.starts_with("Serving aMAINPID=1b") && status.ends_with("b; 1 client"), "{status}");
        assert!(status.len() < 100, "{status}");
    }
}
