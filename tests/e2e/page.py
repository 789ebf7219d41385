"""The page for browsers, in Chromium."""

import json
import math
import re
import socket
import subprocess
import urllib.request

from inputs import ABSOLUTE, KEY, RELATIVE
import compare
from rig import eventually, free_port
from tls import certificates
from web import browser

CANVAS = "#screen canvas:not(.pointer)"
SHOWN_LIMIT = 40  # seconds
# `KeyboardEvent.code`: code of linux/input-event-codes.h.
KEYS = {"KeyA": 30, "Digit1": 2, "Escape": 1, "F1": 59, "F12": 88, "Space": 57, "Enter": 28, "NumpadEnter": 96, "ShiftLeft": 42,
        "ShiftRight": 54, "ControlRight": 97, "AltRight": 100, "MetaLeft": 125, "MetaRight": 126, "ContextMenu": 127,
        "IntlBackslash": 86, "PrintScreen": 99, "Pause": 119, "ArrowUp": 103, "Delete": 111, "NumpadDivide": 98, "Numpad7": 71,
        "IntlRo": 89, "IntlYen": 124, "AudioVolumeUp": 115, "MediaPlayPause": 164}


def at_rest(rig):
    """the page shows every pixel of the guest, also after a new resolution and after it is loaded again"""
    vm = rig.vm()
    window, server, url = _open(rig, vm)
    _same(rig, vm, window)
    for width, height in ((1024, 768), (853, 481), (1280, 720)):
        vm.stage(f"mode {width} {height}")
        _same(rig, vm, window)
    window.open(url)
    _same(rig, vm, window)
    assert _errors(window) == [], _errors(window)


def in_motion(rig):
    """a picture that moves is decoded as H.264 by WebCodecs, and is exact again once it rests"""
    vm = rig.vm()
    window, _, _ = _open(rig, vm)
    _same(rig, vm, window)
    vm.stage("animate 100000 20")
    eventually(lambda: window.script("return spice.frames") >= 30, "30 pictures of video", SHOWN_LIMIT)
    assert window.script("return spice.delivery").startswith("avc1."), _told(window)
    vm.stage("picture")
    _same(rig, vm, window)
    frames = window.script("return spice.frames")
    assert _errors(window) == [], _errors(window)
    rig.tell(f"{frames} pictures of video; every pixel is equal at rest")


def without_video(rig):
    """a browser without WebCodecs gets exact images, and the page says why"""
    vm = rig.vm()
    window, port = browser(rig), free_port()
    window.command("Page.addScriptToEvaluateOnNewDocument", source="delete globalThis.VideoDecoder")
    rig.serve(vm, "--web-addr", f"127.0.0.1:{port}")
    window.open(f"http://127.0.0.1:{port}/")
    vm.stage("animate 20 20")
    vm.stage("picture")
    _same(rig, vm, window)
    window.script("document.querySelector('#about').click()")
    eventually(lambda: "exact images: this browser has no WebCodecs" in window.script("return document.querySelector('#panel').textContent"),
               "the reason", SHOWN_LIMIT)
    assert window.script("return spice.frames") == 0


def second_console(rig):
    """of a guest with two screens the page shows the one that is chosen, to the last pixel"""
    vm = rig.own_vm(gpu="virtio-gpu-pci,id=card,max_outputs=2", stage="console video=Virtual-2:1024x768e")
    window, _, _ = _open(rig, vm)
    for head, size in ((0, "1280×720"), (1, "1024×768"), (0, "1280×720")):
        eventually(lambda: window.script("return document.querySelector('#console').options.length") == 2, "two screens", SHOWN_LIMIT)
        window.script(f"const c = document.querySelector('#console'); c.value = '{head}'; c.dispatchEvent(new Event('change'))")
        eventually(lambda: window.script("return spice.size") == size, size, SHOWN_LIMIT)
        wanted, shown = rig.fresh("wanted", ".png"), rig.fresh("shown", ".png")

        def equal():
            vm.qmp("screendump", filename=str(wanted), format="png", device="card", head=head)
            shown.write_bytes(window.canvas(CANVAS) or b"")
            try:
                return compare.psnr(compare.load(wanted), compare.load(shown)) == math.inf
            except (OSError, ValueError):
                return False  # none, or still of another size
        eventually(equal, f"equal pictures {wanted} and {shown}", SHOWN_LIMIT)


