"""Browsers: WebSockets."""

import base64
import functools
import http.server
import os
import re
import shutil
import socket
import ssl
import sys
import threading
from pathlib import Path

from rig import Skip, eventually
from tls import certificates

sys.path.insert(0, str(Path(__file__).parents[1] / "clients"))
from browser import Browser  # noqa: E402

PAGES = Path("/usr/share/spice-html5")
KEY_A, KEY_B = 30, 48  # of the guest, as in linux/input-event-codes.h


def spice_html5(rig):
    """Debian's spice-html5 in Chromium shows every pixel of the guest, and its keys arrive"""
    vm = rig.vm()
    _shows_and_types(rig, vm, _page(rig), lambda page: rig.serve(vm, "--web-origin", page))


def spice_html5_tls(rig):
    """… inside TLS as well, with a password"""
    vm, folder, password = rig.vm(), certificates(rig), rig.fresh("password", "")
    password.write_text("open sesame\n")
    page = _page(rig, folder)
    _shows_and_types(rig, vm, page, lambda page: rig.serve(vm, "--web-origin", page, "--tls-creds", folder, "--password-file", password),
                     "&password=open+sesame")


def another_site(rig):
    """a page of another site is refused, and the log says how to allow it"""
    page, server = _page(rig), rig.serve(rig.vm())
    window = browser(rig)
    window.open(_url(page, server))
    eventually(lambda: f"`--web-origin {page}` would allow it" in server.errors(), "a line in the log")
    assert window.canvas("#spice-screen canvas") is None
    for origin, status in ((page, 403), ("http://evil.example", 403), (f"http://127.0.0.1:{_port(server)}", 101), (None, 101)):
        assert _upgrade(server, origin)[0] == status, origin


def stream_of_bytes(rig):
    """the borders of messages mean nothing, pings are answered, and whoever closes hears it"""
    server = rig.serve(rig.vm())
    _, peer = _upgrade(server)
    link = _link()
    for opcode, fin, part in ((2, 0, link[:3]), (9, 1, b"hello"), (0, 0, link[3:20]), (0, 1, link[20:25]), (1, 1, b""), (2, 1, link[25:])):
        peer.sendall(_frame(opcode, part, fin))
    answers = {}
    while 8 not in answers and len(answers.get(2, b"")) < 20:
        opcode, data = _receive(peer)
        answers[opcode] = answers.get(opcode, b"") + data
    assert answers.get(10) == b"hello" and answers[2].startswith(b"REDQ"), answers
    peer.sendall(_frame(8, b"\x03\xe8"))
    opcode = None
    while opcode != 8:
        opcode, _ = _receive(peer)
    peer.close()


def hostile(rig):
    """what is no request for a WebSocket gets an answer and no place; illegal frames end their connection; viewers stay"""
    vm = rig.vm()
    server = rig.serve(vm)
    inside = rig.client(server)
    rig.same_picture(vm, inside)
    files = server.files()
    for request, status in (
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"426"),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"HEAD / HTTP/1.0\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + b"X-Long: " + b"a" * 20_000 + b"\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n", b"400"),
        (b"G" * 70_000, b"400"),
        (b"GET /\0 HTTP/1.1\r\n\r\n", b"400"),
    ):
        assert _answer(server, request).startswith(b"HTTP/1.1 " + status), request[:40]
    link = _link()
    for frames in (
        _frame(2, link, masked=False),
        _frame(3, link),
        _frame(11, b""),
        _frame(2 | 0x40, link),
        _frame(0, link),
        _frame(9, b"x" * 126),
        _frame(9, b"x", fin=0),
        _frame(2, b"", fin=0) + _frame(2, link),
        b"\x82\xff" + (1 << 62).to_bytes(8, "big"),
        b"\x82\xfe\xff\xff" + b"\0" * 60_000,
        _frame(2, b"not SPICE at all, by any means"),
    ):
        _, peer = _upgrade(server)
        try:
            peer.sendall(frames)
            while peer.recv(4096):
                pass
        except ConnectionError:
            pass
        peer.close()
    slow = [socket.create_connection(("127.0.0.1", _port(server))) for _ in range(300)]
    for peer in slow:
        peer.sendall(b"GET / HTTP/1.1\r\n")
    rig.same_picture(vm, rig.client(server))
    for peer in slow:
        peer.close()
    vm.stage("fill 405060")
    inside("wait-colour 100 100 405060")
    eventually(lambda: server.files() <= files + 8, "the files of those who left")


