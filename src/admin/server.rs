//! `org.qemu.Spice1.Server`: how we are doing, to be read, and who may enter, to be changed.
//!
//! What the comments of its properties say is in the introspection too, and `dbus-interfaces/org.qemu.Spice1.xml` has
//! to agree.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::info;
use zbus::interface;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::zvariant::{ObjectPath, OwnedFd, OwnedObjectPath, Value};
use zeroize::Zeroizing;

use super::ConnectionFile;
use super::screenshot::{Screenshot, ScreenshotError};
use crate::frame::{ConsoleId, MemoryKind};
use crate::hub::{ConsoleInfo, Draws, Hub};
use crate::publish::{RecordError, Recorder};
use crate::spice::invitations::user_name;
use crate::spice::{
    Access, AccessError, DeviceInfo, Expiry, Invitation, Invite, NewcomerError, Newcomers, Rights, devices,
};
use crate::viewer::{Roster, ViewerInfo};

/// One row of a table: property names and values.
type Properties = HashMap<&'static str, Value<'static>>;

/// The object `org.qemu.Spice1.Server`.
pub(super) struct StatusObject {
    pub(super) hub: Hub,
    pub(super) roster: Roster,
    pub(super) access: Access,
    pub(super) newcomers: Newcomers,
    pub(super) recorder: Recorder,
    /// The clients that have objects on this bus.
    pub(super) clients: Vec<OwnedObjectPath>,
    pub(super) addresses: Vec<String>,
    pub(super) pages: Vec<String>,
}

#[interface(name = "org.qemu.Spice1.Server", spawn = false)]
impl StatusObject {
    /// Asks clients for this password from now on, in the place of the one before, and without an end. "connected" says
    /// what becomes of those that are in: "keep" them, "disconnect" them, or "fail" if there are any.
    fn set_password(&self, password: String, connected: String) -> zbus::fdo::Result<()> {
        let password = Zeroizing::new(password);
        let connected = connected.parse().map_err(zbus::fdo::Error::InvalidArgs)?;
        self.access.set_password(&password, connected).map_err(refused)?;
        crate::sys::keep_memory_private();
        info!("the password was changed");
        Ok(())
    }

    /// Changes when the password expires, for clients that come later: "now", "never", "+SECONDS" or the seconds since
    /// 1970, as with QEMU.
    fn expire_password(&self, time: String) -> zbus::fdo::Result<()> {
        self.access.expire_password(time.parse().map_err(zbus::fdo::Error::InvalidArgs)?).map_err(refused)?;
        info!(time, "the password's end was changed");
        Ok(())
    }

    /// Makes an invitation: a secret that lets clients in beside the password, which they are asked for it. "name" is
    /// whom it is for (may be empty); with "look" they see the guest and their keys and pointer are ignored; with
    /// "once" one session uses it up; "until" is when it ends, and the sessions that came in by it: "never",
    /// "+SECONDS" or the seconds since 1970. Answers its number, the secret, the connection file with which
    /// remote-viewer enters, and the URL with which a browser does; they name "host", or the server's own address if
    /// that is empty. The file is empty if there is no address, and the URL if there is no page.
    #[zbus(out_args("invitation", "secret", "file", "page"))]
    fn invite(
        &self,
        name: String,
        look: bool,
        once: bool,
        until: String,
        host: String,
    ) -> zbus::fdo::Result<(u32, String, String, String)> {
        let until: Expiry = until.parse().map_err(zbus::fdo::Error::InvalidArgs)?;
        let until = until.time(SystemTime::now());
        let rights = if look { Rights::Look } else { Rights::Use };
        let invite = Invite { name, rights, once, until };
        let (id, secret) = self.access.invite(invite.clone()).map_err(refused)?;
        crate::sys::keep_memory_private();
        info!(invitation = id, name = invite.name, rights = rights.name(), once, "an invitation was made");
        let (file, page) = (self.connection_file(id, &host, &secret), self.page_link(&host, &secret));
        Ok((id, secret.to_string(), file, page))
    }

    /// Withdraws an invitation, and disconnects the clients that came in by it.
    fn revoke(&self, invitation: u32) -> zbus::fdo::Result<()> {
        self.access.revoke(invitation).map_err(refused)?;
        info!(invitation, "an invitation was revoked");
        Ok(())
    }

    /// Reads the certificate files again, for clients that come later.
    fn reload_certificates(&self) -> zbus::fdo::Result<()> {
        self.access.reload_certificates().map_err(refused)?;
        info!("the certificate was read again");
        Ok(())
    }

