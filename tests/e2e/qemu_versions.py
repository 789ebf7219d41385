"""The same with other versions of QEMU."""

import math


def qemu_7_2(rig):
    """QEMU 7.2: picture, exact images, keys, resolution, cursor"""
    _tour(rig, "qemu72")


def qemu_11(rig):
    """QEMU 11: picture, exact images, keys, resolution, cursor"""
    _tour(rig, "qemu11")


def _tour(rig, name):
    rig.qemu(name)
    rig.needs_program()
    vm = rig.vm(name)
    server = rig.serve(vm, video="h264")
    video, images = rig.client(server), rig.client(server, images_only=True)
    rig.same_picture(vm, video)
    rig.same_picture(vm, images, at_least=math.inf)
    vm.stage("events on")
    video("key 11c")
    vm.events(lambda events: [event[2:] for event in events if event[1] == 1] == [(96, 1), (96, 0)])
    video("wait-mouse-mode client")
    video("position 1000 50")
    vm.events(lambda events: any(kind == 3 and code == 0 and round(value * 1280 / 32768) == 1000 for _, kind, code, value in events))
    vm.stage("cursor arrow 30 30")
    video("wait-cursor shaped")
    vm.stage("cursor off 0 0")
    video("wait-cursor hidden")
    vm.stage("animate 40 20")
    video("sleep 1500")
    rig.same_picture(vm, video)
    rig.same_picture(vm, images, at_least=math.inf)
    vm.stage("mode 1024 768")
    video("wait-size 1024 768")
    rig.same_picture(vm, video, at_least=33)
    rig.same_picture(vm, images, at_least=math.inf)