def _shows_and_types(rig, vm, page, serve, more=""):
    window = browser(rig)
    server = serve(page)
    window.open(_url(page, server) + more)
    same_in_browser(rig, vm, window, server)
    vm.stage("events on")
    window.point(300, 300)
    window.script("document.querySelector('#spice-screen canvas').focus()")
    window.key("a")
    window.key("b")
    vm.events(lambda events: [code for _, kind, code, value in events if kind == 1 and value == 1][:2] == [KEY_A, KEY_B])


def same_in_browser(rig, vm, window, server):
    shown = rig.fresh("shown", ".png")

    def equal():
        png = window.canvas("#spice-screen canvas")
        if png is None:
            return False
        shown.write_bytes(png)
        try:
            return rig.same_file(vm, shown, at_least=float("inf"))
        except AssertionError:
            return False
    eventually(equal, f"the guest's picture in the browser, see {shown} and {server.log_path}", limit=40)


def browser(rig, *flags):
    if not shutil.which("chromedriver") or not PAGES.exists():
        raise Skip("no chromium-driver or spice-html5 here")
    rig.needs_program()
    with open(rig.fresh("chromedriver", ".log"), "w") as log:
        window = Browser(log, flags)
    rig.own.append(window)
    return window


def _page(rig, folder=None):
    """Serves spice-html5's pages; returns their origin."""
    handler = functools.partial(_Quiet, directory=str(PAGES))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if folder:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server-cert.pem", folder / "server-key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.stop = server.shutdown
    rig.own.append(server)
    return f"http{'s' if folder else ''}://127.0.0.1:{server.server_address[1]}"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def _url(page, server):
    return f"{page}/spice_auto.html?host=127.0.0.1&port={_port(server)}"


def _port(server):
    return int(re.search(r"(\d+)$", server.uri)[1])


def _link():
    message = b"\0\0\0\0" b"\1\0" b"\1\0\0\0" b"\0\0\0\0" b"\x12\0\0\0" b"\x09\0\0\0"
    return b"REDQ\2\0\0\0\2\0\0\0" + len(message).to_bytes(4, "little") + message


def _upgrade(server, origin=None):
    """Asks for a WebSocket; returns the status and the connection."""
    peer = socket.create_connection(("127.0.0.1", _port(server)), timeout=20)
    head = (f"GET /websockify HTTP/1.1\r\nHost: 127.0.0.1:{_port(server)}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: binary\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n")
    head += f"Origin: {origin}\r\n" if origin else ""
    for byte in (head + "\r\n").encode():  # a slow network's
        peer.sendall(bytes([byte]))
    answer = b""
    while b"\r\n\r\n" not in answer:
        more = peer.recv(1)
        assert more, f"no whole answer: {answer}"
        answer += more
    status = int(answer.split()[1])
    assert status != 101 or b"sec-websocket-protocol: binary" in answer.lower(), answer
    return status, peer


def _answer(server, request):
    with socket.create_connection(("127.0.0.1", _port(server)), timeout=20) as peer:
        answer = b""
        try:
            peer.sendall(request)
            while more := peer.recv(4096):
                answer += more
        except ConnectionError:
            pass
        return answer


def _frame(opcode, data, fin=1, masked=True):
    mask = os.urandom(4) if masked else b""
    length = len(data)
    size = bytes([length | 0x80 * masked]) if length < 126 else bytes([126 | 0x80 * masked]) + length.to_bytes(2, "big")
    body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data)) if masked else data
    return bytes([fin << 7 | opcode]) + size + mask + body


def _receive(peer):
    """The next frame's opcode and data."""
    def exactly(count):
        data = b""
        while len(data) < count:
            more = peer.recv(count - len(data))
            assert more, "the connection ended in a frame"
            data += more
        return data
    first, length = exactly(2)
    assert first & 0x70 == 0 and length < 128, "a server's frame"
    if length == 126:
        length = int.from_bytes(exactly(2), "big")
    elif length == 127:
        length = int.from_bytes(exactly(8), "big")
    return first & 15, exactly(length)
