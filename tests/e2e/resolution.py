"""The guest changes its resolution while clients look on."""

import math

# dB. The picture's text keeps its size: in a small one there is more of it, and coloured text is what video is worst at.
SMALL_PICTURE_LIMIT = 33.0


def a_change(rig):
    """a new resolution reaches the client without a disconnect"""
    _change(rig, [(1024, 768), (1920, 1080), (800, 600), (1280, 720)])


def odd_sizes(rig):
    """odd widths and heights come out whole"""
    _change(rig, [(1366, 768), (853, 481)])


def as_images(rig):
    """a client without video decoders follows, to the last pixel"""
    vm = rig.vm()
    client = rig.client(rig.serve(vm, video="h264"), images_only=True)
    for width, height in ((1024, 768), (853, 481)):
        vm.stage(f"mode {width} {height}")
        client(f"wait-size {width} {height}")
        rig.same_picture(vm, client, at_least=math.inf)


def many_changes_at_once(rig):
    """after a row of quick changes the last one is shown"""
    vm = rig.vm()
    client = rig.client(rig.serve(vm))
    client("wait-picture")
    for size in ("800 600", "1024 768", "640 480", "1280 800", "800 600", "1152 864"):
        vm.stage(f"mode {size}")
    client("wait-size 1152 864")
    rig.same_picture(vm, client, at_least=SMALL_PICTURE_LIMIT)
    assert client("stats")["events"]["main"] == ["opened"]


def pointer_after_a_change(rig):
    """the pointer's places are those of the new resolution"""
    vm = rig.vm()
    client = rig.client(rig.serve(vm))
    vm.stage("mode 800 600")
    client("wait-size 800 600")
    client("wait-mouse-mode client")
    client("position 100 100")
    vm.stage("events on")
    client("position 799 300")
    vm.events(lambda events: {(0, 799), (1, 300)} == {
        (code, round(value * side / 32768)) for _, kind, code, value in events[-2:] if kind == 3
        for side in [(800, 600)[code]]})


def _change(rig, sizes):
    vm = rig.vm()
    client = rig.client(rig.serve(vm))
    client("wait-picture")
    for width, height in sizes:
        vm.stage(f"mode {width} {height}")
        client(f"wait-size {width} {height}")
        rig.same_picture(vm, client, at_least=SMALL_PICTURE_LIMIT)
    events = client("stats")["events"]
    assert events == {name: ["opened"] for name in events}, events
