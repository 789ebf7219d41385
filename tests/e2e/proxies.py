"""Behind nginx and HAProxy, as docs/proxies.md has them."""

import re
import shutil
import socket
import ssl
import struct

from on_page import _same
from rig import ROOT, Skip, eventually, free_port
from tls import certificates
from web import PAGES, browser, same_in_browser

EXAMPLES = re.findall(r"```(nginx|haproxy)\n(.*?)```", (ROOT / "docs/proxies.md").read_text(), re.S)
CLIENT = "127.0.0.77"  # an address that no proxy and no client of this machine has by itself


def nginx_paths(rig):
    """nginx ends TLS, and passes browsers on by the path to two machines on unix sockets: spice-html5 shows both, and is told apart"""
    window, port, folder, bus = browser(rig), free_port(), certificates(rig), rig.bus()
    origin = f"https://127.0.0.1:{port}"
    vm, sockets = rig.vm(), _sockets(rig)
    servers = [rig.serve(vm, "--trusted-proxy", "unix", "--web-origin", origin, "--relay-bus", bus.address, address=f"unix:{sockets[0]}")]
    other = rig.own_vm()
    servers.append(rig.serve(other, "--trusted-proxy", "unix", "--web-origin", origin, address=f"unix:{sockets[1]}"))
    _nginx(rig, 0, sockets, {"listen 443": f"listen 127.0.0.1:{port}", "/etc/vm": str(folder)}, port)
    other.stage("fill 306090")
    window.open(f"{origin}/spice_auto.html?path=vm/debian")
    same_in_browser(rig, other, window, servers[1])
    window.open(f"{origin}/spice_auto.html?path=vm/alpine")
    same_in_browser(rig, vm, window, servers[0])
    client = eventually(lambda: rig.status(bus)["Clients"], "a client")[0]
    assert (client["Host"], client["Service"], client["Transport"]) == ("127.0.0.1", "", "ws"), client
    assert re.fullmatch(r"process \d+", client["Proxy"]), client
    assert 'peer=127.0.0.1 proxy=process ' in servers[0].errors(), "a line in the log"


def nginx_page(rig):
    """nginx passes a browser on to the page of a machine on a unix socket, which shows it"""
    window, port, folder = browser(rig), free_port(), certificates(rig)
    origin = f"https://127.0.0.1:{port}"
    vm, sockets = rig.vm(), _sockets(rig)
    server = rig.serve(vm, "--trusted-proxy", "unix", "--web-origin", origin, "--web-addr", f"unix:{sockets[2]}", address=f"unix:{sockets[0]}")
    _nginx(rig, 0, sockets, {"listen 443": f"listen 127.0.0.1:{port}", "/etc/vm": str(folder)}, port)
    window.open(f"{origin}/vm/page/")
    _same(rig, vm, window)
    assert 'transport="ws"' in server.errors() and "peer=127.0.0.1 proxy=process " in server.errors(), "a line in the log"


def nginx_tcp(rig):
    """nginx passes TCP on with the PROXY protocol, version 1: spice-gtk shows the guest, and has its own address"""
    vm, sockets, port, bus = rig.vm(), _sockets(rig), free_port(), rig.bus()
    server = rig.serve(vm, "--trusted-proxy", "unix", "--relay-bus", bus.address, address=f"unix:{sockets[0]}")
    _nginx(rig, 1, sockets, {"listen 5901": f"listen 127.0.0.1:{port}"}, port)
    client = rig.client(server, uri=f"spice://127.0.0.1:{port}")
    rig.same_picture(vm, client)
    status = rig.status(bus)
    found = status["Clients"][0]
    assert found["Host"] == "127.0.0.1" and int(found["Service"]) > 0 and found["Family"] == "ipv4", found
    assert found["Transport"] == "unix" and found["Proxy"].startswith("process "), found
    delivery = {viewer["delivery"] for viewer in status["Viewers"]}
    assert "Passthrough" not in delivery, "a buffer cannot pass through a proxy"


