//! The commands that speak to a qemu-spice that runs, over a bus.

use std::io::Write;

use anyhow::bail;

use super::{new_password, record, say, screenshot};
use crate::admin::{self, ControlError, MessageBus, status, watch};
use crate::cli::Command;

/// Carries out a command that has to do with a bus.
pub(super) async fn perform(command: Command) -> anyhow::Result<()> {
    let bus = |address: Option<String>| address.map_or(MessageBus::Session, MessageBus::Address);
    let control = async |address, server: String| -> anyhow::Result<admin::Control> {
        Ok(admin::Control::find(&bus(address).connect().await?, &server)?)
    };
    match command {
        Command::Status { dbus_address, json, watch } => status(&bus(dbus_address), json, watch).await,
        Command::Disconnect { clients, all, dbus_address, server } => {
            disconnect(control(dbus_address, server).await?, clients, all).await
        }
        Command::Password { keep, expires, connected, dbus_address, server } => {
            let change = Change { password: !keep, expires, connected };
            password(control(dbus_address, server).await?, change).await
        }
        Command::Invite { look, once, until, lasts, name, host, revoke, dbus_address, server } => {
            let control = control(dbus_address, server).await?;
            let until = lasts.map(|seconds| format!("+{seconds}")).or(until).unwrap_or("never".to_owned());
            match revoke {
                Some(invitation) => Ok(control.revoke(invitation).await?),
                None => tell(&control.invite(&name, (look, once), &until, &host).await?),
            }
        }
        Command::Record(what) => {
            record::record(&control(what.dbus_address.clone(), what.server.clone()).await?, &what).await
        }
        Command::Screenshot(what) => {
            let control = control(what.dbus_address.clone(), what.server.clone()).await?;
            screenshot::screenshot(&control, &what).await
        }
        Command::Probe
        | Command::User { .. }
        | Command::Certificate { .. }
        | Command::Check { .. }
        | Command::EncoderLauncher { .. }
        | Command::Encoder { .. }
        | Command::Generate { .. }
        | Command::LibvirtHook { .. } => {
            bail!("this command has nothing to do with a bus")
        }
    }
}

async fn status(bus: &MessageBus, json: bool, goes_on: bool) -> anyhow::Result<()> {
    let connection = bus.connect().await?;
    // First, so that nothing between the two is missed.
    let watch = if goes_on {
        Some(watch::Watch::start(bus.connect().await?, connection.clone()).await?)
    } else {
        None
    };
    let servers = status::ask(&connection).await?;
    if json {
        say(&status::to_json(&servers).to_string())?;
    } else if !servers.is_empty() {
        say(status::to_text(&servers).trim_end())?;
    } else if !goes_on {
        bail!("no qemu-spice on {bus}: where QEMU is not on a bus itself, it needs --relay-bus");
    }
    let Some(mut watch) = watch else { return Ok(()) };
    while let Some(event) = watch.next().await {
        say(&if json { event.to_json().to_string() } else { event.to_text() })?;
    }
    bail!("the connection to {bus} ended");
}

/// Disconnects these clients of a server, or all.
async fn disconnect(control: admin::Control, clients: Vec<u64>, all: bool) -> anyhow::Result<()> {
    let clients = if all { control.clients().await? } else { clients };
    for client in clients {
        match control.disconnect(client).await {
            // It left by itself.
            Err(ControlError::NoClient(_)) if all => {}
            done => done?,
        }
    }
    Ok(())
}

/// Tells of an invitation. The connection file goes to standard output, all else to people.
fn tell(invitation: &admin::Invitation) -> anyhow::Result<()> {
    let admin::Invitation { id, secret, file, page } = invitation;
    let secret = secret.as_str();
    let name = file.lines().find_map(|line| line.strip_prefix("username="));
    let whose =
        name.map_or_else(|| "as the password".to_owned(), |name| format!("as the password of user {name}"));
    if !page.is_empty() {
        writeln!(std::io::stderr(), "Invitation {id}, for a browser:\n  {}", page.as_str())?;
    }
    writeln!(
        std::io::stderr(),
        "Invitation {id}: open the connection file that is printed on standard output with remote-viewer, or give\n  \
         {secret}\n{whose}. To withdraw it: qemu-spice invite --revoke {id}"
    )?;
    if file.is_empty() { Ok(()) } else { say(file.trim_end()) }
}

/// What `qemu-spice password` changes.
struct Change {
    password: bool,
    expires: Option<String>,
    connected: String,
}

/// Changes the password of a server on a bus. A new one is read from standard input.
async fn password(control: admin::Control, change: Change) -> anyhow::Result<()> {
    if change.password {
        control.set_password(&new_password()?, &change.connected).await?;
    }
    if let Some(time) = change.expires {
        control.expire_password(&time).await?;
    }
    Ok(())
}
