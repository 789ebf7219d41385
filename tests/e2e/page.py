"""The page for browsers, in Chromium."""

import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import urllib.request

from PIL import Image

from inputs import RELATIVE
import compare
from areas import is_same_outside
from agent import _clipboard_of_guest, _copy_in_guest, _pasted_in_guest
from rig import Skip, eventually, free_port
from sound import _vm as sound_vm
from tls import certificates
from web import browser
from firefox import Firefox
from on_page import (
    CANVAS, KEYS, SHOWN_LIMIT, CONTROLS, AXE, PAINTED, PIXELS, CLOSED, LOCKS, LINKED, NO_SHARP, HEARD, _choose, _touch,
    _async, _pitch, _open, _write_tone, _listened, _invitation, _log_in, _same, _is_video, _told, _pixels, _png, _errors,
    _keys, _at, _place, _mouse, _raw, _with_all_controls, _looks)

DESKTOP_LIMIT = 90  # seconds, for what goes through an emulated desktop


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
    window, _, _ = _open(rig, vm, script=CLOSED)
    _same(rig, vm, window)
    vm.stage("animate 100000 20")
    eventually(lambda: window.script("return spice.frames") >= 30, "30 pictures of video", SHOWN_LIMIT)
    _is_video(window, "avc1.")
    vm.stage("picture")
    _same(rig, vm, window)
    frames, closed = window.script("return [spice.frames, globalThis.givenBack]")
    assert frames == closed, f"{frames} pictures were decoded, and {closed} given back"
    assert _errors(window) == [], _errors(window)
    rig.tell(f"{frames} pictures of video; every pixel is equal at rest")


def beside_a_film(rig):
    """beside a film that plays the page shows every pixel of the guest, and of the film as well once it stops"""
    vm = rig.vm()
    vm.stage("mode 1280 720")
    vm.stage("film page")
    window, server, _ = _open(rig, vm)
    _same(rig, vm, window)
    for _ in range(2):
        before = window.script("return spice.frames")
        vm.stage("play 100000 40")
        eventually(lambda: window.script("return spice.frames") >= before + 30, "30 pictures of video", SHOWN_LIMIT)
        shown = rig.fresh("shown", ".png")

        def same_outside():
            shown.write_bytes(window.canvas(CANVAS) or b"")
            return is_same_outside(vm, shown)
        eventually(same_outside, f"equal pixels beside the film in {shown}", SHOWN_LIMIT)
        vm.stage("stop")
        _same(rig, vm, window)
        # All of it moves, and so that is video again.
        vm.stage("animate 30 20")
        _same(rig, vm, window)
        vm.stage("film page")
        _same(rig, vm, window)
    assert _errors(window) == [], _errors(window)


def in_firefox(rig):
    """in Firefox as well the page shows every pixel of the guest at rest, also after it has moved"""
    if not shutil.which("firefox-esr"):
        raise Skip("firefox-esr is not installed")
    vm, port = rig.vm(), free_port()
    with open(rig.fresh("firefox", ".log"), "w") as log:
        window = Firefox(log)
    rig.own.append(window)
    rig.serve(vm, "--web-addr", f"127.0.0.1:{port}")
    window.open(f"http://127.0.0.1:{port}/")
    _same(rig, vm, window)
    before = window.script("return [spice.frames, spice.images]")
    vm.stage("animate 40 50")
    counts = lambda: window.script("return [spice.frames, spice.images]")  # noqa: E731
    eventually(lambda: counts() != before, "a picture that moves", SHOWN_LIMIT)
    vm.stage("picture")
    _same(rig, vm, window)
    rig.tell(f"{window.script('return spice.frames')} pictures of video; every pixel is equal at rest")


