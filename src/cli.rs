//! The command line. Only types: they make the parser, `--help`, the man page and the completions.

mod choices;
pub(crate) mod config;
mod pictures;
mod units;

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};

use spice_proto::wire::ChannelType;

use self::choices::{AUTO, video_codec};
pub(crate) use self::choices::{
    Clipboard, EncoderProcess, LogFormat, Passthrough, Pointer, ReadDmabuf, Sandbox, Switch, VideoCodec,
};
pub(crate) use self::pictures::{Record, Screenshot};
use self::units::{bitrate, duration};
use crate::encode::{ENCODER_COMMAND, LAUNCHER_COMMAND};
use crate::publish::Target;
use crate::spice::Expiry;
use crate::transport::{Address, TrustedProxy};

const ABOUT: &str = "Serve the screens and the sound of a QEMU virtual machine to SPICE clients";

const LONG_ABOUT: &str = "\
Serve the screens and the sound of a QEMU virtual machine to SPICE clients.

qemu-spice runs beside QEMU, not inside it. It attaches to the display that `qemu-system-x86_64 -display dbus` offers \
and shows it to any number of viewers (remote-viewer, virt-manager, GNOME Boxes, ...) at the same time: as one H.264 \
stream for all that can decode it, as exact images for the rest. All of them hear the guest, and one at a time may \
speak to it. The guest never waits for a viewer, and a viewer that comes, goes or crashes touches nobody else.";

const EXAMPLES: &str = "\
Examples:
  A virtual machine of your own, connected by its QMP socket:
    qemu-system-x86_64 -display dbus,p2p=yes -qmp unix:/tmp/qmp.sock,server=on,wait=off ... &
    qemu-spice --qmp /tmp/qmp.sock
    remote-viewer spice://127.0.0.1:5900

  The same with sound, both ways:
    qemu-system-x86_64 -audiodev dbus,id=snd -display dbus,p2p=yes,audiodev=snd \\
        -device ich9-intel-hda -device hda-duplex,audiodev=snd -qmp unix:/tmp/qmp.sock,server=on,wait=off ... &
    qemu-spice --qmp /tmp/qmp.sock

  On the D-Bus session bus, waiting for the machine to start, with a password, for the whole network:
    qemu-spice --wait --password-file ~/.spice-password --spice-addr 0.0.0.0:5900

  A domain of libvirt with <graphics type='dbus'/>, which may start later:
    qemu-spice --libvirt alpine --connect qemu:///session --wait

  For browsers on this machine, which open the second line that is printed:
    qemu-spice --web-addr 127.0.0.1:8080

  For viewers on this machine only:
    qemu-spice --spice-addr unix:/run/user/1000/vm.sock
    remote-viewer spice+unix:///run/user/1000/vm.sock

When viewers can connect, one line for each address is printed on standard output: the URI to open.
What goes on is logged on standard error; set RUST_LOG=qemu_spice=debug to see more.";

/// The arguments of `qemu-spice`.
#[derive(Clone, Debug, Parser)]
#[command(name = "qemu-spice", version, about = ABOUT, long_about = LONG_ABOUT, after_long_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// How to serve.
    #[command(flatten)]
    pub serve: Serve,
}

