//! The wiring: which part gets which, in which order they start, and how all of it ends.

mod attach;
mod config;
mod encoders;
mod generate;
mod libvirt;
mod libvirt_hook;
mod listeners;
mod logging;
mod on_bus;
mod record;
mod sandbox;
mod screenshot;
mod service_manager;

use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use zeroize::Zeroizing;

use self::attach::{attach, device, input, relay_bus};
use self::listeners::Listeners;
use crate::admin::{ConnectionFile, Metrics, Presence, certificate};
use crate::cli::{Cli, Clipboard, Command, LogFormat, Passthrough, Plain, ReadDmabuf, Serve, Switch};
use crate::encode::Codec;
use crate::frame::{DmabufReads, ReadPath};
use crate::hub::Hub;
use crate::publish::{Publisher, Recorder, Shared, Target};
use crate::relay::Relay;
use crate::source::{Attach, Ended, Source, SourceError, Sources, VhostUserGpu};
use crate::spice::{
    Access, AgentRules, Lock, Newcomers, Password, PlainChannels, Rights, Server, Settings, users,
};
use crate::transport::{ClientCertificates, Listener, Origins, Security, Socket, Tls, TrustedProxies};
use crate::viewer::{Policy, Roster};

/// Commands of viewers that may wait for QEMU. A key or a motion is one; past it the viewer's own socket waits.
const COMMANDS: usize = 256;

/// The most bytes of a clipboard: what spice-gtk sends at most (`SpiceMainChannel:max-clipboard`).
const CLIPBOARD_MAX: u32 = 100 << 20;

/// How long viewers have to hear that it is over.
const FAREWELL: Duration = Duration::from_secs(1);

/// Pause after the system refused a connection, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The name of the password among the credentials that systemd passes, as QEMU's VNC server has it.
const PASSWORD_CREDENTIAL: &str = "spice-password";

/// The certificate among them, as `--tls-creds` has it.
const CERTIFICATE_CREDENTIAL: &str = "server-cert.pem";

/// The most bytes of a password file that are looked at.
const PASSWORD_FILE_MAX: u64 = 4096;

/// Runs the program. What went wrong is one line on standard error.
#[must_use]
pub fn run() -> ExitCode {
    match config::command_line().and_then(perform) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "qemu-spice: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        // Before anything is open.
        Some(Command::EncoderLauncher { sandbox, log_format }) => {
            return encoders::launch(sandbox, log_format);
        }
        Some(Command::Encoder { sandbox, log_format }) => return encoders::encode(sandbox, log_format),
        // libvirt keeps to itself what its hooks write on standard error.
        Some(Command::LibvirtHook { .. }) if logging::start(LogFormat::Journal).is_ok() => {}
        _ => logging::start(cli.serve.log_format)?,
    }
    match cli.command {
        Some(Command::Probe) => return encoders::probe(),
        Some(
            command @ (Command::Status { .. }
            | Command::Password { .. }
            | Command::Invite { .. }
            | Command::Disconnect { .. }
            | Command::Record(_)
            | Command::Screenshot(_)),
        ) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            return runtime.block_on(on_bus::perform(command));
        }
        Some(Command::User { name, file, look, remove }) => return user(&name, &file, look, remove),
        Some(Command::Certificate { folder, name, port }) => return certificate(&folder, name, port),
        Some(Command::Check { file }) => return config::check(&file),
        Some(Command::LibvirtHook { domain, operation }) => return libvirt_hook::called(&domain, &operation),
        Some(Command::Generate { what, folder }) => return generate::generate(what, folder.as_deref()),
        None | Some(Command::EncoderLauncher { .. } | Command::Encoder { .. }) => {}
    }
    if cli.serve.print_capabilities {
        return say(&capabilities().to_string());
    }
    let mut options = cli.serve;
    // Before all else, while other programs may be run.
    let domain = options.libvirt.as_deref().map(|domain| libvirt::find(domain, &options)).transpose()?;
    options.tls_creds =
        options.tls_creds.or_else(|| credential(CERTIFICATE_CREDENTIAL)?.parent().map(Path::to_owned));
    crate::sys::give_back_large_buffers();
    crate::sys::raise_file_limit();
    if is_closed(&options) || options.tls_creds.is_some() {
        crate::sys::keep_memory_private();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(serve(options, domain));
    runtime.shutdown_timeout(FAREWELL);
    done
}

