"""Strangers by the thousand, beside whom viewers get in and stay in."""

import subprocess

from rig import ROOT, eventually

MANY = 2000


def silent(rig):
    """beside 2,000 connections that say nothing a viewer gets in at once"""
    _beside(rig, "silent")


def silent_from_everywhere(rig):
    """beside 2,000 connections that say nothing, from 250 addresses, a viewer gets in at once"""
    _beside(rig, "silent", "--origins", "250")


def ticketless(rig):
    """beside 2,000 connections that stop before the ticket a viewer gets in at once"""
    _beside(rig, "ticketless")


def ticketless_from_everywhere(rig):
    """beside 2,000 connections that stop before the ticket, from 250 addresses, a viewer gets in at once"""
    _beside(rig, "ticketless", "--origins", "250")


def leaving(rig):
    """beside a flood of link messages by peers that leave at once a viewer gets in at once"""
    _beside(rig, "leaving")


def idle_sessions(rig):
    """beside 200 sessions that do nothing a viewer gets in at once"""
    told = _beside(rig, "sessions", count=200, password=False)
    assert told.split()[-1] == "200", told


def channels_without_end(rig):
    """a session gets the channels that it was offered and no others, and a viewer gets in beside it"""
    told = _beside(rig, "channels", count=1000, password=False)
    # Of each of four sessions: one inputs channel of 250.
    assert told.split()[-1] == "4", told


def displays_before_the_vm(rig):
    """displays that are asked for before there is a VM hide none of its consoles"""
    rig.needs_program()
    bus = rig.bus()
    server = rig.serve(None, "--wait", attach=["--dbus-address", bus.address])
    for _ in range(3):
        with Strangers(rig, server, "displays", 17) as strangers:
            assert strangers.told.split()[-1] == "1", strangers.told
    vm = rig.own_vm(display=f"dbus,addr={bus.address}")
    rig.same_picture(vm, rig.client(server))
    assert "too many consoles" not in server.errors()


def burst_of_motions(rig):
    """10,000 motions at once of a client that reads all do not end its session"""
    rig.needs_program()
    vm = rig.vm()
    server = rig.serve(vm)
    vm.absolute_pointer(False)
    with Strangers(rig, server, "motions", 10_000) as client:
        # Each acknowledgement is for four motions.
        assert client.told.split()[-1] == "2500", client.told
    rig.same_picture(vm, rig.client(server))


def _beside(rig, kind, *options, count=MANY, password=True):
    """An old viewer sees every frame and a new one gets in while strangers are there, whom no deadline has ended yet."""
    rig.needs_program()
    vm, bus = rig.vm(), rig.bus()
    arguments = ["--relay-bus", bus.address]
    word = "open sesame" if password else None
    if password:
        file = rig.fresh("password", "")
        file.write_text(word + "\n")
        arguments += ["--password-file", str(file)]
    server = rig.serve(vm, *arguments)
    old = rig.client(server, password=word)
    rig.same_picture(vm, old)
    vm.begin("animate 100000 250")
    before = old("stats")
    memory = server.memory()
    with Strangers(rig, server, kind, count, *options) as strangers:
        files = server.files()
        new = rig.client(server, password=word)
        new("wait-picture")
        took = new("stats")["first_picture_ms"]
        status = rig.status(bus)
        more = server.memory() - memory
        assert files < 1000, f"{files} open files"
        assert more < 32, f"{more:.1f} MiB more"
        refused = status["Refused"]
        assert not refused.get("late"), f"the viewer came in when others had to leave: {refused}"
        old("sleep 1000")
        changes = old("stats")["changes"] - before["changes"]
        assert changes > 3, f"the old viewer saw {changes} frames"
        assert all(row["dropped"] == 0 for row in rig.status(bus)["Viewers"]), status
        told = strangers.told
    assert old("stats")["events"]["main"] == ["opened"]
    assert len(server.errors().splitlines()) < 100, "a line for each stranger"
    eventually(lambda: server.files() < 150, f"{server.files()} files are left open")
    vm.stage("picture")
    rig.same_picture(vm, old)
    rig.tell(f"{took} ms, {refused}, {files} files, {more:+.1f} MiB")
    return told


# A process of tests/clients/crowd.py, which is there with all its connections.
class Strangers:

    def __init__(self, rig, server, kind, count, *options):
        host, port = server.uri.removeprefix("spice://").split(":")
        program = ROOT / "tests/clients/crowd.py"
        self.process = subprocess.Popen(["/usr/bin/python3", program, host, port, kind, str(count), *options],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.told = self.process.stdout.readline().strip()
        assert self.told, "the strangers did not come"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()