/// Things to do instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// List the video encoders of this machine, and which one is used
    Probe,
    /// Show what every qemu-spice on a D-Bus bus serves, to whom, and how
    Status {
        /// Ask on the bus at this address [default: the session bus]
        #[arg(long, short = 'a', value_name = "ADDRESS", value_parser = bus_address)]
        dbus_address: Option<String>,

        /// Print one JSON document instead of tables; with --watch one in each line
        #[arg(long)]
        json: bool,

        /// Go on, and print who comes and goes as it happens
        #[arg(long)]
        watch: bool,
    },
    /// Disconnect clients of a qemu-spice that runs; they may come again
    Disconnect {
        /// The clients' numbers, which `status` shows
        #[arg(value_name = "CLIENT", required_unless_present = "all")]
        clients: Vec<u64>,

        /// All clients
        #[arg(long, conflicts_with = "clients")]
        all: bool,

        /// Look on the bus at this address [default: the session bus]
        #[arg(long, short = 'a', value_name = "ADDRESS", value_parser = bus_address)]
        dbus_address: Option<String>,

        /// Which qemu-spice, by its name on the bus; `status` tells them
        #[arg(long, value_name = "NAME", default_value = "org.qemu.spice")]
        server: String,
    },
    /// Change the password of a qemu-spice that runs, for viewers that come later
    ///
    /// The new password is the first line of standard input. It has no end, unless --expires gives one.
    Password {
        /// Keep the password there is, and change only when it expires
        #[arg(long, requires = "expires")]
        keep: bool,

        /// When it expires: now, never, +SECONDS, or the seconds since 1970
        #[arg(long, value_name = "TIME", value_parser = expiry)]
        expires: Option<String>,

        /// What becomes of viewers that are connected: keep, disconnect, or fail if there are any
        #[arg(long, value_name = "WHAT", default_value = "keep", value_parser = ["keep", "fail", "disconnect"])]
        connected: String,

        /// Look on the bus at this address [default: the session bus]
        #[arg(long, short = 'a', value_name = "ADDRESS", value_parser = bus_address)]
        dbus_address: Option<String>,

        /// Which qemu-spice, by its name on the bus; `status` tells them
        #[arg(long, value_name = "NAME", default_value = "org.qemu.spice")]
        server: String,
    },
    /// Invite somebody to a qemu-spice that runs: print a secret that lets them in beside the password
    ///
    /// Prints the connection file with which remote-viewer finds the server and enters:
    /// `qemu-spice invite --look --once --for 2h > ann.vv`. Whoever has the secret can enter, so send it where nobody
    /// else reads it. Where everybody enters without a password, set one first, or start qemu-spice with
    /// --invited-only. `qemu-spice status` lists the invitations.
    Invite {
        /// Let them look only: their keys and pointer are ignored
        #[arg(long)]
        look: bool,

        /// Let them in once: the first session uses the invitation up
        #[arg(long)]
        once: bool,

        /// When the invitation ends, and with it the sessions of whom it let in: +SECONDS or the seconds since 1970
        /// [default: never]
        #[arg(long, value_name = "TIME", value_parser = expiry)]
        until: Option<String>,

        /// How long it lasts, such as 90s, 30m, 2h or 7d
        #[arg(long = "for", value_name = "DURATION", value_parser = duration, conflicts_with = "until")]
        lasts: Option<u64>,

        /// Whom it is for, to tell the invitations apart
        #[arg(long, value_name = "NAME", default_value = "")]
        name: String,

        /// The server's name or address, for the connection file [default: the address that it listens on]
        #[arg(long, value_name = "HOST", default_value = "")]
        host: String,

        /// Withdraw this invitation instead, and disconnect whom it let in
        #[arg(long, value_name = "NUMBER", conflicts_with_all = ["look", "once", "until", "lasts", "name", "host"])]
        revoke: Option<u32>,

        /// Look on the bus at this address [default: the session bus]
        #[arg(long, short = 'a', value_name = "ADDRESS", value_parser = bus_address)]
        dbus_address: Option<String>,

        /// Which qemu-spice, by its name on the bus; `status` tells them
        #[arg(long, value_name = "NAME", default_value = "org.qemu.spice")]
        server: String,
    },
    Record(Record),
    Screenshot(Screenshot),
    /// Add a user to a file for --sasl-users, or change their password
    ///
    /// The password is the first line of standard input; the file does not contain it.
    User {
        /// Their name: letters, digits and . _ @ -
        #[arg(value_name = "NAME")]
        name: String,

        /// The file; it is made if it is not there
        #[arg(long, value_name = "FILE")]
        file: PathBuf,

        /// Let them look only: their keys and pointer are ignored
        #[arg(long)]
        look: bool,

        /// Take them out of the file instead
        #[arg(long, conflicts_with = "look")]
        remove: bool,
    },
    /// Make a private authority and a certificate of its for this server, for --tls-creds
    ///
    /// Prints the connection file with which remote-viewer finds the server and trusts it:
    /// `qemu-spice certificate ~/.qemu-spice --name vm.example > vm.vv`. Called again, it makes a new certificate of
    /// the same authority, which viewers trust as before.
    Certificate {
        /// The folder for ca-cert.pem, ca-key.pem, server-cert.pem and server-key.pem
        #[arg(value_name = "DIR")]
        folder: PathBuf,

        /// A DNS name or IP address that viewers use; may be given several times [default: this host's name, localhost,
        /// 127.0.0.1 and ::1]
        #[arg(long, value_name = "NAME")]
        name: Vec<String>,

        /// The port that viewers use, for the connection file
        #[arg(long, value_name = "PORT", default_value_t = 5900)]
        port: u16,
    },
    /// Tell what is wrong in a configuration file, line by line
    Check {
        /// The file, as for --config
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Be the process that starts encoders' processes; started by a program that serves
    #[command(hide = true, name = LAUNCHER_COMMAND)]
    EncoderLauncher {
        /// As for encoders.
        sandbox: Sandbox,
        /// As for encoders.
        log_format: LogFormat,
    },
    /// Be an encoder for the program at the socket that is standard input
    #[command(hide = true, name = ENCODER_COMMAND)]
    Encoder {
        /// Whether it closes itself off.
        sandbox: Sandbox,
        /// The form of its log.
        log_format: LogFormat,
    },
    /// Serve a domain of libvirt that starts, or no longer one that stops: libvirt's hook calls this, with the domain's
    /// XML on standard input
    #[command(hide = true)]
    LibvirtHook {
        /// The domain
        #[arg(value_name = "DOMAIN")]
        domain: String,

        /// What becomes of it, in libvirt's words
        #[arg(value_name = "OPERATION")]
        operation: String,
    },
    /// Print the man page (roff), a shell's completions, or a sample of a configuration file
    #[command(hide = true)]
    Generate {
        /// What to print.
        what: Document,

        /// Write the man pages of all commands into this folder instead
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
}

/// What `generate` can print.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Document {
    /// Man page, section 1.
    Man,
    /// Completions for bash.
    Bash,
    /// Completions for zsh.
    Zsh,
    /// Completions for fish.
    Fish,
    /// Configuration file with every option in a comment.
    Config,
}