    /// Serves a client whose connection somebody else made: one for each of its channels. "socket" is a TCP or unix
    /// stream socket; with "skipauth" the client is asked for no password. TLS and WebSockets are found as on every
    /// address.
    fn add_client(&self, socket: OwnedFd, skipauth: bool) -> zbus::fdo::Result<()> {
        let handed = self.newcomers.hand_over(socket.into(), skipauth);
        handed.map_err(|error| match error {
            NewcomerError::Socket(_) => zbus::fdo::Error::InvalidArgs(error.to_string()),
            NewcomerError::Busy => zbus::fdo::Error::LimitsExceeded(error.to_string()),
        })
    }

    /// Keeps what a console shows from now on, and what the guest plays, in "file" as Matroska: the H.264 and the Opus
    /// that viewers get. "file" is a regular file that is open for writing, and is written from its beginning. Answers
    /// a stream socket: closing it, or shutting down one's sending half, ends the recording. Lines of JSON come from it
    /// with "time" (seconds), "bytes", "pictures" and "dropped" (pictures that the disk was too slow for), the last one
    /// with "ended": why it ended, empty if as asked. The file plays whenever it ends, whoever ends.
    #[zbus(out_args("control"))]
    fn record(
        &self,
        file: OwnedFd,
        console: u32,
        #[zbus(header)] header: Header<'_>,
    ) -> zbus::fdo::Result<OwnedFd> {
        let who = header.sender().map_or_else(String::new, ToString::to_string);
        let recording = self.recorder.record(console, file.into(), &who);
        recording.map(|control| std::os::fd::OwnedFd::from(control).into()).map_err(|error| match error {
            RecordError::Console(_) | RecordError::File => zbus::fdo::Error::InvalidArgs(error.to_string()),
            RecordError::Full => zbus::fdo::Error::LimitsExceeded(error.to_string()),
            _ => zbus::fdo::Error::Failed(error.to_string()),
        })
    }

    /// Copies what a console shows now, without the pointer where that is not part of the picture. "pixels" is memory
    /// with "height" rows from the top of "width" pixels of four bytes: blue, green, red, and one without a meaning.
    #[zbus(out_args("pixels", "width", "height"))]
    async fn screenshot(&self, console: u32) -> zbus::fdo::Result<(OwnedFd, u32, u32)> {
        let none = || zbus::fdo::Error::InvalidArgs(RecordError::Console(console).to_string());
        let console = self.hub.console(ConsoleId(console)).ok_or_else(none)?;
        let failed = |error: ScreenshotError| zbus::fdo::Error::Failed(error.to_string());
        let Screenshot { pixels, size } = Screenshot::take(console).await.map_err(failed)?;
        Ok((pixels.into(), size.width, size.height))
    }

    /// A client has logged in.
    #[zbus(signal)]
    pub(super) async fn client_connected(
        emitter: &SignalEmitter<'_>,
        client: &ObjectPath<'_>,
    ) -> zbus::Result<()>;

    /// A client has opened another channel than its main one: it has begun to see or control the VM.
    #[zbus(signal)]
    pub(super) async fn client_initialized(
        emitter: &SignalEmitter<'_>,
        client: &ObjectPath<'_>,
    ) -> zbus::Result<()>;

    /// A client is gone, and its object with it.
    #[zbus(signal)]
    pub(super) async fn client_disconnected(
        emitter: &SignalEmitter<'_>,
        client: &ObjectPath<'_>,
    ) -> zbus::Result<()>;

