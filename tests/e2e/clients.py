"""Several clients at once, and clients that go wrong."""

import math
import signal

from rig import eventually


def two_at_once(rig):
    """two clients, one with video and one with images, both see the guest"""
    rig.needs_program()
    vm = rig.vm()
    server = rig.serve(vm, video="h264")
    video, images = rig.client(server), rig.client(server, images_only=True)
    rig.same_picture(vm, video)
    rig.same_picture(vm, images, at_least=math.inf)
    vm.stage("animate 40 25")
    for client in (video, images):
        client("sleep 1500")
    rig.same_picture(vm, video)
    rig.same_picture(vm, images, at_least=math.inf)
    assert video.streams() > 0 and images.streams() == 0


def four_at_once(rig):
    """four clients that come and go all see the guest"""
    rig.needs_program()
    vm = rig.vm()
    server = rig.serve(vm)
    vm.stage("animate 100000 20")
    clients = [rig.client(server) for _ in range(4)]
    for client in clients:
        client("wait-picture")
    clients[1].stop()
    clients[3].stop()
    vm.stage("picture")
    for client in (clients[0], clients[2], rig.client(server)):
        rig.same_picture(vm, client)


def killed_while_it_is_served(rig):
    """a client killed in the middle of a frame harms neither guest nor other clients"""
    rig.needs_program()
    vm = rig.vm()
    server = rig.serve(vm, video="h264")
    stays = rig.client(server)
    stays("wait-picture")
    vm.stage("animate 100000 0")
    for images_only in (False, True):
        goes = rig.client(server, images_only=images_only)
        goes("wait-picture")
        goes("sleep 500")
        goes.stop(signal.SIGKILL)
    before = stays("stats")["changes"]
    stays("sleep 1000")
    assert stays("stats")["changes"] > before + 5, "the other client got no more frames"
    vm.stage("picture")
    rig.same_picture(vm, stays)
    assert stays("stats")["events"]["main"] == ["opened"]


def frozen(rig):
    """a client that stops reading slows neither guest nor other clients, and catches up"""
    rig.needs_program()
    vm = rig.vm()
    server = rig.serve(vm, video="h264")
    runs = rig.client(server)
    runs("wait-picture")
    frozen = rig.client(server, images_only=True)
    frozen("wait-picture")
    vm.stage("animate 100000 10")
    frozen.process.send_signal(signal.SIGSTOP)
    runs("sleep 3000")
    before = runs("stats")["changes"]
    runs("sleep 2000")
    after = runs("stats")["changes"]
    assert after > before + 10, f"the other client got {after - before} frames in 2 s"
    vm.stage("picture", limit=5)
    rig.same_picture(vm, runs)
    frozen.process.send_signal(signal.SIGCONT)
    rig.same_picture(vm, frozen, at_least=math.inf)


def one_after_the_other(rig):
    """twenty connections one after the other leave the program as it was"""
    rig.needs_program()
    vm = rig.vm()
    server = rig.serve(vm)
    for _ in range(3):
        _visit(rig, server)
    before = server.files()
    for _ in range(17):
        _visit(rig, server)
    eventually(lambda: server.files() <= before + 2,
               f"{server.files()} open descriptors, {before} before")
    rig.same_picture(vm, rig.client(server))


def _visit(rig, server):
    client = rig.client(server)
    client("wait-picture")
    client.stop()