def comes_back(rig):
    """a page whose connection is lost keeps the last picture, and connects again by itself"""
    vm = rig.vm()
    window, server, url = _open(rig, vm)
    _same(rig, vm, window)
    server.stop()
    eventually(lambda: "Not connected" in window.script("return document.querySelector('#status').textContent"), "a word about it", SHOWN_LIMIT)
    assert window.canvas(CANVAS) and window.script("return document.querySelector('#screen').className") == "stale"
    vm.stage("fill 203040")
    rig.serve(vm, "--web-addr", re.search(r"//(.*)/", url)[1])
    _same(rig, vm, window)
    assert window.script("return document.querySelector('#notice').hidden && !document.querySelector('#screen').className")


def invited(rig):
    """one link opens the page logged in, leaves no secret in the address, and lets nobody in a second time"""
    vm, bus, file = rig.vm(), rig.bus(), rig.fresh("password", "")
    file.write_text("open sesame\n")
    port = free_port()
    server = rig.serve(vm, "--web-addr", f"127.0.0.1:{port}", "--password-file", file, "--relay-bus", bus.address)
    assert rig.status(bus)["Pages"] == [f"http://127.0.0.1:{port}/"]
    link, secret = _invitation(rig, bus, "--once", "--look")
    first = browser(rig)
    first.open(link)
    _same(rig, vm, first)
    assert first.script("return location.href") == f"http://127.0.0.1:{port}/"
    vm.stage("events on")
    first.press("KeyA")
    first.press("KeyA", down=False)
    second = browser(rig)
    second.open(link)
    eventually(lambda: "invitation is used up" in second.script("return document.querySelector('#wrong').textContent"), "a refusal", SHOWN_LIMIT)
    assert vm.events(lambda events: _keys(events) == []) is not False and "may only look" in server.errors()
    assert secret not in server.errors(), "a secret in the log"
    wrong = browser(rig)
    wrong.open(f"http://127.0.0.1:{port}/#invitation=wrong")
    eventually(lambda: "wrong password" in wrong.script("return document.querySelector('#wrong').textContent"), "a refusal", SHOWN_LIMIT)