async fn serve(options: Serve, domain: Option<Attach>) -> anyhow::Result<()> {
    // Everything that can be wrong with the arguments comes before anything that others notice. Encoders come after
    // the sandbox, and that after what it keeps from being opened.
    let password = password_file(&options).as_deref().map(read_password).transpose()?;
    let (tls, plain) = (tls(&options)?, plain(&options));
    let mut signals = Signals::take()?;
    let metrics = listeners::metrics(options.metrics_addr.as_ref()).await?;
    let Listeners { sockets, uris, pages } = Listeners::open(&options, &plain, is_closed(&options)).await?;
    let access = access(&options, password, security(&options, tls))?;

    let (hub, roster) = (Hub::default(), Roster::default());
    let (end, tasks) = (CancellationToken::new(), TaskTracker::new());
    let (commands, asked) = mpsc::channel(COMMANDS);
    let passthrough = options.passthrough == Passthrough::Auto;
    let ((newcomers, handed_over), (leave, leaving)) = (Newcomers::new(), oneshot::channel());
    let attach = attach(&options, domain)?;
    let gpu = device(VhostUserGpu::bind, VhostUserGpu::inherit, options.vhost_user_gpu.as_ref())?;
    let input = input(&options)?;
    let relay_bus = relay_bus(&options, attach.as_ref());
    // What starts other processes.
    let pipelines = encoders::pipelines(&options);
    sandbox::close(&options, attach.as_ref(), relay_bus.as_ref())?;
    let encoders = encoders::start(options.video_codec, pipelines)?;
    let shared = Shared::new(&hub, &roster, encoders.as_ref());
    if let Some(bus) = relay_bus {
        let relay = Relay::new(hub.clone(), roster.clone(), passthrough, commands.clone(), end.clone());
        let (hub, roster, access) = (hub.clone(), roster.clone(), access.clone());
        let recorder = Recorder::new(&shared, &tasks, &end);
        let (addresses, pages) = (uris.clone(), pages.clone());
        let presence = Presence { bus, hub, roster, access, newcomers, recorder, addresses, pages, relay };
        // A bus that the user asked for has to be there.
        let connection = match &options.relay_bus {
            Some(_) => Some(presence.connect().await.context("--relay-bus")?),
            None => None,
        };
        tasks.spawn(presence.keep(connection, leaving));
    }
    let reads = reads(options.read_dmabuf);
    // QEMU connects to a graphics card only once it knows that there is one.
    let is_ready = options.wait || gpu.is_some();
    let bus_name = options.bus_name;
    let display = attach.map(|attach| Source { attach, bus_name, wait: options.wait, reads: reads.clone() });
    let sources = Sources { display, gpu, input, reads };
    let mut source = tokio::spawn(sources.run(hub.clone(), asked, options.wait, end.clone()));

    publish(&options.publish, &shared, &tasks, &end)?;
    if let Some(listener) = metrics {
        let numbers = Metrics::new(&hub, &roster, &access, encoders.as_ref());
        tasks.spawn(numbers.serve(listener, end.clone()));
    }
    let policy = Policy { encoders, passthrough, max_bitrate: options.max_bitrate };
    let agent = agent_rules(options.clipboard, options.file_transfer);
    let settings = Settings { policy, sound: shared.sound, access: access.clone(), plain, agent };
    let server = Arc::new(Server::new(hub.clone(), roster, settings, commands, end.clone()));
    tasks.spawn(take_over(handed_over, server.clone(), tasks.clone(), end.clone()));
    tasks.spawn(keep_agent(server.clone(), end.clone()));
    tasks.spawn(service_manager::keep_told(hub.clone(), access.clone(), end.clone()));
    for listener in sockets {
        tasks.spawn(accept(listener, server.clone(), tasks.clone(), end.clone()));
    }
    let ready = announce(&hub, is_ready, uris.iter().chain(&pages));
    tokio::pin!(ready);
    let mut announced = false;
    let ended = loop {
        tokio::select! {
            done = &mut ready, if !announced => {
                done?;
                announced = true;
            }
            _ = signals.hangup.recv() => reload(&access),
            ended = &mut source => break ended.context("the source of the picture failed")?,
            _ = signals.terminate.recv() => break Ok(Ended::Cancelled),
            _ = signals.interrupt.recv() => break Ok(Ended::Cancelled),
        }
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    let _ = leave.send(reason(&ended));
    end.cancel();
    tasks.close();
    if tokio::time::timeout(FAREWELL, tasks.wait()).await.is_err() {
        warn!(connections = tasks.len(), "some viewers did not hear the end");
    }
    // An error is told in the program's last line.
    ended.map(|ended| info!(reason = reason(&Ok(ended)), "ending")).map_err(Into::into)
}

/// How connections are protected, and whose word is taken.
fn security(options: &Serve, tls: Option<Tls>) -> Security {
    let proxies = TrustedProxies::new(options.trusted_proxy.clone());
    Security::new(tls, Origins::new(options.web_origin.clone()), proxies)
}

/// The system's signals that are heeded.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn take() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// Says why it is over.
fn reason(ended: &Result<Ended, SourceError>) -> String {
    match ended {
        Ok(Ended::QemuLeft) => "QEMU left".to_owned(),
        Ok(Ended::Cancelled) => "as asked".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Takes in viewers until the end.
async fn accept(listener: Listener, server: Arc<Server>, tasks: TaskTracker, end: CancellationToken) {
    loop {
        let socket = tokio::select! {
            () = end.cancelled() => return,
            socket = listener.accept() => socket,
        };
        match socket {
            Ok(socket) => {
                tasks.spawn(serve_one(server.clone(), socket));
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Takes in viewers whose connections others made, until the end.
async fn take_over(
    mut sockets: mpsc::Receiver<Socket>,
    server: Arc<Server>,
    tasks: TaskTracker,
    end: CancellationToken,
) {
    while let Some(Some(socket)) = end.run_until_cancelled(sockets.recv()).await {
        tasks.spawn(serve_one(server.clone(), socket));
    }
}

/// Keeps the guest's agent connected until the end.
async fn keep_agent(server: Arc<Server>, end: CancellationToken) {
    end.run_until_cancelled(server.keep_agent()).await;
}

async fn serve_one(server: Arc<Server>, socket: Socket) {
    server.serve(socket).await;
}

/// Tells people and service managers that viewers can come: once there is a VM, unless that `is_ready` without one.
async fn announce<'a>(
    hub: &Hub,
    is_ready: bool,
    uris: impl Iterator<Item = &'a String>,
) -> anyhow::Result<()> {
    if !is_ready {
        let _ = hub.guest().wait_for(|guest| !guest.consoles.is_empty()).await;
    }
    for uri in uris {
        say(uri)?;
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    Ok(())
}

/// How the guest's GPU buffers are read.
fn reads(how: ReadDmabuf) -> DmabufReads {
    let path = match how {
        ReadDmabuf::Auto => ReadPath::Auto,
        ReadDmabuf::Gpu => ReadPath::Gpu,
    };
    DmabufReads::new(path, None)
}

/// What may pass between viewers and the guest's agent.
fn agent_rules(clipboard: Clipboard, files: Switch) -> AgentRules {
    AgentRules {
        clipboard_to_guest: clipboard.allows(Clipboard::ToGuest),
        clipboard_from_guest: clipboard.allows(Clipboard::FromGuest),
        clipboard_max: CLIPBOARD_MAX,
        files: files == Switch::On,
    }
}

/// Who may enter.
fn access(options: &Serve, password: Option<Password>, security: Security) -> anyhow::Result<Access> {
    let lock = match password {
        Some(password) => Lock::Password { password, expires: None },
        None if is_closed(options) => Lock::Closed,
        None => Lock::Open,
    };
    match &options.sasl_users {
        Some(file) => Access::with_users(lock, security, file).context("--sasl-users"),
        None => Ok(Access::new(lock, security)),
    }
}

/// Whether there is something to show before anybody enters.
fn is_closed(options: &Serve) -> bool {
    password_file(options).is_some() || options.invited_only || options.sasl_users.is_some()
}

/// Reads the certificate, if there is to be TLS.
fn tls(options: &Serve) -> anyhow::Result<Option<Tls>> {
    let clients = match options.tls_verify_peer {
        true => ClientCertificates::Required,
        false => ClientCertificates::Ignored,
    };
    let load = |folder: &PathBuf| Tls::load(folder, clients).context("--tls-creds");
    options.tls_creds.as_ref().map(load).transpose()
}

/// The channels that need no TLS.
fn plain(options: &Serve) -> PlainChannels {
    match &options.plain {
        Some(Plain::Only(channels)) => PlainChannels::Only(channels.clone()),
        Some(Plain::All) => PlainChannels::All,
        None if options.tls_creds.is_some() => PlainChannels::Only(Vec::new()),
        None => PlainChannels::All,
    }
}

/// Reads the certificate again.
fn reload(access: &Access) {
    if let Err(error) = access.reload_users() {
        warn!(%error, "the users cannot be read again");
    }
    match access.reload_certificates() {
        Ok(()) => info!("the certificate was read again, for viewers that come from now on"),
        Err(error) => warn!(%error, "the certificate cannot be read again"),
    }
}

/// Starts handing the picture to media servers and files.
fn publish(
    targets: &[Target],
    shared: &Shared,
    tasks: &TaskTracker,
    end: &CancellationToken,
) -> anyhow::Result<()> {
    for target in targets {
        let encoders = shared.encoders.as_ref();
        let encoders = encoders.filter(|encoders| encoders.codecs().contains(Codec::H264));
        let encoders =
            encoders.with_context(|| format!("--publish {target}: there is no encoder of H.264"))?;
        let publisher = Publisher::new(target.clone(), shared, encoders);
        tasks.spawn(publisher.run(end.clone()));
    }
    Ok(())
}

/// The file with the password: the one that the user gives, else systemd's credential.
fn password_file(options: &Serve) -> Option<PathBuf> {
    options.password_file.clone().or_else(|| credential(PASSWORD_CREDENTIAL))
}

/// Finds a credential that systemd passes, by its name.
fn credential(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY")?;
    Some(Path::new(&folder).join(name)).filter(|path| path.exists())
}

fn read_password(path: &Path) -> anyhow::Result<Password> {
    let name = || format!("the password in {}", path.display());
    let mut text = Zeroizing::new(String::new());
    let file = std::fs::File::open(path).with_context(name)?;
    file.take(PASSWORD_FILE_MAX).read_to_string(&mut text).with_context(name)?;
    let line = text.lines().next().unwrap_or_default();
    Password::new(line).with_context(name)
}

/// Lists what management programs may rely on, in the form of QEMU's and libvirt's helpers.
fn capabilities() -> serde_json::Value {
    let features = [
        "dbus-address",
        "dbus-p2p-fd",
        "bus-name",
        "qmp",
        "libvirt",
        "connect",
        "vhost-user-gpu",
        "vhost-user-input",
        "vhost-user-pointer",
        "vhost-user-fd",
        "wait",
        "spice-addr",
        "spice-addr-unix",
        "spice-addr-fd",
        "socket-activation",
        "password-credential",
        "tls-credentials",
        "config",
        "password-file",
        "password-control",
        "clients",
        "add-client",
        "sasl-users",
        "invited-only",
        "invite",
        "tls-creds",
        "tls-verify-peer",
        "plain",
        "websocket",
        "web-origin",
        "web-addr",
        "trusted-proxy",
        "video-codec",
        "encoder-process",
        "passthrough",
        "relay-bus",
        "max-bitrate",
        "metrics",
        "publish",
        "sandbox",
        "record",
        "screenshot",
        "log-format",
        "sound",
    ];
    let codecs = Codec::ALL.map(|codec| format!("video-codec-{}", codec.name()));
    let features: Vec<String> = features.map(String::from).into_iter().chain(codecs).collect();
    serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "features": features })
}

/// Reads a password from standard input.
fn new_password() -> anyhow::Result<Zeroizing<String>> {
    if io::stdin().is_terminal() {
        write!(io::stderr(), "New password (it is shown as you type): ")?;
    }
    let mut text = Zeroizing::new(String::new());
    io::stdin().take(PASSWORD_FILE_MAX).read_to_string(&mut text).context("standard input")?;
    let line = text.lines().next().unwrap_or_default();
    Password::new(line).context("standard input")?;
    Ok(Zeroizing::new(line.to_owned()))
}

/// Changes a file of users.
fn user(name: &str, file: &Path, look: bool, remove: bool) -> anyhow::Result<()> {
    if remove {
        return Ok(users::remove(file, name)?);
    }
    let rights = if look { Rights::Look } else { Rights::Use };
    Ok(users::set(file, name, rights, &new_password()?)?)
}

/// Makes a certificate. The connection file goes to standard output, all else to people.
fn certificate(folder: &Path, mut names: Vec<String>, port: u16) -> anyhow::Result<()> {
    if names.is_empty() {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        names = [host.as_str(), "localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
    }
    let authority = certificate::make(folder, &names)?;
    let (made, known) = match authority.is_new {
        true => ("an authority and a certificate", "Viewers have to know ca-cert.pem"),
        false => ("a new certificate", "Viewers that know ca-cert.pem trust it"),
    };
    let host = names.first().map_or("localhost", String::as_str);
    let folder = folder.display();
    let names = names.join(", ");
    writeln!(
        std::io::stderr(),
        "Made {made} for {names} in {folder}: start qemu-spice with --tls-creds {folder}\n\
         {known}: open the connection file that is printed on standard output, or\n  \
         remote-viewer --spice-ca-file={folder}/ca-cert.pem 'spice://{host}?tls-port={port}'"
    )?;
    let (host, authority) = (host.to_owned(), Some(authority.pem));
    say(ConnectionFile { host, port, tls: true, authority, ..ConnectionFile::default() }.text().trim_end())
}

/// Prints a line for whoever started us; the lint keeps all else off standard output.
fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot write to standard output")
}