/// How to serve.
#[derive(Args, Clone, Debug)]
pub(crate) struct Serve {
    /// Take options from this file, a line for each: qmp = "/run/vm.qmp". What is given here wins
    ///
    /// The keys are the long names of options. Options without a value take true or false, those that may be given
    /// several times a list. `qemu-spice check FILE` tells what is wrong in a file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Find QEMU on the D-Bus bus at this address [default: the session bus]
    #[arg(long, short = 'a', value_name = "ADDRESS", value_parser = bus_address, group = "attach")]
    #[arg(help_heading = "Virtual machine")]
    pub dbus_address: Option<String>,

    /// Speak to QEMU over this connected socket, left open by the parent process
    #[arg(long, value_name = "FD", group = "attach", help_heading = "Virtual machine")]
    pub dbus_p2p_fd: Option<i32>,

    /// Ask QEMU for a connection through its QMP socket (QEMU runs with `-display dbus,p2p=yes`); @NAME is one
    /// without a file
    #[arg(long, value_name = "SOCKET", group = "attach", help_heading = "Virtual machine")]
    pub qmp: Option<PathBuf>,

    /// Find the display of this domain of libvirt, which has `<graphics type='dbus'/>`: a name, UUID or number
    ///
    /// virsh is asked once, at the start. With --wait the domain may start later, and again; with p2p='yes' it has to
    /// run, and qemu-spice ends with it. The buses of qemu:///system are for the user of its machines alone: libvirt's
    /// hook (/etc/libvirt/hooks/qemu.d) serves these; docs/libvirt.md says more.
    #[arg(long, value_name = "DOMAIN", group = "attach", help_heading = "Virtual machine")]
    pub libvirt: Option<String>,

    /// Where the domain of --libvirt is, such as qemu:///session [default: as for virsh]
    #[arg(long, value_name = "URI", requires = "libvirt", help_heading = "Virtual machine")]
    pub connect: Option<String>,

