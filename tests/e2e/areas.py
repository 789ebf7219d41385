"""Areas of a picture that move, beside what does not: only they are video."""

import math
import re
from pathlib import Path

from rig import compare, eventually

FILM = (576, 160, 640, 360)  # what moves in the film `page`: x, y, width, height
LONG = 100_000  # frames: as long as a test takes


def beside_a_film(rig):
    """beside a film every pixel stays the guest's, the film alone is video, and `status` says so"""
    bus = rig.bus()
    vm, client = _playing(rig, "page", bus=bus)
    for _ in range(8):
        client("sleep 250")
        _same_outside(rig, vm, client)
    assert _encoders(rig) == ["1280x720", "640x360"]
    assert _videos(rig, bus) == [["640x360+576+160"]]
    vm.stage("stop")
    rig.same_picture(vm, client, at_least=math.inf)
    assert _videos(rig, bus) == [[]]


def beside_a_film_that_flips(rig):
    """a guest that flips buffers: the film alone is video, and small changes after it are images alone"""
    vm, client = _playing(rig, "page", "buffers 2")
    _wait_for_film(rig)
    for _ in range(8):
        client("sleep 250")
        _same_outside(rig, vm, client)
    vm.stage("stop")
    rig.same_picture(vm, client, at_least=math.inf)
    streams = client.streams()
    vm.stage("blink 40 50")
    client("sleep 3000")
    rig.same_picture(vm, client, at_least=math.inf)
    assert client.streams() == streams, f"{client.streams() - streams} videos of a patch that changes"
    assert set(_encoders(rig)) == {"1280x720", "640x360"}


def a_page_that_turns(rig):
    """a page that turns behind a film comes to be exact while the film goes on"""
    vm, client = _playing(rig, "page")
    _wait_for_film(rig)
    before = client.streams()
    vm.stage("picture")
    eventually(lambda: _is_same_outside(rig, vm, client), "the page beside the film", limit=20)
    assert client.streams() - before <= 3, f"{before} streams, and then {client.streams()}"
    vm.stage("stop")
    rig.same_picture(vm, client, at_least=math.inf)


def joining_beside_a_film(rig):
    """who joins while a film plays comes to see what is beside it exactly, and both share one encoder of it"""
    vm, client = _playing(rig, "page")
    _wait_for_film(rig)
    late = rig.client(rig.server)
    eventually(lambda: _is_same_outside(rig, vm, late), "the page beside the film", limit=20)
    _same_outside(rig, vm, client)
    # A film that stands still for a moment ends, and is another stream then.
    assert _encoders(rig).count("640x360") < client.streams(), f"encoders of {_encoders(rig)}: not one for both"
    vm.stage("stop")
    for viewer in (client, late):
        rig.same_picture(vm, viewer, at_least=math.inf)


def a_dragged_window(rig):
    """a window that is dragged needs few streams, and is exact when it is let go"""
    vm, client = _playing(rig, "drag")
    client("sleep 3000")
    vm.stage("stop")
    rig.same_picture(vm, client, at_least=math.inf)
    assert client.streams() <= 6, f"{client.streams()} streams, of {_encoders(rig)}"


def another_mode(rig):
    """a film, another resolution, and the film again: nothing of the old is left"""
    vm, client = _playing(rig, "page")
    for size in ((853, 481), (1280, 720)):
        vm.stage("stop")
        vm.stage(f"mode {size[0]} {size[1]}")
        client(f"wait-size {size[0]} {size[1]}")
        rig.same_picture(vm, client, at_least=math.inf)
    vm.stage("film page")
    vm.stage(f"play {LONG} 40")
    eventually(lambda: _is_same_outside(rig, vm, client), "the page beside the film", limit=20)
    vm.stage("stop")
    rig.same_picture(vm, client, at_least=math.inf)


