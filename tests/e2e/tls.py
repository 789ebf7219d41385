"""TLS."""

import re
import signal
import socket
import ssl
import subprocess
import time

from rig import eventually
from viewer import shows_in_remote_viewer


def own_authority(rig):
    """a viewer that trusts the authority made by `qemu-spice certificate` gets the picture, on the same address"""
    vm, folder = rig.vm(), certificates(rig)
    server = rig.serve(vm, "--tls-creds", folder)
    assert re.fullmatch(r"spice://127\.0\.0\.1\?tls-port=\d+", server.uri), server.uri
    rig.same_picture(vm, rig.client(server, authority=folder / "ca-cert.pem"))


def connection_file(rig):
    """remote-viewer opens the connection file that was printed, and shows the guest"""
    vm, folder = rig.vm(), rig.fresh("certificates", "")
    server = rig.serve(vm, "--tls-creds", _made(rig, folder), address="127.0.0.1:0")
    file = rig.fresh("machine", ".vv")
    file.write_text(_certificate(rig, folder, "--port", str(_port(server))))
    shows_in_remote_viewer(rig, vm, str(file))


def in_the_clear(rig):
    """without TLS a viewer is told to use it; over a unix socket it needs none; `--plain all` lets everybody in"""
    vm, folder, path = rig.vm(), certificates(rig), rig.fresh("socket", "")
    server = rig.serve(vm, "--tls-creds", folder, "--spice-addr", f"unix:{path}")
    assert _link_error(server) == 5, "need secured"
    rig.same_picture(vm, rig.client(server, uri=f"spice+unix://{path}"))
    server = rig.serve(vm, "--tls-creds", folder, "--plain", "all")
    rig.same_picture(vm, rig.client(server))
    rig.same_picture(vm, rig.client(server, uri=_both(server), authority=folder / "ca-cert.pem"))


def some_channels(rig):
    """with `--plain display` the picture comes in the clear, and the rest is encrypted"""
    vm, folder, bus = rig.vm(), certificates(rig), rig.bus()
    server = rig.serve(vm, "--tls-creds", folder, "--plain", "display", "--relay-bus", bus.address)
    rig.same_picture(vm, rig.client(server, uri=_both(server), authority=folder / "ca-cert.pem"))
    eventually(lambda: {viewer["transport"] for viewer in rig.status(bus)["Viewers"]} == {"tcp"}, "the picture in the clear")
    assert _link_error(server) == 5, "the main channel in the clear"


def distrusted(rig):
    """a viewer leaves if the certificate is of another authority, of another name, or expired"""
    vm, folder, other = rig.vm(), certificates(rig), certificates(rig)
    elsewhere, expired = certificates(rig, "--name", "elsewhere.example"), certificates(rig)
    _expire(expired)
    for creds, authority in ((folder, other), (elsewhere, elsewhere), (expired, expired)):
        server = rig.serve(vm, "--tls-creds", creds)
        client = rig.client(server, authority=authority / "ca-cert.pem")
        client("wait-event main error-tls")
        assert client("stats")["first_picture_ms"] is None


def reloaded(rig):
    """SIGHUP has a new certificate read; a viewer that is on stays, and a file that is wrong changes nothing"""
    vm, folder = rig.vm(), certificates(rig)
    server = rig.serve(vm, "--tls-creds", folder)
    inside = rig.client(server, authority=folder / "ca-cert.pem")
    rig.same_picture(vm, inside)
    before = _shown_certificate(server)
    _made(rig, folder)
    assert _shown_certificate(server) == before, "nobody asked for the new one"
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: _shown_certificate(server) != before, "the new certificate")
    now = _shown_certificate(server)
    (folder / "server-key.pem").write_text("no key\n")
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: "cannot be read again" in server.errors(), "a warning")
    assert _shown_certificate(server) == now
    vm.stage("fill 204080")
    inside("wait-colour 100 100 204080")
    rig.same_picture(vm, rig.client(server, authority=folder / "ca-cert.pem"))


def client_certificates(rig):
    """with `--tls-verify-peer` only who shows a certificate of the authority gets to say a word"""
    folder = certificates(rig)
    server = rig.serve(rig.vm(), "--tls-creds", folder, "--tls-verify-peer")
    _sign(folder, "client", "clientAuth")
    other = certificates(rig)
    _sign(other, "client", "clientAuth")
    assert _link_error(server, _context(folder, folder)) == 0
    for shown in (None, other):
        try:
            answer = _link_error(server, _context(folder, shown))
            raise AssertionError(f"a client with {shown} got the answer {answer}")
        except OSError:
            pass