    /// Be the virtual machine's graphics card: QEMU connects to this socket and its guest draws here
    ///
    /// QEMU needs shared memory and the device: `-object memory-backend-memfd,id=mem,size=2G,share=on -machine
    /// memory-backend=mem -chardev socket,id=gpu,path=SOCKET -device vhost-user-gpu-pci,chardev=gpu`. It may run with
    /// `-display none`, and has to be started after qemu-spice. Other programs than QEMU can connect as well. Unless
    /// an option above is given too, qemu-spice does not attach to QEMU: for keys and pointer give --vhost-user-input.
    /// fd:N is a socket that the parent process left open: listening, or connected.
    #[arg(long, value_name = "SOCKET", help_heading = "Virtual machine")]
    pub vhost_user_gpu: Option<DeviceSocket>,

    /// Be the virtual machine's keyboard and pointer too: QEMU connects to this socket
    ///
    /// QEMU needs shared memory, as for --vhost-user-gpu, and the device: `-chardev socket,id=keys,path=SOCKET -device
    /// vhost-user-input-pci,chardev=keys`.
    #[arg(long, value_name = "SOCKET", help_heading = "Virtual machine", requires = "vhost_user_gpu")]
    pub vhost_user_input: Option<DeviceSocket>,

    /// The pointer of --vhost-user-input
    #[arg(long, value_enum, value_name = "KIND", default_value_t = Pointer::Tablet, help_heading = "Virtual machine")]
    pub vhost_user_pointer: Pointer,

    /// The name QEMU has on the bus
    #[arg(long, value_name = "NAME", default_value = "org.qemu", help_heading = "Virtual machine")]
    pub bus_name: String,

    /// Wait for QEMU if it is not there, and again when it leaves; viewers stay connected
    ///
    /// Without it, qemu-spice ends when QEMU leaves.
    #[arg(long, help_heading = "Virtual machine")]
    pub wait: bool,

    /// Listen for viewers here: HOST:PORT, unix:PATH, unix:@NAME, fd:N (a listening socket) or none
    /// [default: the sockets that systemd passes, else 127.0.0.1:5900]
    ///
    /// May be given several times. IPv6 addresses stand in brackets. Port 0 lets the system choose a port; the line
    /// printed tells which. unix:@NAME is a socket without a file, which all users of this machine reach; SPICE clients
    /// have no URI for it, so it is for programs that hand them a connection.
    #[arg(long, value_name = "ADDR", help_heading = "Viewers")]
    pub spice_addr: Vec<Address>,

    /// Serve a page at this address with which browsers see and use the machine: HOST:PORT, unix:PATH or fd:N
    ///
    /// https with --tls-creds; http on an address of this machine alone, such as 127.0.0.1:8080, where browsers
    /// decode video too, or with `--plain all`. The line printed is the URL. SPICE clients can connect there as well.
    /// May be given several times. A page behind a proxy that has a name of its own needs --web-origin.
    #[arg(long, value_name = "ADDR", help_heading = "Viewers")]
    pub web_addr: Vec<Address>,

    /// Hand what the first console shows to a media server, or keep it: file:PATH.mkv, rtp://HOST:PORT,
    /// rtmp://HOST/APP/NAME, rtsp://HOST/NAME, srt://HOST:PORT or whip+https://TOKEN@HOST/PATH (WebRTC)
    ///
    /// The H.264 that viewers get, without another encode where they see all of the console. A target that fails is
    /// tried again. For RTP, RTCP is at the next port: Janus asks there for key frames. May be given several times.
    #[arg(long, value_name = "URL", help_heading = "Viewers")]
    pub publish: Vec<Target>,

    /// Answer a monitoring system at this address: HOST:PORT, unix:PATH or fd:N
    ///
    /// Over HTTP: /metrics in OpenMetrics' form (Prometheus reads it), /healthz while the program runs, and /readyz
    /// while a virtual machine is attached. There is no password, and nothing in it names a viewer.
    #[arg(long, value_name = "ADDR", help_heading = "Viewers")]
    pub metrics_addr: Option<Address>,

    /// Offer the display to D-Bus viewers too, and `qemu-spice status`, on this bus: `session`, an address or `none`
    /// [default: the bus QEMU is on, if it is on one]
    ///
    /// There it is named org.qemu.spice, with the org.qemu.Display1 objects that QEMU has. Whoever may use the bus
    /// sees and controls the machine, without a password.
    #[arg(long, value_name = "BUS", help_heading = "Viewers")]
    pub relay_bus: Option<RelayBus>,