def one_thing_after_another(rig):
    """two films, typing beside one, all of the screen, a page that scrolls: nothing of any is left when it stops"""
    vm, client = _playing(rig, "films")
    eventually(lambda: _encoders(rig).count("400x200") >= 2, "videos of two films", limit=30)
    for film in ("typing", "motion", "clip", "scroll", "window"):
        vm.stage("stop")
        rig.same_picture(vm, client, at_least=math.inf)
        vm.stage(f"film {film}")
        vm.stage(f"play {LONG} 50")
        client("sleep 2000")
    vm.stage("stop")
    rig.same_picture(vm, client, at_least=math.inf)


def screens_beyond_an_encoder(rig):
    """motion on screens of 5120x1440 and 7680x4320 is video, in parts, and exact when it rests"""
    rig.needs_program()
    vm = rig.own_vm(gpu="virtio-gpu-pci,max_hostmem=1G", extra=["-m", "1536"])
    server = rig.serve(vm, env={"RUST_LOG": "qemu_spice=debug"})
    client = rig.client(server)
    client("wait-picture")
    memory = []
    for width, height, part in ((5120, 1440, "2560x1440"), (7680, 4320, "3840x2160")):
        before = client.streams()
        vm.stage(f"mode {width} {height}", limit=60)
        client(f"wait-size {width} {height}")
        for colour in ("804020", "208040"):
            vm.stage(f"fill {colour}")
            client(f"wait-colour {width - 9} {height - 9} {colour}")
        memory.append(f"{server.memory():.0f} MiB with {width}x{height}")
        vm.stage("picture")
        eventually(lambda: _is_same(rig, vm, client), "the picture of so many pixels", limit=80)
        assert client.streams() - before >= 2, f"{client.streams() - before} streams"
        sizes = re.findall(r"encoder starts .*size=(\d+x\d+)", Path(server.log_path).read_text(errors="replace"))
        assert part in sizes, f"encoders of {sizes}"
    vm.stage("mode 1280 720")
    client("wait-size 1280 720")
    rig.same_picture(vm, client, at_least=math.inf)
    rig.tell(", ".join(memory))


def _is_same(rig, vm, client):
    try:
        return rig.same_picture(vm, client, at_least=math.inf)
    except AssertionError:
        return False


def _playing(rig, film, *commands, bus=None):
    """A guest that plays a film on a screen that a viewer has come to see exactly, after other commands."""
    rig.needs_program()
    vm = rig.vm()
    vm.stage("mode 1280 720")
    vm.stage(f"film {film}")
    arguments = ("--relay-bus", bus.address) if bus else ()
    rig.server = rig.serve(vm, *arguments, env={"RUST_LOG": "qemu_spice=debug"})
    client = rig.client(rig.server)
    rig.same_picture(vm, client, at_least=math.inf)
    for command in (*commands, f"play {LONG} 40"):
        vm.stage(command)
    return vm, client


def _same_outside(rig, vm, client):
    """Beside the film `page`, which plays, the client shows each of the guest's pixels."""
    shown = rig.fresh("shown", ".png")
    client(f"picture {shown}")
    likeness = _outside(vm, shown)
    assert math.isinf(likeness), f"beside the film: {compare.words(likeness)}; see {shown}"
    rig.likeness.append(likeness)


def is_same_outside(vm, shown):
    # Beside the film a picture file has each of the guest's pixels.
    return math.isinf(_outside(vm, shown))


def _outside(vm, shown):
    wanted = vm.screendump(shown.with_suffix(".screendump.png"))
    one, two = compare.load(wanted), compare.load(shown)
    x, y, width, height = FILM
    for picture in (one, two):
        picture[y : y + height, x : x + width] = 0
    likeness = compare.psnr(one, two)
    if math.isfinite(likeness):
        compare.write_difference(one, two, shown.with_suffix(".difference.png"))
    return likeness


def _is_same_outside(rig, vm, client):
    try:
        _same_outside(rig, vm, client)
    except AssertionError:
        return False
    return True


def _videos(rig, bus):
    return [viewer["video"] for viewer in rig.status(bus)["Viewers"]]


def _wait_for_film(rig):
    eventually(lambda: "640x360" in _encoders(rig), "video of the film alone")


def _encoders(rig):
    """The sizes of what was encoded, in order."""
    return re.findall(r"encoder starts .*size=(\d+x\d+)", Path(rig.server.log_path).read_text(errors="replace"))
