"""Starting late, ending early: QEMU's end and the program's own."""

import os
import signal
import time
from pathlib import Path


def qemu_leaves(rig):
    """when QEMU ends the program ends, and says so"""
    vm = rig.own_vm()
    server = rig.serve(vm)
    client = rig.client(server)
    client("wait-picture")
    vm.stop()
    server.wait(5)
    last = server.errors().strip().splitlines()[-1]
    assert "QEMU" in last, f"its last line is: {last}"
    client("wait-end")


def qemu_leaves_the_bus(rig):
    """… on a bus too"""
    bus = rig.bus()
    vm = rig.own_vm(display=f"dbus,addr={bus.address}")
    server = rig.serve(vm, attach=["--dbus-address", bus.address])
    vm.stop()
    server.wait(5)
    assert "QEMU" in server.errors().strip().splitlines()[-1]


def wait_over_qmp(rig):
    """with --wait, viewers stay connected while QEMU is restarted"""
    _restart(rig, {}, lambda vm: ["--qmp", str(vm.qmp_path)])


def wait_on_a_bus(rig):
    """… on a bus too"""
    bus = rig.bus()
    _restart(rig, {"display": f"dbus,addr={bus.address}"}, lambda vm: ["--dbus-address", bus.address])


def wait_for_the_first(rig):
    """with --wait the program may be there before QEMU"""
    rig.needs_program()
    bus = rig.bus()
    server = rig.start("--wait", "--dbus-address", bus.address, "--spice-addr", "127.0.0.1:0")
    time.sleep(1)
    assert server.alive(), server.errors()
    vm = rig.own_vm(display=f"dbus,addr={bus.address}")
    server.ready()
    rig.same_picture(vm, rig.client(server))


def terminated(rig):
    """SIGTERM ends it at once, cleanly, with clients connected and frames on their way"""
    rig.needs_program()
    vm = rig.vm()
    server = rig.serve(vm)
    client = rig.client(server)
    client("wait-picture")
    vm.stage("animate 100000 0")
    client("sleep 300")
    server.terminate()
    code = server.wait(3)
    assert code == 0, f"exit code {code}"
    assert vm.alive()
    vm.stage("picture", limit=5)


def interrupted(rig):
    """Ctrl-C ends it as well"""
    rig.needs_program()
    server = rig.serve(rig.vm())
    server.process.send_signal(signal.SIGINT)
    assert server.wait(3) == 0


def the_socket_file(rig):
    """a unix socket's file is gone afterwards, and one left over is no obstacle"""
    rig.needs_program()
    vm = rig.vm()
    path = vm.folder / "left.sock"
    for how in ("kill", "terminate", "terminate"):
        server = rig.serve(vm, address=f"unix:{path}")
        assert path.exists()
        getattr(server.process, how)()
        server.wait(5)
        assert path.exists() == (how == "kill")


def a_socket_without_a_file(rig):
    """a viewer comes through unix:@NAME, which makes no file"""
    rig.needs_program()
    vm = rig.vm()
    name = f"@qemu-spice-{os.getpid()}"
    server = rig.serve(vm, address=f"unix:{name}")
    assert server.uri == f"unix:{name}", server.uri
    rig.same_picture(vm, rig.client(server, uri=rig.tunnel(name)))
    assert not Path(name).exists()


def guest_reboots(rig):
    """a guest that reboots is shown all along"""
    vm = rig.own_vm()
    server = rig.serve(vm)
    client = rig.client(server)
    client("wait-picture")
    vm.qmp("system_reset")
    vm.stage_text = b""
    vm.until(rb"stage: ready", 120)
    rig.same_picture(vm, client)
    assert client("stats")["events"]["main"] == ["opened"]


def guest_paused(rig):
    """while the VM is paused clients can come, and see where it stopped"""
    rig.needs_program()
    vm = rig.vm()
    server = rig.serve(vm)
    vm.qmp("stop")
    try:
        rig.same_picture(vm, rig.client(server))
    finally:
        vm.qmp("cont")


def _restart(rig, options, attach):
    vm = rig.own_vm(**options)
    server = rig.serve(vm, "--wait", attach=attach(vm))
    client = rig.client(server)
    rig.same_picture(vm, client)
    vm.stop()
    client("sleep 1000")
    assert server.alive(), server.errors()
    vm = rig.own_vm(**options)
    client("wait-rest 1500")
    vm.stage("fill 307050")
    client("wait-colour 640 360 307050")
    vm.stage("picture")
    rig.same_picture(vm, client)
    events = client("stats")["events"]
    assert events == {name: ["opened"] for name in events}, events