def garbage(rig):
    """what only begins like TLS is turned away, and the viewers stay"""
    vm, folder = rig.vm(), certificates(rig)
    server = rig.serve(vm, "--tls-creds", folder)
    inside = rig.client(server, authority=folder / "ca-cert.pem")
    rig.same_picture(vm, inside)
    files = server.files()
    hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03"
    for words in (b"\x16" * 5000, hello + b"\xff" * 5000, b"\x16\x03\x01\xff\xff" + b"\0" * 70_000, b"\x16\x03\x03\x00\x00" * 1000):
        with socket.create_connection(("127.0.0.1", _port(server)), timeout=20) as peer:
            try:
                peer.sendall(words)
                while peer.recv(4096):
                    pass
            except ConnectionError:
                pass
    silent = [socket.create_connection(("127.0.0.1", _port(server))) for _ in range(200)]
    for peer in silent[100:]:
        peer.sendall(hello)
    rig.same_picture(vm, rig.client(server, authority=folder / "ca-cert.pem"))
    for peer in silent:
        peer.close()
    vm.stage("fill 802040")
    inside("wait-colour 100 100 802040")
    eventually(lambda: server.files() <= files + 8, "the files of those who left")


def no_tls(rig):
    """without certificates a viewer that wants TLS is turned away, and the log says why"""
    server = rig.serve(rig.vm())
    client = rig.client(server, uri=f"spice://127.0.0.1?tls-port={_port(server)}")
    client("wait-event main error-tls")
    assert "--tls-creds" in server.errors()


def wrong_files(rig):
    """certificates that are missing or do not fit are told before anything starts"""
    folder, other = certificates(rig), certificates(rig)
    (folder / "server-key.pem").write_text((other / "server-key.pem").read_text())
    empty = rig.fresh("empty", "")
    empty.mkdir()
    for creds, word in ((folder, "cannot be used together"), (empty, "qemu-spice certificate")):
        server = rig.start("--qmp", "/nowhere", "--tls-creds", creds)
        assert server.wait(10) == 1
        assert word in server.errors() and len(server.errors().splitlines()) == 1, server.errors()


# A folder with an authority and a certificate for this host.
def certificates(rig, *options):
    return _made(rig, rig.fresh("certificates", ""), *options)


def _made(rig, folder, *options):
    _certificate(rig, folder, *options)
    return folder


def _certificate(rig, folder, *options):
    """Makes a certificate; returns the connection file."""
    rig.needs_program()
    options = options or ("--name", "127.0.0.1")
    if "--name" not in options:
        options = (*options, "--name", "127.0.0.1")
    made = subprocess.run([rig.settings.program, "certificate", folder, *options], capture_output=True, text=True, timeout=20)
    assert made.returncode == 0, made.stderr
    return made.stdout


def _port(server):
    return int(re.search(r"(\d+)$", server.uri)[1])


def _both(server):
    """The URI of a server that can be reached both ways."""
    return f"spice://127.0.0.1?port={_port(server)}&tls-port={_port(server)}"


def _link_error(server, context=None):
    """The answer to a link message for a main channel, in the clear or inside TLS."""
    with socket.create_connection(("127.0.0.1", _port(server)), timeout=20) as plain:
        peer = context.wrap_socket(plain, server_hostname="127.0.0.1") if context else plain
        message = b"\0\0\0\0" b"\1\0" b"\1\0\0\0" b"\0\0\0\0" b"\x12\0\0\0" b"\x0d\0\0\0"
        peer.sendall(b"REDQ\2\0\0\0\2\0\0\0" + len(message).to_bytes(4, "little") + message)
        answer = b""
        while len(answer) < 20:
            more = peer.recv(4096)
            if not more:
                raise ConnectionResetError("no answer")
            answer += more
        return int.from_bytes(answer[16:20], "little")


def _shown_certificate(server):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", _port(server)), timeout=20) as plain:
        with context.wrap_socket(plain) as peer:
            return peer.getpeercert(binary_form=True)


def _context(folder, shown):
    context = ssl.create_default_context(cafile=folder / "ca-cert.pem")
    if shown:
        context.load_cert_chain(shown / "client-cert.pem", shown / "client-key.pem")
    return context


def _sign(folder, name, use, days=("20200101000000Z", "20990101000000Z"), host=None):
    """A certificate of the folder's authority, for times that `qemu-spice certificate` does not make."""
    config = folder / "openssl.cnf"
    config.write_text(
        "[ca]\ndefault_ca = own\n[own]\ndatabase = {0}/index.txt\nrand_serial = yes\ndefault_md = sha256\npolicy = any\n"
        "new_certs_dir = {0}\n[any]\ncommonName = supplied\n[extensions]\nextendedKeyUsage = {1}\n{2}\n"
        .format(folder, use, f"subjectAltName = IP:{host}" if host else ""))
    (folder / "index.txt").write_text("")
    key, request, certificate = folder / f"{name}-key.pem", folder / f"{name}.csr", folder / f"{name}-cert.pem"
    for command in (
        ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request],
        ["ca", "-batch", "-notext", "-config", config, "-extensions", "extensions", "-startdate", days[0], "-enddate", days[1],
         "-cert", folder / "ca-cert.pem", "-keyfile", folder / "ca-key.pem", "-in", request, "-out", certificate],
    ):
        done = subprocess.run(["openssl", *command], capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stderr


def _expire(folder):
    """Gives a folder a server certificate of yesterday."""
    past = [time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() - days * 86400)) for days in (9, 1)]
    _sign(folder, "server", "serverAuth", past, host="127.0.0.1")