def keys_and_pointer(rig):
    """keys arrive by their place on the keyboard, buttons and the wheel where they are, and a key that is held when the focus goes is let go"""
    vm = rig.vm()
    window, _, _ = _open(rig, vm)
    _same(rig, vm, window)
    vm.stage("events on")
    wanted = []
    for code, number in KEYS.items():
        window.press(code)
        window.press(code, down=False)
        wanted += [(number, 1), (number, 0)]
        vm.events(lambda events: _keys(events) == wanted)
    vm.stage("events on")
    window.press("KeyB")
    window.script("document.querySelector('#size').focus()")
    vm.events(lambda events: _keys(events) == [(48, 1), (48, 0)])
    window.script("document.querySelector('#screen').focus()")
    vm.stage("events on")
    window.script("document.querySelector('#keys').value = 'ControlLeft AltLeft Delete';"
                  "document.querySelector('#keys').dispatchEvent(new Event('change'))")
    vm.events(lambda events: _keys(events) == [(29, 1), (56, 1), (111, 1), (111, 0), (56, 0), (29, 0)])
    vm.stage("events on")
    x, y = _place(window, 640, 360)
    _mouse(window, "mouseMoved", x, y)
    _mouse(window, "mousePressed", x, y, "left")
    _mouse(window, "mouseReleased", x, y, "left")
    vm.events(lambda events: _keys(events) == [(272, 1), (272, 0)] and _at(events, 640, 360))
    vm.stage("events on")
    window.command("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=40)
    window.command("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=70)
    vm.events(lambda events: [value for _, kind, code, value in events if (kind, code) == (RELATIVE, 8)] == [-1])


def password(rig):
    """the page asks for the password where there is one, and says that a wrong one is wrong"""
    vm, file = rig.vm(), rig.fresh("password", "")
    file.write_text("open sesame\n")
    window, _, _ = _open(rig, vm, "--password-file", file)
    _log_in(window, "open sesam")
    eventually(lambda: "wrong password" in window.script("return document.querySelector('#wrong').textContent"), "that it is wrong", SHOWN_LIMIT)
    _log_in(window, "open sesame")
    _same(rig, vm, window)


def encrypted(rig):
    """… inside TLS as well, to which a browser is sent that comes without"""
    vm, file, folder = rig.vm(), rig.fresh("password", ""), certificates(rig)
    file.write_text("open sesame\n")
    window, server, url = _open(rig, vm, "--password-file", file, "--tls-creds", folder)
    assert url.startswith("https://"), url
    _log_in(window, "open sesame")
    _same(rig, vm, window)
    answer = _raw(url, b"GET / HTTP/1.1\r\nHost: vm.example:1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 307 ") and b"\r\nLocation: https://vm.example:1/\r\n" in answer, answer


def served_safely(rig):
    """the page comes with a strict policy, loads nothing from elsewhere, and is no place for scripts of other sites"""
    vm = rig.vm()
    window, server, url = _open(rig, vm)
    _same(rig, vm, window)
    with urllib.request.urlopen(url, timeout=20) as answer:
        headers, text = answer.headers, answer.read().decode()
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy and "frame-ancestors 'none'" in policy, policy
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
    assert "http:" not in text and "https:" not in text, "an address elsewhere"
    asked = [json.loads(entry["message"])["message"] for entry in window.log("performance")]
    asked = {message["params"].get("request", message["params"])["url"] for message in asked
             if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated")}
    origin = url.rstrip("/")
    elsewhere = [one for one in asked if not one.startswith((origin, origin.replace("http", "ws"), "data:", "chrome:", "about:"))]
    assert len(asked) > 10 and not elsewhere, elsewhere
    refused = (b"GET /spice HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
               b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
    assert _raw(url, refused).startswith(b"HTTP/1.1 403 ")
    assert _raw(url, b"GET /../src/lib.rs HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 404 ")
    assert _raw(server.uri.replace("spice", "http"), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 426 "), "only there"


def other_addresses(rig):
    """without TLS the page is served on this machine alone, unless `--plain all` says otherwise"""
    vm = rig.vm()
    refused = rig.start("--qmp", vm.qmp_path, "--web-addr", "0.0.0.0:0")
    assert refused.wait(20) == 1 and "--tls-creds" in refused.errors().splitlines()[-1], refused.errors()
    server = rig.serve(vm, "--web-addr", "0.0.0.0:0", "--plain", "all")
    assert server.alive()


def _open(rig, vm, *arguments):
    """Serves the page and opens it; returns the browser, the server and the page's address."""
    window, port = browser(rig), free_port()
    server = rig.serve(vm, "--web-addr", f"127.0.0.1:{port}", *arguments)
    url = f"http{'s' if '--tls-creds' in arguments else ''}://127.0.0.1:{port}/"
    window.open(url)
    return window, server, url


def _invitation(rig, bus, *options):
    """Runs `qemu-spice invite`; returns the link, and the secret in it."""
    done = subprocess.run([rig.settings.program, "invite", "--dbus-address", bus.address, *options], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return re.search(r"https?://\S+#invitation=(\S+)", done.stderr).group(0, 1)


def _log_in(window, secret):
    eventually(lambda: window.script("return !document.querySelector('#login').hidden"), "the form", SHOWN_LIMIT)
    window.script(f"document.querySelector('#password').value = {json.dumps(secret)}; document.querySelector('#login').requestSubmit()")


def _same(rig, vm, window):
    """The page comes to show what QEMU itself says the guest shows, to the last pixel."""
    shown = rig.fresh("shown", ".png")

    def equal():
        png = window.canvas(CANVAS)
        if png is None:
            return False
        shown.write_bytes(png)
        try:
            return rig.same_file(vm, shown, at_least=math.inf)
        except AssertionError:
            return False
    eventually(equal, f"the guest's picture on the page, see {shown}; it says {_told(window)}", SHOWN_LIMIT)


def _told(window):
    return window.script("return [document.querySelector('#status').textContent, document.querySelector('#wrong').textContent, globalThis.spice]")


def _errors(window):
    return [entry["message"] for entry in window.log() if entry["level"] == "SEVERE"]


def _keys(events):
    return [(code, value) for _, kind, code, value in events if kind == KEY]


def _at(events, x, y, width=1280, height=720):
    """The pointer is in this place: a tablet's is a part of 32767."""
    last = {code: value for _, kind, code, value in events if kind == ABSOLUTE}
    return len(last) == 2 and abs(last[0] * width / 32768 - x) < 1 and abs(last[1] * height / 32768 - y) < 1


def _place(window, x, y):
    """Where on the page a pixel of the guest is."""
    box = window.script(f"const c = document.querySelector('{CANVAS}'), b = c.getBoundingClientRect(); return [b.left, b.top, b.width / c.width, b.height / c.height]")
    return box[0] + (x + 0.5) * box[2], box[1] + (y + 0.5) * box[3]


def _mouse(window, kind, x, y, button="none"):
    window.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=int(button != "none"))


def _raw(url, request):
    """The answer to some bytes, in the clear."""
    with socket.create_connection(("127.0.0.1", int(re.search(r":(\d+)/?$", url)[1])), timeout=20) as peer:
        peer.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer and (more := peer.recv(4096)):
            answer += more
        return answer
