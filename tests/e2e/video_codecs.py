"""Codecs besides H.264: each shown by spice-gtk, and which of them a viewer gets."""

import math

from rig import eventually

CODECS = {"mjpeg": 1, "vp8": 2, "h264": 3, "vp9": 4, "h265": 5}  # SPICE_VIDEO_CODEC_TYPE_*


def vp8(rig):
    """a client shows VP8, and every pixel exactly at rest"""
    _shows(rig, "vp8")


def vp9(rig):
    """a client shows VP9, and every pixel exactly at rest"""
    _shows(rig, "vp9")


def h265(rig):
    """a client shows H.265, and every pixel exactly at rest"""
    _shows(rig, "h265")


def mjpeg(rig):
    """a client shows MJPEG, and every pixel exactly at rest"""
    _shows(rig, "mjpeg")


def preferred(rig):
    """each client gets the codec that it likes best, also when it changes its mind, beside one that has none"""
    rig.needs_program()
    vm, bus = rig.vm(), rig.bus()
    server = rig.serve(vm, "--relay-bus", bus.address)
    vm.stage("animate 100000 20")
    choosy, plain = rig.client(server), rig.client(server)
    for client in (choosy, plain):
        client("wait-picture")
    assert _deliveries(rig, bus) == ["Encode(h264)", "Encode(h264)"]
    for codec in ("vp8", "mjpeg", "h264"):
        choosy(f"prefer {CODECS[codec]}")
        wanted = sorted([f"Encode({codec})", "Encode(h264)"])
        eventually(lambda: _deliveries(rig, bus) == wanted, f"a viewer of {codec}, and one of H.264")
        before = choosy("stats")["changes"]
        choosy("sleep 1000")
        assert choosy("stats")["changes"] > before, f"{codec}: the picture stands still"
    vm.stage("stop")
    for client in (choosy, plain):
        rig.same_picture(vm, client, at_least=math.inf)


def _shows(rig, codec):
    rig.needs_program()
    vm, bus = rig.vm(), rig.bus()
    client = rig.client(rig.serve(vm, "--relay-bus", bus.address, "--video-codec", codec))
    rig.same_picture(vm, client, at_least=math.inf)
    vm.stage("animate 100000 20")
    eventually(lambda: client.streams() > 0, "a video stream")
    assert _deliveries(rig, bus) == [f"Encode({codec})"]
    before = client("stats")["changes"]
    eventually(lambda: client("stats")["changes"] >= before + 10, "ten pictures")
    vm.stage("stop")
    rig.same_picture(vm, client, at_least=math.inf)
    for width, height in ((641, 363), (1280, 720)):
        vm.stage(f"mode {width} {height}")
        vm.stage("animate 20 20")
        client(f"wait-size {width} {height}")
        rig.same_picture(vm, client, at_least=math.inf)


def _deliveries(rig, bus):
    return sorted(viewer["delivery"] for viewer in rig.status(bus)["Viewers"])
