"""The ways to QEMU: a bus, a descriptor, QMP."""

import array
import json
import os
import socket

from rig import Skip, eventually, free_port
from vm import EMULATED

GPU_BACKEND = "/usr/lib/qemu/vhost-user-gpu"
SHARED_MEMORY = (*EMULATED, "-object", "memory-backend-memfd,id=memory,size=512M,share=on",
                 "-machine", "memory-backend=memory")


def by_bus_address(rig):
    """on a bus given by --dbus-address"""
    bus = rig.bus()
    vm = rig.own_vm(display=f"dbus,addr={bus.address}")
    server = rig.serve(vm, attach=["--dbus-address", bus.address])
    rig.same_picture(vm, rig.client(server))


def on_the_session_bus(rig):
    """on the session bus, when nothing is said"""
    bus = rig.bus()
    vm = rig.own_vm(display=f"dbus,addr={bus.address}")
    server = rig.serve(vm, attach=(), env={"DBUS_SESSION_BUS_ADDRESS": bus.address})
    rig.same_picture(vm, rig.client(server))


def by_descriptor(rig):
    """on a connection handed over by --dbus-p2p-fd"""
    rig.needs_program()
    vm = rig.vm()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        hand_to_qemu(vm, theirs)
        server = rig.start("--dbus-p2p-fd", ours.fileno(), "--spice-addr", f"127.0.0.1:{free_port()}", fds=(ours.fileno(),))
    server.ready()
    rig.same_picture(vm, rig.client(server))


def again_and_again(rig):
    """the program can leave a VM and come back to it"""
    rig.needs_program()
    vm = rig.vm()
    for _ in range(3):
        server = rig.serve(vm)
        rig.same_picture(vm, rig.client(server))
        server.stop()
        assert vm.alive()
    vm.stage("animate 20 10", limit=5)


def vhost_user_gpu_without_gl(rig):
    """a QEMU that would end when asked for its console is not asked, and lives"""
    vm = _vm_with_backend(rig, gpu="vhost-user-gpu-pci,chardev=gpu")
    server = rig.start("--qmp", vm.qmp_path, "--spice-addr", f"127.0.0.1:{free_port()}", env={"RUST_LOG": "error"})
    assert server.wait(15) == 1
    said = server.errors().splitlines()
    assert len(said) == 1 and "vhost-user-gpu-pci" in said[0] and said[0].endswith("start QEMU with -display dbus,gl=on"), said
    assert vm.alive()
    vm.stage("picture")


def vhost_user_gpu_beside_another(rig):
    """a console that would end QEMU, hidden behind its id, is left out; the others are shown"""
    bus = rig.bus()
    vm = _vm_with_backend(rig, display=f"dbus,addr={bus.address}", extra=["-device", "vhost-user-gpu-pci,id=video1,chardev=gpu"])
    server = rig.serve(vm, attach=["--dbus-address", bus.address])
    rig.same_picture(vm, rig.client(server))
    assert 'console 1 ("video1") is not shown' in server.errors(), server.errors()
    assert vm.alive()


def _vm_with_backend(rig, extra=(), **options):
    """A VM that can have a vhost-user GPU, on the chardev `gpu`."""
    rig.needs_program()
    if not os.access(GPU_BACKEND, os.X_OK):
        raise Skip(f"no {GPU_BACKEND}: it is in Debian's qemu-system-gui")
    path = rig.fresh("gpu", ".sock")
    rig.background([GPU_BACKEND, "--socket-path", str(path)])
    eventually(path.exists, "the GPU's socket")
    chardev = ["-chardev", f"socket,id=gpu,path={path}"]
    return rig.own_vm(machine=SHARED_MEMORY, extra=[*chardev, *extra], **options)


# QMP's getfd and add_client, as a management program would do them.
def hand_to_qemu(vm, end):
    vm.qmp.socket.sendmsg([json.dumps({"execute": "getfd", "arguments": {"fdname": "display"}}).encode() + b"\n"],
                          [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [end.fileno()]))])
    answer = json.loads(vm.qmp.lines.readline())
    assert "return" in answer, answer
    vm.qmp("add_client", protocol="@dbus-display", fdname="display")
