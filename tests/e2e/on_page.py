"""The page in a browser, as its tests see and use it."""

import io
import json
import math
import re
import socket
import subprocess
import wave

import numpy
from PIL import Image

from inputs import ABSOLUTE, KEY
from rig import eventually, free_port
from sound import _vm as sound_vm
from web import browser

CANVAS = "#screen canvas:not(.pointer)"
SHOWN_LIMIT = 40  # seconds
# `KeyboardEvent.code`: code of linux/input-event-codes.h.
KEYS = {"KeyA": 30, "Digit1": 2, "Escape": 1, "F1": 59, "F12": 88, "Space": 57, "Enter": 28, "NumpadEnter": 96, "ShiftLeft": 42,
        "ShiftRight": 54, "ControlRight": 97, "AltRight": 100, "MetaLeft": 125, "MetaRight": 126, "ContextMenu": 127,
        "IntlBackslash": 86, "PrintScreen": 99, "Pause": 119, "ArrowUp": 103, "Delete": 111, "NumpadDivide": 98, "Numpad7": 71,
        "IntlRo": 89, "IntlYen": 124, "AudioVolumeUp": 115, "MediaPlayPause": 164}

# All controls that are shown, in their order.
CONTROLS = """
const shown = [...document.querySelectorAll('button, select, input, textarea:not(.unseen), #screen')].filter((e) => e.checkVisibility());
return shown.map((e) => {
    const box = e.getBoundingClientRect();
    return {
        id: e.id, name: (e.getAttribute('aria-label') ?? e.labels?.[0]?.textContent ?? e.textContent).trim(),
        inside: box.left >= 0 && box.right <= innerWidth && box.top >= 0 && box.bottom <= innerHeight,
    };
});
"""
# What axe-core finds wrong, and which of its rules found nothing wrong.
AXE = """
const found = await axe.run(document, {resultTypes: ['violations', 'passes']});
return JSON.stringify({
    violations: found.violations.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.html}: ${node.failureSummary}`)),
    passes: found.passes.map((rule) => rule.id),
});
"""


def _choose(window, control, value):
    window.script(f"const c = document.querySelector('#{control}'); c.value = {json.dumps(value)}; c.dispatchEvent(new Event('change'))")


def _touch(window, kind, *points):
    window.command("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)])


def _async(window, body):
    """What a function's body that waits returns."""
    done = window.command("Runtime.evaluate", expression=f"(async () => {{ {body} }})()", awaitPromise=True, returnByValue=True, userGesture=True)
    assert "exceptionDetails" not in done, done
    return done["result"].get("value")


def _pitch(window):
    """The pitch of what is heard, in Hz: where the spectrum is highest."""
    return window.script("const d = new Float32Array(heard.frequencyBinCount); heard.getFloatFrequencyData(d);"
                         "const at = d.reduce((best, v, n) => v > d[best] ? n : best, 0);"
                         "return d[at] > -60 ? at * heard.context.sampleRate / heard.fftSize : null")


# Makes a picture as `png`.
PAINTED = """
const c = new OffscreenCanvas(20, 10), painter = c.getContext('2d');
const noise = crypto.getRandomValues(new Uint8ClampedArray(800));
for (let at = 3; at < 800; at += 4) noise[at] = 255;
painter.putImageData(new ImageData(noise, 20, 10), 0, 0);
const png = await c.convertToBlob();
"""
# Returns the pixels of `png`: R, G, B, A.
PIXELS = """
const picture = await createImageBitmap(png);
const seen = new OffscreenCanvas(picture.width, picture.height).getContext('2d');
seen.drawImage(picture, 0, 0);
return [...seen.getImageData(0, 0, picture.width, picture.height).data];
"""
# Counts the decoded pictures that are given back: a decoder stops without.
CLOSED = """
const close = VideoFrame.prototype.close;
globalThis.givenBack = 0;
VideoFrame.prototype.close = function () {
    globalThis.givenBack += 1;
    return close.call(this);
};
"""
# Keeps what Keyboard Lock is asked for, and when.
LOCKS = """
globalThis.locks = [];
const lock = Keyboard.prototype.lock;
Keyboard.prototype.lock = function (keys) {
    locks.push(`${keys ?? 'all keys'}, ${document.fullscreenElement ? 'full screen' : 'window'}`);
    return lock.call(this, keys);
};
"""
# Keeps the capabilities in the first message of each kind of channel.
LINKED = """
const send = WebSocket.prototype.send;
globalThis.linked = {};
WebSocket.prototype.send = function (bytes) {
    const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (words.byteLength >= 42 && words.getUint32(0) === 0x52454451) {
        const count = words.getUint32(26, true);
        linked[bytes[20]] = Array.from({length: count}, (_, at) => words.getUint32(38 + 4 * at, true));
    }
    return send.call(this, bytes);
};
"""
NO_SHARP = """
const asked = VideoDecoder.isConfigSupported;
VideoDecoder.isConfigSupported = (config) => config.codec.startsWith('avc1.f4') ? Promise.resolve({supported: false}) : asked(config);
"""
# Looks at what reaches the loudspeakers.
HEARD = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...rest) {
    if (to instanceof AudioDestinationNode) {
        globalThis.heard = new AnalyserNode(this.context, {fftSize: 8192});
        connect.call(this, globalThis.heard);
    }
    return connect.call(this, to, ...rest);
};
"""


def _open(rig, vm, *arguments, script=None, flags=()):
    """Serves the page and opens it in a browser with these `flags`, after a `script` of the test's own; returns the browser, the server
    and the page's address."""
    window, port = browser(rig, *flags), free_port()
    if script:
        window.command("Page.addScriptToEvaluateOnNewDocument", source=script)
    server = rig.serve(vm, "--web-addr", f"127.0.0.1:{port}", *arguments)
    url = f"http{'s' if '--tls-creds' in arguments else ''}://127.0.0.1:{port}/"
    window.open(url)
    return window, server, url