def long_motion(rig):
    """four hundred pictures take no more of the browser's memory than a hundred, and each is given back"""
    vm = rig.vm()
    window, _, _ = _open(rig, vm, script=CLOSED)
    vm.stage("animate 1000000 20")
    used = []
    for frames in (100, 400):
        eventually(lambda: window.script("return spice.frames") >= frames, f"{frames} pictures of video", 120)
        window.command("HeapProfiler.collectGarbage")
        used.append(window.command("Runtime.getHeapUsage")["usedSize"])
        shown, closed = window.script("return [spice.frames, globalThis.givenBack]")
        assert shown - closed <= 1, f"{shown} pictures were decoded, and {closed} given back"
    assert used[1] - used[0] < 300 << 10, f"{used[0]} bytes, and then {used[1]}"
    vm.stage("picture")
    _same(rig, vm, window)
    rig.tell(f"{used[0] >> 10} and {used[1] >> 10} KiB")


def sharp_colours(rig):
    """with --video-codec h264-444 the video has a colour for each pixel"""
    vm = rig.vm()
    window, _, _ = _open(rig, vm, "--video-codec", "h264-444")
    vm.stage("animate 100000 20")
    eventually(lambda: window.script("return spice.frames") >= 20, "20 pictures of video", SHOWN_LIMIT)
    _is_video(window, "avc1.f4")
    vm.stage("picture")
    _same(rig, vm, window)


def colours_it_decodes(rig):
    """the page tells whether the browser decodes a colour for each pixel, exactly if it does"""
    for script, wanted in ((LINKED, 1 << 31), (LINKED + NO_SHARP, 0)):
        window, _, _ = _open(rig, rig.vm(), script=script)
        eventually(lambda: window.script("return globalThis.linked[2]"), "a display channel", SHOWN_LIMIT)
        words = window.script("return linked[2]")
        assert words[1] == wanted, words
        window.stop()
        rig.own.remove(window)


def without_webcodecs(rig):
    """a browser without WebCodecs gets Motion JPEG, and every pixel at rest; the page says why"""
    vm = rig.vm()
    window, _, _ = _open(rig, vm, script="delete globalThis.VideoDecoder")
    vm.stage("animate 100000 20")
    eventually(lambda: window.script("return spice.frames") >= 20, "20 pictures of video", SHOWN_LIMIT)
    _is_video(window, "mjpeg")
    vm.stage("picture")
    _same(rig, vm, window)
    window.script("document.querySelector('#about').click()")
    told = window.script("return document.querySelector('#panel').textContent")
    assert "Motion JPEG, exact at rest: this browser has no WebCodecs" in told, told
    assert _errors(window) == [], _told(window)


def without_any_video(rig):
    """a browser that decodes nothing of the server's codecs gets exact images alone"""
    vm = rig.vm()
    window, _, _ = _open(rig, vm, "--video-codec", "h264", script="delete globalThis.VideoDecoder")
    vm.stage("animate 20 20")
    vm.stage("picture")
    _same(rig, vm, window)
    assert window.script("return [spice.frames, spice.delivery]") == [0, "images"], _told(window)


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