def haproxy_names(rig):
    """HAProxy passes TLS on by the name it asks for, with version 2: spice-gtk trusts the machine's own certificate and shows it"""
    vm, sockets, port, bus = rig.vm(), _sockets(rig), free_port(), rig.bus()
    folders = [certificates(rig, "--name", "localhost"), certificates(rig, "--name", "debian.vm.example")]
    servers = [rig.serve(vm, "--trusted-proxy", "unix", "--tls-creds", folder, "--relay-bus", bus.address if n == 0 else "none",
                         address=f"unix:{path}") for n, (folder, path) in enumerate(zip(folders, sockets))]
    config = _config(rig, "haproxy", 0, sockets, {"bind :5900": f"bind 127.0.0.1:{port}", "alpine.vm.example": "localhost"})
    _proxy(rig, ["haproxy", "-db", "-f", config], port)
    client = rig.client(servers[0], uri=f"spice://localhost?tls-port={port}", authority=folders[0] / "ca-cert.pem")
    rig.same_picture(vm, client)
    found = rig.status(bus)["Clients"][0]
    assert (found["Host"], found["TLS"], found["Transport"]) == ("127.0.0.1", True, "tls"), found
    # Of the other machine, whose name is nobody's here.
    context = ssl.create_default_context(cafile=folders[1] / "ca-cert.pem")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        with context.wrap_socket(plain, server_hostname="debian.vm.example") as peer:
            peer.sendall(b"not SPICE, by any means")
            assert peer.recv(4096)[:4] == b"REDQ"
    eventually(lambda: re.search(r"peer=127\.0\.0\.1:\d+ proxy=process \d+.*refused|refused.*peer=127\.0\.0\.1:\d+ proxy=process \d+",
                                 servers[1].errors()), "a line in the other machine's log")


def told_apart(rig):
    """clients of one proxy are counted by themselves: a crowd that one of them makes keeps out none of the others"""
    vm = rig.vm()
    server = rig.serve(vm, "--trusted-proxy", "127.0.0.1")
    crowd = [_connected(server, _v1("203.0.113.9")) for _ in range(400)]
    patient = [_connected(server, _v2("198.51.100.7")) for _ in range(8)]
    for peer in patient:
        peer.sendall(_link())
    assert [len(_exactly(peer, 16)) for peer in patient] == [16] * 8, "a client that the crowd has pushed out"
    rig.same_picture(vm, rig.client(server))
    for peer in crowd + patient:
        peer.close()


def hostile(rig):
    """headers that nobody may send, and such as cannot be read, are refused with a line in the log; viewers stay"""
    vm = rig.vm()
    server = rig.serve(vm, "--trusted-proxy", "127.0.0.1", "--trusted-proxy", "10.0.0.0/8")
    inside = rig.client(server)
    rig.same_picture(vm, inside)
    files = server.files()
    elsewhere = _connected(server, _v1("203.0.113.9") + _link(), here="127.0.0.5")
    assert _ended(elsewhere) == b"", "a header from somebody who is not trusted"
    eventually(lambda: "a PROXY header from 127.0.0.5:" in server.errors(), "a line in the log")
    for header, host in ((_v1("203.0.113.9"), "203.0.113.9:4711"), (_v2("203.0.113.8"), "203.0.113.8:4711")):
        peer = _connected(server)
        try:
            for byte in header + b"garbage that is no link message":  # a slow network's
                peer.sendall(bytes([byte]))
            _ended(peer)
        except ConnectionError:
            pass  # it was refused before all was said
        eventually(lambda: f"peer={host} proxy=127.0.0.1:" in server.errors(), f"{host} in the log")
    for header in (
        b"PROXY TCP4 a b c d\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 99999 1\r\n",
        b"PROXY " + b"1" * 300,
        b"PROXY \0\xff\r\n",
        _SIGNATURE + b"\x31\x11\0\x0c" + b"\0" * 12,
        _SIGNATURE + b"\x21\x11\0\x04" + b"\0" * 4,
        _SIGNATURE + b"\x21\x11\xff\xff" + b"\0" * 65535,
        _v1("203.0.113.9") + _v1("198.51.100.7"),
        _v2("203.0.113.9") + b"\0" * 64,
    ):
        assert b"REDQ\2\0\0\0\2\0\0\0\xb2\0\0\0\0" not in _ended(_connected(server, header + _link())), header[:40]
    slow = [_connected(server, b"PROXY TCP4 ") for _ in range(300)]
    rig.same_picture(vm, rig.client(server))
    for peer in slow:
        peer.close()
    vm.stage("fill 405060")
    inside("wait-colour 100 100 405060")
    eventually(lambda: server.files() <= files + 8, "the files of those who left")


