"""Under systemd: sockets, credentials and the journal."""

import re
import shutil
import socket
import threading
import time

from rig import Skip, eventually, free_port
from tls import certificates

LOGIN, END, REFUSAL = "0b87dcda619545b5b67a6f9444642b99", "a3f14f03a8984f3da97138ca0f4275f0", "52e0435b0baa4d95925b5a78f60185b0"


def socket_activation(rig):
    """started by systemd's own tool for the first connection, it serves that one and the next, on both sockets it was passed"""
    if not shutil.which("systemd-socket-activate"):
        raise Skip("no systemd-socket-activate here")
    vm, port, path = rig.vm(), free_port(), rig.fresh("activated", ".sock")
    server = rig.start("-l", f"127.0.0.1:{port}", "-l", path, rig.settings.program, "--qmp", vm.qmp_path, program="systemd-socket-activate")
    eventually(lambda: f":{port}" in server.errors(), "systemd-socket-activate listens")
    first = rig.client(server, uri=f"spice://127.0.0.1:{port}")
    server.ready()
    assert server.uri == f"spice://127.0.0.1:{port}", server.uris
    rig.same_picture(vm, first)
    rig.same_picture(vm, rig.client(server, uri=f"spice+unix://{path}"))


def credentials(rig):
    """the password and the certificate come as credentials: `spice-password`, and server-cert.pem and server-key.pem for TLS"""
    vm, folder = rig.vm(), certificates(rig)
    (folder / "spice-password").write_text("open sesame\n")
    server = rig.serve(vm, env={"CREDENTIALS_DIRECTORY": str(folder)})
    rig.same_picture(vm, rig.client(server, authority=folder / "ca-cert.pem", password="open sesame"))
    rig.client(server, authority=folder / "ca-cert.pem", password="wrong")("wait-event main error-auth")


def status_and_watchdog(rig):
    """the service manager is told that viewers can come, how many there are, and again and again that the program is alive"""
    vm, path, name = rig.own_vm(extra=["-name", "alpine"]), rig.fresh("notify", ".sock"), "alpine"
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(path))
    manager.settimeout(10)
    server = rig.serve(vm, env={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1000000"})

    def wait_for(*wanted):
        """Reads messages until all that is wanted has come."""
        missing, told, deadline = set(wanted), [], time.monotonic() + 10
        while missing:
            assert time.monotonic() < deadline, f"{missing} is missing in {told}"
            told += manager.recv(4096).decode().splitlines()
            missing -= set(told)

    wait_for("READY=1", f"STATUS=Serving {name}; 0 clients", "WATCHDOG=1")
    client = rig.client(server)
    rig.same_picture(vm, client)
    wait_for(f"STATUS=Serving {name}; 1 client", "WATCHDOG=1")
    client.stop()
    wait_for(f"STATUS=Serving {name}; 0 clients")
    server.terminate()
    wait_for("STOPPING=1")


def journal(rig):
    """in the journal each login, refusal and end is an entry to be found by its MESSAGE_ID, and who, whence and why are its fields"""
    vm, folder, port = rig.vm(), rig.fresh("journal", ""), free_port()
    folder.mkdir()
    journald = _Journald(folder / "socket")
    rig.own.append(journald)
    password = rig.fresh("password", "")
    password.write_text("open sesame\n")
    # A journal of this program alone, at the journal's place. Its standard error is said to be the journal's.
    script = ('mkdir -p /run/systemd && mount -t tmpfs none /run/systemd && mkdir /run/systemd/journal && mount --bind "$1" /run/systemd/journal'
              ' && export JOURNAL_STREAM="$(stat -L -c %d:%i /dev/stderr)" && shift && exec "$@"')
    server = rig.start("-m", "sh", "-c", script, "sh", folder, rig.settings.program, "--qmp", vm.qmp_path, "--password-file", password,
                       "--spice-addr", f"127.0.0.1:{port}", program="unshare")
    try:
        server.ready()
    except AssertionError:
        if "unshare" in server.errors() or "mount" in server.errors():
            raise Skip(f"no mounts of one's own here: {server.errors()[-200:]}") from None
        raise
    client = rig.client(server, password="open sesame")
    rig.same_picture(vm, client)
    rig.client(server, password="wrong")("wait-event main error-auth")
    client.stop()
    login, refusal, end = (journald.wait(message) for message in (LOGIN, REFUSAL, END))
    assert login["MESSAGE"] == "logged in" and login["PRIORITY"] == "5" and login["SYSLOG_IDENTIFIER"] == "qemu-spice", login
    assert re.fullmatch(r"127\.0\.0\.1:\d+", login["QEMU_SPICE_PEER"]) and login["QEMU_SPICE_TRANSPORT"] == "tcp", login
    assert (refusal["QEMU_SPICE_REASON"], refusal["QEMU_SPICE_CHANNEL"]) == ("wrong-password", "main:0"), refusal
    assert refusal["QEMU_SPICE_PEER"] != login["QEMU_SPICE_PEER"], refusal
    same = ("QEMU_SPICE_CLIENT", "QEMU_SPICE_PEER")
    assert [end[name] for name in same] == [login[name] for name in same], (login, end)
    assert end["QEMU_SPICE_REASON"] == "the connection was closed", end
    assert "logged in" not in server.errors(), "twice: on standard error as well"
    others = [entry for entry in journald.entries if "MESSAGE_ID" not in entry]
    assert others and all("MESSAGE" in entry for entry in others), journald.entries


class _Journald:
    """Takes what is sent to the journal (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""

    def __init__(self, path):
        self.entries = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(0.2)
        self.ended = False
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while not self.ended:
            try:
                data = self.socket.recv(1 << 20)
            except TimeoutError:
                continue
            entry = {}
            while data:
                line, _, data = data.partition(b"\n")
                name, equals, value = line.partition(b"=")
                if not equals:
                    length = int.from_bytes(data[:8], "little")
                    value, data = data[8:8 + length], data[9 + length:]
                entry[name.decode()] = value.decode()
            if entry:  # without, somebody looked whether there is a journal
                self.entries.append(entry)

    def wait(self, message):
        return eventually(lambda: next((entry for entry in self.entries if entry.get("MESSAGE_ID") == message), None), f"an entry {message}")

    def stop(self):
        self.ended = True