    /// qemu-spice ends, and why. Whoever vanishes without it has crashed.
    #[zbus(signal)]
    pub(super) async fn leaving(emitter: &SignalEmitter<'_>, reason: &str) -> zbus::Result<()>;

    /// The clients, each an object with org.qemu.Spice1.Client, the longest there first.
    #[zbus(property)]
    fn clients(&self) -> Vec<OwnedObjectPath> {
        self.clients.clone()
    }

    /// The version of qemu-spice.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    /// Whether a VM is attached.
    #[zbus(property(emits_changed_signal = "false"))]
    fn attached(&self) -> bool {
        !self.hub.guest().borrow().consoles.is_empty()
    }

    /// The VM's name; empty where it has none, or none is attached.
    #[zbus(property(emits_changed_signal = "false"), name = "VMName")]
    fn vm_name(&self) -> String {
        self.hub.guest().borrow().name.clone()
    }

    /// The VM's UUID in its usual form; all zero where it has none, or none is attached.
    #[zbus(property(emits_changed_signal = "false"), name = "VMUUID")]
    fn vm_uuid(&self) -> String {
        self.hub.guest().borrow().uuid_text()
    }

    /// The VM's graphic consoles. Of each: "console" (u, its number), "label" (s); what the guest was held for
    /// drawing into dmabufs, since the VM was attached: "draws" (t, how often it drew), "late" (t, how often it was
    /// held as long as it ever is, because a viewer was not done) and "held" (t, microseconds in all); and where it
    /// shows something, "width" and "height" (u, pixels), "memory" (s: "owned", "shared", "guest" or "dmabuf"),
    /// "format" (s, DRM's name), and of a dmabuf "planes" (u) and "modifier" (t, DRM's).
    #[zbus(property(emits_changed_signal = "false"))]
    fn consoles(&self) -> Vec<Properties> {
        let guest = self.hub.guest().borrow().clone();
        guest.consoles.iter().map(|(id, info)| self.console(*id, info)).collect()
    }

    /// Who sees the consoles, each as often as it sees one. "console" (u), "peer" (s, who it is), "transport" (s:
    /// "tcp", "unix", "dbus", ...), "delivery" (s: "Passthrough", "Encode(...)", "Images"; empty if not decided yet),
    /// "reason" (s), "sent" (t, pictures given to it) and "dropped" (t, pictures that newer ones replaced before it
    /// was ready). Where its network is known to limit it, or the option max-bitrate does, "rate" (t, bits a second);
    /// where it gets video, "tier" (s: "full", "middle", "low" or "half", from fast networks to slow ones), and "video"
    /// (as, the parts of the picture that are video now, as "640x360+576+160": width, height, column and row).
    #[zbus(property(emits_changed_signal = "false"))]
    fn viewers(&self) -> Vec<Properties> {
        self.roster.snapshot().into_iter().map(viewer).collect()
    }

    /// The invitations that let somebody in. Of each: "invitation" (u, its number), "name" (s), "rights" (s: "use" or
    /// "look"), "once" (b), "taken" (b, whether a session has used it up and lasts), and where it ends, "until" (t,
    /// seconds since 1970).
    #[zbus(property(emits_changed_signal = "false"))]
    fn invitations(&self) -> Vec<Properties> {
        self.access.invitations(invitation)
    }

    /// The URIs at which SPICE clients find the server.
    #[zbus(property(emits_changed_signal = "const"))]
    fn addresses(&self) -> Vec<String> {
        self.addresses.clone()
    }

    /// The URLs of the page for browsers; none without the option web-addr.
    #[zbus(property(emits_changed_signal = "const"))]
    fn pages(&self) -> Vec<String> {
        self.pages.clone()
    }

    /// The guest's sound; empty where it has no sound card. "playing" (b), "listeners" (u, viewers that hear it),
    /// "encoded" (t, blocks of 10 ms that were encoded, once for all listeners), "missed" (t, blocks that listeners
    /// did not get because they did not keep up), "recording" (b), and where a client may speak, "microphone" (t, the
    /// number of the one that speaks when the guest records: the first that came, until it leaves).
    #[zbus(property(emits_changed_signal = "false"))]
    fn sound(&self) -> Properties {
        if !self.hub.guest().borrow().sound {
            return Properties::new();
        }
        let (heard, microphone) = (self.hub.playback().heard(), self.hub.microphone());
        let mut row = Properties::from([
            ("playing", heard.playing.into()),
            ("listeners", u32::try_from(heard.listeners).unwrap_or(u32::MAX).into()),
            ("encoded", heard.encoded.into()),
            ("missed", heard.missed.into()),
            ("recording", microphone.wanted().recording.into()),
        ]);
        row.extend(microphone.holder().map(|client| ("microphone", client.into())));
        row
    }

    /// The guest's devices for viewers: USB sockets, folders, and ports with a name. Of each: "channel" (s, of a client
    /// that has it, such as "usbredir:0"), "name" (s, its port's), "open" (b, whether the guest has it open), and where
    /// clients want it, "client" (t, the number of the one that has it: the first that came, until it leaves) and
    /// "waiting" (at, those that wait for it, in their order).
    #[zbus(property(emits_changed_signal = "false"))]
    fn devices(&self) -> Vec<Properties> {
        devices(&self.hub).into_iter().map(device).collect()
    }

    /// How many connections were not let in so far, by why: "displaced" (by newer ones, before they had logged in),
    /// "late" (they took too long to log in), "malformed" (not SPICE), "wrong-password", "held-off" (they came again
    /// too soon after wrong passwords from the same address or user), "not-offered" (a channel or session that they
    /// were not told of), "full" (too many viewers). A reason that there was none for is left out.
    #[zbus(property(emits_changed_signal = "false"))]
    fn refused(&self) -> HashMap<&'static str, u64> {
        self.roster.refused().into_iter().map(|(why, count)| (why.name(), count)).collect()
    }
}

