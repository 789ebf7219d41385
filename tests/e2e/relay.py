"""The display offered again to D-Bus viewers, and `qemu-spice status`."""

import math
import os
import signal
from pathlib import Path


def viewers_of_every_kind(rig):
    """two D-Bus viewers and a SPICE client share QEMU's one connection; D-Bus viewers get its own memory"""
    rig.needs_program()
    vm, bus = rig.vm(), rig.bus()
    server = rig.serve(vm, "--relay-bus", bus.address)
    first, second, plain = rig.dbus_viewer(bus), rig.dbus_viewer(bus), rig.dbus_viewer(bus, "--pixels-only")
    spice = rig.client(server)
    spice("wait-picture")
    for viewer in (first, second, plain):
        rig.same_picture(vm, viewer, at_least=math.inf)
    memory = first("memory")
    assert memory["by"] == "ScanoutMap" and memory == second("memory"), memory
    assert tuple(memory["files"][0]) in _files_of(vm.process.pid), "not the memory that QEMU has"
    assert plain("memory")["by"] == "Scanout"

    vm.stage("animate 40 25")
    first("sleep 2500")
    for viewer in (first, second, plain):
        rig.same_picture(vm, viewer, at_least=math.inf)
    rig.same_picture(vm, spice)

    rows = rig.status(bus)["Viewers"]
    told = sorted((row["transport"], row["delivery"]) for row in rows)
    assert told == [("dbus", "Images"), ("dbus", "Passthrough"), ("dbus", "Passthrough"), ("tcp", "Encode(h264)")], rows
    assert all(row["sent"] > 5 and row["reason"] for row in rows), rows


def input_of_a_dbus_viewer(rig):
    """a D-Bus viewer's keys and pointer reach the guest, and come up when it is killed"""
    rig.needs_program()
    vm, bus = rig.vm(), rig.bus()
    rig.serve(vm, "--relay-bus", bus.address)
    viewer = rig.dbus_viewer(bus)
    viewer("wait-picture")
    vm.stage("events on")
    viewer("key 1e")
    viewer("position 100 100")
    vm.events(lambda events: {(1, 30, 1), (1, 30, 0)} <= {event[1:] for event in events}
              and any(kind == 3 for _, kind, _, _ in events))
    viewer("key 1f down")
    vm.events(lambda events: (1, 31, 1) in {event[1:] for event in events})
    viewer.stop(signal.SIGKILL)
    vm.events(lambda events: (1, 31, 0) in {event[1:] for event in events})


def a_stopped_dbus_viewer(rig):
    """a D-Bus viewer that is stopped in the middle holds up neither guest nor others, and catches up"""
    rig.needs_program()
    vm, bus = rig.vm(), rig.bus()
    server = rig.serve(vm, "--relay-bus", bus.address)
    stopped = [rig.dbus_viewer(bus), rig.dbus_viewer(bus, "--pixels-only")]
    other, spice = rig.dbus_viewer(bus), rig.client(server)
    for viewer in (*stopped, other, spice):
        viewer("wait-picture")
    _signal(stopped, signal.SIGSTOP)
    try:
        before = other("stats")["calls"]["UpdateMap"]
        vm.stage("animate 100000 20")
        other("sleep 2000")
        after = other("stats")["calls"]["UpdateMap"]
        assert after > before + 20, f"the other viewer got no frames: {before}, {after}"
        vm.stage("picture")
        rig.same_picture(vm, spice)
        rig.same_picture(vm, other, at_least=math.inf)
    finally:
        _signal(stopped, signal.SIGCONT)
    for viewer in stopped:
        rig.same_picture(vm, viewer, at_least=math.inf)


def where_qemu_is_on_a_bus(rig):
    """on QEMU's bus the display is there again without being asked for; with the VM its viewers' connections end"""
    bus = rig.bus()
    vm = rig.own_vm(display=f"dbus,addr={bus.address}")
    rig.serve(vm, attach=["--dbus-address", bus.address, "--wait"])
    viewer, at_qemu = rig.dbus_viewer(bus), rig.dbus_viewer(bus, "--name", "org.qemu")
    for each in (viewer, at_qemu):
        rig.same_picture(vm, each, at_least=math.inf)
    assert viewer("memory") == at_qemu("memory")
    vm.stop()
    viewer("wait-end")
    status = rig.status(bus)
    assert not status["Attached"] and status["Viewers"] == [], status


def a_bus_that_is_not_there(rig):
    """a bus that was asked for and is not there is told in one line"""
    server = rig.start("--qmp", "/nowhere", "--wait", "--spice-addr", "none", "--relay-bus", "unix:path=/nowhere")
    assert server.wait(10) == 1
    errors = server.errors().strip().splitlines()
    assert len(errors) == 1 and "--relay-bus" in errors[0], errors


def _signal(viewers, which):
    for viewer in viewers:
        viewer.process.send_signal(which)


def _files_of(process):
    """Device and inode of every file that a process has open."""
    found = set()
    for link in Path(f"/proc/{process}/fd").iterdir():
        try:
            file = os.stat(link)
        except OSError:
            continue
        found.add((file.st_dev, file.st_ino))
    return found


def windows(rig):
    """the guest's text console takes the size of a D-Bus viewer's window, once for each size"""
    bus = rig.bus()
    vm = rig.own_vm()
    rig.serve(vm, "--relay-bus", bus.address)
    viewer = rig.dbus_viewer(bus)
    viewer("wait-size 1280 720")
    _follow_windows(vm, viewer)


def _follow_windows(vm, viewer):
    # Linux' text console takes no size that is larger than its first one.
    sizes = [[1024, 600], [1112, 624], [800, 600]]
    vm.stage("console")
    vm.stage(r"sh printf '\033[?25l' >/dev/tty1")  # a caret that blinks is no rest
    viewer("wait-rest 400")
    before = viewer("stats")["sizes"]
    for width, height in sizes:
        viewer(f"window {width} {height}")
        viewer(f"wait-size {width} {height}")
        viewer("wait-rest 400")
    shown = viewer("stats")["sizes"][len(before):]
    assert shown == sizes, shown
