//! Clients as objects on a real bus, and the commands about them.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value as Json;
use zbus::zvariant::Fd;

use crate::bus_tools::{by_busctl, by_gdbus, interfaces};
use crate::presence::wait_for_owners;
use crate::private_bus::PrivateBus;
use crate::scripted_qemu::PATIENCE;
use crate::spice_link::{Channel, INPUTS, MAIN};

const PROGRAM: &str = env!("CARGO_BIN_EXE_qemu-spice");
const NAME: &str = "org.qemu.spice";
const PATH: &str = "/org/qemu/Spice1";
const SERVER: Option<&str> = Some("org.qemu.Spice1.Server");
const DISCONNECTING: u16 = 6;

/// A program that prints lines. Killed when dropped.
struct Lines {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Lines {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn next(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    fn json(&mut self) -> Json {
        serde_json::from_str(&self.next()).unwrap()
    }

    fn terminate(&self) {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server without a VM: it is to be the graphics card of one.
async fn serve(bus: &PrivateBus, folder: &Path, more: &[&str]) -> (Lines, std::path::PathBuf) {
    let (card, spice) = (folder.join("card.sock"), folder.join("spice.sock"));
    let address = format!("unix:{}", spice.display());
    let arguments = ["--vhost-user-gpu", card.to_str().unwrap(), "--relay-bus", &bus.address, "--spice-addr"];
    let mut server = Lines::start(&[&arguments[..], &[&address], more].concat());
    assert!(server.next().starts_with("spice+unix://"));
    wait_for_owners(&bus.connect().await, 1).await;
    (server, spice)
}

fn run(bus: &PrivateBus, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).args(["-a", &bus.address]).output().unwrap()
}

fn error_of(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_an_object_as_long_as_it_is_there() {
    let Some(bus) = PrivateBus::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (server, spice) = serve(&bus, folder.path(), &[]).await;
    let mut watch = Lines::start(&["status", "--watch", "--json", "-a", &bus.address]);
    let before = watch.json();
    assert_eq!(before[0]["Clients"], serde_json::json!([]), "{before}");

    let mut main = Channel::link(UnixStream::connect(&spice).unwrap(), 0, MAIN);
    let connected = watch.json();
    assert_eq!(connected["event"], "ClientConnected");
    let expected = [
        ("Client", Json::from(0)),
        ("By", "anyone".into()),
        ("Rights", "use".into()),
        ("Transport", "unix".into()),
        ("Family", "unix".into()),
    ];
    for (name, value) in expected {
        assert_eq!(connected["client"][name], value, "{name}");
    }
    assert_eq!(connected["client"]["Peer"], format!("process {}", std::process::id()));
    let session = main.session();
    let mut inputs = Channel::link(UnixStream::connect(&spice).unwrap(), session, INPUTS);
    assert_eq!(inputs.result, 0);
    let initialized = watch.json();
    assert_eq!(initialized["event"], "ClientInitialized");
    assert_eq!(initialized["client"]["Channels"], serde_json::json!(["inputs:0"]));

    let other = Channel::link(UnixStream::connect(&spice).unwrap(), 0, MAIN);
    assert_eq!(watch.json()["client"]["Client"], 1);
    let status: Json = serde_json::from_slice(&run(&bus, &["status", "--json"]).stdout).unwrap();
    let numbers: Vec<_> = status[0]["Clients"].as_array().unwrap().iter().map(|one| &one["Client"]).collect();
    assert_eq!(numbers, [0, 1]);

    let written = interfaces(include_str!("../../dbus-interfaces/org.qemu.Spice1.xml"));
    let object = format!("{PATH}/Client_1");
    for found in [by_busctl(&bus, NAME, &object).await, by_gdbus(&bus, NAME, &object).await] {
        let name = "org.qemu.Spice1.Client";
        assert!(found.is_empty() || found.get(name) == written.get(name), "{found:#?}");
        assert!(found.len() <= 1);
    }

    let gone = error_of(&run(&bus, &["disconnect", "7"]));
    assert!(gone.contains("no client 7 is connected"), "{gone}");
    assert!(run(&bus, &["disconnect", "0"]).status.success());
    while inputs.message().is_some() {}
    main.socket.set_nonblocking(true).unwrap(); // what is said comes before the other channels close
    let told: Vec<u16> = std::iter::from_fn(|| main.message()).map(|(kind, _)| kind).collect();
    assert_eq!(told.last(), Some(&DISCONNECTING), "a farewell before the end");
    let disconnected = watch.json();
    assert_eq!(disconnected["event"], "ClientDisconnected");
    assert_eq!(disconnected["client"], initialized["client"], "who it was is known after it has left");
    assert!(error_of(&run(&bus, &["disconnect", "0"])).contains("no client 0"));
    assert!(run(&bus, &["disconnect", "--all"]).status.success());
    assert_eq!(watch.json()["client"]["Client"], 1);
    drop((inputs, other));

    server.terminate();
    let leaving = watch.json();
    assert_eq!((&leaving["event"], &leaving["reason"]), (&"Leaving".into(), &"as asked".into()));
    assert_eq!(watch.json()["event"], "NameOwner");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_can_be_handed_over_and_need_no_password() {
    let Some(bus) = PrivateBus::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "open sesame\n").unwrap();
    let (_server, spice) = serve(&bus, folder.path(), &["--password-file", password.to_str().unwrap()]).await;
    let connection = bus.connect().await;
    let add = async |fd: OwnedFd, skipauth: bool| {
        let body = (Fd::from(fd), skipauth);
        connection.call_method(Some(NAME), PATH, SERVER, "AddClient", &body).await.map(drop)
    };
    for (skipauth, result) in [(true, 0), (false, 7)] {
        let (theirs, ours) = UnixStream::pair().unwrap();
        add(theirs.into(), skipauth).await.unwrap();
        assert_eq!(Channel::link(ours, 0, MAIN).result, result, "skipauth {skipauth}");
    }
    assert_eq!(Channel::link(UnixStream::connect(&spice).unwrap(), 0, MAIN).result, 7);

    let listening = UnixListener::bind(folder.path().join("listening")).unwrap();
    let unconnected = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let file = std::fs::File::open(&password).unwrap();
    let wrong: [OwnedFd; 4] =
        [listening.into(), UnixDatagram::pair().unwrap().0.into(), unconnected.into(), file.into()];
    for fd in wrong {
        let error = add(fd, true).await.unwrap_err().to_string();
        assert!(error.contains("InvalidArgs") && error.contains("connected stream socket"), "{error}");
    }
    let (theirs, ours) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(ours);
    add(theirs.into(), true).await.unwrap();
    let answer = connection.call_method(Some(NAME), PATH, Some("org.freedesktop.DBus.Peer"), "Ping", &());
    tokio::time::timeout(PATIENCE, answer).await.expect("it lives").unwrap();
}
