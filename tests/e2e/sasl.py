"""Users who log in by name, by SASL inside TLS."""

import socket
import ssl
import struct
import subprocess

from inputs import KEY
from rig import eventually
from tls import certificates

ELSEWHERE = "127.0.0.2"  # strangers come from there: the wait after wrong passwords is theirs alone
REFUSED = b"\0\0\0\0" b"\1" b"\1\0\0\0" b"\x16\0\0\0" b"Authentication failed\0"  # no data, complete, and why


def by_name(rig):
    """a user of the file gets in with name and password, on all channels, and may do what the file says"""
    vm, server, folder, _ = _served(rig)
    ann = _client(rig, server, folder, "ann", "apple")
    ben = _client(rig, server, folder, "ben", "banana")
    rig.same_picture(vm, ann)
    rig.same_picture(vm, ben)
    vm.stage("events on")
    ben("key 1e")
    ben("sleep 300")
    ann("key 30")
    vm.events(lambda events: [code for _, kind, code, value in events if kind == KEY and value == 1] == [48])
    told = server.errors()
    assert "user ann" in told and "user ben" in told and "may only look" in told, told
    assert "apple" not in told and "banana" not in told, "a password in the log"
    assert "SCRAM-SHA-256" in ann.log_path.read_text(errors="replace"), "the mechanism"


def refused(rig):
    """a wrong password, an unknown user and nobody at all are refused, and who is in stays"""
    vm, server, folder, bus = _served(rig)
    ann = _client(rig, server, folder, "ann", "apple")
    rig.same_picture(vm, ann)
    for name, password in (("ann", "banana"), ("eve", "apple")):
        client = _client(rig, server, folder, name, password)
        client("wait-event main error-auth")
        assert client("stats")["first_picture_ms"] is None
    assert rig.status(bus)["Refused"] == {"wrong-password": 2}
    _client(rig, server, folder, None, None)("wait-event main error-auth")
    vm.stage("fill 306090")
    ann("wait-colour 100 100 306090")


def no_common_mechanism(rig):
    """a viewer that has none of the mechanisms ends with an error, and the log of the program has no panic"""
    vm, server, folder, _ = _served(rig)
    empty = rig.fresh("plugins", "")
    empty.mkdir(parents=True)
    client = _client(rig, server, folder, "ann", "apple", env={"SASL_PATH": str(empty)})
    client("wait-event main error-auth")
    assert "SASL negotiation" in client.log_path.read_text(errors="replace")
    rig.same_picture(vm, _client(rig, server, folder, "ann", "apple"))


def changed(rig):
    """SIGHUP has the file read again: a new user gets in, one that was taken out does not, and a wrong file changes nothing"""
    vm, server, folder, _ = _served(rig)
    file = server.users
    _user(rig, file, "cid", "cherry")
    _run(rig, file, "ann", "--remove")
    server.process.send_signal(1)
    eventually(lambda: "read again" in server.errors(), "the file to be read")
    rig.same_picture(vm, _client(rig, server, folder, "cid", "cherry"))
    _client(rig, server, folder, "ann", "apple")("wait-event main error-auth")
    file.chmod(0o644)
    server.process.send_signal(1)
    eventually(lambda: "chmod 600" in server.errors(), "a warning")
    rig.same_picture(vm, _client(rig, server, folder, "cid", "cherry"))


def without_tls(rig):
    """on a unix socket, where spice-gtk has no SASL without TLS, an invitation lets in, and nothing else does"""
    path = rig.fresh("socket", "")
    vm, server, folder, bus = _served(rig, "--spice-addr", f"unix:{path}")
    local = f"spice+unix://{path}"
    for options in ({}, {"password": "apple"}, {"password": "apple", "username": "ann"}):
        rig.client(server, uri=local, **options)("wait-event main error-auth")
    done = subprocess.run([rig.settings.program, "invite", "--dbus-address", bus.address], capture_output=True, text=True, timeout=20)
    secret = done.stdout.partition("password=")[2].split()[0]
    rig.same_picture(vm, rig.client(server, uri=local, password=secret))


def invited(rig):
    """who is invited beside users enters by the connection file's name and secret, once, and looks only"""
    vm, server, folder, bus = _served(rig)
    asked = [rig.settings.program, "invite", "--look", "--once", "--dbus-address", bus.address]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=20)
    lines = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert lines["username"] == "invitation-1" and "user invitation-1" in done.stderr, (lines, done.stderr)
    for name, password in (("invitation-1", "apple"), ("invitation-2", lines["password"]), ("ann", lines["password"])):
        _client(rig, server, folder, name, password)("wait-event main error-auth")
    guest = _client(rig, server, folder, "invitation-1", lines["password"])
    rig.same_picture(vm, guest)
    assert "rights=\"look\"" in server.errors()
    _client(rig, server, folder, "invitation-1", lines["password"])("wait-event main error-auth")
    vm.stage("fill 306090")
    guest("wait-colour 100 100 306090")