_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def _v1(host):
    return f"PROXY TCP4 {host} 10.0.0.1 4711 5900\r\n".encode()


def _v2(host):
    return _SIGNATURE + b"\x21\x11\0\x0c" + socket.inet_aton(host) + socket.inet_aton("10.0.0.1") + struct.pack(">HH", 4711, 5900)


def _link():
    message = b"\0\0\0\0" b"\1\0" b"\0\0\0\0" b"\0\0\0\0" b"\x12\0\0\0"
    return b"REDQ\2\0\0\0\2\0\0\0" + len(message).to_bytes(4, "little") + message


def _connected(server, data=b"", here="127.0.0.1"):
    peer = socket.socket()
    peer.bind((here, 0))
    peer.settimeout(20)
    host, port = server.uri.removeprefix("spice://").rsplit(":", 1)
    peer.connect((host, int(port)))
    try:
        peer.sendall(data)
    except ConnectionError:
        pass
    return peer


def _exactly(peer, count):
    data = b""
    while len(data) < count:
        more = peer.recv(count - len(data))
        if not more:
            break
        data += more
    return data


def _ended(peer):
    """What the server answers until it closes the connection."""
    data = b""
    try:
        while more := peer.recv(4096):
            data += more
    except ConnectionError:
        pass
    peer.close()
    return data


def _sockets(rig):
    return [rig.fresh(name, ".sock") for name in ("alpine", "debian", "page")]


def _config(rig, kind, number, sockets, changes):
    """An example of the page, with this test's own paths and ports."""
    text = [text for of, text in EXAMPLES if of == kind][number]
    for before, after in {"/run/qemu-spice/alpine.sock": str(sockets[0]), "/run/qemu-spice/debian.sock": str(sockets[1]), "/run/qemu-spice/page.sock": str(sockets[2]), **changes}.items():
        assert before in text or before.startswith("/run/"), f"{before} is not in the example"
        text = text.replace(before, after)
    file = rig.fresh(kind, ".conf")
    file.write_text(text)
    return file


def _nginx(rig, number, sockets, changes, port):
    if not PAGES.exists():
        raise Skip("no spice-html5 here")
    folder = rig.fresh("nginx", "")
    folder.mkdir()
    config = _config(rig, "nginx", number, sockets, changes)
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    if "http {" in config.read_text():
        config.write_text(config.read_text().replace("http {", f"http {{ access_log off; {temporary}"))
    # As this test's user, because the sockets are; in the foreground.
    command = ["nginx", "-p", folder, "-c", config, "-e", "stderr", "-g", f"user root; daemon off; pid {folder}/pid;"]
    _proxy(rig, command, port)


def _proxy(rig, command, port):
    if not shutil.which(command[0]):
        raise Skip(f"no {command[0]} here")
    process = rig.background([str(word) for word in command])

    def listens():
        assert process.process.poll() is None, f"{command[0]} ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0
    eventually(listens, f"{command[0]} on port {port}")