impl StatusObject {
    /// Writes the connection file for the first address on a network; empty without one.
    fn connection_file(&self, id: u32, host: &str, secret: &str) -> String {
        let mut files = self.addresses.iter().filter_map(|uri| ConnectionFile::of_uri(uri));
        let Some(mut file) = files.next() else { return String::new() };
        file.host = host_for_viewers(&file.host, host);
        file.authority = self.access.authority().filter(|_| file.tls);
        file.username = (file.tls && self.access.wants_names()).then(|| user_name(id));
        file.password = Some(secret.to_owned());
        file.text()
    }

    /// Writes the URL that opens the first page and lets in; empty without a page. The secret is in the part of the
    /// URL that browsers do not send.
    fn page_link(&self, host: &str, secret: &str) -> String {
        let parts = self.pages.first().and_then(|page| {
            let (scheme, rest) = page.split_once("://")?;
            let (address, port) = rest.trim_end_matches('/').rsplit_once(':')?;
            Some((scheme, address.trim_matches(['[', ']']), port))
        });
        let Some((scheme, address, port)) = parts else { return String::new() };
        let host = host_for_viewers(address, host);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        format!("{scheme}://{host}:{port}/#invitation={secret}")
    }

    fn console(&self, id: ConsoleId, info: &ConsoleInfo) -> Properties {
        let mut row = Properties::from([("console", id.0.into()), ("label", info.label.clone().into())]);
        let Some(console) = self.hub.console(id) else { return row };
        let Draws { answered, late, held } = console.draws();
        let held = u64::try_from(held.as_micros()).unwrap_or(u64::MAX);
        row.extend([("draws", answered.into()), ("late", late.into()), ("held", held.into())]);
        let Some(scanout) = console.shown() else { return row };
        let size = scanout.size();
        let memory = match scanout.info().memory {
            MemoryKind::Owned => "owned",
            MemoryKind::Shared => "shared",
            MemoryKind::Guest => "guest",
            MemoryKind::Dmabuf { planes, modifier, .. } => {
                row.insert("planes", u32::try_from(planes).unwrap_or(u32::MAX).into());
                row.insert("modifier", modifier.into());
                "dmabuf"
            }
        };
        row.extend([
            ("width", size.width.into()),
            ("height", size.height.into()),
            ("memory", memory.into()),
            ("format", scanout.format().to_string().into()),
        ]);
        row
    }
}

/// Returns what viewers call the host that listens on `address`: `given`, if it is not empty.
fn host_for_viewers(address: &str, given: &str) -> String {
    match (given, address) {
        ("", "0.0.0.0" | "::") => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        ("", address) => address.to_owned(),
        (given, _) => given.to_owned(),
    }
}

fn refused(error: AccessError) -> zbus::fdo::Error {
    match error {
        AccessError::Password(_) | AccessError::NoInvitation(_) => {
            zbus::fdo::Error::InvalidArgs(error.to_string())
        }
        _ => zbus::fdo::Error::Failed(error.to_string()),
    }
}

fn invitation(invitation: &Invitation) -> Properties {
    let Invite { name, rights, once, until } = &invitation.invite;
    let mut row = Properties::from([
        ("invitation", invitation.id.into()),
        ("name", name.clone().into()),
        ("rights", rights.name().into()),
        ("once", (*once).into()),
        ("taken", invitation.taken_by.is_some().into()),
    ]);
    let until = until.and_then(|end| end.duration_since(UNIX_EPOCH).ok());
    row.extend(until.map(|end| ("until", end.as_secs().into())));
    row
}

fn device(device: DeviceInfo) -> Properties {
    let DeviceInfo { channel, name, is_open, clients } = device;
    let mut row = Properties::from([
        ("channel", channel.to_string().into()),
        ("name", name.into()),
        ("open", is_open.into()),
    ]);
    if let Some((first, waiting)) = clients.split_first() {
        row.insert("client", (*first).into());
        row.insert("waiting", waiting.to_vec().into());
    }
    row
}

fn viewer(viewer: ViewerInfo) -> Properties {
    let mut row = Properties::from([
        ("console", viewer.console.0.into()),
        ("peer", viewer.peer.into()),
        ("transport", viewer.transport.into()),
        ("delivery", viewer.delivery.into()),
        ("reason", viewer.reason.into()),
        ("sent", viewer.sent.into()),
        ("dropped", viewer.dropped.into()),
    ]);
    row.extend(viewer.rate.map(|rate| ("rate", rate.into())));
    if let Some(tier) = viewer.tier {
        let parts = viewer.video.iter();
        let parts = parts.map(|part| format!("{}x{}+{}+{}", part.width, part.height, part.x, part.y));
        row.extend([("tier", tier.to_string().into()), ("video", parts.collect::<Vec<_>>().into())]);
    }
    row
}
