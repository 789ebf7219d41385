"""The ways to QEMU: a bus, a descriptor, QMP."""

import array
import json
import socket

from rig import free_port


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
        _hand_to_qemu(vm, theirs)
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


def _hand_to_qemu(vm, end):
    """QMP's getfd and add_client, as a management program would do them."""
    vm.qmp.socket.sendmsg([json.dumps({"execute": "getfd", "arguments": {"fdname": "display"}}).encode() + b"\n"],
                          [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [end.fileno()]))])
    answer = json.loads(vm.qmp.lines.readline())
    assert "return" in answer, answer
    vm.qmp("add_client", protocol="@dbus-display", fdname="display")