    /// Ask viewers for the password in this file (its first line, at most 60 characters)
    /// [default: the credential spice-password, if systemd passes one]
    ///
    /// Without it, whoever reaches an address sees and controls the machine.
    #[arg(long, value_name = "FILE", help_heading = "Viewers")]
    pub password_file: Option<PathBuf>,

    /// Let nobody in without an invitation (`qemu-spice invite`), or until there is a password (`qemu-spice password`)
    #[arg(long, conflicts_with = "password_file", help_heading = "Viewers")]
    pub invited_only: bool,

    /// Let in who logs in as a user of this file, by SASL inside TLS (`qemu-spice user` writes the file)
    ///
    /// Viewers that cannot do that, and those on unix sockets, are asked for the password or an invitation. SIGHUP has
    /// the file read again.
    #[arg(long, value_name = "FILE", requires = "tls_creds", help_heading = "Viewers")]
    pub sasl_users: Option<PathBuf>,

    /// Encrypt with the certificate in this folder (server-cert.pem and server-key.pem, as QEMU has them)
    /// [default: the credentials that systemd passes, if server-cert.pem is among them]
    ///
    /// Viewers find TLS at the same addresses. `qemu-spice certificate DIR` makes the files. SIGHUP has them read
    /// again; viewers that are connected stay.
    #[arg(long, value_name = "DIR", help_heading = "Viewers")]
    pub tls_creds: Option<PathBuf>,

    /// Ask viewers for a certificate that DIR/ca-cert.pem signed, and DIR/ca-crl.pem does not revoke
    #[arg(long, requires = "tls_creds", help_heading = "Viewers")]
    pub tls_verify_peer: bool,

    /// Let these channels in over a network without TLS: `all`, `none` or a list of main, display, inputs, cursor,
    /// playback, record, usbredir, webdav, port [default: all without --tls-creds, none with it]
    ///
    /// Unix sockets need no TLS.
    #[arg(long, value_name = "CHANNELS", help_heading = "Viewers")]
    pub plain: Option<Plain>,

    /// Let web pages of this origin connect, such as `https://vm.example`; may be given several times
    ///
    /// Browsers find a WebSocket at the same addresses. Pages that come from the address itself may connect anyway, if
    /// it is an IP address or localhost, or with TLS.
    #[arg(long, value_name = "ORIGIN", help_heading = "Viewers")]
    pub web_origin: Vec<String>,

    /// Believe this proxy who its clients are: an address, a network such as 10.0.0.0/8, or `unix` for whoever may
    /// connect to a unix socket of ours; may be given several times
    ///
    /// It tells by the PROXY protocol (1 or 2) or by X-Forwarded-For. Limits, the log and `status` then count its
    /// clients as if they had come by themselves. docs/proxies.md has examples for nginx and HAProxy.
    #[arg(long, value_name = "PROXY", help_heading = "Viewers")]
    pub trusted_proxy: Vec<TrustedProxy>,

    /// What may be pasted where: what was copied at the viewer in the guest, and the other way round
    ///
    /// Text, pictures and more, where the guest runs spice-vdagent on a port that QEMU gives to qemu-spice:
    /// -chardev dbus,id=agent,name=com.redhat.spice.0 -device virtio-serial
    /// -device virtserialport,chardev=agent,name=com.redhat.spice.0
    ///
    /// Text alone with -chardev qemu-vdagent,id=agent,clipboard=on in its place, where QEMU itself speaks with it.
    #[arg(long, value_enum, value_name = "WAY", default_value_t = Clipboard::Both, help_heading = "Viewers")]
    pub clipboard: Clipboard,

    /// Whether viewers may send files to the guest (through spice-vdagent as well)
    #[arg(long, value_enum, value_name = "WHETHER", default_value_t = Switch::On, help_heading = "Viewers")]
    pub file_transfer: Switch,

    /// The video codec to encode with; `none` sends every viewer exact images
    #[arg(long, value_name = "CODEC", value_parser = video_codec(), default_value = AUTO, help_heading = "Picture")]
    pub video_codec: VideoCodec,

