"""What a test is given: virtual machines, the program under test, and clients; all ended behind it."""

import json
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))

import compare  # noqa: E402
from vm import CPU, Vm  # noqa: E402

READY_LIMIT = 30  # seconds for the program to print its ready line
SHOWN_LIMIT = 8  # seconds for a client to show what the guest shows
PICTURE_LIMIT = 35.0  # dB: how like the guest's screen a streamed picture has to be


class Skip(Exception):
    """The test cannot be run here; its text says why."""


class Rig:
    """One for each lane of a run, which has a `number`. `settings` are run.py's arguments."""

    def __init__(self, settings, artifacts, number=0):
        self.settings = settings
        self.root_artifacts = artifacts
        self.number = number
        self.artifacts = artifacts
        self.shared = {}  # QEMU's name: its VM, kept for the next test
        self.own = []  # what the running test started
        self.likeness = []  # dB, of the pictures it compared
        self.told = ""  # what the running test found, for its line

    # -- given to tests --

    def vm(self, name="qemu"):
        """The VM of one QEMU (`qemu`, `qemu72`, `qemu11`), shared by tests, showing the resting picture."""
        vm = self.shared.get(name)
        if vm is None or not vm.alive():
            options = {}
            if self.settings.against_qemu:
                port = free_port()
                options = {"display": "none", "extra": peer_arguments(port)}
            vm = self.shared[name] = Vm(self.root_artifacts / f"vm-{name}-{self.number}", self.settings.guest, qemu=self.qemu(name), **options)
            vm.peer_uri = f"spice://127.0.0.1:{port}" if self.settings.against_qemu else None
        vm.reset()
        return vm

    def own_vm(self, name="qemu", folder="vm", **options):
        """A VM of this test alone."""
        self.needs_program()
        vm = Vm(self.artifacts / folder, self.settings.guest, qemu=self.qemu(name), **options)
        self.own.append(vm)
        return vm

    def desktop(self, name="qemu", agent="dbus", **options):
        """A VM of this test alone whose guest has a desktop and SPICE's agent; see scripts/desktop. They share a folder.
        The `agent` speaks with the program over a port (`dbus`), or with QEMU itself (`qemu-vdagent,clipboard=on`)."""
        self.needs_program()
        folder = self.settings.desktop
        if not folder:
            raise Skip("no guest with a desktop here")
        root = f"local,path={folder}/root,mount_tag=desktop,security_model=none,readonly=on,multidevs=remap"
        shared = self.fresh("share", "")
        shared.mkdir()
        vm = Vm(self.artifacts / "desktop", folder, qemu=self.qemu(name), machine=(*CPU, "-m", "1024"),
                extra=["-virtfs", root, "-virtfs", f"local,path={shared},mount_tag=share,security_model=none", "-device", "virtio-serial", "-chardev", f"{agent},id=agent,name=com.redhat.spice.0",
                       "-device", "virtserialport,chardev=agent,name=com.redhat.spice.0", *options.pop("extra", ())], **options)
        vm.shared = shared  # this machine's name of the guest's /share
        self.own.append(vm)
        return vm

    def qemu(self, name):
        """The command of one of the QEMUs."""
        if name == "qemu":
            return "qemu-system-x86_64"
        command = self.settings.trees.get(name)
        if not command:
            raise Skip(f"no {name} here")
        return command

    def serve(self, vm, *arguments, address=None, attach=None, env=None, video=None):
        """Starts the program under test on a VM and waits for its ready line. With `video`, of one codec: spice-gtk
        decodes MJPEG whatever is installed, and has images alone where nothing but another codec is encoded."""
        if self.settings.against_qemu:
            if arguments or address or attach or env:
                raise Skip("QEMU's own server is set up otherwise")
            return Peer(vm.peer_uri)
        address = address or f"127.0.0.1:{free_port()}"
        attach = ["--qmp", str(vm.qmp_path)] if attach is None else attach
        arguments += ("--video-codec", video) if video else ()
        server = self.start(*attach, "--spice-addr", address, *arguments, env=env)
        server.ready()
        return server

    def start(self, *arguments, program=None, env=None, fds=()):
        """Starts the program under test, or another `program` that prints a URI, and waits for nothing."""
        self.needs_program()
        program = Path(program or self.settings.program)
        server = Server(program, arguments, self.fresh(program.name, ".log"), env, fds)
        self.own.append(server)
        return server

    def client(self, server, images_only=False, password=None, uri=None, inside=None, authority=None, username=None, sound=False,
               folder=None, env=None):
        """A scripted spice-gtk client, connecting; `inside` a network namespace, where one is named. It trusts the
        certificates of an `authority`, a file. With a `username` it can log in by name; it has
        `sound` or none. It shares a `folder`."""
        options = ["--images-only"] if images_only else []
        if sound:
            options += ["--sound"]
        if folder is not None:
            options += ["--folder", str(folder)]
        if password is not None:
            options += ["--password", password]
        if authority is not None:
            options += ["--authority", str(authority)]
        if username is not None:
            options += ["--username", username]
        client = Client(uri or server.uri, options, self.fresh("client", ".log"), inside=inside, env=env)
        self.own.append(client)
        return client

    def dbus_viewer(self, bus, *options):
        """A scripted D-Bus viewer, connecting."""
        client = Client(bus.address, options, self.fresh("dbus-viewer", ".log"), script="dbus_viewer.py")
        self.own.append(client)
        return client

    def listener(self, server, *options):
        """A client that notes the times on its pictures and its sound, connecting."""
        client = Client(server.uri, options, self.fresh("listener", ".log"), script="mm_times.py")
        self.own.append(client)
        return client

    def bus(self):
        """A D-Bus daemon of this test alone."""
        bus = Bus(self.artifacts)
        self.own.append(bus)
        return bus

    def background(self, command, **options):
        """Any other program, its output among the artifacts."""
        with open(self.fresh(Path(command[0]).name, ".log"), "w") as log:
            process = Process(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options))
        self.own.append(process)
        return process

    def tunnel(self, there, here=None):
        """tunnel.py to `there`; returns the URI of its near end, where it listens."""
        here = here or f"127.0.0.1:{free_port()}"
        process = subprocess.Popen([sys.executable, Path(__file__).with_name("tunnel.py"), here, there],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.own.append(Process(process))
        assert process.stdout.readline() == "ready\n", f"no tunnel from {here} to {there}"
        return f"spice://{here}"

    def same_picture(self, vm, client, at_least=PICTURE_LIMIT):
        """The client comes to show what QEMU itself says the guest shows, to `at_least` dB (`inf`: every pixel)."""
        shown = self.fresh("shown", ".png")
        deadline = time.monotonic() + SHOWN_LIMIT
        while True:
            client("wait-rest 300")
            client(f"picture {shown}")
            try:
                return self.same_file(vm, shown, at_least)
            except AssertionError:
                # On a busy machine a client's decoder alone takes a second to start.
                if time.monotonic() > deadline:
                    raise
            client("sleep 500")

    def same_file(self, vm, shown, at_least=PICTURE_LIMIT):
        """A picture file equals the guest's screen, to `at_least` dB."""
        wanted = vm.screendump(Path(shown).with_suffix(".screendump.png"))
        one, two = compare.load(wanted), compare.load(shown)
        try:
            result = compare.psnr(one, two)
        except ValueError as error:
            raise AssertionError(str(error)) from error
        if result < at_least:
            compare.write_difference(one, two, Path(shown).with_suffix(".difference.png"))
        assert result >= at_least, f"{compare.words(result)}, wanted {at_least} dB; see {shown}"
        self.likeness.append(result)
        return result

    def status(self, bus):
        """What `qemu-spice status` tells of the one program on a bus; its text for people is among the artifacts."""
        asked = [self.settings.program, "status", "--json", "--dbus-address", bus.address]
        told = subprocess.run(asked, capture_output=True, text=True, timeout=20)
        assert told.returncode == 0, told.stderr
        servers = json.loads(told.stdout)
        assert len(servers) == 1, servers
        people = subprocess.run([word for word in asked if word != "--json"], capture_output=True, text=True, timeout=20)
        self.fresh("status", ".txt").write_text(people.stdout)
        return servers[0]

    def tell(self, text):
        """What the test found, for its line."""
        self.told = text

    def fresh(self, stem, suffix):
        """An unused file name among this test's artifacts."""
        self.artifacts.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            path = self.artifacts / f"{stem}-{number}{suffix}"
            if not path.exists():
                return path
        raise RuntimeError(f"too many files of the name {stem}")

    def needs_program(self):
        if self.settings.against_qemu:
            raise Skip("about the program, not about QEMU's own server")

    # -- the run's own --

    def begin(self, name):
        self.artifacts = self.root_artifacts / name
        self.likeness = []
        self.told = ""

    def end(self):
        """Ends what the test started; raises if the program had panicked."""
        own, self.own = self.own, []
        for thing in reversed(own):
            thing.stop()
        for thing in own:
            if isinstance(thing, Server):
                assert "panicked at" not in thing.errors(), f"the program panicked; see {thing.log_path}"

    def close(self):
        for vm in self.shared.values():
            vm.stop()


class Server:
    """The program under test."""

    def __init__(self, program, arguments, log_path, env=None, fds=()):
        self.log_path = log_path
        self.command = [str(program), *map(str, arguments)]
        self.addresses = [after for before, after in zip(self.command, self.command[1:]) if before == "--spice-addr"]
        self.uris = []
        environment = {key: value for key, value in os.environ.items() if key != "RUST_BACKTRACE"}
        # At this level the log shows what went on, should a test fail.
        environment.setdefault("RUST_LOG", "info")
        self.started = time.monotonic()
        with open(log_path, "w") as log:
            log.write(shlex.join(self.command) + "\n")
            log.flush()
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                            env={**environment, **(env or {})}, pass_fds=fds)

    @property
    def uri(self):
        return self.uris[0]

    def ready(self, limit=READY_LIMIT):
        """Waits for a URI for each address on standard output."""
        text = b""
        deadline = time.monotonic() + limit
        while len(self.uris) < max(1, len(self.addresses)):
            readable, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self.process.stdout.fileno(), 4096) if readable else b""
            assert data, f"the program printed no URI within {limit} s: {text.decode()!r}; {self.errors()[-400:]}"
            text += data
            self.uris = re.findall(r"(?:spice\S*://|unix:@)[^\s\"',;]+", text.decode())

    def errors(self):
        """What it wrote on standard error."""
        return Path(self.log_path).read_text().partition("\n")[2]

    def memory(self):
        """Its own memory in MiB: the guest's buffers that it maps do not count."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("RssAnon:"))

    def files(self):
        """How many files it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def wait(self, limit):
        """Waits for its end; returns its exit code."""
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the program still runs after {limit} s; see {self.log_path}") from None

    def alive(self):
        return self.process.poll() is None

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self):
        if self.alive():
            self.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()