def wrong_files(rig):
    """a file of users that others can read, or that is none, is told before anything starts"""
    folder = certificates(rig)
    file = rig.fresh("users", "")
    _user(rig, file, "ann", "apple")
    assert file.stat().st_mode & 0o777 == 0o600 and "apple" not in file.read_text()
    file.chmod(0o640)
    other = rig.fresh("other", "")
    other.write_text("ann:apple\n")
    other.chmod(0o600)
    for users, word in ((file, "chmod 600"), (other, "line 1"), (rig.fresh("nothing", ""), "No such file")):
        server = rig.start("--qmp", "/nowhere", "--tls-creds", folder, "--sasl-users", users)
        assert server.wait(10) == 1
        assert word in server.errors() and len(server.errors().splitlines()) == 1, server.errors()


def hostile(rig):
    """lengths without bound, senseless mechanisms and data, and peers that stop anywhere: each is refused, and a viewer gets in"""
    vm, server, folder, bus = _served(rig)
    inside = _client(rig, server, folder, "ann", "apple")
    rig.same_picture(vm, inside)
    memory = server.memory()
    malformed = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x15\0\0\0", _first(b"GSSAPI"), _first(b"EXTERNAL"), _first(b"plain"),
                 _name(b"PLAIN") + b"\x01\x10\0\0", _name(b"SCRAM-SHA-256") + b"\xff\xff\xff\x7f"]
    for words in malformed:
        with _offered(server, folder) as peer:
            peer.sendall(words)
            assert _rest(peer) == REFUSED, words
    wrong = [_first(b"PLAIN"), _first(b"PLAIN", b"\0ann\0banana"), _first(b"SCRAM-SHA-256", b"\xff" * 4000)]
    for words in wrong:
        with _offered(server, folder) as peer:
            peer.sendall(words)
            assert _rest(peer) == REFUSED, words
    refused = rig.status(bus)["Refused"]
    assert refused == {"malformed": len(malformed), "wrong-password": len(wrong)}, refused
    # Those who stop: at the choice, in a length, in a name, in data; and one who never ends.
    halves = [b"", b"\x05", b"\x05\0\0\0PL", _name(b"PLAIN"), _name(b"PLAIN") + b"\xff\x0f\0\0" + b"x" * 4000]
    silent = [_offered(server, folder) for _ in range(40)]
    for number, peer in enumerate(silent):
        peer.sendall(halves[number % len(halves)])
    rig.same_picture(vm, _client(rig, server, folder, "ann", "apple"))
    for peer in silent:
        _rest(peer)
        peer.close()
    refused = rig.status(bus)["Refused"]
    assert refused["late"] == len(silent), refused
    assert server.memory() - memory < 16, "memory of strangers"
    vm.stage("fill 609030")
    inside("wait-colour 100 100 609030")


def _served(rig, *options):
    rig.needs_program()
    vm, bus, folder, file = rig.vm(), rig.bus(), certificates(rig), rig.fresh("users", "")
    _user(rig, file, "ann", "apple")
    _user(rig, file, "ben", "banana", "--look")
    server = rig.serve(vm, "--tls-creds", folder, "--sasl-users", file, "--relay-bus", bus.address, *options)
    server.users = file
    return vm, server, folder, bus


def _client(rig, server, folder, name, password, **options):
    return rig.client(server, uri=server.uris[0], username=name, password=password, authority=folder / "ca-cert.pem", **options)


def _user(rig, file, name, password, *options):
    return _run(rig, file, name, *options, words=f"{password}\n")


def _run(rig, file, name, *options, words=""):
    rig.needs_program()
    command = [rig.settings.program, "user", name, "--file", file, *options]
    done = subprocess.run(command, input=words, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr


def _offered(server, folder):
    """A connection inside TLS that was offered SASL's mechanisms."""
    context = ssl.create_default_context(cafile=folder / "ca-cert.pem")
    port = int(server.uris[0].rpartition("=")[2])
    plain = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(ELSEWHERE, 0))
    peer = context.wrap_socket(plain, server_hostname="127.0.0.1")
    body = b"\0\0\0\0" b"\1\0" b"\1\0\0\0" b"\0\0\0\0" b"\x12\0\0\0" b"\x0d\0\0\0"
    peer.sendall(b"REDQ\2\0\0\0\2\0\0\0" + struct.pack("<I", len(body)) + body)
    size = struct.unpack("<4sIII", _exactly(peer, 16))[3]
    assert _exactly(peer, size)[:4] == bytes(4)
    peer.sendall(struct.pack("<I", 2))
    offered = _exactly(peer, struct.unpack("<I", _exactly(peer, 4))[0])
    assert offered == b"SCRAM-SHA-256,PLAIN", offered
    return peer


def _name(name):
    return struct.pack("<I", len(name)) + name


def _first(name, data=None):
    return _name(name) + (bytes(4) if data is None else struct.pack("<I", len(data) + 1) + data + b"\0")


def _exactly(peer, size):
    data = b""
    while len(data) < size:
        more = peer.recv(size - len(data))
        if not more:
            raise ConnectionResetError("the server closed the connection")
        data += more
    return data


def _rest(peer):
    """All that comes until the connection ends."""
    data = b""
    try:
        while more := peer.recv(4096):
            data += more
    except (ssl.SSLEOFError, ConnectionResetError):
        pass
    return data