    /// Run these video encoders in processes of their own, so that one that crashes or hangs ends no viewer's session
    ///
    /// The next encoder goes on in its place, or images. On the processor this costs a little of it.
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = EncoderProcess::Hardware, help_heading = "Picture")]
    pub encoder_process: EncoderProcess,

    /// Send no viewer more bits a second than this, such as 4M or 800k [default: what its network carries]
    ///
    /// Each viewer is sent what its network carries, as measured all the time. This is for networks that carry more
    /// than you want to be used.
    #[arg(long, value_name = "RATE", value_parser = bitrate, help_heading = "Picture")]
    pub max_bitrate: Option<u64>,

    /// Pass the guest's GPU buffers to viewers on unix sockets that can import them, without a copy
    ///
    /// `never` sends them video as everyone else: for a viewer that runs on another GPU and shows a white window.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Passthrough::Auto, help_heading = "Picture")]
    pub passthrough: Passthrough,

    /// Read the guest's GPU buffers this way; `gpu` is for testing that way where the CPU could do it
    #[arg(long, value_enum, value_name = "HOW", default_value_t = ReadDmabuf::Auto, hide = true)]
    pub read_dmabuf: ReadDmabuf,

    /// Close the program off from what it does not need: other files, programs, networks and rights
    ///
    /// By Landlock and seccomp, before the first viewer comes. What the kernel lacks for it is told in the log and left
    /// out; `strict` does not start then. `off` is for debugging. SECURITY.md says what stays open.
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Sandbox::On, help_heading = "Process")]
    pub sandbox: Sandbox,

    /// Log in this form
    #[arg(long, value_enum, value_name = "FORM", default_value_t = LogFormat::Auto, help_heading = "Process")]
    pub log_format: LogFormat,

    /// Print what this program can do, as JSON for management programs, and exit
    #[arg(long)]
    pub print_capabilities: bool,
}

/// Where a VMM finds a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum DeviceSocket {
    /// At this path.
    Path(PathBuf),
    /// At a socket with this number, listening or connected.
    Fd(i32),
}

impl FromStr for DeviceSocket {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("fd:") {
            _ if text.is_empty() => Err("give a path, or fd:N".to_owned()),
            Some(number) => {
                number.parse().map(Self::Fd).map_err(|_| format!("`{number}` is no number of a file"))
            }
            None => Ok(Self::Path(text.into())),
        }
    }
}

/// Checks that `text` is a time for `--expires`.
fn expiry(text: &str) -> Result<String, String> {
    text.parse::<Expiry>().map(|_| text.to_owned())
}

/// Checks that `text` is a D-Bus address.
fn bus_address(text: &str) -> Result<String, String> {
    let address = zbus::Address::from_str(text);
    address
        .map(|_| text.to_owned())
        .map_err(|_| "give a D-Bus address, such as unix:path=/run/user/1000/bus".into())
}

/// Where to offer the display to D-Bus viewers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum RelayBus {
    /// Nowhere.
    None,
    /// On the user's session bus.
    Session,
    /// On the bus at this D-Bus address.
    Address(String),
}

impl FromStr for RelayBus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "session" => Ok(Self::Session),
            address => bus_address(address)
                .map(Self::Address)
                .map_err(|error| format!("{error}, or `session` or `none`")),
        }
    }
}

/// The channels that may be opened without TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Plain {
    /// All.
    All,
    /// These.
    Only(Vec<ChannelType>),
}

impl FromStr for Plain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let channel = |name: &str| match name {
            "main" => Ok(ChannelType::Main),
            "display" => Ok(ChannelType::Display),
            "inputs" => Ok(ChannelType::Inputs),
            "cursor" => Ok(ChannelType::Cursor),
            "playback" => Ok(ChannelType::Playback),
            "record" => Ok(ChannelType::Record),
            "usbredir" => Ok(ChannelType::Usbredir),
            "webdav" => Ok(ChannelType::Webdav),
            "port" => Ok(ChannelType::Port),
            _ => Err(format!(
                "`{name}` is not main, display, inputs, cursor, playback, record, usbredir, webdav or port"
            )),
        };
        match text {
            "all" => Ok(Self::All),
            "none" => Ok(Self::Only(Vec::new())),
            names => names.split(',').map(channel).collect::<Result<_, _>>().map(Self::Only),
        }
    }
}

#[cfg(test)]
mod tests;