class Peer:
    """QEMU's own SPICE server in the program's place."""

    def __init__(self, uri):
        self.uri = uri
        self.uris = [uri]

    def alive(self):
        return True


class Client:
    """A program of tests/clients in a process of its own. Call it with a command line."""

    def __init__(self, uri, options, log_path, script="spice_client.py", inside=None, env=None):
        self.log_path = log_path
        with open(log_path, "w") as log:
            self.process = subprocess.Popen(
                [*(["ip", "netns", "exec", inside] if inside else []), "/usr/bin/python3", ROOT / "tests/clients" / script, uri, *options],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env={**os.environ, "SPICE_DEBUG": "1", **(env or {})})

    def __call__(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the client ended at `{command}`; see {self.log_path}"
        answer = json.loads(line)
        assert answer.pop("ok"), f"client: {answer['error']}; see {self.log_path}"
        return answer

    def streams(self):
        """How many video streams it was sent so far."""
        return Path(self.log_path).read_text(errors="replace").count("display_handle_stream_create")

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.send_signal(signal.SIGCONT)  # one that a test has stopped does not end
            self.process.wait(60)
        self.process.stdin.close()
        self.process.stdout.close()


class Bus:
    """A private D-Bus daemon."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(["dbus-daemon", "--session", "--nofork", "--print-address=1"],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        # Without its `guid`: in QEMU's options a comma is a separator.
        self.address = self.process.stdout.readline().strip().split(",")[0]
        assert self.address, "dbus-daemon did not start"

    def stop(self):
        Process(self.process).stop()  # killed at once it would leave its socket behind
        self.process.stdout.close()


class Process:
    """Some other program."""

    def __init__(self, process):
        self.process = process

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def free_port():
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def peer_arguments(port):
    return ["-spice", f"port={port},addr=127.0.0.1,disable-ticketing=on,streaming-video=all"]


def eventually(condition, what, limit=10):
    """Waits for something that no socket tells of."""
    deadline = time.monotonic() + limit
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited {limit} s in vain: {what}"
        time.sleep(0.05)
    return result