def _write_tone(path, hz):
    """A tone that has no seam when it is played again and again, for Chromium's microphone."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes((12000 * numpy.sin(2 * numpy.pi * hz * numpy.arange(48000) / 48000)).astype("<i2").tobytes())


def _listened(vm):
    """What the guest records in two seconds, as it measures that."""
    vm.begin("listen 2 48000")
    text = vm.until(rb"stage: (ok|error[^\n]*)\n").decode()
    return text.split("stage: heard ")[1].splitlines()[0]


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


def _is_video(window, codec):
    """What is shown is video of this codec. Between two streams the page shows images."""
    now = eventually(lambda: (now := window.script("return spice.delivery")) != "images" and now, "video", SHOWN_LIMIT)
    assert now.startswith(codec), _told(window)


def _told(window):
    return window.script("return [document.querySelector('#status').textContent, document.querySelector('#wrong').textContent, globalThis.spice]")


def _pixels(png):
    return Image.open(io.BytesIO(png)).convert("RGBA").tobytes()


def _png(picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


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


def _mouse(window, kind, x, y, button="none", **more):
    window.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=int(button != "none"), **more)


def _raw(url, request):
    """The answer to some bytes, in the clear."""
    with socket.create_connection(("127.0.0.1", int(re.search(r":(\d+)/?$", url)[1])), timeout=20) as peer:
        peer.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer and (more := peer.recv(4096)):
            answer += more
        return answer


def _with_all_controls(rig):
    """The page, with everything on it that a guest with sound gives it."""
    vm = sound_vm(rig)
    window, _, _ = _open(rig, vm)
    _same(rig, vm, window)
    window.script("document.querySelector('#about').click()")
    for button in ("microphone", "sound", "paste", "send"):
        eventually(lambda: window.script(f"return !document.querySelector('#{button}').hidden"), button, SHOWN_LIMIT)
    # Those wait for the guest's own agent.
    window.script("document.querySelector('#paste').disabled = document.querySelector('#send').disabled = false")
    return window


def _looks(window):
    """Shows the page in each way; yields the name of each."""
    for width, height, device in ((1400, 900, "desk"), (390, 780, "phone")):
        window.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if device == "phone" else 1, mobile=device == "phone")
        for scheme in ("light", "dark"):
            window.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            yield f"{device}-{scheme}"
    window.command("Emulation.clearDeviceMetricsOverride")
