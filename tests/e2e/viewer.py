"""remote-viewer, as a person uses it, on a display of its own."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy
from PIL import Image

import compare
from rig import Skip, eventually


def remote_viewer(rig):
    """remote-viewer's window shows the guest, keys typed into it arrive"""
    vm = rig.vm()
    server = rig.serve(vm)
    display = shows_in_remote_viewer(rig, vm, server.uri)

    vm.stage("events on")
    window = subprocess.run(["xdotool", "search", "--onlyvisible", "--class", "remote-viewer"], env={**os.environ, **display},
                            capture_output=True, text=True).stdout.split()
    assert window, "no window of remote-viewer"
    # Without a window manager the focus follows what the pointer clicks.
    subprocess.run(["xdotool", "mousemove", "640", "400", "click", "1", "windowfocus", window[-1], "key", "a"],
                   env={**os.environ, **display}, check=True)
    vm.events(lambda events: {30, 272} <= {code for _, kind, code, value in events if kind == 1 and value == 0})


# Has remote-viewer open a URI or connection file, and waits until its window shows the guest. Returns its display.
def shows_in_remote_viewer(rig, vm, what):
    display = _display(rig)
    rig.background(["remote-viewer", "--spice-debug", what], env={**os.environ, **display, "NO_AT_BRIDGE": "1"})
    wanted = compare.load(vm.screendump(rig.fresh("screendump", ".png")))
    shot = rig.fresh("remote-viewer", ".png")
    best = 0

    def shown():
        nonlocal best
        screen = _screenshot(display, shot)
        best = max(best, _find(screen, wanted))
        return best >= 30
    eventually(shown, f"the guest's picture in the window; the best likeness was {best:.1f} dB, see {shot}", limit=40)
    keep = rig.settings.artifacts / "remote-viewer.png"
    Image.open(shot).save(keep)
    return display


def _display(rig):
    """An X server without a screen; its framebuffer is a file."""
    folder = rig.fresh("xvfb", "")
    folder.mkdir(parents=True)
    reading, writing = os.pipe()
    if not shutil.which("Xvfb"):
        raise Skip("no Xvfb here")
    rig.background(["Xvfb", "-displayfd", str(writing), "-screen", "0", "1600x1000x24", "-nolisten", "tcp", "-noreset",
                    "-fbdir", str(folder)], pass_fds=(writing,))
    os.close(writing)
    with open(reading) as told:
        number = told.readline().strip()
    assert number, "Xvfb did not start"
    screen = folder / "Xvfb_screen0"
    eventually(screen.exists, "Xvfb's framebuffer")
    return {"DISPLAY": f":{number}", "XVFB_FILE": str(screen), "GDK_BACKEND": "x11"}


def _screenshot(display, path):
    """The X server's screen: its file is in the format of `xwd`, a header of big-endian words and then pixels."""
    data = Path(display["XVFB_FILE"]).read_bytes()
    header = numpy.frombuffer(data[:100], ">u4")
    size, width, height, stride, colours = (int(header[i]) for i in (0, 4, 5, 12, 19))
    start = size + colours * 12
    rows = numpy.frombuffer(data[start:start + stride * height], numpy.uint8).reshape(height, stride // 4, 4)[:, :width]
    screen = rows[..., 2::-1]
    Image.fromarray(screen.copy()).save(path)
    return screen.astype(numpy.int16)


def _find(screen, wanted):
    """The best likeness, in dB, of `wanted` to any part of the screen of its size."""
    height, width = wanted.shape[:2]
    best = 0.0
    for top in range(0, screen.shape[0] - height + 1):
        for left in range(0, screen.shape[1] - width + 1):
            # A few rows first: most places are out of the question.
            rough = abs(screen[top:top + height:97, left:left + width:53] - wanted[::97, ::53]).mean()
            if rough < 12:
                best = max(best, compare.psnr(screen[top:top + height, left:left + width], wanted))
    return best
