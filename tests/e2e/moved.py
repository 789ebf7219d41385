"""What moves on the screen as a whole: it is copied within the viewer's picture, and is no video."""

import math
import re
from pathlib import Path

from rig import eventually

LONG = 100_000  # frames: as long as a test takes
LOG = {"RUST_LOG": "qemu_spice=debug,qemu_spice::spice::driver::channels::display=trace"}


def a_text_that_scrolls(rig):
    """a text that scrolls for long is copies and the lines that came, no video, and exact at each look"""
    _is_copied(rig, "text")


def a_window_over_text(rig):
    """a window that is dragged over text is copies and what was under it, no video, and exact at each look"""
    _is_copied(rig, "drag")


def a_text_that_scrolls_already(rig):
    """a text that scrolls when a viewer comes is copies soon, and no video from then on"""
    rig.needs_program()
    vm = rig.vm()
    vm.stage("mode 1280 720")
    vm.stage("film text")
    vm.stage(f"play {LONG} 50")
    rig.server = rig.serve(vm, env=LOG)
    client = rig.client(rig.server)
    client("wait-picture")
    eventually(lambda: _copies(rig) >= 20, "copies", limit=40)
    vm.stage("stop")
    rig.same_picture(vm, client, at_least=math.inf)


def _is_copied(rig, film):
    vm, client = _resting(rig, film)
    before = client.streams()
    for _ in range(4):
        copies = _copies(rig)
        vm.stage(f"play {LONG} 50")
        client("sleep 1000")
        vm.stage("stop")
        rig.same_picture(vm, client, at_least=math.inf)
        assert _copies(rig) - copies >= 8, f"{_copies(rig) - copies} copies; see {rig.server.log_path}"
    assert client.streams() == before, f"{client.streams() - before} videos; see {rig.server.log_path}"


def _resting(rig, film):
    """A guest whose screen shows the first frame of a film, which a viewer has come to see exactly."""
    rig.needs_program()
    vm = rig.vm()
    vm.stage("mode 1280 720")
    vm.stage(f"film {film}")
    rig.server = rig.serve(vm, env=LOG)
    client = rig.client(rig.server)
    rig.same_picture(vm, client, at_least=math.inf)
    return vm, client


def _copies(rig):
    """How many copies were told so far."""
    log = Path(rig.server.log_path).read_text(errors="replace")
    return sum(map(int, re.findall(r"drawn exactly .*moved=(\d+)", log)))