def news_and_an_end(rig):
    """what the server has to say is shown for a while, and of an end why"""
    vm, bus = rig.vm(), rig.bus()
    port = free_port()
    server = rig.serve(vm, "--web-addr", f"127.0.0.1:{port}", "--relay-bus", bus.address)
    rig.client(server)("wait-picture")  # has the agent
    window = browser(rig)
    window.open(f"http://127.0.0.1:{port}/")
    _same(rig, vm, window)
    eventually(lambda: "another viewer" in window.script("return document.querySelector('#news').textContent"), "news", SHOWN_LIMIT)
    eventually(lambda: window.script("return document.querySelector('#news').hidden"), "the end of the news", SHOWN_LIMIT)
    assert window.script("return document.querySelector('#notice').hidden"), "nothing is in the way"
    client = next(one["Client"] for one in rig.status(bus)["Clients"] if one["Transport"] == "ws")
    subprocess.run([rig.settings.program, "disconnect", "--dbus-address", bus.address, str(client)], check=True, timeout=20)
    eventually(lambda: "disconnected over D-Bus" in window.script("return document.querySelector('#status').textContent"), "why", SHOWN_LIMIT)
    _same(rig, vm, window)


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
    for to in (_place(window, 20, 30), (x, y)):  # the guest reports what changes
        _mouse(window, "mouseMoved", *to)
    _mouse(window, "mousePressed", x, y, "left")
    _mouse(window, "mouseReleased", x, y, "left")
    vm.events(lambda events: _keys(events) == [(272, 1), (272, 0)] and _at(events, 640, 360))
    vm.stage("events on")
    window.command("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=40)
    window.command("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=70)
    vm.events(lambda events: [value for _, kind, code, value in events if (kind, code) == (RELATIVE, 8)] == [-1])


def typed_text(rig):
    """text from an on-screen keyboard or an input method is typed by the keys that there are for it"""
    vm = rig.vm()
    window, _, _ = _open(rig, vm)
    _same(rig, vm, window)
    vm.stage("events on")
    window.script("document.querySelector('#type').click()")
    window.command("Input.insertText", text="a?")
    window.command("Input.imeSetComposition", text="nA", selectionStart=2, selectionEnd=2)
    window.command("Input.insertText", text="A\n")
    window.key("\ue003")  # Backspace
    wanted = [[30], [42, 53], [42, 30], [28], [14]]
    wanted = [(code, value) for keys in wanted for code, value in [(k, 1) for k in keys] + [(k, 0) for k in reversed(keys)]]
    vm.events(lambda events: _keys(events) == wanted)


def follows_the_window(rig):
    """with "Guest follows" the guest's picture is as large as the room for it on the page, also when that changes"""
    vm = rig.own_vm(stage="console")
    vm.stage(r"sh printf '\033[?25l' >/dev/tty1")  # a caret that blinks is no rest
    window, _, _ = _open(rig, vm)
    _same(rig, vm, window)
    _choose(window, "size", "follow")
    for width, height in ((1200, 700), (1000, 600)):  # the text console of Linux gets no larger than it was at first
        window.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        room = window.script("const b = document.querySelector('#screen').getBoundingClientRect(); return [b.width, b.height]")
        wanted = f"{int(room[0]) // 8 * 8}×"
        eventually(lambda: (window.script("return spice.size") or "").startswith(wanted), f"a width of {wanted}", SHOWN_LIMIT)
        _same(rig, vm, window)


def locked_pointer(rig):
    """a guest with a mouse gets motions while the pointer is locked, and none before"""
    vm = rig.vm()
    window, _, _ = _open(rig, vm)
    _same(rig, vm, window)
    vm.absolute_pointer(False)
    x, y = _place(window, 600, 300)

    def locks():
        _mouse(window, "mouseMoved", x, y)
        _mouse(window, "mousePressed", x, y, "left")
        _mouse(window, "mouseReleased", x, y, "left")
        return window.script("return document.pointerLockElement !== null")
    eventually(locks, "the lock", SHOWN_LIMIT)
    vm.stage("events on")
    _mouse(window, "mouseMoved", x + 20, y - 12)
    vm.events(lambda events: (sum(v for _, k, c, v in events if (k, c) == (RELATIVE, 0)), sum(v for _, k, c, v in events if (k, c) == (RELATIVE, 1))) == (20, -12))
    _mouse(window, "mousePressed", x + 20, y - 12, "right")
    _mouse(window, "mouseReleased", x + 20, y - 12, "right")
    vm.events(lambda events: _keys(events) == [(273, 1), (273, 0)])


def fingers(rig):
    """a finger clicks where it is, drags, and clicks with the right button if it rests; two turn the wheel"""
    vm = rig.vm()
    window, _, _ = _open(rig, vm)
    _same(rig, vm, window)
    x, y = _place(window, 640, 360)
    vm.stage("events on")
    _touch(window, "touchStart", _place(window, 20, 30))
    _touch(window, "touchEnd")
    vm.events(lambda events: _keys(events) == [(272, 1), (272, 0)])
    vm.stage("events on")
    _touch(window, "touchStart", (x, y))
    _touch(window, "touchEnd")
    vm.events(lambda events: _keys(events) == [(272, 1), (272, 0)] and _at(events, 640, 360))
    vm.stage("events on")
    _touch(window, "touchStart", (x, y))
    vm.events(lambda events: _keys(events) == [(273, 1), (273, 0)])
    _touch(window, "touchEnd")
    vm.stage("events on")
    _touch(window, "touchStart", (x, y))
    _touch(window, "touchMove", _place(window, 700, 400))
    vm.events(lambda events: _keys(events) == [(272, 1)] and _at(events, 700, 400))
    _touch(window, "touchEnd")
    vm.events(lambda events: _keys(events) == [(272, 1), (272, 0)])
    vm.stage("events on")
    _touch(window, "touchStart", (x, y), (x + 50, y))
    _touch(window, "touchMove", (x, y - 90), (x + 50, y - 90))
    _touch(window, "touchEnd")
    vm.events(lambda events: [value for _, kind, code, value in events if (kind, code) == (RELATIVE, 8)] == [-1, -1])
    assert vm.events(lambda events: _keys(events) == []) is not False


def pen(rig):
    """a pen points, clicks and drags as a mouse does"""
    vm = rig.vm()
    window, _, _ = _open(rig, vm)
    _same(rig, vm, window)
    vm.stage("events on")
    for x, y in ((20, 30), (640, 360)):
        _mouse(window, "mouseMoved", *_place(window, x, y), pointerType="pen")
    vm.events(lambda events: _keys(events) == [] and _at(events, 640, 360))
    for button, held, code in (("left", 1, 272), ("right", 2, 273)):
        vm.stage("events on")
        _mouse(window, "mousePressed", *_place(window, 640, 360), button, pointerType="pen")
        _mouse(window, "mouseMoved", *_place(window, 700, 400), button, pointerType="pen", buttons=held)
        vm.events(lambda events: _keys(events) == [(code, 1)] and _at(events, 700, 400))
        _mouse(window, "mouseReleased", *_place(window, 640, 360), button, pointerType="pen")
        vm.events(lambda events: _keys(events) == [(code, 1), (code, 0)] and _at(events, 640, 360))


def full_screen(rig):
    """the page fills the screen, asks the browser for the keys that it keeps to itself, and gives them back"""
    vm = rig.vm()
    window, _, _ = _open(rig, vm, script=LOCKS)
    _same(rig, vm, window)
    for filled in (True, False):
        _async(window, "document.querySelector('#full').click()")
        fills = lambda: window.script("return document.fullscreenElement === document.documentElement")  # noqa: E731
        eventually(lambda: fills() == filled, f"full: {filled}", SHOWN_LIMIT)
    locks = window.script("return globalThis.locks")
    assert locks == ["all keys, full screen"], locks
    assert window.script("return document.activeElement.id") == "screen"
    _same(rig, vm, window)


def clipboard(rig):
    """text and a picture that were copied here are pasted in the guest, and the other way round"""
    vm = rig.desktop()
    window, _, url = _open(rig, vm)
    window.command("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"], origin=url.rstrip("/"))
    eventually(lambda: not window.script("return document.querySelector('#paste').disabled"), "the agent", DESKTOP_LIMIT)
    eventually(lambda: not window.script("return document.querySelector('#send').disabled"), "the guest's own agent", DESKTOP_LIMIT)
    _async(window, "await navigator.clipboard.writeText('Grüße aus Köln')")
    window.script("document.querySelector('#paste').click()")
    _pasted_in_guest(vm, "UTF8_STRING", "Grüße aus Köln".encode())
    copies = "await navigator.clipboard.write([new ClipboardItem({'image/png': png})]);"
    wanted = _async(window, PAINTED + copies + PIXELS)
    window.script("document.querySelector('#paste').click()")
    found = lambda: _clipboard_of_guest(vm, "image/png")  # noqa: E731
    eventually(lambda: found().startswith(b"\x89PNG"), "the picture", DESKTOP_LIMIT)
    assert _pixels(found()) == bytes(wanted), "other pixels in the guest"
    picture = Image.frombytes("RGB", (30, 20), os.urandom(30 * 20 * 3)).convert("RGBA")
    _copy_in_guest(vm, "image/png", _png(picture))
    pasted = ("const [item] = await navigator.clipboard.read();"
              "if (!item?.types.includes('image/png')) return null; const png = await item.getType('image/png');")
    arrived = lambda: bytes(_async(window, pasted + PIXELS) or b"") == picture.tobytes()  # noqa: E731
    eventually(arrived, "the guest's picture, pixel by pixel", DESKTOP_LIMIT)
    _copy_in_guest(vm, "UTF8_STRING", b"from the guest \xe2\x82\xac")
    eventually(lambda: _async(window, "return navigator.clipboard.readText()") == "from the guest €", "the guest's text", DESKTOP_LIMIT)


def files(rig):
    """files that are chosen or dropped arrive in the guest, with equal checksums"""
    vm = rig.desktop()
    window, _, _ = _open(rig, vm)
    eventually(lambda: not window.script("return document.querySelector('#send').disabled"), "the guest's agent", DESKTOP_LIMIT)
    paths = []
    for size in (20_000_000, 0, 12_345):
        paths.append(rig.fresh("sent", ".bin"))
        paths[-1].write_bytes(os.urandom(size))
    document = window.command("DOM.getDocument")["root"]["nodeId"]
    node = window.command("DOM.querySelector", nodeId=document, selector="#chosen")["nodeId"]
    window.command("DOM.setFileInputFiles", files=[str(path.resolve()) for path in paths], nodeId=node)
    for path in paths:
        wanted = hashlib.sha256(path.read_bytes()).hexdigest()
        eventually(lambda: wanted in "".join(vm.stage(f"sha256sum $HOME/Desktop/{path.name} 2>&1 || true", DESKTOP_LIMIT)),
                   f"{path.name}; the page says {window.script('return document.querySelector(`#files`).textContent')}", DESKTOP_LIMIT)
    window.script("const d = new DataTransfer(); d.items.add(new File(['dropped\\n'], 'dropped.txt'));"
                  "document.querySelector('#screen').dispatchEvent(new DragEvent('drop', {dataTransfer: d, cancelable: true}))")
    eventually(lambda: "dropped" in "".join(vm.stage("cat $HOME/Desktop/dropped.txt 2>&1 || true", DESKTOP_LIMIT)), "the dropped file", DESKTOP_LIMIT)


def a_tone(rig):
    """a tone that the guest plays is heard, measured in the browser"""
    vm = sound_vm(rig)
    window, _, _ = _open(rig, vm, script=HEARD)
    _same(rig, vm, window)
    window.press("ShiftLeft")  # browsers play nothing before a key or a click
    window.press("ShiftLeft", down=False)
    eventually(lambda: window.script("return globalThis.heard !== undefined"), "the player", SHOWN_LIMIT)
    vm.stage("tone 440 20 48000")
    pitch = eventually(lambda: abs((_pitch(window) or 0) - 440) < 12 and _pitch(window), "440 Hz", SHOWN_LIMIT)
    window.script("document.querySelector('#sound').click()")
    eventually(lambda: window.script("return heard.context.state") == "suspended", "silence", SHOWN_LIMIT)
    rig.tell(f"{pitch:.0f} Hz")


def microphone(rig):
    """the guest records what is said into the browser's microphone, once its user has asked for that and until that ends"""
    bus, vm = rig.bus(), sound_vm(rig)
    spoken = rig.fresh("spoken", ".wav")
    _write_tone(spoken, 700)
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
             f"--use-file-for-fake-audio-capture={spoken.resolve()}")
    window, _, _ = _open(rig, vm, "--relay-bus", bus.address, flags=flags)
    _same(rig, vm, window)
    button = "document.querySelector('#microphone')"
    state = lambda: window.script(f"return [{button}.hidden, {button}.disabled, {button}.ariaPressed]")  # noqa: E731
    channels = lambda: rig.status(bus)["Clients"][0]["Channels"]  # noqa: E731
    eventually(lambda: state() == [False, False, "false"], f"a button, which is off: {state()}", SHOWN_LIMIT)
    assert "record:0" not in channels(), "nobody asked for it"
    silent = _listened(vm)
    assert " ms=0 " in silent, silent
    for pitch in (700, None, 700):
        _async(window, f"{button}.click()")
        wanted = [False, False, "true" if pitch else "false"]
        eventually(lambda: state() == wanted, f"the button: {state()}", SHOWN_LIMIT)
        found = _listened(vm)
        told = dict(pair.split("=") for pair in found.split())
        assert (abs(int(told["hz"]) - 700) <= 35 and int(told["loudest"]) > 1000) if pitch else told["ms"] == "0", found
    assert "record:0" in channels()
    window.script("document.querySelector('#leave').click()")
    assert state() == [True, False, "false"], state()
    errors = _errors(window)
    assert errors == [], errors
    rig.tell(found)


def no_microphone(rig):
    """a microphone that the browser's user does not permit stays off, and the page says so"""
    refuses = "navigator.mediaDevices.getUserMedia = async () => { throw new Error('not permitted'); }"
    window, _, _ = _open(rig, sound_vm(rig), script=refuses)
    eventually(lambda: window.script("return !document.querySelector('#microphone').hidden"), "the button", SHOWN_LIMIT)
    window.script("document.querySelector('#microphone').click()")
    news = lambda: window.script("return document.querySelector('#news').textContent")  # noqa: E731
    eventually(lambda: "not permitted" in news(), "a word about it", SHOWN_LIMIT)
    state = window.script("const b = document.querySelector('#microphone'); return [b.disabled, b.ariaPressed]")
    assert state == [False, "false"], state


def at_a_look(rig):
    """every control has a name, is reached by the Tab key alone, and is in the page, light, dark, on a desk and on a phone"""
    window = _with_all_controls(rig)
    for look in _looks(window):
        rig.fresh(look, ".png").write_bytes(window.screenshot())
        found = window.script(CONTROLS)
        names = {control["id"]: control["name"] for control in found}
        wanted = {"size", "keys", "type", "paste", "send", "sound", "microphone", "full", "about", "leave", "screen"}
        assert wanted <= names.keys(), names
        assert all(names.values()), names
        assert all(control["inside"] for control in found), (look, found)
        # Control and Alt lead from the screen to the first one that is always there.
        window.script("document.querySelector('#screen').focus()")
        for code, down in (("ControlLeft", True), ("AltLeft", True), ("AltLeft", False), ("ControlLeft", False)):
            window.press(code, down=down)
        reached = [window.script("return document.activeElement.id")]
        while reached[-1] != "screen" and len(reached) < 30:
            window.key("\ue004")  # Tab
            reached.append(window.script("return document.activeElement.id"))
        assert reached == [control["id"] for control in found if control["id"] != "console"], (look, reached)


def for_everybody(rig):
    """axe-core finds no control without a name or with too little contrast, light and dark, on a desk and on a phone"""
    if not (rig.settings.axe and rig.settings.axe.exists()):
        raise Skip("no axe-core here: scripts/axe fetches it")
    window = _with_all_controls(rig)
    window.command("Runtime.evaluate", expression=rig.settings.axe.read_text())
    for look in _looks(window):
        found = json.loads(_async(window, AXE))
        assert found["violations"] == [], (look, found["violations"])
        assert {"button-name", "select-name", "label", "color-contrast"} <= set(found["passes"]), found["passes"]
    # The form of the password.
    window.script("document.querySelector('#login').hidden = false;"
                  "document.querySelector('#wrong').textContent = 'Not let in.'")
    for look in _looks(window):
        found = json.loads(_async(window, AXE))
        assert found["violations"] == [], (look, found["violations"])
    # It finds what there is to find.
    window.script("document.querySelector('#full').textContent = '';"
                  "document.querySelector('#leave').style.color = 'gray'")
    found = {one.split(":")[0] for one in json.loads(_async(window, AXE))["violations"]}
    assert found == {"button-name", "color-contrast"}, found


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
